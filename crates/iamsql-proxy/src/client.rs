//! An accepted client, whatever it came in by: who it is, and whether it has said something.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use iamsql::Local;
use rustix::net::{RecvFlags, recv};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

/// What the relay needs of a client beyond its bytes.
pub(crate) trait Client: Local + Send + Sync + 'static {
    /// Waits for the first byte, without taking it; `false` if the client hung up instead.
    fn speaks(&self) -> impl Future<Output = io::Result<bool>> + Send;
}

impl Client for TcpStream {
    async fn speaks(&self) -> io::Result<bool> {
        Ok(self.peek(&mut [0]).await? == 1)
    }
}

impl Client for UnixStream {
    async fn speaks(&self) -> io::Result<bool> {
        let peek = || Ok(recv(self, &mut [0_u8][..], RecvFlags::PEEK | RecvFlags::DONTWAIT)?.1);
        loop {
            self.ready(Interest::READABLE).await?;
            match self.try_io(Interest::READABLE, peek) {
                Ok(count) => return Ok(count == 1),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// No delay, and a probe after 30 s of silence, as the official proxies do.
pub(crate) fn prepare(client: &TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    SockRef::from(client).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))
}

/// A peer as log lines show it.
pub(crate) fn shown(peer: Option<SocketAddr>) -> String {
    peer.map_or_else(|| "@".to_owned(), |peer| peer.to_string())
}

const KEEPALIVE: Duration = Duration::from_secs(30);
