//! The threads that dial and pump: one tokio worker, started by the first call that needs it.

use std::sync::{Mutex, PoisonError};

use iamsql::{Error, ErrorKind, Result};
use tokio::runtime::{Builder, Handle, Runtime};

/// The process's runtime. All of Node's environments (worker threads) share it, and it ends with the process.
///
/// # Errors
/// [`ErrorKind::Unavailable`] if the system gives no thread.
pub(crate) fn handle() -> Result<Handle> {
    let mut runtime = RUNTIME.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(running) = &*runtime {
        return Ok(running.handle().clone());
    }
    let started = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("iamsql-pump")
        .enable_all()
        .build()
        .map_err(|cause| {
            Error::new(ErrorKind::Unavailable, "no thread could be started").with_source(cause)
        })?;
    Ok(runtime.insert(started).handle().clone())
}

static RUNTIME: Mutex<Option<Runtime>> = Mutex::new(None);
