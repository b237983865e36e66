//! Counts the clients that are being served, so that a stop can wait for the last.

use tokio::sync::watch;

/// How many there are. Clones count together.
#[derive(Clone)]
pub(crate) struct Clients(watch::Sender<usize>);

/// One client; it has left when this is dropped.
pub(crate) struct Client(watch::Sender<usize>);

impl Clients {
    pub(crate) fn none() -> Self {
        Clients(watch::Sender::new(0))
    }

    pub(crate) fn enter(&self) -> Client {
        self.0.send_modify(|count| *count += 1);
        Client(self.0.clone())
    }

    pub(crate) fn count(&self) -> usize {
        *self.0.borrow()
    }

    /// Completes when there are none.
    pub(crate) async fn all_left(&self) {
        // The sender lives in `self`, so the wait cannot fail.
        _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_ends_with_the_last() {
        let clients = Clients::none();
        let (one, two) = (clients.enter(), clients.enter());
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
}
