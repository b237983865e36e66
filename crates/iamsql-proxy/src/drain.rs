//! Signals → a stop that lets open sessions finish, within a limit.

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use crate::relay::Relay;

/// The two signals that ask the proxy to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Interrupt,
    Terminate,
}

/// Both signals, from the moment this is made.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// What a shell reports for a process that the signal ended.
    pub(crate) fn exit_code(self) -> ExitCode {
        match self {
            Stop::Interrupt => ExitCode::from(130),
            Stop::Terminate => ExitCode::from(143),
        }
    }
}

impl Signals {
    pub(crate) fn listen() -> Result<Self> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt()).context("listening for SIGINT")?,
            terminate: signal(SignalKind::terminate()).context("listening for SIGTERM")?,
        })
    }

    pub(crate) async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.interrupt.recv() => Stop::Interrupt,
            _ = self.terminate.recv() => Stop::Terminate,
        }
    }
}

/// Stops accepting, gives open sessions `limit` to finish, and ends those that have not. A second signal ends them at once.
///
/// # Errors
/// If sessions were still open after a limit other than zero.
pub(crate) async fn drain(relay: &Relay, limit: Duration, signals: &mut Signals) -> Result<()> {
    relay.stop_accepting();
    let overdue = tokio::select! {
        finished = timeout(limit, relay.clients().all_left()) => finished.is_err() && !limit.is_zero(),
        _ = signals.next() => false,
    };
    let open = relay.clients().count();
    relay.cut().await;
    if overdue && open > 0 {
        bail!("error during shutdown: {open} connection(s) still open after waiting {limit:?}");
    }
    Ok(())
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stop::Interrupt => "SIGINT",
            Stop::Terminate => "SIGTERM",
        })
    }
}
