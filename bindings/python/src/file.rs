//! The buffered file that a driver makes of a socket: small reads and writes stay in memory, large ones go straight through.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::PyBytes;

use crate::channel::Channel;
use crate::socket::as_bytes;

/// What `Socket.makefile()` returns: `read(n)` waits for all `n` bytes, `write` sends at `flush` or when enough came together.
#[pyclass(frozen, module = "iamsql._native")]
pub(crate) struct File {
    channel: Arc<Channel>,
    input: Mutex<Input>,
    output: Mutex<Vec<u8>>,
}

#[derive(Default)]
struct Input {
    buffer: Vec<u8>,
    start: usize,
}

#[pymethods]
impl File {
    /// `size` bytes, or fewer at the end of the stream only.
    fn read<'py>(&self, py: Python<'py>, size: usize) -> PyResult<Bound<'py, PyBytes>> {
        let mut input = self.lock(py, &self.input)?;
        if let Some(ready) = input.take(size) {
            return Ok(PyBytes::new(py, ready));
        }
        if size > AT_ONCE {
            return self.read_large(py, &mut input, size);
        }
        let mut length = 0;
        let bytes = PyBytes::new_with(py, size, |out| {
            length = self.read_into(py, &mut input, out)?;
            Ok(())
        })?;
        if length == size {
            return Ok(bytes);
        }
        Ok(PyBytes::new(py, &bytes.as_bytes()[..length]))
    }

    /// Takes `data`, whatever kind of bytes it is, and says how much that was.
    fn write(&self, py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<usize> {
        let bytes = as_bytes(data)?;
        let bytes = bytes.as_bytes();
        let mut output = self.lock(py, &self.output)?;
        if output.len() + bytes.len() <= BUFFER {
            output.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        self.send(py, &mut output)?;
        if bytes.len() < BUFFER {
            output.extend_from_slice(bytes);
        } else {
            self.channel.write(py, bytes)?;
        }
        Ok(bytes.len())
    }

    /// Sends what `write` took.
    fn flush(&self, py: Python<'_>) -> PyResult<()> {
        self.send(py, &mut *self.lock(py, &self.output)?)
    }

    /// Sends what is left. The socket stays open.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        self.flush(py)
    }
}

impl File {
    pub(crate) fn new(channel: Arc<Channel>) -> Self {
        File {
            channel,
            input: Mutex::default(),
            output: Mutex::default(),
        }
    }

    /// A length that the server claims is no reason to reserve that much: memory grows with what really arrives.
    fn read_large<'py>(
        &self,
        py: Python<'py>,
        input: &mut Input,
        size: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let mut bytes = Vec::new();
        while bytes.len() < size {
            let start = bytes.len();
            bytes.resize(size.min((2 * start).max(AT_ONCE)), 0);
            let wanted = bytes.len() - start;
            let count = self.read_into(py, input, &mut bytes[start..])?;
            if count < wanted {
                bytes.truncate(start + count);
                break;
            }
        }
        Ok(PyBytes::new(py, &bytes))
    }

    /// Fills `out`, or less of it at the end of the stream only.
    fn read_into(&self, py: Python<'_>, input: &mut Input, out: &mut [u8]) -> PyResult<usize> {
        let mut length = 0;
        while length < out.len() {
            length += match input.fill(py, &self.channel, &mut out[length..])? {
                0 => break,
                count => count,
            };
        }
        Ok(length)
    }

    /// Locks one direction. Not after a fork, where its holder may be a thread that is gone.
    fn lock<'a, T>(&self, py: Python<'_>, mutex: &'a Mutex<T>) -> PyResult<MutexGuard<'a, T>> {
        self.channel.check()?;
        Ok(mutex
            .lock_py_attached(py)
            .unwrap_or_else(PoisonError::into_inner))
    }

    fn send(&self, py: Python<'_>, output: &mut Vec<u8>) -> PyResult<()> {
        if output.is_empty() {
            return Ok(());
        }
        let sent = self.channel.write(py, output);
        output.clear();
        sent
    }
}

impl Input {
    /// `size` bytes if that many are here.
    fn take(&mut self, size: usize) -> Option<&[u8]> {
        let ready = self.buffer.get(self.start..self.start.checked_add(size)?)?;
        self.start += size;
        Some(ready)
    }

    /// Some of `out`: from memory, else from the network, past the buffer if `out` is the larger.
    fn fill(&mut self, py: Python<'_>, channel: &Channel, out: &mut [u8]) -> PyResult<usize> {
        if self.start == self.buffer.len() {
            if out.len() >= BUFFER {
                return channel.read(py, out);
            }
            self.start = 0;
            self.buffer.resize(BUFFER, 0);
            let read = channel.read(py, &mut self.buffer);
            self.buffer.truncate(*read.as_ref().unwrap_or(&0));
            read?;
        }
        let count = out.len().min(self.buffer.len() - self.start);
        out[..count].copy_from_slice(&self.buffer[self.start..][..count]);
        self.start += count;
        Ok(count)
    }
}

const BUFFER: usize = 8 * 1024;

/// What one read may reserve before anything has come.
const AT_ONCE: usize = 1024 * 1024;
