//! One fetch, and any number of connects that wait for it, each as long as it can.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::control::http::patience::{Patience, Trouble};
use crate::control::target::Target;
use crate::error::{Error, ErrorKind, Result};

/// A fetch as its waiters see it.
#[derive(Clone)]
pub(super) struct Flight {
    outcome: watch::Receiver<Option<Result<Arc<Target>>>>,
    trouble: watch::Receiver<Option<Trouble>>,
}

/// A fetch as it reports itself.
pub(super) struct Report {
    outcome: watch::Sender<Option<Result<Arc<Target>>>>,
    trouble: watch::Sender<Option<Trouble>>,
}

impl Flight {
    pub(super) fn new() -> (Self, Report) {
        let (outcome, outcome_seen) = watch::channel(None);
        let (trouble, trouble_seen) = watch::channel(None);
        let flight = Flight {
            outcome: outcome_seen,
            trouble: trouble_seen,
        };
        (flight, Report { outcome, trouble })
    }

    /// Waits for the outcome. Fails at the deadline, or as soon as it is clear that the fetch will sleep past it, with
    /// the trouble that it is in.
    pub(super) async fn wait(mut self, deadline: Instant) -> Result<Arc<Target>> {
        loop {
            let trouble = self.trouble.borrow_and_update().clone();
            if let Some(trouble) = &trouble
                && trouble.error.retry_at().is_some()
                && trouble.until >= deadline
                && trouble.until > Instant::now()
            {
                return Err(trouble.error.clone());
            }
            tokio::select! {
                biased;
                landed = self.outcome.wait_for(Option::is_some) => {
                    return match landed {
                        Ok(outcome) => outcome.clone().unwrap_or_else(|| Err(failed())),
                        Err(_) => Err(failed()),
                    };
                }
                () = tokio::time::sleep_until(deadline) => {
                    return Err(trouble.map_or_else(timed_out, |trouble| trouble.error));
                }
                Ok(()) = self.trouble.changed() => {}
            }
        }
    }
}

impl Report {
    pub(super) fn patience(&self, deadline: Instant) -> Patience {
        Patience::reporting(deadline, self.trouble.clone())
    }

    pub(super) fn land(self, outcome: Result<Arc<Target>>) {
        self.outcome.send_replace(Some(outcome));
    }
}

pub(super) fn timed_out() -> Error {
    Error::new(
        ErrorKind::Timeout,
        "the deadline passed while waiting for a client certificate",
    )
}

/// Never seen unless the engine itself is broken.
pub(super) fn failed() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the fetch of a client certificate ended without an outcome",
    )
}
