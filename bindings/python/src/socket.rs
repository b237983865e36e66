//! The blocking face: what a driver takes for a connected socket. TLS runs on the calling thread, detached.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use iamsql::{BlockingSocket, Connection};
use pyo3::exceptions::{PyConnectionError, PyOSError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error;
use crate::file::File;
use crate::fork::{self, Generation, Held};
use crate::options::seconds;

/// A connected, authenticated byte stream with the methods of `socket.socket` that drivers use.
#[pyclass(frozen, weakref, module = "iamsql._native")]
pub(crate) struct Socket(Arc<Channel>);

/// What a `Socket` and the files made from it share.
pub(crate) struct Channel {
    socket: BlockingSocket,
    generation: Generation,
    failure: Mutex<Option<PyErr>>,
}

#[pymethods]
impl Socket {
    /// At most `size` bytes, none at the end of the stream.
    fn recv<'py>(&self, py: Python<'py>, size: usize) -> PyResult<Bound<'py, PyBytes>> {
        let mut buffer = vec![0; size.min(LARGEST_READ)];
        let count = self.0.read(py, &mut buffer)?;
        Ok(PyBytes::new(py, &buffer[..count]))
    }

    /// Sends all of `data`, whatever kind of bytes it is.
    fn sendall(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<()> {
        self.0.write(py, as_bytes(data)?.as_bytes())
    }

    /// The same, and says how much that was.
    fn send(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<usize> {
        let bytes = as_bytes(data)?;
        self.0.write(py, bytes.as_bytes())?;
        Ok(bytes.as_bytes().len())
    }

    /// A buffered binary file over this connection, for reading and writing.
    #[pyo3(signature = (mode="rwb", buffering=None))]
    fn makefile(&self, mode: &str, buffering: Option<isize>) -> PyResult<File> {
        let _ = buffering;
        if !mode.contains('b') {
            return Err(PyValueError::new_err(format!(
                "makefile mode {mode:?} is not binary"
            )));
        }
        Ok(File::new(Arc::clone(&self.0)))
    }

    /// How long one read or write may take, in seconds; `None` for ever.
    #[pyo3(signature = (timeout))]
    fn settimeout(&self, timeout: Option<f64>) -> PyResult<()> {
        let limit = timeout.map(|limit| seconds("timeout", limit)).transpose()?;
        self.0.socket.set_timeout(limit);
        Ok(())
    }

    /// What `settimeout` was given last.
    fn gettimeout(&self) -> Option<f64> {
        self.0.socket.timeout().map(|limit| limit.as_secs_f64())
    }

    /// The descriptor below. What `select` says about it leaves out the bytes that `pending` counts.
    fn fileno(&self) -> i32 {
        self.0.socket.raw_fd()
    }

    /// How many received bytes wait in memory.
    fn pending(&self) -> usize {
        self.0.socket.pending()
    }

    /// Ends the sending half (`SHUT_WR`, `SHUT_RDWR`); ending the receiving half alone does nothing.
    fn shutdown(&self, py: Python<'_>, how: i32) -> PyResult<()> {
        if how == 0 {
            return Ok(());
        }
        self.0.run(py, |socket, on_interrupt| {
            socket.shutdown_write(on_interrupt)
        })
    }

    /// Ends the connection; a thread that reads or writes meanwhile gets an error.
    fn close(&self, py: Python<'_>) {
        if self.0.generation.is_current() {
            py.detach(|| self.0.socket.close());
        }
    }

    /// The first error that a read or write raised, if any did: drivers tend to wrap it or lose it.
    #[getter]
    fn failure(&self, py: Python<'_>) -> Option<PyErr> {
        lock(&self.0.failure)
            .as_ref()
            .map(|first| first.clone_ref(py))
    }

    fn __repr__(&self) -> String {
        format!("<iamsql._native.Socket fd={}>", self.0.socket.raw_fd())
    }
}

impl Socket {
    pub(crate) fn new(py: Python<'_>, connection: Connection) -> Self {
        let channel = Arc::new(Channel {
            socket: connection.into_blocking(),
            generation: Generation::current(),
            failure: Mutex::new(None),
        });
        fork::watch(py, &channel);
        Socket(channel)
    }
}

impl Channel {
    pub(crate) fn read(&self, py: Python<'_>, buffer: &mut [u8]) -> PyResult<usize> {
        self.run(py, |socket, on_interrupt| socket.read(buffer, on_interrupt))
    }

    pub(crate) fn write(&self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        self.run(py, |socket, on_interrupt| {
            socket.write_all(data, on_interrupt)
        })
    }

    /// Does `work` detached. A signal that arrives meanwhile is handled at once; what its handler raises ends the work.
    fn run<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&BlockingSocket, &mut dyn FnMut() -> io::Result<()>) -> io::Result<T> + Send,
    ) -> PyResult<T> {
        self.check()?;
        let mut interrupt = None;
        let outcome = py.detach(|| {
            work(&self.socket, &mut || {
                let handled = Python::try_attach(|py| py.check_signals()).unwrap_or(Ok(()));
                handled.map_err(|raised| {
                    interrupt = Some(raised);
                    io::ErrorKind::Interrupted.into()
                })
            })
        });
        outcome.map_err(|failure| {
            let failure = interrupt.unwrap_or_else(|| error::raise_io(failure));
            lock(&self.failure).get_or_insert_with(|| failure.clone_ref(py));
            failure
        })
    }

    /// # Errors
    /// `ConnectionError` in a forked child: the connection is its parent's.
    pub(crate) fn check(&self) -> PyResult<()> {
        match self.generation.is_current() {
            true => Ok(()),
            false => Err(PyConnectionError::new_err(
                "this connection belongs to the parent process; connect anew after a fork",
            )),
        }
    }
}

impl Held for Channel {
    fn abandon(&self) {
        self.socket.abandon();
    }
}

/// `data` itself, or a copy if it is not `bytes`: the stable ABI has no buffers before Python 3.11.
pub(crate) fn as_bytes<'py>(data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    if let Ok(bytes) = data.cast::<PyBytes>() {
        return Ok(bytes.clone());
    }
    let py = data.py();
    if data.is_instance_of::<pyo3::types::PyInt>() {
        return Err(PyOSError::new_err("a bytes-like object is required"));
    }
    Ok(py.get_type::<PyBytes>().call1((data,))?.cast_into()?)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Longer than any TLS record: one read never fills more.
const LARGEST_READ: usize = 64 * 1024;
