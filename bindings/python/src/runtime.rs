//! The one tokio runtime of the process: a single worker, started at first use, left behind at fork, stopped at exit.

use std::future::Future;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pyo3::prelude::*;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::error;
use crate::fork::{self, PerProcess};

/// The running runtime, started if need be.
///
/// # Errors
/// `ClosedError` once the interpreter has begun to exit.
pub(crate) fn handle(py: Python<'_>) -> PyResult<Handle> {
    let runtime = RUNTIME.get_or_make(py, start)?;
    runtime
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .as_ref()
        .map(|runtime| runtime.handle().clone())
        .ok_or_else(|| error::closed("the interpreter is exiting"))
}

/// Runs `future` on the runtime while this thread waits, detached from the interpreter; ctrl-C ends both.
pub(crate) fn wait<T: Send + 'static>(
    py: Python<'_>,
    future: impl Future<Output = iamsql::Result<T>> + Send + 'static,
) -> PyResult<T> {
    let (answer, answers) = sync_channel(1);
    let task = handle(py)?.spawn(async move {
        let _ = answer.send(future.await);
    });
    let waited = py.detach(move || {
        loop {
            match answers.recv_timeout(SIGNAL_CHECK) {
                Ok(outcome) => return Ok(Some(outcome)),
                Err(RecvTimeoutError::Disconnected) => return Ok(None),
                // Attaching fails only while the interpreter exits: then no handler is due.
                Err(RecvTimeoutError::Timeout) => {
                    if let Some(Err(interrupt)) = Python::try_attach(|py| py.check_signals()) {
                        task.abort();
                        return Err(interrupt);
                    }
                }
            }
        }
    })?;
    waited
        .ok_or_else(|| error::closed("the interpreter is exiting"))?
        .map_err(error::raise)
}

/// Removes the listeners' directories and ends the worker, both before the interpreter goes: a thread that attaches later
/// would hang or abort the exit.
#[pyfunction]
pub(crate) fn shut_down(py: Python<'_>) {
    fork::remove_all(py);
    let running = RUNTIME.get(py).and_then(|runtime| {
        runtime
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    });
    if let Some(runtime) = running {
        py.detach(|| runtime.shutdown_timeout(EXIT_PATIENCE));
    }
}

fn start() -> PyResult<Mutex<Option<Runtime>>> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(8)
        .thread_name("iamsql")
        .enable_io()
        .enable_time()
        .build()?;
    Ok(Mutex::new(Some(runtime)))
}

/// How often a waiting thread looks for ctrl-C.
const SIGNAL_CHECK: Duration = Duration::from_millis(50);
const EXIT_PATIENCE: Duration = Duration::from_secs(1);

static RUNTIME: PerProcess<Mutex<Option<Runtime>>> = PerProcess::new();
