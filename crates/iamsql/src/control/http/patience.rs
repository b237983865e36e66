//! How long a fetch may go on, and what it is waiting for meanwhile.

use std::time::Duration;

use tokio::sync::{Mutex, MutexGuard, watch};
use tokio::time::Instant;

use crate::error::{Error, ErrorKind};

/// Goes along with a fetch through every request that it makes.
pub(crate) struct Patience {
    deadline: Instant,
    /// Its own trouble first, then those of the others that this fetch is for.
    troubles: Vec<watch::Sender<Option<Trouble>>>,
}

/// Why a fetch is waiting, and until when: whoever waits for the fetch may not have that long.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub(crate) error: Error,
    pub(crate) until: Instant,
}

impl Patience {
    /// Until `deadline`.
    pub(crate) fn until(deadline: Instant) -> Self {
        Patience::reporting(deadline, watch::Sender::new(None))
    }

    /// Until `deadline`; troubles are told to the sender.
    pub(crate) fn reporting(deadline: Instant, trouble: watch::Sender<Option<Trouble>>) -> Self {
        Patience {
            deadline,
            troubles: vec![trouble],
        }
    }

    pub(crate) fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// What to say when the deadline passes: the last trouble, if there was one.
    pub(crate) fn timed_out(&self) -> Error {
        let trouble = self.troubles.first().and_then(|own| own.borrow().clone());
        match trouble {
            Some(trouble) => trouble.error,
            None => Error::new(ErrorKind::Timeout, "the deadline passed"),
        }
    }

    /// Notes what is being waited for, unless there is worse to tell.
    pub(crate) fn begin(&self, service: &str) {
        for trouble in &self.troubles {
            trouble.send_if_modified(|trouble| {
                let first = trouble.is_none();
                trouble.get_or_insert_with(|| Trouble {
                    error: Error::new(
                        ErrorKind::Timeout,
                        format!("the deadline passed while waiting for {service}"),
                    ),
                    until: Instant::now(),
                });
                first
            });
        }
    }

    /// Waits before the next try, and says why.
    pub(crate) async fn pause(&self, error: Error, wait: Duration) {
        let until = Instant::now() + wait;
        self.tell(Trouble { error, until });
        tokio::time::sleep_until(until).await;
    }

    fn tell(&self, trouble: Trouble) {
        for told in &self.troubles {
            told.send_replace(Some(trouble.clone()));
        }
    }
}

/// A value that one fetches while others wait for it, who hear of its troubles as if they were their own.
#[derive(Default)]
pub(crate) struct Single<T> {
    value: Mutex<T>,
    trouble: watch::Sender<Option<Trouble>>,
}

impl<T> Single<T> {
    /// The value, once nobody else is fetching it, and the patience to fetch it with.
    pub(crate) async fn lock(&self, patience: &Patience) -> (MutexGuard<'_, T>, Patience) {
        let mut heard = self.trouble.subscribe();
        // The trouble may be older than we are.
        heard.mark_changed();
        let lock = self.value.lock();
        tokio::pin!(lock);
        let guard = loop {
            tokio::select! {
                biased;
                guard = &mut lock => break guard,
                Ok(()) = heard.changed() => {
                    if let Some(trouble) = heard.borrow_and_update().clone() {
                        patience.tell(trouble);
                    }
                }
            }
        };
        self.trouble.send_replace(None);
        let mut troubles = patience.troubles.clone();
        troubles.push(self.trouble.clone());
        let patience = Patience {
            deadline: patience.deadline,
            troubles,
        };
        (guard, patience)
    }

    /// The value, if nobody is fetching it.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.value.try_lock().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_for_anothers_fetch_hears_of_its_trouble() {
        let single = Arc::new(Single::<()>::default());
        let fetching = {
            let single = single.clone();
            tokio::spawn(async move {
                let patience = Patience::until(Instant::now() + seconds(60));
                let (_held, patience) = single.lock(&patience).await;
                patience.begin("the service");
                for wait in 1..5 {
                    let error = Error::new(ErrorKind::Unavailable, format!("trouble {wait}"));
                    patience.pause(error, seconds(1)).await;
                }
            })
        };
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let waiting = Patience::until(Instant::now() + seconds(1));
        let limited = tokio::time::timeout_at(waiting.deadline(), single.lock(&waiting)).await;
        assert!(limited.is_err());
        assert_eq!(waiting.timed_out().to_string(), "trouble 3");
        fetching.await.unwrap();
        let (_held, next) = single.lock(&waiting).await;
        next.begin("another service");
        assert_eq!(
            waiting.timed_out().to_string(),
            "trouble 3",
            "not made light of"
        );
    }

    #[test]
    fn without_trouble_the_service_is_named() {
        let patience = Patience::until(Instant::now());
        assert_eq!(patience.timed_out().to_string(), "the deadline passed");
        patience.begin("the service");
        let error = patience.timed_out();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert_eq!(
            error.to_string(),
            "the deadline passed while waiting for the service"
        );
    }
}
