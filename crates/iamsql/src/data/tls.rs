//! A connected socket in, an authenticated session out: TLS 1.3 with the instance's identity checked inside the handshake.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ClientConfig};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::connection::{Origin, certificate_refused};
use super::line::{Line, lost};
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
    tcp: TcpStream,
    peer: SocketAddr,
    handshake: Handshake,
) -> Result<Line> {
    let Handshake {
        server,
        config,
        client,
        origin,
    } = handshake;
    let session = Session::new(config, server, origin)?;
    let mut line = Line { tcp, session, peer };
    let lost = |cause| lost(peer, "the TLS handshake", cause);
    loop {
        let state = line.session.handshake();
        // A failed handshake has an alert to send, so that the server's log can say why.
        let sent = line.flush().await;
        let state = state.map_err(|error| refusal(&error))?;
        sent.map_err(lost)?;
        if state == Progress::Done {
            break;
        }
        match line.tcp.read(line.session.space()).await.map_err(lost)? {
            0 => return Err(lost(io::ErrorKind::UnexpectedEof.into())),
            count => line.session.arrived(count),
        }
    }
    if let Some(client) = client {
        // It is far smaller than any socket's buffer, and nobody waits for the reply: see the exchange.
        line.session.introduce(client)?;
        line.flush().await.map_err(lost)?;
    }
    Ok(line)
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
