//! The private listener: a Unix socket in a directory of our own, for drivers that take nothing but a path.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, getpid};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio_util::sync::CancellationToken;

use super::blocking::lock;
use super::directory::{Directory, is_plain_name};
use super::{peer, pump, refusal};
use crate::connector::Connector;
use crate::data::Route;
use crate::data::connection::Connection;
use crate::data::descriptors::Listed;
use crate::error::{Error, ErrorKind, Result};
use crate::options::{ClientProtocol, ConnectOptions};
use crate::user::DatabaseEngine;

/// How a [`PrivateListener`] listens.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct ListenOptions {
    /// How it dials; what is unset comes from the connector.
    pub connect: ConnectOptions,
    /// Whether only this very process may connect. Default `true`; with `false`, every process of the same user may.
    pub require_same_pid: bool,
    /// The socket's file name. Default `.s.PGSQL.5432`, where libpq looks in a directory given as `host`; `mysql.sock` for
    /// an [`engine`](ConnectOptions::engine) of MySQL, `sqlserver.sock` for one of SQL Server.
    pub socket_name: Option<String>,
}

impl ListenOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How it dials.
    pub fn connect(mut self, connect: ConnectOptions) -> Self {
        self.connect = connect;
        self
    }

    /// Whether only this very process may connect. Default `true`.
    pub fn require_same_pid(mut self, required: bool) -> Self {
        self.require_same_pid = required;
        self
    }

    /// The socket's file name: one path component. Default `.s.PGSQL.5432`, or as the engine's clients expect it.
    pub fn socket_name(mut self, name: impl Into<String>) -> Self {
        self.socket_name = Some(name.into());
        self
    }
}

impl Default for ListenOptions {
    fn default() -> Self {
        ListenOptions {
            connect: ConnectOptions::default(),
            require_same_pid: true,
            socket_name: None,
        }
    }
}

/// A Unix socket that leads to an instance, for drivers that take a path: `host=`[`directory`](Self::directory) for libpq.
///
/// It logs in without a password where the connector does, so it lives in a fresh directory of mode 0700 and every client
/// is asked of the system: our own user, and (by default) this very process. Each accepted client gets a stream of its own,
/// a [parked](Self::park) one if there is any. A client whose dial fails reads the reason in its own protocol: as a FATAL of
/// SQLSTATE 08001 (PostgreSQL), or as error 1429 in place of the greeting (MySQL).
///
/// Closing it, or its connector, or dropping it removes socket and directory; open sessions live on. In the child of a fork
/// it neither serves nor removes anything: make a new one there.
pub struct PrivateListener {
    shared: Arc<Shared>,
}

struct Shared {
    route: Route,
    require_same_pid: bool,
    socket_name: String,
    /// Whose protocol the clients speak, if that is known.
    engine: Option<DatabaseEngine>,
    parked: Mutex<Parking>,
    bound: Mutex<Option<Bound>>,
    stop: CancellationToken,
    runtime: Handle,
    owner: Pid,
}

struct Bound {
    directory: Directory,
    accepting: AbortHandle,
}

#[derive(Default)]
struct Parking {
    next: u64,
    streams: VecDeque<(u64, Connection)>,
}

impl PrivateListener {
    /// Binds the socket and starts to accept on the current tokio runtime.
    pub(crate) fn new(route: Route, options: &ListenOptions) -> Result<Self> {
        let engine = options.connect.engine;
        let socket_name = match (&options.socket_name, engine) {
            (Some(name), _) => name.as_str(),
            (None, Some(DatabaseEngine::MySql)) => MYSQL_SOCKET,
            (None, Some(DatabaseEngine::SqlServer)) => SQL_SERVER_SOCKET,
            (None, Some(DatabaseEngine::Postgres) | None) => POSTGRES_SOCKET,
        };
        if !is_plain_name(socket_name) {
            return Err(Error::config(format!(
                "socket_name {socket_name:?} is not a plain file name"
            )));
        }
        let named_for = socket_name
            .starts_with(POSTGRES_SOCKETS)
            .then_some(DatabaseEngine::Postgres);
        let runtime = Handle::try_current()
            .map_err(|_| Error::config("a private listener needs a tokio runtime to run on"))?;
        let stop = route.closed().child_token();
        if stop.is_cancelled() {
            return Err(Error::new(ErrorKind::Closed, "the connector is closed")
                .with_instance(route.instance()));
        }
        let shared = Arc::new(Shared {
            route,
            require_same_pid: options.require_same_pid,
            socket_name: socket_name.to_owned(),
            engine: engine.or(named_for),
            parked: Mutex::default(),
            bound: Mutex::new(None),
            stop,
            runtime,
            owner: getpid(),
        });
        let directory = Directory::create(&shared.socket_name)?;
        let bound = shared.bind(directory)?;
        *lock(&shared.bound) = Some(bound);
        Ok(PrivateListener { shared })
    }

    /// The directory that the socket is in: libpq's `host`.
    ///
    /// Checked each time, and made anew, at the same path if possible, should something have removed or replaced it: ask
    /// before each connect rather than keep the answer.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] after close or in the child of a fork; [`ErrorKind::Config`] if no new one can be made.
    pub fn directory(&self) -> Result<PathBuf> {
        self.shared.directory()
    }

    /// The socket itself, for drivers that take its whole path. Checked like [`directory`](Self::directory).
    ///
    /// # Errors
    /// Those of [`directory`](Self::directory).
    pub fn socket_path(&self) -> Result<PathBuf> {
        Ok(self.directory()?.join(&self.shared.socket_name))
    }

    /// Dials now and keeps the stream ready for the next client, first in, first out; after ten seconds it is closed.
    ///
    /// This is how a caller gets the reason for a failed dial as an [`Error`], before its driver can only say that the
    /// server hung up.
    ///
    /// # Errors
    /// Those of [`connect`](crate::Connector::connect) and [`directory`](Self::directory).
    pub async fn park(&self) -> Result<()> {
        self.shared.directory()?;
        let connection = self.shared.dial().await?;
        let shared = self.shared.clone();
        let ticket = {
            let mut parked = lock(&shared.parked);
            let ticket = parked.next;
            parked.next += 1;
            parked.streams.push_back((ticket, connection));
            ticket
        };
        // It may have closed while we dialled, after it emptied the parking.
        if shared.stop.is_cancelled() {
            shared.clear();
            return Err(shared.closed());
        }
        self.shared.runtime.spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(PARKING_TIME) => {}
                () = shared.stop.cancelled() => {}
            }
            lock(&shared.parked)
                .streams
                .retain(|(parked, _)| *parked != ticket);
        });
        Ok(())
    }

    /// Stops listening, closes parked streams, ends dials in flight, and removes socket and directory.
    pub fn close(&self) {
        if self.shared.owner == getpid() {
            self.shared.close();
        }
    }
}

impl Connector {
    /// Opens a private Unix socket that leads to `instance`, served on the current tokio runtime. Nothing is dialled yet.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) for a malformed name or option, without a runtime, or if no directory is fit for it;
    /// [`Closed`](ErrorKind::Closed).
    pub fn listen(&self, instance: &str, options: &ListenOptions) -> Result<PrivateListener> {
        let mut connect = options.connect.clone();
        connect.client_protocol.get_or_insert(ClientProtocol::Uds);
        PrivateListener::new(self.route(instance, &connect)?, options)
    }
}

impl Drop for PrivateListener {
    fn drop(&mut self) {
        match self.shared.owner == getpid() {
            true => self.shared.close(),
            // The runtime is the parent's, and so is the poll set behind it: nothing of it may be touched here.
            false => std::mem::forget(self.shared.clone()),
        }
    }
}

impl fmt::Debug for PrivateListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrivateListener")
            .field("route", &self.shared.route)
            .field("socket_name", &self.shared.socket_name)
            .field("require_same_pid", &self.shared.require_same_pid)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn directory(self: &Arc<Self>) -> Result<PathBuf> {
        if self.owner != getpid() {
            return Err(Error::new(
                ErrorKind::Closed,
                "this private listener belongs to the process that forked",
            ));
        }
        let mut bound = lock(&self.bound);
        if self.stop.is_cancelled() {
            return Err(self.closed());
        }
        let is_fit = bound.as_ref().is_some_and(|current| {
            current.directory.is_intact() && current.directory.has_socket(&self.socket_name)
        });
        if !is_fit {
            // Should that fail, none is bound, and whoever asks next tries again.
            let directory = match bound.take() {
                None => Directory::create(&self.socket_name)?,
                Some(lost) => {
                    tracing::warn!(directory = %lost.directory.path().display(), "a private socket was removed; making it anew");
                    lost.accepting.abort();
                    match lost.directory.is_intact() {
                        // Only the socket went, so its directory need not.
                        true => lost.directory,
                        false => lost.directory.recreate(&self.socket_name)?,
                    }
                }
            };
            *bound = Some(self.bind(directory)?);
        }
        bound
            .as_ref()
            .map(|bound| bound.directory.path().to_owned())
            .ok_or_else(|| self.closed())
    }

    fn bind(self: &Arc<Self>, directory: Directory) -> Result<Bound> {
        let path = directory.path().join(&self.socket_name);
        let failed = |error: io::Error| {
            Error::config(format!("could not listen at {}", path.display())).with_source(error)
        };
        let listener = StdUnixListener::bind(&path).map_err(failed)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = {
            let _runtime = self.runtime.enter();
            UnixListener::from_std(listener).map_err(failed)?
        };
        let accepting = self.runtime.spawn(accept(self.clone(), listener));
        Ok(Bound {
            directory,
            accepting: accepting.abort_handle(),
        })
    }

    async fn dial(&self) -> Result<Connection> {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Err(self.closed()),
            connected = self.route.connect() => connected,
        }
    }

    fn take_parked(&self) -> Option<Connection> {
        loop {
            let (_, connection) = lock(&self.parked).streams.pop_front()?;
            if connection.is_alive() {
                return Some(connection);
            }
        }
    }

    async fn serve(&self, local: UnixStream) {
        let connection = match self.take_parked() {
            Some(connection) => Ok(connection),
            None => self.dial().await,
        };
        let refused = match connection {
            Ok(connection) => match pump::run(local, connection).await {
                Ok(_) => return,
                Err(refused) => refused,
            },
            Err(error) => Box::new(pump::Refused {
                local,
                said: Vec::new(),
                error,
            }),
        };
        tracing::warn!(error = %refused.error.chain(), "a client of a private socket got no session");
        if let Some(engine) = self.engine {
            refusal::tell(engine, refused.local, &refused.said, &refused.error).await;
        }
    }

    fn close(&self) {
        self.stop.cancel();
        self.clear();
    }

    fn clear(&self) {
        lock(&self.parked).streams.clear();
        if let Some(bound) = lock(&self.bound).take() {
            bound.accepting.abort();
        }
    }

    fn closed(&self) -> Error {
        Error::new(ErrorKind::Closed, "the private listener is closed")
            .with_instance(self.route.instance())
    }
}

async fn accept(shared: Arc<Shared>, listener: UnixListener) {
    let _listed = Listed::new(&listener);
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((local, _)) => match peer::check(&local, shared.require_same_pid) {
                Ok(()) => {
                    let shared = shared.clone();
                    tokio::spawn(async move { shared.serve(local).await });
                }
                Err(reason) => {
                    tracing::warn!(reason, "a client of a private socket was refused");
                }
            },
            // Out of descriptors, most likely: they come back.
            Err(error) => {
                tracing::warn!(%error, "a private socket could not accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    shared.clear();
}

const POSTGRES_SOCKET: &str = ".s.PGSQL.5432";
const MYSQL_SOCKET: &str = "mysql.sock";
const SQL_SERVER_SOCKET: &str = "sqlserver.sock";

/// How the names of PostgreSQL's sockets begin.
const POSTGRES_SOCKETS: &str = ".s.PGSQL.";

/// How long a parked stream waits for its client.
const PARKING_TIME: Duration = Duration::from_secs(10);

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
