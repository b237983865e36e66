//! Tokens of a human, from the refresh token that `gcloud auth application-default login` left.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::AUTHORIZATION;
use serde::Deserialize;

use crate::control::clock::Clock;
use crate::control::credentials::token::{Scope, Token};
use crate::control::credentials::tokeninfo::Tokeninfo;
use crate::control::credentials::{Source, answer};
use crate::control::endpoint::{Endpoint, Endpoints};
use crate::control::http::patience::Patience;
use crate::control::http::{Answer, Call, Http, basic};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Secret;

/// A credential file that has been checked.
#[derive(Clone)]
pub(super) struct UserFile {
    client_id: String,
    client_secret: Secret,
    refresh_token: Secret,
    token_endpoint: Endpoint,
    /// Of a workforce pool, whose token service wants the client in a header and knows no tokeninfo.
    external: bool,
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
            external: false,
        })
    }

    /// What `gcloud auth application-default login --login-config` leaves of a human of another identity provider.
    pub(super) fn external(json: &serde_json::Value, endpoints: &Endpoints) -> Result<Self> {
        #[derive(Deserialize)]
        struct File {
            client_id: String,
            client_secret: String,
            refresh_token: String,
            token_url: Option<String>,
        }
        let file = File::deserialize(json).map_err(|_| {
            Error::new(
                ErrorKind::Credentials,
                "the external user credentials lack client_id, client_secret or refresh_token",
            )
        })?;
        let token_url = match &file.token_url {
            Some(url) => url.clone(),
            None => format!("https://sts.{}/v1/oauthtoken", endpoints.universe),
        };
        Ok(UserFile {
            client_id: file.client_id,
            client_secret: Secret::new(file.client_secret),
            refresh_token: Secret::new(file.refresh_token),
            token_endpoint: endpoints.token_url("token_url", &token_url)?,
            external: true,
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
        let Some(tokeninfo) = self.tokeninfo.as_ref().filter(|_| !self.file.external) else {
            return Ok(None);
        };
        // Only the whole grant carries the right to know the e-mail address.
        let token = self.grant(None, patience).await?;
        Ok(tokeninfo.ask(token.secret(), patience).await?.email)
    }
}

impl AuthorizedUser {
    async fn grant(&self, scope: Option<Scope>, patience: &Patience) -> Result<Token> {
        let file = &self.file;
        let mut fields = vec![
            ("grant_type", "refresh_token"),
            ("refresh_token", file.refresh_token.expose()),
        ];
        if !file.external {
            fields.extend([
                ("client_id", file.client_id.as_str()),
                ("client_secret", file.client_secret.expose()),
            ]);
        }
        fields.extend(scope.map(|scope| ("scope", scope.url())));
        let mut call = Call::post_form(SERVICE, file.token_endpoint.clone(), LIMIT, &fields);
        if file.external {
            call = call.header(AUTHORIZATION, basic(&file.client_id, &file.client_secret)?);
        }
        let external = file.external;
        let granted = self
            .http
            .call(&call, patience, &|refused| describe(refused, external))
            .await?;
        answer::token(&granted, SERVICE, self.clock.now())
    }
}

fn describe(refused: &Answer, external: bool) -> Error {
    let error = answer::refusal(refused, SERVICE);
    match answer::error_code(refused).as_deref() {
        // Only Google's own users consent to scopes one by one.
        Some("invalid_scope") if !external => error.with_source(InvalidScope),
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
