//! Tokens of a service account that other credentials may speak for, by IAM's `generateAccessToken`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use reqwest::header::AUTHORIZATION;
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::control::clock::Clock;
use crate::control::credentials::resolve::Maker;
use crate::control::credentials::token::{MAX_TOKEN_LIFE, Scope, Token};
use crate::control::credentials::{Source, answer};
use crate::control::endpoint::{Endpoint, Endpoints};
use crate::control::http::patience::{Patience, Single};
use crate::control::http::{Answer, Call, Http, bearer};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::{Secret, foreign};

/// Whom to speak for, and through whom.
#[derive(Clone)]
pub(super) struct Impersonation {
    target: String,
    /// From the base credentials on: each may speak for the next, the last for the target.
    delegates: Vec<String>,
    endpoint: Endpoint,
    lifetime: Duration,
}

impl Impersonation {
    pub(super) fn of(target: &str, delegates: &[String], endpoints: &Endpoints) -> Result<Self> {
        let delegates: Result<_> = delegates.iter().map(|delegate| account(delegate)).collect();
        let target = account(target)?;
        Ok(Impersonation {
            endpoint: endpoints.impersonation(&target)?,
            target,
            delegates: delegates?,
            lifetime: LIFETIME,
        })
    }

    /// What a credential file says in `service_account_impersonation_url` and beside it, if it does.
    pub(super) fn read(json: &Value, endpoints: &Endpoints) -> Result<Option<Self>> {
        let Some(url) = json.get(URL).filter(|url| !url.is_null()) else {
            return Ok(None);
        };
        let url = url.as_str().unwrap_or_default();
        let endpoint = endpoints.token_url(URL, url)?;
        let target = url
            .rsplit_once("/serviceAccounts/")
            .and_then(|(_, rest)| rest.strip_suffix(":generateAccessToken"))
            .map(|email| percent_encoding::percent_decode_str(email).decode_utf8_lossy())
            .ok_or_else(|| {
                unusable(&format!(
                    "{URL} {:?} names no service account",
                    foreign(url)
                ))
            })?;
        let delegates: Vec<String> = match json.get("delegates").filter(|given| !given.is_null()) {
            Some(given) => Vec::deserialize(given)
                .map_err(|_| unusable("delegates is no list of service accounts"))?,
            None => Vec::new(),
        };
        let delegates: Result<_> = delegates.iter().map(|delegate| account(delegate)).collect();
        let seconds = json
            .pointer("/service_account_impersonation/token_lifetime_seconds")
            .and_then(Value::as_u64)
            .map_or(LIFETIME, Duration::from_secs);
        Ok(Some(Impersonation {
            endpoint,
            target: account(&target)?,
            delegates: delegates?,
            lifetime: seconds.clamp(MIN_LIFETIME, MAX_TOKEN_LIFE),
        }))
    }

    pub(super) fn open(self, base: Box<dyn Source>, maker: &Maker<'_>) -> Impersonated {
        Impersonated {
            how: self,
            base,
            http: maker.http.clone(),
            clock: maker.clock.clone(),
            held: Single::default(),
        }
    }

    pub(super) fn target(&self) -> &str {
        &self.target
    }

    /// Everything that decides whose tokens come of it.
    pub(super) fn identity(&self) -> String {
        let delegates = self.delegates.join(" ");
        format!("{} {delegates} {:?}", self.target, self.lifetime)
    }
}

pub(super) struct Impersonated {
    how: Impersonation,
    base: Box<dyn Source>,
    http: Arc<Http>,
    clock: Arc<dyn Clock>,
    /// The base credentials' token, which serves every scope.
    held: Single<Option<Token>>,
}

#[async_trait]
impl Source for Impersonated {
    async fn token(&self, scope: Scope, patience: &Patience) -> Result<Token> {
        let base = self.base_token(None, patience).await?;
        match self.generate(scope, &base, patience).await {
            Err(error) if error.http_status() == Some(401) => {
                let fresh = self.base_token(Some(&base), patience).await?;
                self.generate(scope, &fresh, patience).await
            }
            generated => generated,
        }
    }

    async fn principal(&self, _: &Patience) -> Result<Option<String>> {
        Ok(Some(self.how.target.clone()))
    }
}

impl Impersonated {
    /// The token at hand, unless it is `refused` or about to end.
    async fn base_token(&self, refused: Option<&Token>, patience: &Patience) -> Result<Token> {
        let (mut held, patience) = self.held.lock(patience).await;
        let now = self.clock.now();
        let good = |token: &&Token| {
            let refused = refused.map(|refused| refused.secret().expose());
            token.expires().is_none_or(|end| end > now + MARGIN)
                && refused != Some(token.secret().expose())
        };
        if let Some(token) = held.as_ref().filter(good) {
            return Ok(token.clone());
        }
        *held = None;
        let token = self.base.token(Scope::CloudPlatform, &patience).await?;
        Ok(held.insert(token).clone())
    }

    async fn generate(&self, scope: Scope, base: &Token, patience: &Patience) -> Result<Token> {
        let path = |email: &String| format!("projects/-/serviceAccounts/{email}");
        let delegates: Vec<_> = self.how.delegates.iter().map(path).collect();
        let body = json!({
            "scope": [scope.url()],
            "delegates": delegates,
            "lifetime": format!("{}s", self.how.lifetime.as_secs()),
        });
        let call = Call::post_json(SERVICE, self.how.endpoint.clone(), LIMIT, &body)
            .header(AUTHORIZATION, bearer(base.secret())?);
        let describe = |refused: &Answer| self.describe(refused);
        let generated = self.http.call(&call, patience, &describe).await?;
        Ok(read(&generated)?.of_principal(&self.how.target))
    }

    fn describe(&self, refused: &Answer) -> Error {
        let error = answer::refusal(refused, SERVICE);
        match refused.status {
            403 | 404 => error.with_advice(format!(
                "check that {} exists, and grant roles/iam.serviceAccountTokenCreator on it to {}",
                foreign(&self.how.target),
                match self.how.delegates.last() {
                    Some(delegate) => foreign(delegate),
                    None => "whoever calls".to_owned(),
                }
            )),
            _ => error,
        }
    }
}

fn read(answer: &Answer) -> Result<Token> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Generated {
        access_token: String,
        expire_time: String,
    }
    // The body may hold a token, so neither it nor the parser's complaint about it is shown.
    let malformed = || {
        Error::new(
            ErrorKind::Unavailable,
            format!("{SERVICE} sent no token in its answer"),
        )
    };
    let generated: Generated = serde_json::from_slice(&answer.body).map_err(|_| malformed())?;
    let secret = Secret::new(generated.access_token);
    let expires =
        OffsetDateTime::parse(&generated.expire_time, &Rfc3339).map_err(|_| malformed())?;
    match secret.expose().is_empty() {
        true => Err(malformed()),
        false => Ok(Token::new(secret).expires_at(SystemTime::from(expires))),
    }
}

/// A service account's address, from the address itself or its resource name.
fn account(text: &str) -> Result<String> {
    let email = text
        .rsplit_once("/serviceAccounts/")
        .map_or(text, |(_, email)| email);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_@".contains(&byte);
    match email.split_once('@') {
        Some((name, domain))
            if !name.is_empty() && domain.contains('.') && email.bytes().all(allowed) =>
        {
            Ok(email.to_owned())
        }
        _ => Err(Error::config(format!(
            "{:?} is not a service account's address",
            foreign(text)
        ))
        .with_advice("give it as NAME@PROJECT.iam.gserviceaccount.com")),
    }
}

fn unusable(why: &str) -> Error {
    Error::new(
        ErrorKind::Credentials,
        format!("the credential file is unusable: {why}"),
    )
}

const URL: &str = "service_account_impersonation_url";
const SERVICE: &str = "IAM's credentials service";
const LIMIT: Duration = Duration::from_secs(5);
const LIFETIME: Duration = Duration::from_secs(3600);
const MIN_LIFETIME: Duration = Duration::from_secs(600);
/// The base credentials' token is used until this close to its end.
const MARGIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
