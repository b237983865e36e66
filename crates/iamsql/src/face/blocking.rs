//! The blocking socket: TLS on the caller's own thread, no runtime involved.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, getpid};

use crate::data::connection::Connection;
use crate::data::session::{Received, Session};
use crate::error::{Error, ErrorKind};
use crate::tether::Tether;

/// An authenticated byte stream that blocks the calling thread, for drivers that take a socket.
///
/// Any thread may use it. Readers queue among themselves and writers among themselves, so that one thread may read while
/// another writes; [`close`](Self::close) waits for neither and wakes both. Like a socket, it reports a server that hangs
/// up as end of file.
pub struct BlockingSocket {
    descriptor: Mutex<Option<Arc<TcpStream>>>,
    session: Mutex<Session>,
    reading: Mutex<()>,
    writing: Mutex<()>,
    timeout: Mutex<Option<Duration>>,
    closed: AtomicBool,
    tether: Option<Tether>,
    owner: Pid,
    peer: SocketAddr,
    instance: String,
}

impl BlockingSocket {
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
        let tether = session.origin().tether().cloned();
        if let Some(tether) = &tether {
            tether.hold(&tcp);
        }
        BlockingSocket {
            descriptor: Mutex::new(Some(tcp)),
            session: Mutex::new(session),
            reading: Mutex::new(()),
            writing: Mutex::new(()),
            timeout: Mutex::new(None),
            closed: AtomicBool::new(false),
            tether,
            owner: getpid(),
            peer,
            instance,
        }
    }

    /// Reads at least one byte, or none at the end of the stream.
    ///
    /// `on_interrupt` runs when a signal arrives while waiting; what it returns as an error ends the read, otherwise the
    /// read goes on.
    ///
    /// # Errors
    /// [`TimedOut`](io::ErrorKind::TimedOut) after the timeout, [`WouldBlock`](io::ErrorKind::WouldBlock) with a timeout of
    /// zero, [`NotConnected`](io::ErrorKind::NotConnected) once closed. A certificate that the server refused shows at the
    /// first read: an [`Error`] of kind [`Tls`](ErrorKind::Tls), retryable, inside the `io::Error`. Once the domain name that
    /// it was opened by leads elsewhere: [`ConnectionAborted`](io::ErrorKind::ConnectionAborted) with one of kind
    /// [`Closed`](ErrorKind::Closed) inside.
    pub fn read(
        &self,
        buf: &mut [u8],
        on_interrupt: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<usize> {
        let tcp = self.descriptor()?;
        let patience = self.patience();
        let _turn = lock(&self.reading);
        loop {
            self.check_tied()?;
            let mut session = lock(&self.session);
            match session.read(buf) {
                Ok(Received::Bytes(count)) => return Ok(count),
                Ok(Received::End(_)) if self.is_closed() => return Err(closed()),
                Ok(Received::End(_)) => return self.check_tied().map(|()| 0),
                Ok(Received::Starved) => {}
                Err(error) => {
                    // The server's log should say why; whether it gets there is its own matter.
                    let _ = send(&tcp, &mut session);
                    return Err(error.into());
                }
            }
            match (&*tcp).read(session.space()) {
                Ok(count) => session.arrived(count),
                Err(error) if is_pause(&error) => {
                    session.rest();
                    drop(session);
                    self.wait(&tcp, PollFlags::IN, patience, on_interrupt)?;
                }
                Err(error) => return Err(self.broken(error)),
            }
        }
    }

    /// Writes all of `buf`, in order, whatever its length; other writers wait meanwhile.
    ///
    /// `on_interrupt` is as in [`read`](Self::read).
    ///
    /// # Errors
    /// As in [`read`](Self::read). After an error an unknown part of `buf` was sent, as with any socket.
    pub fn write_all(
        &self,
        buf: &[u8],
        on_interrupt: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<()> {
        let tcp = self.descriptor()?;
        let patience = self.patience();
        let _turn = lock(&self.writing);
        let mut rest = buf;
        loop {
            self.check_tied()?;
            let mut session = lock(&self.session);
            let taken = session.write(rest)?;
            rest = &rest[taken..];
            let sent = send(&tcp, &mut session);
            let blocked = session.has_outgoing();
            drop(session);
            sent.map_err(|error| self.broken(error))?;
            match blocked {
                true => self.wait(&tcp, PollFlags::OUT, patience, on_interrupt)?,
                false if rest.is_empty() => return Ok(()),
                false => {}
            }
        }
    }

    /// How long one read or write may wait. Default none: for ever. Zero means not to wait at all.
    pub fn set_timeout(&self, timeout: Option<Duration>) {
        *lock(&self.timeout) = timeout;
    }

    /// The timeout that [`set_timeout`](Self::set_timeout) set.
    pub fn timeout(&self) -> Option<Duration> {
        *lock(&self.timeout)
    }

    /// How many bytes a read would return without waiting, which `select` on [`raw_fd`](Self::raw_fd) does not know of.
    pub fn pending(&self) -> usize {
        lock(&self.session).pending()
    }

    /// The TCP socket's descriptor, to wait on; -1 once closed. What travels on it is encrypted.
    pub fn raw_fd(&self) -> RawFd {
        lock(&self.descriptor)
            .as_ref()
            .map_or(-1, |tcp| tcp.as_raw_fd())
    }

    /// Says that nothing more will be written, and leaves reading open.
    ///
    /// # Errors
    /// As in [`write_all`](Self::write_all).
    pub fn shutdown_write(
        &self,
        on_interrupt: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<()> {
        let tcp = self.descriptor()?;
        let patience = self.patience();
        let _turn = lock(&self.writing);
        loop {
            let mut session = lock(&self.session);
            // What a write left behind when its time was up goes first, and then the goodbye.
            let is_last = !session.has_outgoing();
            if is_last {
                session.close_notify()?;
            }
            let sent = send(&tcp, &mut session);
            let blocked = session.has_outgoing();
            drop(session);
            sent.map_err(|error| self.broken(error))?;
            match blocked {
                true => self.wait(&tcp, PollFlags::OUT, patience, on_interrupt)?,
                false if is_last => return tcp.shutdown(Shutdown::Write),
                false => {}
            }
        }
    }

    /// Closes the socket, after a goodbye if that needs no waiting. Threads that wait in it return with an error.
    ///
    /// The descriptor goes when the last such thread has left. More than once is fine; in the child of a fork this is
    /// [`abandon`](Self::abandon).
    pub fn close(&self) {
        if self.owner != getpid() {
            return self.abandon();
        }
        self.closed.store(true, Ordering::Release);
        let Some(tcp) = lock(&self.descriptor).take() else {
            return;
        };
        if let Ok(mut session) = self.session.try_lock()
            && !session.has_outgoing()
            && session.close_notify().is_ok()
        {
            // A goodbye that does not fit the socket's buffer is not worth a wait.
            let _ = send(&tcp, &mut session);
        }
        // Wakes whoever polls; an error means that the server was faster.
        let _ = tcp.shutdown(Shutdown::Both);
    }

    /// Lets go of the descriptor in the child of a fork: nothing is sent, so that the parent's session stays whole.
    ///
    /// Waits for no lock: in the child, one that another thread held would never open. Then the descriptor stays until the
    /// child ends or replaces its image.
    pub fn abandon(&self) {
        self.closed.store(true, Ordering::Release);
        match self.descriptor.try_lock() {
            Ok(mut descriptor) => drop(descriptor.take()),
            Err(TryLockError::Poisoned(poisoned)) => drop(poisoned.into_inner().take()),
            Err(TryLockError::WouldBlock) => {}
        }
    }

    /// Whether [`close`](Self::close) or [`abandon`](Self::abandon) was called.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The address that was dialled.
    pub fn peer_addr(&self) -> SocketAddr {
        self.peer
    }

    /// The connection name of the instance at the other end.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    fn descriptor(&self) -> io::Result<Arc<TcpStream>> {
        lock(&self.descriptor).clone().ok_or_else(closed)
    }

    fn patience(&self) -> Patience {
        match self.timeout() {
            None => Patience::Endless,
            Some(Duration::ZERO) => Patience::None,
            Some(timeout) => Instant::now()
                .checked_add(timeout)
                .map_or(Patience::Endless, Patience::Until),
        }
    }

    fn wait(
        &self,
        tcp: &TcpStream,
        events: PollFlags,
        patience: Patience,
        on_interrupt: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            let left = match patience {
                Patience::Endless => None,
                Patience::None => return Err(io::ErrorKind::WouldBlock.into()),
                Patience::Until(deadline) => {
                    Some(deadline.saturating_duration_since(Instant::now()))
                }
            };
            if self.is_closed() {
                return Err(closed());
            }
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            match poll(&mut [PollFd::new(tcp, events)], left.as_ref()) {
                Ok(0) => return Err(timed_out()),
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => on_interrupt()?,
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A socket that broke because it was closed under the caller, or for a domain name's sake, says so.
    fn broken(&self, error: io::Error) -> io::Error {
        match (self.is_closed(), self.check_tied()) {
            (true, _) => closed(),
            (false, Err(severed)) => severed,
            (false, Ok(())) => error,
        }
    }

    fn check_tied(&self) -> io::Result<()> {
        self.tether
            .as_ref()
            .and_then(Tether::broken)
            .map_or(Ok(()), Err)
    }
}

impl Drop for BlockingSocket {
    fn drop(&mut self) {
        if !self.is_closed() {
            self.close();
        }
    }
}

impl fmt::Debug for BlockingSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingSocket")
            .field("instance", &self.instance)
            .field("peer_addr", &self.peer)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy)]
enum Patience {
    Endless,
    Until(Instant),
    None,
}

/// Sends what is outgoing as far as the socket takes it now.
pub(crate) fn send(tcp: &TcpStream, session: &mut Session) -> io::Result<()> {
    while session.has_outgoing() {
        match (&*tcp).write(session.outgoing()) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => session.sent(count),
            Err(error) if is_pause(&error) => return Ok(()),
            Err(error) => return Err(session.explain(error, |space| (&*tcp).read(space))),
        }
    }
    Ok(())
}

/// No bytes now: wait for readiness and try again.
pub(crate) fn is_pause(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

pub(crate) fn closed() -> io::Error {
    io::Error::new(
        io::ErrorKind::NotConnected,
        Error::new(ErrorKind::Closed, "the socket is closed"),
    )
}

/// A panic of ours in another thread left the data as it was between two calls of rustls, which is a state to go on from.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn timed_out() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the socket's timeout passed")
}
