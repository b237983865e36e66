//! The non-blocking socket: the caller's event loop watches the descriptor, this does the TLS.

use std::fmt;
use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex, TryLockError};

use rustix::process::{Pid, getpid};

use super::blocking::{closed, lock, send};
use crate::data::connection::Connection;
use crate::data::session::{Received, Session};
use crate::tether::Tether;

/// An authenticated byte stream for a driver with an event loop of its own.
///
/// The loop watches [`raw_fd`](Self::raw_fd) for readability always, and for writability while
/// [`wants_write`](Self::wants_write). Nothing here waits.
pub struct NonBlockingSocket {
    state: Mutex<State>,
    owner: Pid,
    peer: SocketAddr,
    instance: String,
}

struct State {
    tcp: Option<Arc<TcpStream>>,
    session: Session,
}

impl State {
    /// The socket, unless it was closed, or ended for a domain name's sake.
    fn open(&mut self) -> io::Result<(&TcpStream, &mut Session)> {
        let State { tcp, session } = self;
        let tcp = tcp.as_ref().ok_or_else(closed)?;
        match session.origin().tether().and_then(Tether::broken) {
            Some(severed) => Err(severed),
            None => Ok((tcp, session)),
        }
    }
}

impl NonBlockingSocket {
    pub(crate) fn new(connection: Connection) -> Self {
        let instance = connection.instance().to_owned();
        // It is not the engine's any more: `abandon` is what a child calls.
        let Connection {
            listed: _,
            tcp,
            session,
            peer,
        } = connection;
        let tcp = Arc::new(tcp);
        if let Some(tether) = session.origin().tether() {
            tether.hold(&tcp);
        }
        NonBlockingSocket {
            state: Mutex::new(State {
                tcp: Some(tcp),
                session,
            }),
            owner: getpid(),
            peer,
            instance,
        }
    }

    /// Reads what is there; no bytes mean the end of the stream.
    ///
    /// Read until `WouldBlock` or a short count: what was decrypted already does not make the descriptor readable
    /// ([`pending`](Self::pending)).
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if nothing is there, [`NotConnected`](io::ErrorKind::NotConnected) once
    /// closed. A certificate that the server refused shows at the first read: an [`Error`](crate::Error) of kind
    /// [`Tls`](crate::ErrorKind::Tls), retryable, inside the `io::Error`. Once the domain name that it was opened by leads
    /// elsewhere: [`ConnectionAborted`](io::ErrorKind::ConnectionAborted) with one of kind
    /// [`Closed`](crate::ErrorKind::Closed) inside; the descriptor is readable then.
    pub fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut state = lock(&self.state);
        let (tcp, session) = state.open()?;
        loop {
            match session.read(buf)? {
                Received::Bytes(count) => return Ok(count),
                Received::End(_) => return Ok(0),
                Received::Starved => {}
            }
            match (&mut &*tcp).read(session.space()) {
                Ok(count) => session.arrived(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    session.rest();
                    return Err(error);
                }
            }
        }
    }

    /// Takes the first bytes of `buf`, up to 64 KiB of them, and sends what the system takes now.
    ///
    /// What it took but could not send stays here: see [`wants_write`](Self::wants_write) and [`flush`](Self::flush).
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) while too much waits to be sent, [`NotConnected`](io::ErrorKind::NotConnected)
    /// once closed, otherwise the system's.
    pub fn write(&self, buf: &[u8]) -> io::Result<usize> {
        let mut state = lock(&self.state);
        let (tcp, session) = state.open()?;
        send(tcp, session)?;
        let taken = session.write(buf)?;
        if taken == 0 && !buf.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        send(tcp, session)?;
        Ok(taken)
    }

    /// Sends what waits, as far as the system takes it now; `true` once nothing is left.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected) once closed, otherwise the system's.
    pub fn flush(&self) -> io::Result<bool> {
        let mut state = lock(&self.state);
        let (tcp, session) = state.open()?;
        send(tcp, session)?;
        Ok(!session.has_outgoing())
    }

    /// Whether encrypted bytes wait for the descriptor to become writable.
    pub fn wants_write(&self) -> bool {
        let state = lock(&self.state);
        state.tcp.is_some() && state.session.has_outgoing()
    }

    /// How many bytes a read would return although the descriptor is not readable.
    pub fn pending(&self) -> usize {
        lock(&self.state).session.pending()
    }

    /// The TCP socket's descriptor, to watch; -1 once closed. What travels on it is encrypted.
    pub fn raw_fd(&self) -> RawFd {
        lock(&self.state)
            .tcp
            .as_ref()
            .map_or(-1, |tcp| tcp.as_raw_fd())
    }

    /// Says that nothing more will be written, and leaves reading open; `false` while something still waits to be sent:
    /// call again once writable.
    ///
    /// # Errors
    /// [`NotConnected`](io::ErrorKind::NotConnected) once closed, otherwise the system's.
    pub fn shutdown_write(&self) -> io::Result<bool> {
        let mut state = lock(&self.state);
        let (tcp, session) = state.open()?;
        send(tcp, session)?;
        if session.has_outgoing() {
            return Ok(false);
        }
        session.close_notify()?;
        send(tcp, session)?;
        if session.has_outgoing() {
            return Ok(false);
        }
        tcp.shutdown(Shutdown::Write)?;
        Ok(true)
    }

    /// Closes the socket, after a goodbye if that needs no waiting. Stop watching the descriptor first.
    ///
    /// In the child of a fork this is [`abandon`](Self::abandon).
    pub fn close(&self) {
        if self.owner != getpid() {
            return self.abandon();
        }
        let mut state = lock(&self.state);
        let Some(tcp) = state.tcp.take() else { return };
        let session = &mut state.session;
        if !session.has_outgoing() && session.close_notify().is_ok() {
            // A goodbye that does not fit the socket's buffer is not worth a wait.
            let _ = send(&tcp, session);
        }
        session.rest();
    }

    /// Lets go of the descriptor in the child of a fork: nothing is sent, so that the parent's session stays whole.
    pub fn abandon(&self) {
        match self.state.try_lock() {
            Ok(mut state) => drop(state.tcp.take()),
            Err(TryLockError::Poisoned(poisoned)) => drop(poisoned.into_inner().tcp.take()),
            // Another thread held it at the fork: it never opens here.
            Err(TryLockError::WouldBlock) => {}
        }
    }

    /// Whether the socket was closed or abandoned.
    pub fn is_closed(&self) -> bool {
        lock(&self.state).tcp.is_none()
    }

    /// The address that was dialled.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// The connection name of the instance at the other end.
    pub fn instance(&self) -> &str {
        &self.instance
    }
}

impl Drop for NonBlockingSocket {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for NonBlockingSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NonBlockingSocket")
            .field("instance", &self.instance)
            .field("peer_addr", &self.peer)
            .finish_non_exhaustive()
    }
}
