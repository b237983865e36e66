//! A TLS session and its socket while they are being made ready: bytes out, an exact number of bytes in.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::connection::Connection;
use super::session::{Received, Session};
use crate::error::{Error, ErrorKind, Result};

pub(crate) struct Line {
    pub(super) tcp: TcpStream,
    pub(super) session: Session,
    pub(super) peer: SocketAddr,
}

impl Line {
    /// Sends all of `data`, as what `step` calls it.
    pub(super) async fn send(&mut self, mut data: &[u8], step: &str) -> Result<()> {
        while !data.is_empty() {
            let taken = self.session.write(data)?;
            data = &data[taken..];
            if let Err(error) = self.flush().await {
                return Err(self.broken(error, step));
            }
        }
        Ok(())
    }

    /// Fills all of `buf`, and takes no byte more.
    pub(super) async fn receive(&mut self, buf: &mut [u8], step: &str) -> Result<()> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.session.read(&mut buf[filled..])? {
                Received::Bytes(count) => filled += count,
                Received::End(_) => {
                    return Err(lost(self.peer, step, io::ErrorKind::UnexpectedEof.into()));
                }
                Received::Starved => {
                    let arrived = match self.flush().await {
                        Ok(()) => self.tcp.read(self.session.space()).await,
                        Err(error) => Err(error),
                    };
                    match arrived {
                        Ok(count) => self.session.arrived(count),
                        Err(error) => return Err(self.broken(error, step)),
                    }
                }
            }
        }
        Ok(())
    }

    pub(super) async fn flush(&mut self) -> io::Result<()> {
        while self.session.has_outgoing() {
            let count = self.tcp.write(self.session.outgoing()).await?;
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.session.sent(count);
        }
        Ok(())
    }

    /// Lets go of the runtime.
    pub(super) fn into_connection(mut self) -> Result<Connection> {
        self.session.rest();
        #[cfg(unix)]
        let listed = super::descriptors::Listed::new(&self.tcp);
        let peer = self.peer;
        let tcp = self
            .tcp
            .into_std()
            .map_err(|error| lost(peer, "the TLS handshake", error))?;
        Ok(Connection {
            #[cfg(unix)]
            listed,
            tcp,
            session: self.session,
            peer,
        })
    }

    /// A refusal of our certificate may still lie unread behind a reset.
    fn broken(&mut self, error: io::Error, step: &str) -> Error {
        let tcp = &self.tcp;
        let error = self.session.explain(error, |space| tcp.try_read(space));
        let ours = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Error>());
        match ours {
            Some(ours) => ours.clone(),
            None => lost(self.peer, step, error),
        }
    }
}

pub(super) fn lost(peer: SocketAddr, step: &str, cause: io::Error) -> Error {
    Error::new(
        ErrorKind::Network,
        format!("{peer} closed the connection during {step}"),
    )
    .with_source(cause)
}
