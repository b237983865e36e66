//! The socket pair: one end for whoever adopts a descriptor, the other pumped by the engine.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::{Arc, Mutex};

use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;

use super::blocking::lock;
use super::pump;
use crate::connector::Connector;
use crate::data::Route;
use crate::data::descriptors::Listed;
use crate::error::{Error, ErrorKind, Result};
use crate::options::ConnectOptions;

/// Two connected Unix sockets, one of which will lead to the instance once [`dial`](Self::dial) succeeds.
///
/// The client's end is there at once, so that a driver may hold it before anything is dialled. The engine owns both
/// descriptors, and closes them when the pair goes, until [`adopted`](Self::adopted) is called. Sessions that run outlive
/// the pair and the connector.
pub struct Pair {
    route: Route,
    client: Mutex<Option<OwnedFd>>,
    engine: Mutex<Option<(Listed, StdUnixStream)>>,
    aborted: CancellationToken,
    failure: Arc<Mutex<Option<Error>>>,
}

impl Pair {
    pub(crate) fn new(route: Route) -> Result<Self> {
        let (client, engine) = StdUnixStream::pair().map_err(no_descriptors)?;
        engine.set_nonblocking(true).map_err(no_descriptors)?;
        Ok(Pair {
            route,
            client: Mutex::new(Some(client.into())),
            engine: Mutex::new(Some((Listed::new(&engine), engine))),
            aborted: CancellationToken::new(),
            failure: Arc::default(),
        })
    }

    /// The client's end, to adopt by its number; `None` once it was adopted or taken.
    ///
    /// It is blocking, closes on exec, and stays the engine's until [`adopted`](Self::adopted).
    pub fn client_fd(&self) -> Option<RawFd> {
        lock(&self.client).as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Says that someone else now owns the number that [`client_fd`](Self::client_fd) gave and will close it.
    pub fn adopted(&self) {
        if let Some(client) = lock(&self.client).take() {
            let _ = client.into_raw_fd();
        }
    }

    /// Hands the client's end over to a Rust caller; `None` once it was adopted or taken.
    pub fn take_client_fd(&self) -> Option<OwnedFd> {
        lock(&self.client).take()
    }

    /// Connects the engine's end to the instance; the session then runs by itself on the current tokio runtime.
    ///
    /// Once only. If it fails, the engine's end stays open until the client's is closed: a driver that finds its socket
    /// broken would report that instead of the cause.
    ///
    /// # Errors
    /// Those of [`connect`](crate::Connector::connect); [`ErrorKind::Closed`] after [`abort`](Self::abort);
    /// [`ErrorKind::Config`] the second time.
    pub async fn dial(&self) -> Result<()> {
        let (listed, engine) = lock(&self.engine)
            .take()
            .ok_or_else(|| Error::config("this socket pair was dialled already"))?;
        let engine = UnixStream::from_std(engine).map_err(no_descriptors)?;
        let connected = tokio::select! {
            biased;
            () = self.aborted.cancelled() => Err(Error::new(
                ErrorKind::Closed,
                "the socket was closed while connecting",
            )
            .with_instance(self.route.instance())),
            connected = self.route.connect() => connected,
        };
        // From here on the pump lists it.
        drop(listed);
        match connected {
            Ok(connection) => {
                let failure = self.failure.clone();
                tokio::spawn(async move {
                    let note = |error| *lock(&failure) = Some(error);
                    if let Err(refused) = pump::run_noting(engine, connection, &note).await {
                        tracing::warn!(error = %refused.error.chain(), "a session ended before it began");
                        note(refused.error.clone());
                    }
                });
                Ok(())
            }
            Err(error) => {
                tokio::spawn(linger(engine, self.aborted.clone()));
                Err(error)
            }
        }
    }

    /// Why the session ended, if it was not the client or a server's ordinary goodbye that ended it. What ended it is known
    /// by the time that the client's end reads end of file.
    pub fn failure(&self) -> Option<Error> {
        lock(&self.failure).clone()
    }

    /// Ends a dial in flight, and closes the engine's end if nothing was dialled. A session that runs goes on: close the
    /// client's end to end it.
    pub fn abort(&self) {
        self.aborted.cancel();
        drop(lock(&self.engine).take());
    }
}

impl Connector {
    /// Makes a socket pair whose other end will lead to `instance`; nothing is dialled until [`Pair::dial`].
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) for a malformed name or option; [`Network`](ErrorKind::Network) if the system has no
    /// descriptors left.
    pub fn pair(&self, instance: &str, options: &ConnectOptions) -> Result<Pair> {
        Pair::new(self.route(instance, options)?)
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair")
            .field("route", &self.route)
            .field("client_fd", &self.client_fd())
            .finish_non_exhaustive()
    }
}

/// Holds the engine's end of a failed dial until the client has closed its own.
async fn linger(mut engine: UnixStream, aborted: CancellationToken) {
    let mut scrap = [0; 512];
    let client_closes = async { while matches!(engine.read(&mut scrap).await, Ok(1..)) {} };
    tokio::select! {
        () = client_closes => {}
        () = aborted.cancelled() => {}
    }
}

fn no_descriptors(error: io::Error) -> Error {
    Error::new(ErrorKind::Network, "could not make a pair of sockets").with_source(error)
}
