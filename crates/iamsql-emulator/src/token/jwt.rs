//! Reads the signed assertion of a JWT-bearer grant and checks it against the keys that the emulator issued.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::credentials::Grants;
use super::{CLOUD_PLATFORM_SCOPE, Token};

/// The checked contents of an assertion.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Claims {
    /// The service account.
    pub(crate) iss: String,
    #[serde(default)]
    pub(crate) sub: Option<String>,
    #[serde(default)]
    pub(crate) scope: Option<String>,
    #[serde(default)]
    pub(crate) aud: Option<String>,
    #[serde(default)]
    iat: f64,
    #[serde(default)]
    exp: f64,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
}

/// Whose assertion this claims to be, unchecked: for records and faults only.
pub(crate) fn issuer(assertion: &str) -> Option<String> {
    part::<Claims>(assertion.split('.').nth(1)?).map(|claims| claims.iss)
}

/// What an assertion that serves as an access token itself stands for, if a key of this run signed it and it is alive:
/// the scopes that it names, or all of the one service that it is addressed to.
pub(crate) fn self_signed(assertion: &str, grants: &Grants, now: SystemTime) -> Option<Token> {
    let claims: Claims = part(assertion.split('.').nth(1)?)?;
    let audience = claims.aud.clone().unwrap_or_default();
    check(assertion, grants, std::slice::from_ref(&audience), now).ok()?;
    let scopes = match &claims.scope {
        Some(scope) => scope.split_whitespace().map(str::to_string).collect(),
        None => SERVICES
            .contains(&audience.trim_end_matches('/'))
            .then(|| BTreeSet::from([CLOUD_PLATFORM_SCOPE.to_string()]))?,
    };
    Some(Token {
        id: 0,
        principal: claims.iss,
        scopes,
        expires: UNIX_EPOCH + Duration::try_from_secs_f64(claims.exp).ok()?,
    })
}

/// Checks signature, audience and times; the error is Google's description of what is wrong.
pub(crate) fn check(
    assertion: &str,
    grants: &Grants,
    audiences: &[String],
    now: SystemTime,
) -> Result<Claims, String> {
    let pieces: Vec<&str> = assertion.split('.').collect();
    let [header_text, claims_text, signature] = pieces[..] else {
        return Err("Invalid JWT: a JWT has three parts.".to_string());
    };
    let header: Header = part(header_text).ok_or("Invalid JWT: unreadable header.")?;
    let claims: Claims = part(claims_text).ok_or("Invalid JWT: unreadable claims.")?;
    if header.alg != "RS256" {
        return Err(format!(
            "Invalid JWT: algorithm {:?} is not supported.",
            header.alg
        ));
    }
    let keys = match &header.kid {
        Some(id) => grants.key(id).into_iter().collect(),
        None => grants.keys_of(&claims.iss),
    };
    if keys.is_empty() && grants.keys_of(&claims.iss).is_empty() {
        return Err("Invalid grant: account not found".to_string());
    }
    let message = &assertion.as_bytes()[..header_text.len() + 1 + claims_text.len()];
    let signature = decode(signature).ok_or("Invalid JWT Signature.")?;
    if !keys
        .iter()
        .any(|key| key.principal == claims.iss && key.verifies(message, &signature))
    {
        return Err("Invalid JWT Signature.".to_string());
    }
    if !claims
        .aud
        .as_ref()
        .map_or(audiences.contains(&String::new()), |aud| {
            audiences.contains(aud)
        })
    {
        return Err("Invalid JWT: Failed audience check.".to_string());
    }
    let now = now
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64();
    let skew = CLOCK_SKEW.as_secs_f64();
    if claims.iat > now + skew
        || claims.exp < now - skew
        || claims.exp - claims.iat > LONGEST.as_secs_f64()
    {
        return Err(
            "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. \
                    Check your iat and exp values in the JWT claim."
                .to_string(),
        );
    }
    Ok(claims)
}

fn part<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_slice(&decode(text)?).ok()
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD
        .decode(text)
        .or_else(|_| URL_SAFE.decode(text))
        .ok()
}

/// One hour, and a little for clients that count their own clock skew in.
const LONGEST: Duration = Duration::from_secs(3600 + 60);
/// Whom a self-signed assertion may address.
const SERVICES: [&str; 2] = [
    "https://alloydb.googleapis.com",
    "https://sqladmin.googleapis.com",
];
const CLOCK_SKEW: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests;
