//! A caller's own token source, kept from hanging or taking the engine down.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::control::credentials::token::{Scope, Token};
use crate::control::credentials::{Constancy, Source, TokenSource};
use crate::control::http::patience::Patience;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::foreign;

pub(super) struct Caller(pub(super) Arc<dyn TokenSource>);

#[async_trait]
impl Source for Caller {
    async fn token(&self, scope: Scope, patience: &Patience) -> Result<Token> {
        let source = self.0.clone();
        guarded(WHO, patience, async move { source.token(scope).await }).await
    }

    async fn principal(&self, patience: &Patience) -> Result<Option<String>> {
        let source = self.0.clone();
        guarded(WHO, patience, async move { source.principal().await }).await
    }

    fn constancy(&self) -> Constancy {
        Constancy::Foreign
    }
}

/// Runs foreign code as a task of its own, so that a panic becomes an error, and gives it up after a while.
pub(super) async fn guarded<T: Send + 'static>(
    who: &str,
    patience: &Patience,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let limit = LIMIT.min(patience.remaining());
    let mut task = tokio::spawn(work);
    match tokio::time::timeout(limit, &mut task).await {
        Ok(Ok(Ok(value))) => Ok(value),
        Ok(Ok(Err(error))) => Err(restated(who, error)),
        Ok(Err(_)) => Err(Error::new(
            ErrorKind::Credentials,
            format!("{who} panicked"),
        )),
        Err(_) => {
            task.abort();
            Err(Error::new(
                ErrorKind::Unavailable,
                format!("{who} gave no answer within {limit:.1?}"),
            ))
        }
    }
}

/// The error in words that are fit to show: its own may repeat a token.
fn restated(who: &str, error: Error) -> Error {
    let kind = match error.kind() {
        ErrorKind::Config | ErrorKind::Unavailable | ErrorKind::Permission => error.kind(),
        _ if error.is_retryable() => ErrorKind::Unavailable,
        _ => ErrorKind::Credentials,
    };
    let restated = Error::new(kind, format!("{who} failed: {}", foreign(&error.chain())))
        .with_retryable(error.is_retryable());
    match error.advice() {
        Some(advice) => restated.with_advice(foreign(advice)),
        None => restated,
    }
}

const WHO: &str = "the token source";
const LIMIT: Duration = Duration::from_secs(30);
