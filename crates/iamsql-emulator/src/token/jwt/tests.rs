use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;
use crate::issued::IssuedLog;

const PRINCIPAL: &str = "cloudsql-client@your-project-id.iam.gserviceaccount.com";
const AUDIENCE: &str = "http://127.1.2.3:9470/token";

#[test]
fn only_a_fresh_assertion_for_this_endpoint_signed_with_an_issued_key_counts() {
    let grants = Grants::new(IssuedLog::nowhere());
    let file = grants
        .service_account_key(PRINCIPAL, "your-project-id", "http://127.1.2.3:9470")
        .unwrap();
    let now = 1_700_000_000.0;
    let good = json!({ "iss": PRINCIPAL, "aud": AUDIENCE, "scope": "a b", "iat": now, "exp": now + 3600.0 });
    let outcome = |claims: &Value, alg: &str, key: &Value| {
        let at = UNIX_EPOCH + Duration::from_secs_f64(now);
        check(
            &signed(claims, alg, key),
            &grants,
            &[AUDIENCE.to_string()],
            at,
        )
        .map(|claims| claims.scope)
    };
    assert_eq!(outcome(&good, "RS256", &file), Ok(Some("a b".to_string())));

    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let stranger = Grants::new(IssuedLog::nowhere())
        .service_account_key(PRINCIPAL, "p", "http://127.1.2.3:9470")
        .unwrap();
    let mut forged = stranger.clone();
    forged["private_key_id"] = file["private_key_id"].clone();
    let cases = [
        (outcome(&good, "HS256", &file), "algorithm"),
        (outcome(&good, "none", &file), "algorithm"),
        (outcome(&good, "RS256", &stranger), "Signature"),
        (outcome(&good, "RS256", &forged), "Signature"),
        (
            outcome(&with("iss", json!("someone@else")), "RS256", &file),
            "Signature",
        ),
        (
            outcome(
                &with("aud", json!("https://oauth2.googleapis.com/token")),
                "RS256",
                &file,
            ),
            "audience",
        ),
        (
            outcome(&with("exp", json!(now + 7200.0)), "RS256", &file),
            "short-lived",
        ),
        (
            outcome(&with("iat", json!(now + 900.0)), "RS256", &file),
            "short-lived",
        ),
        (
            outcome(&with("exp", json!(now - 900.0)), "RS256", &file),
            "short-lived",
        ),
    ];
    for (outcome, reason) in cases {
        assert!(
            outcome.as_ref().is_err_and(|text| text.contains(reason)),
            "{outcome:?} should speak of {reason}"
        );
    }
    assert!(check("not.a", &grants, &[], SystemTime::now()).is_err());
}

fn signed(claims: &Value, alg: &str, key: &Value) -> String {
    let header = json!({ "alg": alg, "typ": "JWT", "kid": key["private_key_id"] });
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", encode(&header), encode(claims));
    let pem = key["private_key"].as_str().unwrap();
    let der: String = pem
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    let pair = RsaKeyPair::from_pkcs8(&STANDARD.decode(der).unwrap()).unwrap();
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        message.as_bytes(),
        &mut signature,
    )
    .unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}
