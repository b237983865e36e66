//! Tokens that the caller made and that nothing renews.

use async_trait::async_trait;

use crate::control::credentials::Source;
use crate::control::credentials::token::{Scope, Token};
use crate::control::credentials::tokeninfo::Tokeninfo;
use crate::control::http::patience::Patience;
use crate::error::{Error, Result};
use crate::secret::Secret;

pub(super) struct Fixed {
    pub(super) api: Secret,
    pub(super) login: Option<Secret>,
    pub(super) tokeninfo: Option<Tokeninfo>,
}

#[async_trait]
impl Source for Fixed {
    async fn token(&self, scope: Scope, _: &Patience) -> Result<Token> {
        match (scope.is_login(), &self.login) {
            (false, _) => Ok(Token::new(self.api.clone())),
            (true, Some(login)) => Ok(Token::new(login.clone())),
            (true, None) => Err(no_login_token()),
        }
    }

    /// The login token's, where there is one: the API token may be another's.
    async fn principal(&self, patience: &Patience) -> Result<Option<String>> {
        let Some(tokeninfo) = &self.tokeninfo else {
            return Ok(None);
        };
        let token = self.login.as_ref().unwrap_or(&self.api);
        Ok(tokeninfo.ask(token, patience).await?.email)
    }
}

/// The API token is never used as a login: whoever gave only one may not have meant that.
pub(super) fn no_login_token() -> Error {
    Error::config("IAM login needs a login token besides the API token").with_advice(
        "pass the output of `gcloud sql generate-login-token` as the login token, or let iamsql find your credentials",
    )
}
