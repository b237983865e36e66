//! The socket pair: a descriptor for whoever brings sockets of a kind of their own, as gevent and eventlet do.

use std::os::fd::IntoRawFd;

use iamsql::ConnectOptions;
use pyo3::prelude::*;

use crate::connector::login_user;
use crate::{error, runtime};

/// Dials, and gives away the client's end of a pair whose other end leads to the instance, with the user to log in as.
pub(crate) fn dial(
    py: Python<'_>,
    engine: iamsql::Connector,
    instance: String,
    user: Option<String>,
    iam: bool,
    options: ConnectOptions,
) -> PyResult<(i32, Option<String>)> {
    let (pair, user) = runtime::wait(py, async move {
        let pair = engine.pair(&instance, &options)?;
        let ((), user) = tokio::try_join!(pair.dial(), login_user(&engine, &instance, iam, user))?;
        Ok((pair, user))
    })?;
    let client = pair
        .take_client_fd()
        .ok_or_else(|| error::closed("the socket pair is gone"))?;
    Ok((client.into_raw_fd(), user))
}
