//! `iamsql._native`: the engine as the Python package `iamsql` sees it.
//!
//! In: options and calls from `python/iamsql`.  Out: sockets, listeners, answers and typed exceptions.  No logic of its own.

#![forbid(unsafe_code)]

mod awaitable;
mod channel;
mod connector;
mod credentials;
mod error;
mod file;
mod fork;
mod listener;
mod options;
mod pair;
mod runtime;
mod socket;
mod transport;

use pyo3::prelude::*;

/// The engine's Python module. Private: its public face is the package `iamsql`.
#[pymodule(name = "_native")]
fn native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<connector::Connector>()?;
    module.add_class::<credentials::Credentials>()?;
    module.add_class::<socket::Socket>()?;
    module.add_class::<file::File>()?;
    module.add_class::<transport::Transport>()?;
    module.add_class::<listener::Listener>()?;
    module.add_function(wrap_pyfunction!(error::error_codes, module)?)?;
    module.add_function(wrap_pyfunction!(error::foreign_text, module)?)?;
    module.add_function(wrap_pyfunction!(fork::after_fork, module)?)?;
    module.add_function(wrap_pyfunction!(runtime::shut_down, module)?)?;
    Ok(())
}
