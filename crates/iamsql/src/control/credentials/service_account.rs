//! Tokens for a service-account key: a signed assertion, exchanged at the key's token endpoint.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use serde_json::json;

use crate::control::clock::Clock;
use crate::control::credentials::token::{Scope, Token};
use crate::control::credentials::{Source, answer};
use crate::control::endpoint::{Endpoint, Endpoints};
use crate::control::http::Call;
use crate::control::http::Http;
use crate::control::http::patience::Patience;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;

/// A key file that has been checked.
#[derive(Clone)]
pub(super) struct ServiceAccountKey {
    pub(super) email: String,
    key_id: Option<String>,
    private_key: Secret,
    token_endpoint: Endpoint,
}

impl ServiceAccountKey {
    pub(super) fn read(json: &serde_json::Value, endpoints: &Endpoints) -> Result<Self> {
        #[derive(Deserialize)]
        struct File {
            client_email: String,
            private_key: String,
            private_key_id: Option<String>,
            token_uri: Option<String>,
        }
        let file =
            File::deserialize(json).map_err(|_| unusable("lacks client_email or private_key"))?;
        let token_uri = match &file.token_uri {
            Some(uri) => uri.clone(),
            None => format!("https://oauth2.{}/token", endpoints.universe),
        };
        let private_key = Secret::new(file.private_key);
        parse(&private_key)?;
        Ok(ServiceAccountKey {
            email: file.client_email,
            key_id: file.private_key_id,
            private_key,
            token_endpoint: endpoints.token_url("token_uri", &token_uri)?,
        })
    }

    pub(super) fn open(self, http: Arc<Http>, clock: Arc<dyn Clock>) -> Result<ServiceAccount> {
        Ok(ServiceAccount {
            pair: parse(&self.private_key)?,
            key: self,
            http,
            clock,
        })
    }
}

pub(super) struct ServiceAccount {
    key: ServiceAccountKey,
    pair: KeyPair,
    http: Arc<Http>,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Source for ServiceAccount {
    async fn token(&self, scope: Scope, patience: &Patience) -> Result<Token> {
        let assertion = self.assertion(scope, self.clock.now())?;
        let call = Call::post_form(
            SERVICE,
            self.key.token_endpoint.clone(),
            LIMIT,
            &[
                ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                ("assertion", assertion.expose()),
            ],
        );
        let granted = self
            .http
            .call(&call, patience, &|refused| {
                answer::refusal(refused, SERVICE).with_advice(ADVICE)
            })
            .await?;
        Ok(answer::token(&granted, SERVICE, self.clock.now())?.of_principal(&self.key.email))
    }

    async fn principal(&self, _: &Patience) -> Result<Option<String>> {
        Ok(Some(self.key.email.clone()))
    }
}

impl ServiceAccount {
    fn assertion(&self, scope: Scope, now: SystemTime) -> Result<Secret> {
        let issued = now
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let mut header = json!({"alg": "RS256", "typ": "JWT"});
        if let Some(key_id) = &self.key.key_id {
            header["kid"] = json!(key_id);
        }
        let claims = json!({
            "iss": self.key.email,
            "scope": scope.url(),
            // Exactly where it is posted to: nobody else can use it.
            "aud": self.key.token_endpoint.url().as_str(),
            "iat": issued,
            "exp": issued + LIFE.as_secs(),
        });
        let encode = |value: &serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(&header), encode(&claims));
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                signed.as_bytes(),
                &mut signature,
            )
            .map_err(|_| unusable("holds a key that cannot sign"))?;
        Ok(Secret::new(format!(
            "{signed}.{}",
            URL_SAFE_NO_PAD.encode(signature)
        )))
    }
}

fn parse(private_key: &Secret) -> Result<KeyPair> {
    let malformed = || unusable("holds no usable RSA private key");
    let der =
        PrivateKeyDer::from_pem_slice(private_key.expose().as_bytes()).map_err(|_| malformed())?;
    match &der {
        PrivateKeyDer::Pkcs8(key) => KeyPair::from_pkcs8(key.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(key) => KeyPair::from_der(key.secret_pkcs1_der()),
        _ => return Err(malformed()),
    }
    .map_err(|_| malformed())
}

fn unusable(why: &str) -> Error {
    Error::new(
        ErrorKind::Credentials,
        format!("the service-account key {why}"),
    )
    .with_advice("create a new key with `gcloud iam service-accounts keys create`, or better attach the service account and use no key")
}

const SERVICE: &str = "the key's token endpoint";
const LIMIT: Duration = Duration::from_secs(5);
const LIFE: Duration = Duration::from_secs(3600);
const ADVICE: &str = "check that the service account and this key exist and are enabled, and that this machine's clock is right";

#[cfg(test)]
mod tests;
