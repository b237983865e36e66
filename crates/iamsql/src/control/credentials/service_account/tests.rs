use std::sync::OnceLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use base64::engine::general_purpose::STANDARD;

use super::*;
use crate::control::clock::SystemClock;
use crate::control::endpoint::EndpointOptions;
use crate::control::environment::Environment;
use crate::control::http::user_agent;

fn pair() -> &'static KeyPair {
    static PAIR: OnceLock<KeyPair> = OnceLock::new();
    PAIR.get_or_init(|| KeyPair::generate(KeySize::Rsa2048).unwrap())
}

fn file() -> serde_json::Value {
    let der: Pkcs8V1Der<'_> = pair().as_der().unwrap();
    let pem = format!(
        "-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n",
        STANDARD.encode(der.as_ref())
    );
    json!({
        "type": "service_account",
        "client_email": "app@p.iam.gserviceaccount.com",
        "private_key": pem,
        "private_key_id": "abc",
        "token_uri": "https://oauth2.googleapis.com/token",
    })
}

fn endpoints() -> Endpoints {
    Endpoints::resolve(&EndpointOptions::default(), &Environment::empty()).unwrap()
}

fn open(file: &serde_json::Value) -> Result<ServiceAccount> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let http = Http::new(&Environment::empty(), user_agent(None)?, clock.clone())?;
    ServiceAccountKey::read(file, &endpoints())?.open(Arc::new(http), clock)
}

#[test]
fn the_assertion_is_signed_for_the_endpoint_that_it_is_posted_to() {
    let account = open(&file()).unwrap();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let assertion = account.assertion(Scope::Login, now).unwrap();
    let parts: Vec<&str> = assertion.expose().split('.').collect();
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
    let json = |part: &str| serde_json::from_slice::<serde_json::Value>(&decode(part)).unwrap();
    assert_eq!(
        json(parts[0]),
        json!({"alg": "RS256", "typ": "JWT", "kid": "abc"})
    );
    assert_eq!(
        json(parts[1]),
        json!({
            "iss": "app@p.iam.gserviceaccount.com",
            "scope": "https://www.googleapis.com/auth/sqlservice.login",
            "aud": "https://oauth2.googleapis.com/token",
            "iat": 1_800_000_000,
            "exp": 1_800_003_600,
        })
    );
    let signed = format!("{}.{}", parts[0], parts[1]);
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair().public_key().as_ref())
        .verify(signed.as_bytes(), &decode(parts[2]))
        .unwrap();
}

#[test]
fn a_key_that_cannot_be_used_is_refused_without_showing_it() {
    for (field, value) in [
        (
            "private_key",
            json!("-----BEGIN PRIVATE KEY-----\nc2VjcmV0LWtleQ==\n-----END PRIVATE KEY-----\n"),
        ),
        ("private_key", json!("secret-key")),
        ("private_key", json!(7)),
        ("client_email", json!(null)),
    ] {
        let mut broken = file();
        broken[field] = value;
        let error = open(&broken).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Credentials);
        assert!(
            !error.chain().contains("secret") && !error.chain().contains("c2Vj"),
            "{error}"
        );
    }
}

#[test]
fn a_key_for_another_token_endpoint_is_refused() {
    let mut elsewhere = file();
    elsewhere["token_uri"] = json!("https://evil.example/token");
    assert_eq!(open(&elsewhere).err().unwrap().kind(), ErrorKind::Config);
}
