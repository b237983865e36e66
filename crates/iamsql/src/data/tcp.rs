//! Addresses in, a connected TCP socket out: no-delay, keep-alive, close-on-exec.

use std::io;
use std::net::SocketAddr;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Instant;

use crate::error::{Error, ErrorKind, Result};
use crate::options::{TCP_KEEPALIVE, TCP_TIMEOUT};

/// Tries each address in turn, [`TCP_TIMEOUT`] each, all before `deadline`. The error is that of the last one tried.
pub(crate) async fn connect(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream> {
    let mut failure = Error::new(ErrorKind::Network, "there is no address to dial");
    for &address in addresses {
        let limit = deadline.min(Instant::now() + TCP_TIMEOUT);
        match tokio::time::timeout_at(limit, connect_one(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => {
                failure = Error::new(
                    ErrorKind::Network,
                    format!("could not connect to {address}"),
                )
                .with_source(error);
            }
            Err(_) => {
                let patience = match limit == deadline {
                    true => "the time that was left".to_owned(),
                    false => format!("{TCP_TIMEOUT:?}"),
                };
                failure = Error::new(
                    ErrorKind::Timeout,
                    format!("no TCP connection to {address} within {patience}"),
                )
                .with_source(io::Error::from(io::ErrorKind::TimedOut));
                if limit == deadline {
                    break;
                }
            }
        }
    }
    Err(failure)
}

async fn connect_one(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_nodelay(true)?;
    SockRef::from(&socket).set_tcp_keepalive(&TcpKeepalive::new().with_time(TCP_KEEPALIVE))?;
    socket.connect(address).await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_socket_is_set_up_before_it_connects() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        let stream = connect(&[listener.local_addr().unwrap()], deadline)
            .await
            .unwrap();
        let socket = SockRef::from(&stream);
        assert!(stream.nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        #[cfg(target_os = "linux")]
        {
            assert_eq!(socket.tcp_keepalive_time().unwrap(), TCP_KEEPALIVE);
            let flags = rustix::io::fcntl_getfd(&stream).unwrap();
            assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        }
    }

    #[tokio::test]
    async fn a_refused_port_is_a_network_error_with_the_systems_number() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        let error = connect(&[closed], deadline).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network);
        assert!(error.is_retryable());
        assert_eq!(error.io_kind(), Some(io::ErrorKind::ConnectionRefused));
        assert!(error.raw_os_error().is_some());
        assert!(error.to_string().contains(&closed.to_string()), "{error}");
    }

    #[tokio::test]
    async fn the_second_address_is_tried_when_the_first_refuses() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let open = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = [closed, open.local_addr().unwrap()];
        let deadline = Instant::now() + Duration::from_secs(5);
        let stream = connect(&addresses, deadline).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), addresses[1]);
    }
}
