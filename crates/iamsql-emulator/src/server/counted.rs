//! A stream that counts what passes, and resets the connection when told to.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::session::SessionHandle;

/// A TLS stream whose application bytes are counted in the session's record.
pub(crate) struct Counted {
    stream: TlsStream<TcpStream>,
    session: SessionHandle,
    /// Bytes still to be sent before the connection is reset.
    left: Option<u64>,
}

impl Counted {
    pub(crate) fn new(stream: TlsStream<TcpStream>, session: SessionHandle) -> Self {
        Counted {
            stream,
            session,
            left: None,
        }
    }
}

impl Counted {
    /// Resets the connection once this many bytes more were sent.
    pub(crate) fn reset_after(&mut self, bytes: u64) {
        self.left = Some(bytes);
    }

    /// Makes the connection end with RST when it is dropped.
    pub(crate) fn reset(&self) {
        reset(self.stream.get_ref().0);
    }
}

/// Makes the connection end with RST when it is dropped.
pub(crate) fn reset(stream: &TcpStream) {
    // Fails only on a socket that is gone already.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

impl AsyncRead for Counted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let count = (buffer.filled().len() - before) as u64;
        self.session.update(|session| session.received += count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let bytes = match self.left {
            Some(0) => {
                ready!(Pin::new(&mut self.stream).poll_flush(context))?;
                reset(self.stream.get_ref().0);
                return Poll::Ready(Err(io::Error::new(
                    io::ErrorKind::ConnectionReset,
                    "reset by a fault",
                )));
            }
            Some(left) => &bytes[..bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX))],
            None => bytes,
        };
        let count = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.session.update(|session| session.sent += count as u64);
        if let Some(left) = &mut self.left {
            *left -= count as u64;
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        if self.left == Some(0) {
            reset(self.stream.get_ref().0);
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::ConnectionReset,
                "reset by a fault",
            )));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
