//! A credential of `google-cloud-auth` that the caller made, as a token source.

use async_trait::async_trait;
use google_cloud_auth::credentials::AccessTokenCredentials;

use crate::control::credentials::TokenSource;
use crate::control::credentials::token::{Scope, Token};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::{Secret, foreign};

/// Knows the scopes that it was built with, and no others; neither expiry nor principal. The engine asks Google for them.
pub(super) struct GoogleCredential(pub(super) AccessTokenCredentials);

#[async_trait]
impl TokenSource for GoogleCredential {
    async fn token(&self, scope: Scope) -> Result<Token> {
        let token = self.0.access_token().await.map_err(|error| {
            let kind = match error.is_transient() {
                true => ErrorKind::Unavailable,
                false => ErrorKind::Credentials,
            };
            Error::new(kind, foreign(&chain(&error)))
        })?;
        let token = Token::new(Secret::new(token.token));
        Ok(match scope.is_login() {
            true => token.broad(),
            false => token,
        })
    }

    async fn principal(&self) -> Result<Option<String>> {
        Ok(None)
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
