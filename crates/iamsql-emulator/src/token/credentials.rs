//! Credential files that the emulator hands out, and what it remembers of them: public keys and refresh tokens.

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use rcgen::{KeyPair, PublicKeyData as _};
use serde_json::{Value, json};

use crate::authority::{KeyKind, generate_key, hex};
use crate::issued::{IssuedLog, random_bytes, random_secret};

/// Service-account keys and refresh tokens of one run.
pub(crate) struct Grants {
    state: Mutex<State>,
    issued: IssuedLog,
}

#[derive(Default)]
struct State {
    /// Public keys (PKCS#1 DER) by key id.
    keys: HashMap<String, ServiceAccountKey>,
    refresh_tokens: HashMap<String, RefreshGrant>,
}

/// The public half of a service-account key.
#[derive(Clone)]
pub(crate) struct ServiceAccountKey {
    pub(crate) principal: String,
    public: Vec<u8>,
}

/// What a refresh token stands for.
#[derive(Clone)]
pub(crate) struct RefreshGrant {
    pub(crate) principal: String,
    pub(crate) client_id: String,
    pub(crate) client_secret: String,
    /// The scopes that the user consented to; `None` for any.
    pub(crate) scopes: Option<BTreeSet<String>>,
}

impl Grants {
    pub(crate) fn new(issued: IssuedLog) -> Self {
        Grants {
            state: Mutex::default(),
            issued,
        }
    }

    /// A service-account key file for `principal` whose token endpoint is `base` + `/token`. Makes an RSA key: slow.
    pub(crate) fn service_account_key(
        &self,
        principal: &str,
        project: &str,
        base: &str,
    ) -> anyhow::Result<Value> {
        let key = generate_key(KeyKind::Rsa2048)?;
        let private = key.serialize_pem();
        let id = hex(&random_bytes(20));
        self.issued.record("service-account key", &private);
        self.remember(&id, principal, &key);
        Ok(json!({
            "type": "service_account",
            "project_id": project,
            "private_key_id": id,
            "private_key": private,
            "client_email": principal,
            "client_id": client_number(principal),
            "auth_uri": format!("{base}/o/oauth2/auth"),
            "token_uri": format!("{base}/token"),
            "auth_provider_x509_cert_url": format!("{base}/oauth2/v1/certs"),
            "universe_domain": "googleapis.com",
        }))
    }

    /// An authorized_user file for `principal`, as `gcloud auth application-default login` writes.
    pub(crate) fn authorized_user(
        &self,
        principal: &str,
        project: &str,
        base: &str,
        scopes: Option<BTreeSet<String>>,
    ) -> Value {
        let refresh_token = random_secret("emulator-refresh-");
        let grant = RefreshGrant {
            principal: principal.to_string(),
            client_id: format!("{}.apps.googleusercontent.com", client_number(principal)),
            client_secret: random_secret("emulator-client-"),
            scopes,
        };
        self.issued.record("refresh token", &refresh_token);
        self.issued.record("client secret", &grant.client_secret);
        let file = json!({
            "type": "authorized_user",
            "account": principal,
            "client_id": grant.client_id,
            "client_secret": grant.client_secret,
            "refresh_token": refresh_token,
            "quota_project_id": project,
            "token_uri": format!("{base}/token"),
            "universe_domain": "googleapis.com",
        });
        self.lock().refresh_tokens.insert(refresh_token, grant);
        file
    }

    pub(crate) fn key(&self, id: &str) -> Option<ServiceAccountKey> {
        self.lock().keys.get(id).cloned()
    }

    /// The keys of a principal, for assertions that name none.
    pub(crate) fn keys_of(&self, principal: &str) -> Vec<ServiceAccountKey> {
        self.lock()
            .keys
            .values()
            .filter(|key| key.principal == principal)
            .cloned()
            .collect()
    }

    pub(crate) fn refresh_token(&self, text: &str) -> Option<RefreshGrant> {
        self.lock().refresh_tokens.get(text).cloned()
    }

    /// Forgets the keys and refresh tokens of a principal.
    pub(crate) fn revoke_principal(&self, principal: &str) {
        let mut state = self.lock();
        state.keys.retain(|_, key| key.principal != principal);
        state
            .refresh_tokens
            .retain(|_, grant| grant.principal != principal);
    }

    fn remember(&self, id: &str, principal: &str, key: &KeyPair) {
        let key = ServiceAccountKey {
            principal: principal.to_string(),
            public: key.der_bytes().to_vec(),
        };
        self.lock().keys.insert(id.to_string(), key);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no panic under lock")
    }
}

impl ServiceAccountKey {
    /// Whether this key made the RS256 signature.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &self.public)
            .verify(message, signature)
            .is_ok()
    }
}

/// The numeric id of a principal: stable within and between runs, like a real one's.
pub(crate) fn client_number(principal: &str) -> String {
    use sha2::Digest as _;
    let digest = sha2::Sha256::digest(principal.as_bytes());
    let number = u64::from_be_bytes(digest[..8].try_into().expect("eight bytes"));
    format!("1{:020}", number)
}
