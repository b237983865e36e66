//! What a socket and its files share: the engine's blocking socket, used detached, with signals and forks minded.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use iamsql::{BlockingSocket, Connection};
use pyo3::exceptions::PyConnectionError;
use pyo3::prelude::*;

use crate::error;
use crate::fork::{self, Generation, Held};

#[derive(Default)]
struct Limits {
    /// What each read or write may take.
    each: Option<Duration>,
    /// When a login must have ended, however many reads it takes.
    deadline: Option<Instant>,
}

/// What a `Socket` and the files made from it share.
pub(crate) struct Channel {
    pub(crate) socket: BlockingSocket,
    generation: Generation,
    failure: Mutex<Option<PyErr>>,
    limits: Mutex<Limits>,
}

impl Channel {
    pub(crate) fn new(py: Python<'_>, connection: Connection) -> Arc<Self> {
        let channel = Arc::new(Channel {
            socket: connection.into_blocking(),
            generation: Generation::current(),
            failure: Mutex::new(None),
            limits: Mutex::default(),
        });
        fork::watch(py, &channel);
        channel
    }

    pub(crate) fn read(&self, py: Python<'_>, buffer: &mut [u8]) -> PyResult<usize> {
        self.run(py, |socket, on_interrupt| socket.read(buffer, on_interrupt))
    }

    pub(crate) fn write(&self, py: Python<'_>, data: &[u8]) -> PyResult<()> {
        self.run(py, |socket, on_interrupt| {
            socket.write_all(data, on_interrupt)
        })
    }

    /// Does `work` detached. A signal that arrives meanwhile is handled at once; what its handler raises ends the work.
    pub(crate) fn run<T: Send>(
        &self,
        py: Python<'_>,
        work: impl FnOnce(&BlockingSocket, &mut dyn FnMut() -> io::Result<()>) -> io::Result<T> + Send,
    ) -> PyResult<T> {
        self.check()?;
        self.keep_to_deadline();
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

    /// Bounds each read and write from here on; `None` lets them take for ever.
    pub(crate) fn set_timeout(&self, each: Option<Duration>) {
        lock(&self.limits).each = each;
        self.socket.set_timeout(each);
    }

    pub(crate) fn timeout(&self) -> Option<Duration> {
        lock(&self.limits).each
    }

    /// Bounds all reads and writes from here on together; `None` ends that.
    pub(crate) fn set_deadline(&self, limit: Option<Duration>) {
        let mut limits = lock(&self.limits);
        limits.deadline = limit.and_then(|limit| Instant::now().checked_add(limit));
        if limits.deadline.is_none() {
            self.socket.set_timeout(limits.each);
        }
    }

    fn keep_to_deadline(&self) {
        let limits = lock(&self.limits);
        let Some(deadline) = limits.deadline else {
            return;
        };
        // A limit of zero would be refused; a moment past the deadline says the same.
        let left = deadline
            .saturating_duration_since(Instant::now())
            .max(A_MOMENT);
        self.socket
            .set_timeout(Some(limits.each.map_or(left, |each| each.min(left))));
    }

    /// The first error that a read or write ended with, if any did.
    pub(crate) fn failure(&self, py: Python<'_>) -> Option<PyErr> {
        lock(&self.failure)
            .as_ref()
            .map(|first| first.clone_ref(py))
    }

    pub(crate) fn close(&self, py: Python<'_>) {
        if self.generation.is_current() {
            py.detach(|| self.socket.close());
        }
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

const A_MOMENT: Duration = Duration::from_millis(1);

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
