//! The asynchronous stream: what Rust drivers and the proxy read and write.

use std::fmt;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::connector::Connector;
use crate::data::connection::Connection;
use crate::data::session::{End, Received, Session};
use crate::error::{Error, ErrorKind, Result};
use crate::options::ConnectOptions;

/// An authenticated byte stream to the instance, on the tokio runtime that it was made on.
///
/// Reads up to 64 KiB at a time and holds no buffer while idle. Dropping it closes the socket; `shutdown` says goodbye
/// first and leaves the reading half open.
///
/// # Errors
/// Reading fails with [`UnexpectedEof`](io::ErrorKind::UnexpectedEof) if the server closes the socket without a TLS
/// close-notify. If the server refuses our certificate, which in TLS 1.3 shows only now, the first read fails with an
/// [`Error`](crate::Error) inside the `io::Error`, of kind [`Tls`](crate::ErrorKind::Tls) and retryable; a new
/// certificate is being fetched by then. Once the domain name that it was opened by leads to another instance, everything
/// fails with an error of kind [`Closed`](crate::ErrorKind::Closed), retryable, that says so.
pub struct Stream {
    #[cfg(unix)]
    _listed: crate::data::descriptors::Listed,
    tcp: TcpStream,
    session: Session,
    /// Whether a writer waits to be woken. The socket remembers one waker for writing, which a reader must not take over.
    writer_waits: bool,
    peer: SocketAddr,
}

#[derive(Clone, Copy)]
enum Half {
    Reading,
    Writing,
}

impl Stream {
    pub(crate) fn new(connection: Connection) -> io::Result<Self> {
        Ok(Stream {
            #[cfg(unix)]
            _listed: connection.listed,
            tcp: TcpStream::from_std(connection.tcp)?,
            session: connection.session,
            writer_waits: false,
            peer: connection.peer,
        })
    }

    /// The address that was dialled.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// The connection name of the instance at the other end; after `DOMAIN -> ` if a domain name led there.
    pub fn instance(&self) -> &str {
        self.session.origin().instance()
    }

    /// Whether the server has sent data, and so accepted our certificate.
    pub(crate) fn is_answered(&self) -> bool {
        self.session.origin().is_answered()
    }

    /// Fails once the domain name that the stream was opened by leads elsewhere; until then that wakes the task.
    fn poll_tied(&mut self, half: Half, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(tether) = self.session.origin().tether() else {
            return Poll::Ready(Ok(()));
        };
        let severed = match half {
            Half::Reading => tether.poll_reading(cx),
            Half::Writing => tether.poll_writing(cx),
        };
        match severed {
            Poll::Ready(error) => {
                // The server is to hear of it even if nobody drops the stream.
                let _ = SockRef::from(&self.tcp).shutdown(Shutdown::Both);
                Poll::Ready(Err(error))
            }
            Poll::Pending => Poll::Ready(Ok(())),
        }
    }

    /// Sends everything, for a writer that waits for it.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = self.poll_send(cx);
        self.writer_waits = sent.is_pending();
        sent
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.has_outgoing() {
            match ready!(Pin::new(&mut self.tcp).poll_write(cx, self.session.outgoing())) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => self.session.sent(count),
                Err(error) => {
                    let tcp = &self.tcp;
                    let explained = self.session.explain(error, |space| tcp.try_read(space));
                    return Poll::Ready(Err(explained));
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Connector {
    /// Connects to `instance` and returns a stream that is ready for a driver's first byte.
    ///
    /// `instance` is a Cloud SQL connection name, an AlloyDB instance URI, or a domain name whose TXT record holds the former.
    ///
    /// In between lie the instance's settings and a client certificate (from cache, or from the Admin API), TCP and TLS, and
    /// the check that the server is that very instance. All of it takes 30 s at most, unless the builder's `timeout` says
    /// otherwise.
    ///
    /// ```no_run
    /// # async fn example() -> iamsql::Result<()> {
    /// let connector = iamsql::Connector::builder().iam_auth(true).build().await?;
    /// let stream = connector.connect("your-project-id:us-central1:demo-postgres").await?;
    /// # drop(stream); Ok(()) }
    /// ```
    ///
    /// # Errors
    /// - [`Config`](ErrorKind::Config): the name does not read as an instance.
    /// - [`Dns`](ErrorKind::Dns): the domain name leads to no instance, or to one that it may not lead to.
    /// - [`Credentials`](ErrorKind::Credentials), [`Permission`](ErrorKind::Permission),
    ///   [`Unavailable`](ErrorKind::Unavailable): the way to a certificate.
    /// - [`NotFound`](ErrorKind::NotFound): no such instance, or no address of the type asked for.
    /// - [`Network`](ErrorKind::Network): the address does not answer.
    /// - [`Tls`](ErrorKind::Tls): the server is not the instance, or refuses us.
    /// - [`Timeout`](ErrorKind::Timeout), naming the step; [`Closed`](ErrorKind::Closed).
    ///
    /// # Panics
    /// Outside a tokio runtime with time and I/O enabled.
    pub async fn connect(&self, instance: &str) -> Result<Stream> {
        self.connect_with(instance, &ConnectOptions::default())
            .await
    }

    /// [`connect`](Self::connect), with some of the connector's defaults overridden.
    ///
    /// # Errors
    /// Those of [`connect`](Self::connect); [`Config`](ErrorKind::Config) for an option out of range.
    pub async fn connect_with(&self, instance: &str, options: &ConnectOptions) -> Result<Stream> {
        let connection = self.connection(instance, options).await?;
        connection.into_stream().map_err(|error| {
            Error::new(ErrorKind::Network, "the socket could not be watched").with_source(error)
        })
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        ready!(this.poll_tied(Half::Reading, cx))?;
        loop {
            match this.session.read(buf.initialize_unfilled())? {
                Received::Bytes(count) => {
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Received::End(End::Clean) => return Poll::Ready(Ok(())),
                Received::End(End::Abrupt) => {
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the server closed the connection without a TLS close-notify",
                    )));
                }
                Received::Starved => {}
            }
            let mut space = ReadBuf::new(this.session.space());
            match Pin::new(&mut this.tcp).poll_read(cx, &mut space) {
                Poll::Ready(Ok(())) => {
                    let count = space.filled().len();
                    this.session.arrived(count);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    this.session.rest();
                    // Whoever wrote without flushing and now reads waits for an answer to what was not sent yet.
                    if !this.writer_waits {
                        let _ = this.poll_send(cx)?;
                    }
                    return Poll::Pending;
                }
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if buf.is_empty() {
            return Poll::Ready(Ok(0));
        }
        ready!(self.poll_tied(Half::Writing, cx))?;
        loop {
            let taken = self.session.write(buf)?;
            if taken > 0 {
                self.writer_waits = false;
                let _ = self.poll_send(cx)?;
                return Poll::Ready(Ok(taken));
            }
            ready!(self.poll_drain(cx))?;
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_tied(Half::Writing, cx))?;
        self.poll_drain(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_tied(Half::Writing, cx))?;
        ready!(self.poll_drain(cx))?;
        self.session.close_notify()?;
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream")
            .field("instance", &self.instance())
            .field("peer_addr", &self.peer)
            .finish_non_exhaustive()
    }
}
