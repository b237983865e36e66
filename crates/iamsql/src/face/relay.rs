//! Carries a client of somebody else's listener to an instance, or tells it why not: what a proxy is made of.

use std::fmt;

use super::pump::{self, Local, SessionEnd};
use super::refusal;
use crate::data::connection::Connection;
use crate::error::Error;
use crate::user::DatabaseEngine;

/// A client that got no session. It is still connected, and waits for a first word.
pub struct Unserved<C> {
    client: C,
    said: Vec<u8>,
    error: Error,
}

impl Connection {
    /// Carries bytes between `client` and the instance until both sides are done or one is gone.
    ///
    /// 64 KiB at a time, without a buffer while idle; a half-close is passed on. If the server's first word is a refusal of
    /// our certificate, which in TLS 1.3 shows only now, a fresh one is fetched, the instance dialled once more, and what
    /// the client had said by then (up to 8 KiB) is said again. Runs on the current tokio runtime.
    ///
    /// # Errors
    /// The client, if there is still no session for it.
    pub async fn relay<C: Local>(self, client: C) -> Result<SessionEnd, Box<Unserved<C>>> {
        pump::run(client, self).await.map_err(|refused| {
            Box::new(Unserved {
                client: refused.local,
                said: refused.said,
                error: refused.error,
            })
        })
    }
}

impl<C: Local> Unserved<C> {
    /// A client for which dialling failed.
    pub fn new(client: C, error: Error) -> Self {
        Unserved {
            client,
            said: Vec::new(),
            error,
        }
    }

    /// Why there is no session.
    pub fn error(&self) -> &Error {
        &self.error
    }

    /// Tells a PostgreSQL client the reason, as a FATAL of SQLSTATE 08001 with our code as its detail and the advice as its
    /// hint, and hangs up.
    ///
    /// Takes at most ten seconds. A client that does not speak in that time, or not PostgreSQL, is only hung up on.
    pub async fn tell_postgres(self) {
        self.tell(DatabaseEngine::Postgres).await;
    }

    /// Tells a client of `engine` the reason in its own protocol, and hangs up: as
    /// [`tell_postgres`](Self::tell_postgres), or as MySQL's error 1429 in place of a greeting. SQL Server's clients are only
    /// hung up on.
    pub async fn tell(self, engine: DatabaseEngine) {
        refusal::tell(engine, self.client, &self.said, &self.error).await;
    }
}

impl<C> fmt::Debug for Unserved<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unserved")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}
