//! A future of the engine → an `asyncio.Future` of the caller's loop, whichever loop that is.

use std::future::Future;
use std::sync::{Mutex, PoisonError};

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use tokio::task::AbortHandle;

use crate::{error, runtime};

/// Starts `future` on the runtime and returns an `asyncio.Future` of `event_loop` that `convert` will have filled.
///
/// Cancelling the Python future aborts the Rust one. Must be called on the loop's own thread.
pub(crate) fn spawn<'py, T, R>(
    event_loop: &Bound<'py, PyAny>,
    future: impl Future<Output = iamsql::Result<T>> + Send + 'static,
    convert: impl FnOnce(Python<'_>, T) -> PyResult<R> + Send + 'static,
) -> PyResult<Bound<'py, PyAny>>
where
    T: Send + 'static,
    R: for<'a> IntoPyObject<'a>,
{
    let py = event_loop.py();
    let promise = event_loop.call_method0("create_future")?;
    let (loop_handle, pending) = (event_loop.clone().unbind(), promise.clone().unbind());
    let task = runtime::handle(py)?.spawn(async move {
        let outcome = future.await;
        // None while the interpreter exits: then nobody waits any more.
        Python::try_attach(move |py| {
            let outcome = outcome
                .map_err(error::raise)
                .and_then(|value| convert(py, value)?.into_py_any(py));
            let settle = Settle {
                promise: pending,
                outcome: Mutex::new(Some(outcome)),
            };
            // Fails if the loop was closed meanwhile; the value is dropped with `settle`, which closes it.
            let _ = loop_handle.call_method1(py, "call_soon_threadsafe", (settle,));
        });
    });
    promise.call_method1("add_done_callback", (Abort(task.abort_handle()),))?;
    Ok(promise)
}

#[pyclass(frozen)]
struct Settle {
    promise: Py<PyAny>,
    outcome: Mutex<Option<PyResult<Py<PyAny>>>>,
}

#[pymethods]
impl Settle {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        let outcome = self
            .outcome
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let promise = self.promise.bind(py);
        if promise.call_method0("done")?.is_truthy()? {
            return Ok(());
        }
        match outcome {
            Some(Ok(value)) => promise.call_method1("set_result", (value,))?,
            Some(Err(failure)) => promise.call_method1("set_exception", (failure,))?,
            None => return Ok(()),
        };
        Ok(())
    }
}

#[pyclass(frozen)]
struct Abort(AbortHandle);

#[pymethods]
impl Abort {
    fn __call__(&self, _promise: &Bound<'_, PyAny>) {
        self.0.abort();
    }
}
