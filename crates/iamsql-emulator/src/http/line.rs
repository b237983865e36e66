//! An accepted HTTP connection that can be reset from within the answer to a request.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

/// A listener for HTTP, and whom its metadata server stands for.
pub(super) struct Lines {
    pub(super) listener: TcpListener,
    pub(super) attached: Option<String>,
}

/// One connection.
pub(crate) struct Line {
    stream: TcpStream,
    pub(crate) peer: Peer,
}

/// What a handler knows about the connection that its request came on.
#[derive(Clone)]
pub(crate) struct Peer {
    /// Whom the metadata server on this port stands for.
    pub(crate) attached: Option<String>,
    /// Where the connection comes from.
    pub(crate) client: Option<SocketAddr>,
    abort: Arc<AtomicBool>,
}

impl Peer {
    /// Makes the connection end with RST instead of carrying an answer.
    pub(crate) fn reset(&self) {
        self.abort.store(true, Ordering::Release);
    }
}

impl Line {
    /// A connection to a port without a metadata server.
    pub(crate) fn new(stream: TcpStream) -> Self {
        let peer = Peer {
            attached: None,
            client: stream.peer_addr().ok(),
            abort: Arc::default(),
        };
        Line { stream, peer }
    }
}

impl Listener for Lines {
    type Io = Line;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Line, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    // Fails only if the client left already.
                    let _ = stream.set_nodelay(true);
                    let peer = Peer {
                        attached: self.attached.clone(),
                        client: Some(address),
                        abort: Arc::default(),
                    };
                    return (Line { stream, peer }, address);
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl Connected<IncomingStream<'_, Lines>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Lines>) -> Self {
        stream.io().peer.clone()
    }
}

impl Line {
    fn check(&self) -> io::Result<()> {
        if self.peer.abort.load(Ordering::Acquire) {
            // Fails only on a socket that is gone already.
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
            return Err(io::Error::new(
                io::ErrorKind::ConnectionReset,
                "reset by a fault",
            ));
        }
        Ok(())
    }
}

impl AsyncRead for Line {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
