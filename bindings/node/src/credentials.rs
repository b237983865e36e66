//! A token source in JavaScript: asked on Node's thread, awaited on the engine's.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use iamsql::{Credentials, Error, ErrorKind, Result, Scope, Secret, Token, TokenSource};
use napi::Status;
use napi::bindgen_prelude::{Function, Promise};
use napi::threadsafe_function::ThreadsafeFunction;
use napi_derive::napi;

/// What the function of `NativeConnectorOptions` resolves to.
#[napi(object)]
pub struct GivenToken {
    /// The token's text.
    pub token: String,
    /// When it ends, in milliseconds since 1970.
    pub expires: Option<f64>,
    /// The e-mail address that it speaks for.
    pub principal: Option<String>,
}

/// The credentials that `ask`, a function from a scope's URL to a promise of a token, stands for.
pub(crate) fn from_function(
    ask: Function<'_, String, Promise<GivenToken>>,
) -> napi::Result<Credentials> {
    let ask = ask
        .build_threadsafe_function::<String>()
        .weak::<true>()
        .build()?;
    Ok(Credentials::source(Arc::new(AskedOfNode { ask })))
}

struct AskedOfNode {
    ask: Ask,
}

#[async_trait]
impl TokenSource for AskedOfNode {
    async fn token(&self, scope: Scope) -> Result<Token> {
        let answer = self.ask.call_async_catch(scope.url().to_owned()).await;
        let promise = answer.map_err(refused)?;
        let given = promise.await.map_err(refused)?;
        let mut token = Token::new(Secret::new(given.token));
        let since = given.expires.and_then(since_1970);
        // A time that no clock can show is no time.
        if let Some(expires) = since.and_then(|since| UNIX_EPOCH.checked_add(since)) {
            token = token.expires_at(expires);
        }
        if let Some(principal) = given.principal {
            token = token.of_principal(principal);
        }
        Ok(token)
    }

    async fn principal(&self) -> Result<Option<String>> {
        Ok(None)
    }
}

fn since_1970(milliseconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(milliseconds / 1000.0).ok()
}

fn refused(error: napi::Error) -> Error {
    Error::new(ErrorKind::Credentials, error.reason.to_string())
}

type Ask = ThreadsafeFunction<String, Promise<GivenToken>, String, Status, false, true>;
