//! A connected socket in, an authenticated session out: TLS 1.3 with the instance's identity checked inside the handshake.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::connection::{Connection, Origin, certificate_refused};
use super::session::{Handshake as Progress, Session, refuses_certificate};
use crate::control::tls_error;
use crate::error::{Error, ErrorKind, Result};
use crate::options::ClientProtocol;

/// With whom to shake hands, and how.
pub(crate) struct Handshake {
    /// What the server is called.
    pub(crate) server: ServerName<'static>,
    pub(crate) config: Arc<ClientConfig>,
    /// How the driver reaches us, where the server wants to hear that.
    pub(crate) client: Option<ClientProtocol>,
    pub(crate) origin: Origin,
}

/// Shakes hands with `peer`. The verifier in its configuration runs before any byte that names us leaves.
pub(crate) async fn handshake(
    mut tcp: TcpStream,
    peer: SocketAddr,
    handshake: Handshake,
) -> Result<Connection> {
    let Handshake {
        server,
        config,
        client,
        origin,
    } = handshake;
    let mut session = Session::new(config, server, origin)?;
    loop {
        let state = session.handshake();
        // A failed handshake has an alert to send, so that the server's log can say why.
        let sent = flush(&mut tcp, &mut session).await;
        match state {
            Err(error) => return Err(refusal(&error)),
            Ok(_) if sent.is_err() => return Err(lost(peer, sent)),
            Ok(Progress::Done) => break,
            Ok(Progress::Starved) => match tcp.read(session.space()).await {
                Ok(count) if count > 0 => session.arrived(count),
                Ok(_) => return Err(lost(peer, Err(io::ErrorKind::UnexpectedEof.into()))),
                Err(error) => return Err(lost(peer, Err(error))),
            },
        }
    }
    if let Some(client) = client {
        // It is far smaller than any socket's buffer, and nobody waits for the reply: see the exchange.
        session.introduce(client)?;
        let sent = flush(&mut tcp, &mut session).await;
        sent.map_err(|error| lost(peer, Err(error)))?;
    }
    session.rest();
    #[cfg(unix)]
    let listed = super::descriptors::Listed::new(&tcp);
    let tcp = tcp.into_std().map_err(|error| lost(peer, Err(error)))?;
    Ok(Connection {
        #[cfg(unix)]
        listed,
        tcp,
        session,
        peer,
    })
}

async fn flush(tcp: &mut TcpStream, session: &mut Session) -> io::Result<()> {
    while session.has_outgoing() {
        let count = tcp.write(session.outgoing()).await?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        session.sent(count);
    }
    Ok(())
}

/// What the failed handshake means, and whose move it is.
fn refusal(error: &rustls::Error) -> Error {
    if refuses_certificate(error) {
        return certificate_refused().with_source(error.clone());
    }
    let message = match error {
        rustls::Error::InvalidMessage(_) => "what answered does not speak TLS",
        rustls::Error::PeerIncompatible(_)
        | rustls::Error::AlertReceived(AlertDescription::ProtocolVersion) => {
            "the server does not offer TLS 1.3"
        }
        _ => return tls_error(error),
    };
    Error::new(ErrorKind::Tls, message).with_source(error.clone())
}

fn lost(peer: SocketAddr, result: io::Result<()>) -> Error {
    let error = Error::new(
        ErrorKind::Network,
        format!("{peer} closed the connection during the TLS handshake"),
    );
    match result {
        Ok(()) => error,
        Err(cause) => error.with_source(cause),
    }
}
