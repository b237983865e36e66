//! `iamsql::Error` → the exception class of the same code in `iamsql/errors.py`.

use std::io;
use std::time::UNIX_EPOCH;

use iamsql::{Error, ErrorKind};
use pyo3::exceptions::PyConnectionAbortedError;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyType};

/// The exception for `error`: class by its code, message with all causes, and what the caller may want to switch on.
pub(crate) fn raise(error: Error) -> PyErr {
    Python::attach(|py| exception(py, &error).unwrap_or_else(|failure| failure))
}

/// The exception for what a socket reported: ours if the engine said why, else Python's own `OSError` family.
pub(crate) fn raise_io(failure: io::Error) -> PyErr {
    match failure
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>())
    {
        // A connection, not the connector, and drivers expect an `OSError` of a closed socket.
        Some(error) if error.kind() == ErrorKind::Closed => {
            PyConnectionAbortedError::new_err(error.to_string())
        }
        Some(error) => raise(error.clone()),
        None => failure.into(),
    }
}

/// A `ClosedError` of this module's own.
pub(crate) fn closed(reason: &str) -> PyErr {
    raise(Error::new(ErrorKind::Closed, reason))
}

/// Every error code of the engine with whether it is worth another try, for the tables' completeness test.
#[pyfunction]
pub(crate) fn error_codes() -> Vec<(&'static str, bool)> {
    ErrorKind::ALL
        .iter()
        .map(|kind| (kind.code(), kind.is_retryable()))
        .collect()
}

/// Text from elsewhere (a server, a driver), made fit for a message: one line, at most 200 bytes, live secrets struck out.
#[pyfunction]
pub(crate) fn foreign_text(text: &str) -> String {
    iamsql::foreign_text(text)
}

fn exception(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let class = classes(py)?
        .get_item(error.code())?
        .map(|class| class.cast_into::<PyType>())
        .transpose()?
        .unwrap_or_else(|| py.get_type::<pyo3::exceptions::PyRuntimeError>());
    let details = PyDict::new(py);
    details.set_item("retryable", error.is_retryable())?;
    details.set_item("advice", error.advice())?;
    details.set_item("instance", error.instance())?;
    details.set_item("http_status", error.http_status())?;
    details.set_item("errno", error.raw_os_error())?;
    let retry_at = error
        .retry_at()
        .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
        .map(|at| at.as_secs_f64());
    details.set_item("retry_at", retry_at)?;
    Ok(PyErr::from_value(
        class.call((error.chain(),), Some(&details))?,
    ))
}

fn classes(py: Python<'_>) -> PyResult<&Bound<'_, PyDict>> {
    CLASSES
        .get_or_try_init(py, || {
            let table = py.import("iamsql.errors")?.getattr("BY_CODE")?;
            Ok(table.cast_into::<PyDict>()?.unbind())
        })
        .map(|classes| classes.bind(py))
}

static CLASSES: PyOnceLock<Py<PyDict>> = PyOnceLock::new();
