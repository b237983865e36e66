//! The local proxy: a Unix socket at a path of the caller's, which leads to an instance.

use std::fmt;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, getpid};
use tokio::net::{UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::{peer, pump, refusal};
use crate::connector::Connector;
use crate::data::Route;
use crate::data::descriptors::Listed;
use crate::error::{Error, ErrorKind, Result};
use crate::options::{AuthMode, ClientProtocol, ConnectOptions};
use crate::user::DatabaseEngine;

/// How a [`LocalProxy`] listens.
#[non_exhaustive]
#[derive(Clone, Debug, Default)]
pub struct LocalProxyOptions {
    /// How it dials; what is unset comes from the connector.
    pub connect: ConnectOptions,
    /// Whether other users may read the socket's file. Default `false`. Connecting takes more than that on Linux.
    pub readable_all: bool,
    /// Whether other users of the machine may connect. Default `false`; refused for IAM logins, which ask for no password.
    pub writable_all: bool,
}

impl LocalProxyOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// How it dials.
    pub fn connect(mut self, connect: ConnectOptions) -> Self {
        self.connect = connect;
        self
    }

    /// Whether other users may read the socket's file. Default `false`.
    pub fn readable_all(mut self, readable: bool) -> Self {
        self.readable_all = readable;
        self
    }

    /// Whether other users of the machine may connect. Default `false`; refused for IAM logins.
    pub fn writable_all(mut self, writable: bool) -> Self {
        self.writable_all = writable;
        self
    }
}

/// A Unix socket at a path that the caller chose, for tools that read it from a URL or a configuration file.
///
/// Each client is asked of the system, and only our own user may connect unless `writable_all` was chosen: with an IAM
/// login whoever connects is this process's principal. Why a dial failed, a client reads in the protocol of the
/// [`engine`](ConnectOptions::engine), which need not be said for a socket that is named as PostgreSQL names its own
/// (`.s.PGSQL.5432`): as a FATAL of SQLSTATE 08001, or as MySQL's error 1429.
///
/// Closing it, or its connector, or dropping it removes the socket; open sessions live on.
pub struct LocalProxy {
    shared: Arc<Shared>,
    path: PathBuf,
    made: Identity,
}

struct Shared {
    route: Route,
    path: PathBuf,
    any_user: bool,
    /// Whose protocol the clients speak, if that is known.
    engine: Option<DatabaseEngine>,
    stop: CancellationToken,
    owner: Pid,
}

/// Device and inode: tell our socket from whatever else may come to stand at its path.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Identity(u64, u64);

impl LocalProxy {
    fn new(route: Route, mode: AuthMode, path: &Path, options: &LocalProxyOptions) -> Result<Self> {
        if options.writable_all && mode == AuthMode::Iam {
            return Err(Error::config(
                "a socket that every user can write to would log all of them in as this process's principal",
            )
            .with_advice("leave writable_all off, or log in with a password")
            .with_instance(route.instance()));
        }
        let _runtime = Handle::try_current()
            .map_err(|_| Error::config("a local proxy needs a tokio runtime to run on"))?;
        let stop = route.closed().child_token();
        if stop.is_cancelled() {
            return Err(Error::new(ErrorKind::Closed, "the connector is closed")
                .with_instance(route.instance()));
        }
        let (listener, made) = bind(path, permissions(options))
            .map_err(|error| error.with_instance(route.instance()))?;
        let shared = Arc::new(Shared {
            route,
            path: path.to_owned(),
            any_user: options.writable_all,
            engine: options.connect.engine.or_else(|| named_for(path)),
            stop,
            owner: getpid(),
        });
        tokio::spawn(accept(shared.clone(), listener, made));
        Ok(LocalProxy {
            shared,
            path: path.to_owned(),
            made,
        })
    }

    /// Where the socket is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Stops listening, ends dials in flight, and removes the socket.
    pub fn close(&self) {
        self.shared.close(self.made);
    }
}

impl Connector {
    /// Listens at `path`, which must be free, and leads whoever connects to `instance`; served on the current tokio runtime.
    /// Nothing is dialled before a client comes.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) for a malformed name or option, an IAM login with
    /// [`writable_all`](LocalProxyOptions::writable_all), without a runtime, or if the path cannot be bound;
    /// [`Closed`](ErrorKind::Closed).
    pub fn local_proxy(
        &self,
        instance: &str,
        path: impl AsRef<Path>,
        options: &LocalProxyOptions,
    ) -> Result<LocalProxy> {
        let mut connect = options.connect.clone();
        connect.client_protocol.get_or_insert(ClientProtocol::Uds);
        let route = self.route(instance, &connect)?;
        let mode = self.auth_mode(&options.connect);
        LocalProxy::new(route, mode, path.as_ref(), options)
    }
}

impl Drop for LocalProxy {
    fn drop(&mut self) {
        self.close();
    }
}

impl fmt::Debug for LocalProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalProxy")
            .field("route", &self.shared.route)
            .field("path", &self.path)
            .field("any_user", &self.shared.any_user)
            .finish_non_exhaustive()
    }
}

impl Shared {
    async fn serve(&self, local: UnixStream) {
        let connected = tokio::select! {
            biased;
            () = self.stop.cancelled() => return,
            connected = self.route.connect() => connected,
        };
        let refused = match connected {
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
        tracing::warn!(error = %refused.error.chain(), "a client of a local proxy got no session");
        if let Some(engine) = self.engine {
            refusal::tell(engine, refused.local, &refused.said, &refused.error).await;
        }
    }

    /// Removes the socket, unless something else has come to stand in its place or this is the child of a fork.
    fn close(&self, made: Identity) {
        if self.owner != getpid() {
            return;
        }
        self.stop.cancel();
        if identity(&self.path).is_ok_and(|found| found == made) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

async fn accept(shared: Arc<Shared>, listener: UnixListener, made: Identity) {
    let _listed = Listed::new(&listener);
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((local, _)) => {
                let checked = match shared.any_user {
                    true => Ok(()),
                    false => peer::check(&local, false),
                };
                match checked {
                    Ok(()) => {
                        let shared = shared.clone();
                        tokio::spawn(async move { shared.serve(local).await });
                    }
                    Err(reason) => {
                        tracing::warn!(reason, "a client of a local proxy was refused");
                    }
                }
            }
            // Out of descriptors, most likely: they come back.
            Err(error) => {
                tracing::warn!(%error, "a local proxy could not accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    shared.close(made);
}

fn bind(path: &Path, mode: u32) -> Result<(UnixListener, Identity)> {
    let failed = |error: io::Error| {
        let in_use = error.kind() == io::ErrorKind::AddrInUse;
        let failure = Error::config(format!("could not listen at {}", path.display()));
        match in_use {
            true => failure.with_advice("remove the file if no other process listens there"),
            false => failure,
        }
        .with_source(error)
    };
    let listener = StdUnixListener::bind(path).map_err(failed)?;
    // Whoever came in before this line is asked who they are all the same.
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let made = identity(path).map_err(failed)?;
    Ok((UnixListener::from_std(listener).map_err(failed)?, made))
}

/// The engine whose sockets have such names.
fn named_for(path: &Path) -> Option<DatabaseEngine> {
    let name = path.file_name()?.to_string_lossy();
    name.starts_with(".s.PGSQL.")
        .then_some(DatabaseEngine::Postgres)
}

fn identity(path: &Path) -> io::Result<Identity> {
    let found = fs::symlink_metadata(path)?;
    match found.file_type().is_socket() {
        true => Ok(Identity(found.dev(), found.ino())),
        false => Err(io::ErrorKind::NotFound.into()),
    }
}

fn permissions(options: &LocalProxyOptions) -> u32 {
    let readable = if options.readable_all { 0o444 } else { 0 };
    let writable = if options.writable_all { 0o222 } else { 0 };
    0o600 | readable | writable
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
