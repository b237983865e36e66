//! Python's words for options → the engine's types, each converted once.

use std::net::SocketAddr;
use std::time::Duration;

use iamsql::{AuthMode, ConnectOptions, DatabaseEngine, Error, ErrorKind};
use pyo3::prelude::*;

use crate::error;

/// What one call overrides; `None` leaves the connector's choice.
pub(crate) fn connect_options(
    iam: bool,
    ip_type: Option<&str>,
    timeout: Option<f64>,
    engine: Option<&str>,
) -> PyResult<ConnectOptions> {
    let mode = if iam {
        AuthMode::Iam
    } else {
        AuthMode::Password
    };
    let mut options = ConnectOptions::new().auth_mode(mode);
    if let Some(ip_type) = ip_type {
        options = options.ip_type(ip_type.parse().map_err(error::raise)?);
    }
    if let Some(timeout) = timeout {
        options = options.timeout(seconds("timeout", timeout)?);
    }
    if let Some(engine) = engine.and_then(DatabaseEngine::from_database_version) {
        options = options.engine(engine);
    }
    Ok(options)
}

/// `HOST:PORT` of each DNS server.
///
/// # Errors
/// `ConfigError` naming the one that is no address.
pub(crate) fn dns_servers(servers: Vec<String>) -> PyResult<Vec<SocketAddr>> {
    servers
        .into_iter()
        .map(|server| {
            server.parse().map_err(|_| {
                let message = format!(
                    "dns_servers: {:?} is not an IP address and port",
                    iamsql::foreign_text(&server)
                );
                error::raise(Error::new(ErrorKind::Config, message))
            })
        })
        .collect()
}

/// Python's seconds → a duration.
///
/// # Errors
/// `ConfigError` naming the option if the number is negative, not finite or too large.
pub(crate) fn seconds(option: &str, value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value).map_err(|_| {
        let message = format!("{option}={value} is no number of seconds");
        error::raise(Error::new(ErrorKind::Config, message))
    })
}
