//! The non-blocking face, for an event loop that watches the descriptor itself. Never waits, so it stays attached.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use iamsql::{Connection, NonBlockingSocket};
use pyo3::exceptions::PyConnectionError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error;
use crate::fork::{self, Generation, Held};
use crate::socket::as_bytes;

/// A connected, authenticated byte stream of which nothing blocks.
#[pyclass(frozen, weakref, module = "iamsql._native")]
pub(crate) struct Transport {
    socket: Arc<Inner>,
    generation: Generation,
}

struct Inner(NonBlockingSocket);

#[pymethods]
impl Transport {
    /// What has arrived: `None` if nothing has, nothing at the end of the stream. Call again while `pending()`.
    fn read<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        self.check()?;
        let received = {
            let mut scratch = SCRATCH.lock().unwrap_or_else(PoisonError::into_inner);
            scratch.resize(LARGEST_READ, 0);
            let count = self.socket.0.read(&mut scratch);
            count.map(|count| PyBytes::new(py, &scratch[..count]))
        };
        ready(received)
    }

    /// Takes as much of `data` as there is room for, and says how much.
    fn write(&self, data: &Bound<'_, PyAny>) -> PyResult<usize> {
        self.check()?;
        let data = as_bytes(data)?;
        Ok(ready(self.socket.0.write(data.as_bytes()))?.unwrap_or(0))
    }

    /// Sends what was taken; whether all of it is out.
    fn flush(&self) -> PyResult<bool> {
        self.check()?;
        Ok(ready(self.socket.0.flush())?.unwrap_or(false))
    }

    /// Whether something waits until the descriptor is writable.
    fn wants_write(&self) -> bool {
        self.socket.0.wants_write()
    }

    /// How many received bytes wait in memory, where the event loop cannot see them.
    fn pending(&self) -> usize {
        self.socket.0.pending()
    }

    /// The descriptor to watch.
    fn fileno(&self) -> i32 {
        self.socket.0.raw_fd()
    }

    /// Ends the connection.
    fn close(&self) {
        if self.generation.is_current() {
            self.socket.0.close();
        }
    }

    fn __repr__(&self) -> String {
        format!("<iamsql._native.Transport fd={}>", self.fileno())
    }
}

impl Transport {
    pub(crate) fn new(py: Python<'_>, connection: Connection) -> Self {
        let socket = Arc::new(Inner(connection.into_nonblocking()));
        fork::watch(py, &socket);
        Transport {
            socket,
            generation: Generation::current(),
        }
    }

    fn check(&self) -> PyResult<()> {
        match self.generation.is_current() {
            true => Ok(()),
            false => Err(PyConnectionError::new_err(
                "this connection belongs to the parent process; connect anew after a fork",
            )),
        }
    }
}

impl Held for Inner {
    fn abandon(&self) {
        self.0.abandon();
    }
}

fn ready<T>(outcome: io::Result<T>) -> PyResult<Option<T>> {
    match outcome {
        Ok(value) => Ok(Some(value)),
        Err(failure) if failure.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(failure) => Err(error::raise_io(failure)),
    }
}

const LARGEST_READ: usize = 64 * 1024;

/// One for all connections. Held only where no Python code can run, so never waited for.
static SCRATCH: Mutex<Vec<u8>> = Mutex::new(Vec::new());
