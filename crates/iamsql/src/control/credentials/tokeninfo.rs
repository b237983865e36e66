//! Asks Google what it knows about a token: expiry and e-mail address. By POST, so that the token stays out of URLs.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Deserialize;

use crate::control::clock::Clock;
use crate::control::credentials::answer;
use crate::control::credentials::token::{Scope, expiry};
use crate::control::endpoint::Endpoint;
use crate::control::http::patience::Patience;
use crate::control::http::{Call, Http};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;

#[derive(Clone)]
pub(super) struct Tokeninfo {
    pub(super) http: Arc<Http>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) endpoint: Endpoint,
}

/// What is known about a token.
pub(super) struct Known {
    pub(super) expires: Option<SystemTime>,
    pub(super) email: Option<String>,
    /// Whether it can do more than log in to databases.
    pub(super) is_broad: Option<bool>,
}

impl Tokeninfo {
    pub(super) async fn ask(&self, token: &Secret, patience: &Patience) -> Result<Known> {
        let call = Call::post_form(
            SERVICE,
            self.endpoint.clone(),
            LIMIT,
            &[("access_token", token.expose())],
        );
        let told = self
            .http
            .call(&call, patience, &|refused| {
                answer::refusal(refused, SERVICE)
            })
            .await?;
        read(&told.body, self.clock.now())
    }
}

fn read(body: &[u8], now: SystemTime) -> Result<Known> {
    #[derive(Deserialize)]
    struct Body {
        expires_in: Option<Number>,
        email: Option<String>,
        scope: Option<String>,
    }
    // Older versions of the service quote their numbers.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Plain(u64),
        Quoted(String),
    }
    let body: Body = serde_json::from_slice(body).map_err(|_| {
        Error::new(
            ErrorKind::Unavailable,
            format!("{SERVICE} sent an answer that cannot be read"),
        )
    })?;
    let seconds = body.expires_in.and_then(|number| match number {
        Number::Plain(seconds) => Some(seconds),
        Number::Quoted(text) => text.parse().ok(),
    });
    Ok(Known {
        expires: seconds.map(|seconds| expiry(now, seconds)),
        email: body.email.filter(|email| !email.is_empty()),
        is_broad: body.scope.map(|scopes| {
            let administers = |scope| BROAD.iter().any(|broad| broad.url() == scope);
            scopes.split_ascii_whitespace().any(administers)
        }),
    })
}

const BROAD: [Scope; 2] = [Scope::Api, Scope::CloudPlatform];
const SERVICE: &str = "Google's tokeninfo service";
const LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_quoted_and_plain() {
        let now = SystemTime::UNIX_EPOCH;
        for body in [
            r#"{"expires_in":"60","email":"a@example.com","scope":"x"}"#,
            r#"{"expires_in":60,"email":"a@example.com"}"#,
        ] {
            let known = read(body.as_bytes(), now).unwrap();
            assert_eq!(known.expires, Some(now + Duration::from_secs(60)));
            assert_eq!(known.email.as_deref(), Some("a@example.com"));
        }
        assert!(read(b"<html>", now).is_err());
    }

    #[test]
    fn a_token_that_administers_is_broad() {
        let is_broad = |scope: &str| {
            let body = format!(r#"{{"scope":"openid {scope}"}}"#);
            read(body.as_bytes(), SystemTime::UNIX_EPOCH)
                .unwrap()
                .is_broad
                .unwrap()
        };
        assert!(is_broad(Scope::CloudPlatform.url()));
        assert!(is_broad(Scope::Api.url()));
        assert!(!is_broad(Scope::Login.url()));
        assert!(!is_broad(Scope::AlloyDbLogin.url()));
    }
}
