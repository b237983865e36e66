//! Signals → a stop that lets open sessions finish, within a limit.

use std::fmt;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{error, info};

use crate::config::{Lifetime, go_duration};
use crate::relay::Relay;

/// What asks the proxy to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Interrupt,
    Terminate,
    /// `/quitquitquit`.
    Quit,
}

/// All of it, from the moment this is made.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    quits: mpsc::Receiver<()>,
}

impl Stop {
    /// What a shell reports for a process that the signal ended; 0 after `/quitquitquit`, and for SIGTERM where that was
    /// asked for.
    pub(crate) fn exit_code(self, zero_on_sigterm: bool) -> ExitCode {
        match self {
            Stop::Interrupt => ExitCode::from(130),
            Stop::Terminate if zero_on_sigterm => ExitCode::SUCCESS,
            Stop::Terminate => ExitCode::from(143),
            Stop::Quit => ExitCode::SUCCESS,
        }
    }
}

impl Signals {
    pub(crate) fn listen(quits: mpsc::Receiver<()>) -> Result<Self> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt()).context("listening for SIGINT")?,
            terminate: signal(SignalKind::terminate()).context("listening for SIGTERM")?,
            quits,
        })
    }

    /// A second signal. Asking twice by `/quitquitquit` is no insisting: a hook may do it again.
    async fn insist(&mut self) {
        while self.next().await == Stop::Quit {}
    }

    pub(crate) async fn next(&mut self) -> Stop {
        tokio::select! {
            _ = self.interrupt.recv() => Stop::Interrupt,
            _ = self.terminate.recv() => Stop::Terminate,
            Some(()) = self.quits.recv() => Stop::Quit,
        }
    }
}

/// Goes on as before for the least delay, stops accepting, gives open sessions the rest of the time and ends those that are
/// still there. A second signal ends them at once.
///
/// Sessions that did not finish in time are said, and change no exit code: the stop is what was asked for.
pub(crate) async fn drain(relay: &Relay, lifetime: &Lifetime, signals: &mut Signals) {
    let patient = async {
        sleep(lifetime.min_sigterm_delay).await;
        relay.stop_accepting();
        timeout(lifetime.max_sigterm_delay, relay.clients().all_left())
            .await
            .is_ok()
    };
    let finished = tokio::select! {
        finished = patient => Some(finished),
        () = signals.insist() => None,
    };
    relay.stop_accepting();
    let open = relay.clients().count();
    match finished {
        None => info!("a second signal: ending {open} connection(s) at once"),
        Some(false) if open > 0 && lifetime.max_sigterm_delay > Duration::ZERO => error!(
            "error during shutdown: {open} connection(s) still open after waiting {}",
            go_duration(lifetime.max_sigterm_delay)
        ),
        Some(_) => {}
    }
    relay.cut().await;
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stop::Interrupt => "SIGINT",
            Stop::Terminate => "SIGTERM",
            Stop::Quit => "/quitquitquit",
        })
    }
}
