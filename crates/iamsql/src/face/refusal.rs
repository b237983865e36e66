//! Tells a client why there is no server, in the protocol that it speaks.

mod mysql;
mod postgres;

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::error::Error;
use crate::user::DatabaseEngine;

/// Answers a client of `engine` whose session could not be had, `said` being what it has sent already, and hangs up.
///
/// A client that does not speak the protocol within ten seconds is only hung up on, as is one of an engine whose protocol
/// has no place for a reason.
pub(crate) async fn tell(
    engine: DatabaseEngine,
    local: impl AsyncRead + AsyncWrite,
    said: &[u8],
    error: &Error,
) {
    let told = async {
        match engine {
            DatabaseEngine::Postgres => postgres::answer(local, said, error).await,
            DatabaseEngine::MySql => mysql::answer(local, error).await,
            DatabaseEngine::SqlServer => Ok(()),
        }
    };
    // The client may be gone; then there is nobody to tell.
    let _: Result<io::Result<()>, _> = tokio::time::timeout(PATIENCE, told).await;
}

const PATIENCE: Duration = Duration::from_secs(10);
