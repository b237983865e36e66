//! Tokens of a human, from the refresh token that `gcloud auth application-default login` left.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Deserialize;

use crate::control::clock::Clock;
use crate::control::credentials::token::{Scope, Token};
use crate::control::credentials::tokeninfo::Tokeninfo;
use crate::control::credentials::{Source, answer};
use crate::control::endpoint::{Endpoint, Endpoints};
use crate::control::http::patience::Patience;
use crate::control::http::{Answer, Call, Http};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;

/// A credential file that has been checked.
#[derive(Clone)]
pub(super) struct UserFile {
    client_id: String,
    client_secret: Secret,
    refresh_token: Secret,
    token_endpoint: Endpoint,
}

impl UserFile {
    pub(super) fn read(json: &serde_json::Value, endpoints: &Endpoints) -> Result<Self> {
        #[derive(Deserialize)]
        struct File {
            client_id: String,
            client_secret: String,
            refresh_token: String,
            token_uri: Option<String>,
        }
        let file = File::deserialize(json).map_err(|_| {
            Error::new(
                ErrorKind::Credentials,
                "the user credentials lack client_id, client_secret or refresh_token",
            )
        })?;
        let token_uri = match &file.token_uri {
            Some(uri) => uri.clone(),
            None => format!("https://oauth2.{}/token", endpoints.universe),
        };
        Ok(UserFile {
            client_id: file.client_id,
            client_secret: Secret::new(file.client_secret),
            refresh_token: Secret::new(file.refresh_token),
            token_endpoint: endpoints.token_url("token_uri", &token_uri)?,
        })
    }
}

pub(super) struct AuthorizedUser {
    pub(super) file: UserFile,
    pub(super) http: Arc<Http>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) tokeninfo: Option<Tokeninfo>,
}

#[async_trait]
impl Source for AuthorizedUser {
    /// Narrowed to the scope. A login token stays narrow; for API calls the whole grant will do, where the narrow one
    /// is not to be had: it may hold `cloud-platform` instead.
    async fn token(&self, scope: Scope, patience: &Patience) -> Result<Token> {
        match self.grant(Some(scope), patience).await {
            Err(error) if !scope.is_login() && is_invalid_scope(&error) => {
                self.grant(None, patience).await
            }
            Err(error) if is_invalid_scope(&error) => Err(error.with_advice(LOGIN_SCOPE_ADVICE)),
            granted => granted,
        }
    }

    async fn principal(&self, patience: &Patience) -> Result<Option<String>> {
        let Some(tokeninfo) = &self.tokeninfo else {
            return Ok(None);
        };
        // Only the whole grant carries the right to know the e-mail address.
        let token = self.grant(None, patience).await?;
        Ok(tokeninfo.ask(token.secret(), patience).await?.email)
    }
}

impl AuthorizedUser {
    async fn grant(&self, scope: Option<Scope>, patience: &Patience) -> Result<Token> {
        let mut fields = vec![
            ("grant_type", "refresh_token"),
            ("client_id", &self.file.client_id),
            ("client_secret", self.file.client_secret.expose()),
            ("refresh_token", self.file.refresh_token.expose()),
        ];
        fields.extend(scope.map(|scope| ("scope", scope.url())));
        let call = Call::post_form(SERVICE, self.file.token_endpoint.clone(), LIMIT, &fields);
        let granted = self.http.call(&call, patience, &describe).await?;
        answer::token(&granted, SERVICE, self.clock.now())
    }
}

fn describe(refused: &Answer) -> Error {
    let error = answer::refusal(refused, SERVICE);
    match answer::error_code(refused).as_deref() {
        Some("invalid_scope") => error.with_source(InvalidScope),
        Some("invalid_grant") => error.with_advice(EXPIRED_ADVICE),
        _ => error,
    }
}

/// Whether an error says that the user never granted the scope, and nothing else.
pub(super) fn is_invalid_scope(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<InvalidScope>())
}

#[cfg(test)]
pub(super) fn invalid_scope() -> Error {
    Error::new(ErrorKind::Credentials, "the scope is invalid").with_source(InvalidScope)
}

/// The user never granted the scope that was asked for.
#[derive(Debug)]
struct InvalidScope;

impl std::fmt::Display for InvalidScope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the user granted no such scope")
    }
}

impl std::error::Error for InvalidScope {}

const SERVICE: &str = "the user's token endpoint";
const LIMIT: Duration = Duration::from_secs(5);
const EXPIRED_ADVICE: &str =
    "your login has expired or was revoked: run `gcloud auth application-default login`";
const LOGIN_SCOPE_ADVICE: &str = "run `gcloud auth application-default login --scopes=openid,https://www.googleapis.com/auth/userinfo.email,https://www.googleapis.com/auth/cloud-platform,https://www.googleapis.com/auth/sqlservice.login,https://www.googleapis.com/auth/alloydb.login`";
