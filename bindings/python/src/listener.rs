//! The private listener, for drivers that take nothing but a Unix socket's directory.

use std::path::PathBuf;
use std::sync::Arc;

use iamsql::{ListenOptions, PrivateListener};
use pyo3::prelude::*;

use crate::connector::login_user;
use crate::fork::{self, Generation, Held};
use crate::{awaitable, error, runtime};

/// A Unix socket in a directory of its own that leads to one instance, for this process alone.
#[pyclass(frozen, weakref, module = "iamsql._native")]
pub(crate) struct Listener {
    socket: Arc<Inner>,
    engine: iamsql::Connector,
    instance: String,
    iam: bool,
    generation: Generation,
}

struct Inner(PrivateListener);

#[pymethods]
impl Listener {
    /// The directory, which libpq takes as its host.
    fn directory(&self) -> PyResult<PathBuf> {
        self.socket.0.directory().map_err(error::raise)
    }

    /// The socket itself, for drivers that take its whole path.
    fn path(&self) -> PyResult<PathBuf> {
        self.socket.0.socket_path().map_err(error::raise)
    }

    /// Dials now, keeps the connection for the next driver that connects here, and returns the user to log in as.
    #[pyo3(signature = (user=None))]
    fn park(&self, py: Python<'_>, user: Option<String>) -> PyResult<Option<String>> {
        runtime::wait(py, self.parked(user))
    }

    /// The same for an event loop: resolves to the user.
    #[pyo3(signature = (event_loop, user=None))]
    fn park_async<'py>(
        &self,
        event_loop: &Bound<'py, PyAny>,
        user: Option<String>,
    ) -> PyResult<Bound<'py, PyAny>> {
        awaitable::spawn(event_loop, self.parked(user), |_, user| Ok(user))
    }

    /// Whether this process made it. A parent's is of no use to a child.
    fn is_current(&self) -> bool {
        self.generation.is_current()
    }

    /// Removes the socket and its directory. Connections through it live on.
    fn close(&self) {
        if self.generation.is_current() {
            self.socket.0.close();
        }
    }
}

impl Listener {
    pub(crate) fn open(
        py: Python<'_>,
        engine: iamsql::Connector,
        instance: String,
        iam: bool,
        options: &ListenOptions,
    ) -> PyResult<Self> {
        let handle = runtime::handle(py)?;
        let _entered = handle.enter();
        let listener = engine.listen(&instance, options).map_err(error::raise)?;
        let socket = Arc::new(Inner(listener));
        fork::watch(py, &socket);
        Ok(Listener {
            socket,
            engine,
            instance,
            iam,
            generation: Generation::current(),
        })
    }

    fn parked(
        &self,
        user: Option<String>,
    ) -> impl Future<Output = iamsql::Result<Option<String>>> + Send + 'static {
        let socket = Arc::clone(&self.socket);
        let (engine, instance, iam) = (self.engine.clone(), self.instance.clone(), self.iam);
        async move {
            let login = login_user(&engine, &instance, iam, user);
            let ((), user) = tokio::try_join!(socket.0.park(), login)?;
            Ok(user)
        }
    }
}

impl Held for Inner {
    /// The engine's listener knows whose it is, and its descriptors are among the engine's own.
    fn abandon(&self) {}

    fn remove(&self) {
        self.0.close();
    }
}
