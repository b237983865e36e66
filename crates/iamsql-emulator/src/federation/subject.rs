//! Subject tokens: JWTs that the emulator's own identity provider signs, and that its STS checks.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::json;

/// The identity provider's key.
pub(super) struct Signer(EcdsaKeyPair);

/// What a subject token says.
#[derive(Debug, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: String,
    iat: u64,
    exp: u64,
}

impl Signer {
    pub(super) fn new() -> Self {
        Signer(
            EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
                .expect("the system has random numbers"),
        )
    }

    /// A signed token.
    pub(super) fn sign(
        &self,
        issuer: &str,
        subject: &str,
        audience: &str,
        now: SystemTime,
        lifetime: Duration,
    ) -> String {
        let header = json!({ "alg": "ES256", "typ": "JWT", "kid": "emulator" });
        let claims = json!({
            "iss": issuer, "sub": subject, "aud": audience,
            "iat": seconds(now), "exp": seconds(now + lifetime),
        });
        let text = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", text(header), text(claims));
        let signature = self
            .0
            .sign(&SystemRandom::new(), message.as_bytes())
            .expect("a key that signs");
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The subject of a good token; the error is what STS says of a bad one. `audience` may lack `https:`.
    pub(super) fn check(
        &self,
        token: &str,
        issuer: &str,
        audience: &str,
        now: SystemTime,
    ) -> Result<String, String> {
        let malformed = || "Unable to parse the ID Token.".to_string();
        let (message, signature) = token.rsplit_once('.').ok_or_else(malformed)?;
        let (_, claims) = message.split_once('.').ok_or_else(malformed)?;
        let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| malformed())?;
        let claims: Claims = serde_json::from_slice(&claims).map_err(|_| malformed())?;
        let signature = URL_SAFE_NO_PAD.decode(signature).map_err(|_| malformed())?;
        if claims.iss != issuer {
            return Err(format!(
                "The issuer in ID Token {} does not match the expected one {issuer}.",
                short(&claims.iss)
            ));
        }
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.0.public_key().as_ref());
        if key.verify(message.as_bytes(), &signature).is_err() {
            return Err("Unable to verify the ID Token signature.".to_string());
        }
        if claims.aud.strip_prefix("https:").unwrap_or(&claims.aud) != audience {
            return Err(format!(
                "The audience in ID Token [{}] does not match the expected audience.",
                short(&claims.aud)
            ));
        }
        if claims.exp <= seconds(now) {
            return Err(format!(
                "ID Token issued at {} is stale to sign-in.",
                claims.iat
            ));
        }
        Ok(claims.sub)
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

fn short(text: &str) -> String {
    text.chars().take(120).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "http://127.0.0.1/oidc";
    const AUDIENCE: &str = "//iam.googleapis.com/x";
    const HOUR: Duration = Duration::from_secs(3600);

    fn token(signer: &Signer) -> String {
        signer.sign(
            ISSUER,
            "robot",
            "https://iam.googleapis.com/x",
            UNIX_EPOCH + HOUR,
            HOUR,
        )
    }

    #[test]
    fn a_good_token_names_its_subject() {
        let signer = Signer::new();
        let checked = signer.check(&token(&signer), ISSUER, AUDIENCE, UNIX_EPOCH + HOUR);
        assert_eq!(checked, Ok("robot".to_string()));
    }

    #[test]
    fn bad_tokens_are_told_apart() {
        let signer = Signer::new();
        let good = token(&signer);
        let (head, _) = good.rsplit_once('.').unwrap();
        let cases = [
            ("x", ISSUER, AUDIENCE, 1, "parse"),
            ("", ISSUER, AUDIENCE, 1, "parse"),
            (&format!("{head}.!"), ISSUER, AUDIENCE, 1, "parse"),
            (&format!("{head}.AAAA"), ISSUER, AUDIENCE, 1, "signature"),
            (&token(&Signer::new()), ISSUER, AUDIENCE, 1, "signature"),
            (&good, "http://other", AUDIENCE, 1, "issuer"),
            (&good, ISSUER, "//other", 1, "audience"),
            (&good, ISSUER, AUDIENCE, 2, "stale"),
        ];
        for (token, issuer, audience, hours, expected) in cases {
            let error = signer
                .check(token, issuer, audience, UNIX_EPOCH + HOUR * hours)
                .unwrap_err();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }
}
