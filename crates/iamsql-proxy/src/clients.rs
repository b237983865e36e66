//! Counts the clients that are being served, so that a limit can be kept and a stop can wait for the last.

use tokio::sync::watch;

/// How many there are. Clones count together.
#[derive(Clone)]
pub(crate) struct Clients {
    count: watch::Sender<u64>,
    most: Option<u64>,
}

/// One client; it has left when this is dropped.
pub(crate) struct Counted(watch::Sender<u64>);

/// There is no room: the limit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full(pub(crate) u64);

impl Clients {
    pub(crate) fn at_most(most: Option<u64>) -> Self {
        Clients {
            count: watch::Sender::new(0),
            most,
        }
    }

    /// # Errors
    /// If there are as many as there may be.
    pub(crate) fn enter(&self) -> Result<Counted, Full> {
        let mut full = None;
        self.count.send_if_modified(|count| {
            full = self.most.filter(|most| *count >= *most);
            *count += u64::from(full.is_none());
            full.is_none()
        });
        match full {
            Some(most) => Err(Full(most)),
            None => Ok(Counted(self.count.clone())),
        }
    }

    pub(crate) fn count(&self) -> u64 {
        *self.count.borrow()
    }

    /// How many there may be; `None`: as many as come.
    pub(crate) fn most(&self) -> Option<u64> {
        self.most
    }

    /// Completes when there are none.
    pub(crate) async fn all_left(&self) {
        // The sender lives in `self`, so the wait cannot fail.
        _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_ends_with_the_last() {
        let clients = Clients::at_most(None);
        let (one, two) = (clients.enter().ok(), clients.enter().ok());
        assert_eq!(clients.count(), 2);
        drop(one);
        let waiting = tokio::spawn({
            let clients = clients.clone();
            async move { clients.all_left().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(two);
        waiting.await.unwrap();
    }

    #[test]
    fn a_limit_is_kept_and_a_place_is_given_again() {
        let clients = Clients::at_most(Some(1));
        let one = clients.enter().ok().unwrap();
        assert_eq!(clients.enter().err(), Some(Full(1)));
        assert_eq!(clients.count(), 1);
        drop(one);
        assert!(clients.enter().is_ok());
    }
}
