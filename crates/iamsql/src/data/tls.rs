//! A connected socket in, an authenticated session out: TLS 1.3 with the instance's identity checked inside the handshake.

use std::io;
use std::net::SocketAddr;

use rustls::AlertDescription;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::connection::{Connection, Origin, certificate_refused};
use super::session::{Handshake, Session, refuses_certificate};
use crate::control::{Target, tls_error};
use crate::error::{Error, ErrorKind, Result};

/// Shakes hands with `peer` as `target` says. The verifier in its configuration runs before any byte that names us leaves.
pub(crate) async fn handshake(
    mut tcp: TcpStream,
    peer: SocketAddr,
    server: ServerName<'static>,
    target: &Target,
    origin: Origin,
) -> Result<Connection> {
    let mut session = Session::new(target.tls.clone(), server, origin)?;
    loop {
        let state = session.handshake();
        // A failed handshake has an alert to send, so that the server's log can say why.
        let sent = flush(&mut tcp, &mut session).await;
        match state {
            Err(error) => return Err(refusal(&error)),
            Ok(_) if sent.is_err() => return Err(lost(peer, sent)),
            Ok(Handshake::Done) => break,
            Ok(Handshake::Starved) => match tcp.read(session.space()).await {
                Ok(count) if count > 0 => session.arrived(count),
                Ok(_) => return Err(lost(peer, Err(io::ErrorKind::UnexpectedEof.into()))),
                Err(error) => return Err(lost(peer, Err(error))),
            },
        }
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
