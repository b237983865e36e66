//! Carries bytes between a local socket and an instance, 64 KiB at a time, and holds no buffer while idle.

use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::stream::Stream;
use crate::data::buffer::Buffer;
use crate::data::connection::{Connection, is_certificate_refusal};
use crate::data::descriptors::Listed;
use crate::error::{Error, ErrorKind};

/// A socket of this machine whose peer is the client.
pub trait Local: AsyncRead + AsyncWrite + AsFd + Unpin {}

impl<T: AsyncRead + AsyncWrite + AsFd + Unpin> Local for T {}

/// How a session came to its end.
#[non_exhaustive]
#[derive(Debug)]
pub enum SessionEnd {
    /// The client was done first.
    Client,
    /// The instance was done first.
    Instance,
    /// The client's socket failed.
    ClientLost(io::Error),
    /// The way to the instance failed.
    InstanceLost(io::Error),
}

/// A session that the server refused before it answered: the client is still there and waits for a first word.
pub(crate) struct Refused<L> {
    pub(crate) local: L,
    /// What the client has said so far, if that is all kept.
    pub(crate) said: Vec<u8>,
    pub(crate) error: Error,
}

/// Pumps until both sides are done or one is gone.
///
/// If the first thing that the server sends is a refusal of our certificate, dials once more with a new certificate and
/// says again what the client had said.
pub(crate) async fn run<L: Local>(
    local: L,
    connection: Connection,
) -> Result<SessionEnd, Box<Refused<L>>> {
    run_noting(local, connection, &|_| {}).await
}

/// [`run`], which tells `note` how the way to the instance failed before the client can see that it did.
pub(crate) async fn run_noting<L: Local>(
    local: L,
    connection: Connection,
    note: &(dyn Fn(Error) + Send + Sync),
) -> Result<SessionEnd, Box<Refused<L>>> {
    let route = connection.session.origin().route();
    let carried = carry(local, connection, Vec::new(), note).await;
    let (refused, route) = match (carried, route) {
        (Err(refused), Some(route)) if is_certificate_refusal(&refused.error) => (refused, route),
        (ended, _) => return ended,
    };
    match route.connect().await {
        Ok(connection) => carry(refused.local, connection, refused.said, note).await,
        Err(error) => Err(Box::new(Refused { error, ..*refused })),
    }
}

/// Pumps after saying `said`, without another try.
pub(crate) async fn carry<L: Local>(
    local: L,
    connection: Connection,
    said: Vec<u8>,
    note: &(dyn Fn(Error) + Send + Sync),
) -> Result<SessionEnd, Box<Refused<L>>> {
    let remote = match connection.into_stream() {
        Ok(remote) => remote,
        Err(error) => {
            let error = Error::new(ErrorKind::Network, "the socket could not be watched")
                .with_source(error);
            return Err(Box::new(Refused { local, said, error }));
        }
    };
    let mut pump = Pump::new(local, remote, &said);
    let ended = poll_fn(|cx| pump.poll(cx)).await;
    if let SessionEnd::InstanceLost(error) = &ended {
        let refusal = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Error>());
        if let (Some(said), Some(error)) = (pump.kept.take(), refusal) {
            let (local, error) = (pump.local, error.clone());
            return Err(Box::new(Refused { local, said, error }));
        }
        note(refusal.cloned().unwrap_or_else(|| lost(error)));
    }
    // A server that does not take our goodbye in time is not waited for.
    let _ = tokio::time::timeout(GOODBYE, pump.remote.shutdown()).await;
    Ok(ended)
}

fn lost(cause: &io::Error) -> Error {
    let cause = match cause.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::from(cause.kind()),
    };
    Error::new(
        ErrorKind::Network,
        "the connection to the instance was lost",
    )
    .with_source(cause)
}

struct Pump<L> {
    _listed: Listed,
    local: L,
    remote: Stream,
    up: Buffer,
    down: Buffer,
    /// What the client said before the server's first word; none once that came, or once it is too much to keep.
    kept: Option<Vec<u8>>,
    up_ended: bool,
    up_done: bool,
    down_ended: bool,
    down_done: bool,
    client_first: bool,
}

/// The way that failed, as the end of the session that it is.
type Broken = SessionEnd;

impl<L: Local> Pump<L> {
    fn new(local: L, remote: Stream, said: &[u8]) -> Self {
        let mut up = Buffer::new();
        up.space()[..said.len()].copy_from_slice(said);
        up.advance(said.len());
        Pump {
            _listed: Listed::new(&local.as_fd()),
            local,
            remote,
            up,
            down: Buffer::new(),
            kept: Some(said.to_vec()),
            up_ended: false,
            up_done: false,
            down_ended: false,
            down_done: false,
            client_first: false,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<SessionEnd> {
        // Downwards first: a refusal explains why upwards fails.
        let down = self.poll_down(cx);
        if let Poll::Ready(Err(broken)) = down {
            return Poll::Ready(broken);
        }
        let up = self.poll_up(cx);
        if let Poll::Ready(Err(broken)) = up {
            return Poll::Ready(broken);
        }
        match self.up_done && (self.down_done || self.local_is_gone()) {
            true if self.client_first => Poll::Ready(SessionEnd::Client),
            true => Poll::Ready(SessionEnd::Instance),
            false => {
                debug_assert!(up.is_pending() || down.is_pending());
                Poll::Pending
            }
        }
    }

    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        while !self.up_done {
            if !self.up.is_empty() {
                let written = Pin::new(&mut self.remote).poll_write(cx, self.up.filled());
                let count = ready!(written).map_err(Broken::InstanceLost)?;
                self.up.consume(count);
            } else if self.up_ended {
                ready!(Pin::new(&mut self.remote).poll_shutdown(cx))
                    .map_err(Broken::InstanceLost)?;
                self.up_done = true;
            } else {
                let mut space = ReadBuf::new(self.up.space());
                match Pin::new(&mut self.local).poll_read(cx, &mut space) {
                    Poll::Ready(Ok(())) => {
                        let count = space.filled().len();
                        self.up.advance(count);
                        self.keep();
                        self.up_ended = count == 0;
                        self.client_first = self.up_ended && !self.down_ended;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::ClientLost(error))),
                    Poll::Pending => {
                        self.up.release();
                        ready!(Pin::new(&mut self.remote).poll_flush(cx))
                            .map_err(Broken::InstanceLost)?;
                        return Poll::Pending;
                    }
                }
            }
        }
        self.up.release();
        Poll::Ready(Ok(()))
    }

    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        while !self.down_done {
            if !self.down.is_empty() {
                let written = Pin::new(&mut self.local).poll_write(cx, self.down.filled());
                match ready!(written).map_err(Broken::ClientLost)? {
                    0 => {
                        let full = io::Error::from(io::ErrorKind::WriteZero);
                        return Poll::Ready(Err(Broken::ClientLost(full)));
                    }
                    count => self.down.consume(count),
                }
            } else if self.down_ended {
                // The other end may be closed already, which is as good.
                let _ = ready!(Pin::new(&mut self.local).poll_shutdown(cx));
                self.down_done = true;
            } else {
                let mut space = ReadBuf::new(self.down.space());
                match Pin::new(&mut self.remote).poll_read(cx, &mut space) {
                    Poll::Ready(Ok(())) => {
                        let count = space.filled().len();
                        self.down.advance(count);
                        self.down_ended = count == 0;
                    }
                    // To a driver a server that only closes the socket has closed it.
                    Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        self.down_ended = true;
                    }
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(Err(Broken::InstanceLost(error)));
                    }
                    Poll::Pending => {
                        self.down.release();
                        return Poll::Pending;
                    }
                }
                if self.remote.is_answered() {
                    self.kept = None;
                }
            }
        }
        self.down.release();
        Poll::Ready(Ok(()))
    }

    /// Keeps what was just read, before it is sent: what a failed write did not take is to be said again too.
    fn keep(&mut self) {
        if let Some(kept) = &mut self.kept {
            let said = self.up.filled();
            match kept.len() + said.len() <= MAX_KEPT {
                true => kept.extend_from_slice(said),
                false => self.kept = None,
            }
        }
    }

    /// Whether the local side has closed its end altogether, rather than only stopped writing.
    fn local_is_gone(&self) -> bool {
        let mut watched = [PollFd::new(&self.local, PollFlags::empty())];
        let asked = poll(&mut watched, Some(&Timespec::default()));
        asked.is_ok() && watched[0].revents().contains(PollFlags::HUP)
    }
}

/// How much of what the client said before the server's first word is kept for saying it again.
const MAX_KEPT: usize = 8 * 1024;

const GOODBYE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;

    use super::*;
    use crate::data::testing::{Published, Server, route};

    #[tokio::test]
    async fn what_could_not_be_sent_any_more_is_kept_for_saying_it_again() {
        let server = Server::start().await;
        let published = Published::new(vec![server.target(1, false), server.target(2, true)]);
        let remote = route(published).connect().await.unwrap();
        let (mut client, local) = UnixStream::pair().unwrap();
        let mut pump = Pump::new(local, remote.into_stream().unwrap(), b"");
        let mut said = Vec::new();
        // Upwards alone, so that the refusal shows only when a write fails.
        let broken = loop {
            assert!(said.len() < MAX_KEPT, "the refusal never showed");
            client.write_all(b"word").await.unwrap();
            said.extend_from_slice(b"word");
            tokio::time::sleep(Duration::from_millis(20)).await;
            let polled = poll_fn(|cx| Poll::Ready(pump.poll_up(cx))).await;
            if let Poll::Ready(Err(broken)) = polled {
                break broken;
            }
        };
        assert!(matches!(broken, SessionEnd::InstanceLost(_)), "{broken:?}");
        assert_eq!(pump.kept, Some(said));
    }
}
