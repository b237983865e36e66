//! How long a fetch may go on, and what it is waiting for meanwhile.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::{Error, ErrorKind};

/// Goes along with a fetch through every request that it makes.
pub(crate) struct Patience {
    deadline: Instant,
    trouble: watch::Sender<Option<Trouble>>,
}

/// Why a fetch is waiting, and until when: whoever waits for the fetch may not have that long.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub(crate) error: Error,
    pub(crate) until: Instant,
}

impl Patience {
    /// Until `deadline`; troubles are told to the sender.
    pub(crate) fn reporting(deadline: Instant, trouble: watch::Sender<Option<Trouble>>) -> Self {
        Patience { deadline, trouble }
    }

    pub(crate) fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What to say when the deadline passes: the last trouble, if there was one.
    pub(crate) fn timed_out(&self) -> Error {
        match &*self.trouble.borrow() {
            Some(trouble) => trouble.error.clone(),
            None => Error::new(
                ErrorKind::Timeout,
                "the deadline passed while asking Google",
            ),
        }
    }

    /// Waits before the next try, and says why.
    pub(crate) async fn pause(&self, error: Error, wait: Duration) {
        let until = Instant::now() + wait;
        self.trouble.send_replace(Some(Trouble { error, until }));
        tokio::time::sleep_until(until).await;
    }
}
