//! An authenticated stream that no runtime and no thread owns yet, and where it came from.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use super::session::{Session, refuses_certificate};
use super::{Place, Route};
use crate::error::{Error, ErrorKind};
use crate::face::stream::Stream;
use crate::instance::Instance;
use crate::tether::Tether;

/// A TLS session with the instance's server-side proxy, its identity verified, ready for a driver's first byte.
///
/// Belongs to no runtime: [`into_stream`](Self::into_stream), [`into_blocking`](Self::into_blocking) and
/// [`into_nonblocking`](Self::into_nonblocking) turn it into what a driver accepts.
pub struct Connection {
    #[cfg(unix)]
    pub(crate) listed: super::descriptors::Listed,
    pub(crate) tcp: TcpStream,
    pub(crate) session: Session,
    pub(crate) peer: SocketAddr,
}

impl Connection {
    /// The address that was dialled.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// The connection name of the instance at the other end; after `DOMAIN -> ` if a domain name led there.
    pub fn instance(&self) -> &str {
        self.session.origin().instance()
    }

    /// An asynchronous stream on the runtime that is current.
    ///
    /// # Errors
    /// The system's error, should the runtime not take the socket.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn into_stream(self) -> io::Result<Stream> {
        Stream::new(self)
    }

    /// A socket for a driver that blocks on the caller's thread.
    #[cfg(unix)]
    pub fn into_blocking(self) -> crate::face::blocking::BlockingSocket {
        crate::face::blocking::BlockingSocket::new(self)
    }

    /// A socket for a driver with an event loop of its own.
    #[cfg(unix)]
    pub fn into_nonblocking(self) -> crate::face::nonblocking::NonBlockingSocket {
        crate::face::nonblocking::NonBlockingSocket::new(self)
    }

    /// Why the connection must end, if the domain name that it was opened by leads elsewhere.
    pub(crate) fn severed(&self) -> Option<&Error> {
        self.session.origin().tether().and_then(Tether::severed)
    }

    /// Whether the server still holds the other end, as far as this end has heard, and it is still the right one.
    pub(crate) fn is_alive(&self) -> bool {
        if self.severed().is_some() {
            return false;
        }
        match self.tcp.peek(&mut [0]) {
            Ok(count) => count > 0,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("instance", &self.instance())
            .field("peer_addr", &self.peer)
            .finish_non_exhaustive()
    }
}

/// Which instance a session belongs to, and whom to tell if the server refuses our certificate after all.
///
/// In TLS 1.3 the server judges the client's certificate after the client has finished the handshake, so the refusal is
/// the first thing read, if it comes.
pub(crate) struct Origin {
    instance: Arc<str>,
    unanswered: Option<Unanswered>,
    tether: Option<Tether>,
}

/// A certificate that the server has not accepted yet, and the way to another.
struct Unanswered {
    route: Route,
    instance: Instance,
    generation: u64,
}

impl Origin {
    pub(crate) fn new(route: Route, place: &Place, generation: u64) -> Self {
        Origin {
            instance: place.label.as_str().into(),
            unanswered: Some(Unanswered {
                route,
                instance: place.instance.clone(),
                generation,
            }),
            tether: place.tether.clone(),
        }
    }

    /// The origin of a session that no certificate opened.
    #[cfg(feature = "sql-data")]
    pub(crate) fn answered_at(place: &Place) -> Self {
        Origin {
            instance: place.label.as_str().into(),
            unanswered: None,
            tether: place.tether.clone(),
        }
    }

    /// What ties the connection to the domain name that it was opened by, if it was.
    pub(crate) fn tether(&self) -> Option<&Tether> {
        self.tether.as_ref()
    }

    pub(crate) fn instance(&self) -> &str {
        &self.instance
    }

    /// The way here, until the server has sent data.
    pub(crate) fn route(&self) -> Option<Route> {
        let waiting = self.unanswered.as_ref()?;
        Some(waiting.route.clone())
    }

    /// Notes that the server has sent data, and so accepted the certificate.
    pub(crate) fn answered(&mut self) {
        self.unanswered = None;
    }

    pub(crate) fn is_answered(&self) -> bool {
        self.unanswered.is_none()
    }

    /// The error for a failed session; a refused certificate is reported, once, and worth another try.
    pub(crate) fn failure(&mut self, error: &rustls::Error) -> Error {
        let refused = !self.is_answered() && refuses_certificate(error);
        let described = match refused {
            true => certificate_refused(),
            false => Error::new(ErrorKind::Tls, "the TLS session failed"),
        };
        if refused && let Some(waiting) = &mut self.unanswered {
            // The generation is marked as told, so that a stream that is read again does not tell twice.
            if waiting.generation != TOLD {
                let generation = std::mem::replace(&mut waiting.generation, TOLD);
                waiting.route.refused(&waiting.instance, generation);
            }
        }
        described
            .with_source(error.clone())
            .with_instance(&self.instance)
    }
}

/// The server will not have our certificate; the next attempt brings a new one.
pub(crate) fn certificate_refused() -> Error {
    Error::new(ErrorKind::Tls, "the server refused the client certificate")
        .with_retryable(true)
        .with_advice("connect again: a new certificate is being fetched")
}

/// Whether `error` is a refusal of our certificate rather than of the server's.
pub(crate) fn is_certificate_refusal(error: &Error) -> bool {
    error.kind() == ErrorKind::Tls && error.is_retryable()
}

/// Stands for a generation that was already reported.
const TOLD: u64 = u64::MAX;
