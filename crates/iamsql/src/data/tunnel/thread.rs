//! The thread that pumps tunnels: open sessions outlive the connector, its engine and the caller's runtime.

use std::sync::mpsc;

use tokio::runtime::{Builder, Handle};

use crate::control::process::PerProcess;
use crate::error::{Error, ErrorKind, Result};

/// The thread's runtime; the first call in a process starts it.
pub(super) fn runtime() -> Result<Handle> {
    RUNTIME.get_or_try_make(start).cloned()
}

fn start() -> Result<Handle> {
    let failed = |error: std::io::Error| {
        Error::new(
            ErrorKind::Unavailable,
            "the tunnels' thread could not be started",
        )
        .with_source(error)
    };
    let (started, start) = mpsc::channel();
    std::thread::Builder::new()
        .name("iamsql-tunnels".to_owned())
        .spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build();
            match runtime {
                Ok(runtime) => {
                    let _ = started.send(Ok(runtime.handle().clone()));
                    runtime.block_on(std::future::pending::<()>());
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            }
        })
        .map_err(failed)?;
    let ended = |_| failed(std::io::Error::other("it ended at once"));
    start.recv().map_err(ended)?.map_err(failed)
}

static RUNTIME: PerProcess<Handle> = PerProcess::new();
