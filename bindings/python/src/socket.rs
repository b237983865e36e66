//! The blocking face: what a driver takes for a connected socket. TLS runs on the calling thread, detached.

use std::sync::Arc;

use iamsql::Connection;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PySlice};

use crate::channel::Channel;
use crate::file::File;
use crate::options::seconds;

/// A connected, authenticated byte stream with the methods of `socket.socket` that drivers use.
#[pyclass(frozen, weakref, module = "iamsql._native")]
pub(crate) struct Socket(Arc<Channel>);

#[pymethods]
impl Socket {
    /// At most `size` bytes, none at the end of the stream.
    fn recv<'py>(&self, py: Python<'py>, size: usize) -> PyResult<Bound<'py, PyBytes>> {
        let mut buffer = vec![0; size.min(LARGEST_READ)];
        let count = self.0.read(py, &mut buffer)?;
        Ok(PyBytes::new(py, &buffer[..count]))
    }

    /// The same into a writable buffer; how many bytes that were.
    #[pyo3(signature = (buffer, size=0))]
    fn recv_into(&self, py: Python<'_>, buffer: &Bound<'_, PyAny>, size: usize) -> PyResult<usize> {
        let room = match size {
            0 => buffer.len()?,
            size => size,
        };
        let bytes = self.recv(py, room)?;
        let count = bytes.as_bytes().len();
        // The stable ABI has no buffers before Python 3.11: Python itself copies.
        buffer.set_item(PySlice::new(py, 0, count as isize, 1), bytes)?;
        Ok(count)
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
        self.0.set_timeout(limit);
        Ok(())
    }

    /// How long all reads and writes from here on may take together, in seconds; `None` ends that.
    #[pyo3(signature = (limit))]
    fn set_deadline(&self, limit: Option<f64>) -> PyResult<()> {
        let limit = limit.map(|limit| seconds("deadline", limit)).transpose()?;
        self.0.set_deadline(limit);
        Ok(())
    }

    /// What `settimeout` was given last.
    fn gettimeout(&self) -> Option<f64> {
        self.0.timeout().map(|limit| limit.as_secs_f64())
    }

    /// Does nothing: what drivers set, no delay and keep-alive, the engine has set already.
    #[pyo3(signature = (level, option, value))]
    fn setsockopt(&self, level: i32, option: i32, value: &Bound<'_, PyAny>) {
        let _ = (level, option, value);
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
        self.0.close(py);
    }

    /// The first error that a read or write raised, if any did: drivers tend to wrap it or lose it.
    #[getter]
    fn failure(&self, py: Python<'_>) -> Option<PyErr> {
        self.0.failure(py)
    }

    fn __repr__(&self) -> String {
        format!("<iamsql._native.Socket fd={}>", self.0.socket.raw_fd())
    }
}

impl Socket {
    pub(crate) fn new(py: Python<'_>, connection: Connection) -> Self {
        Socket(Channel::new(py, connection))
    }
}

/// `data` itself, or a copy if it is not `bytes`: the stable ABI has no buffers before Python 3.11.
pub(crate) fn as_bytes<'py>(data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    if let Ok(bytes) = data.cast::<PyBytes>() {
        return Ok(bytes.clone());
    }
    let py = data.py();
    if data.is_instance_of::<pyo3::types::PyInt>() {
        return Err(PyTypeError::new_err("a bytes-like object is required"));
    }
    Ok(py.get_type::<PyBytes>().call1((data,))?.cast_into()?)
}

/// Longer than any TLS record: one read never fills more.
const LARGEST_READ: usize = 64 * 1024;
