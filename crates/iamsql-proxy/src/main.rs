//! `iamsql-proxy`: local ports that log in to Cloud SQL as your Google identity.
#![forbid(unsafe_code)]

mod clients;
mod config;
mod drain;
mod listen;
mod log;
mod memory;
mod relay;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use iamsql::{Connector, ErrorKind};
use tracing::{error, info, warn};

use crate::config::Config;
use crate::drain::{Signals, drain};
use crate::log::Explained;
use crate::relay::Relay;

fn main() -> ExitCode {
    let config = match Config::from_command_line() {
        Ok(config) => config,
        Err(refusal) => return refusal.report(),
    };
    log::start();
    if !config.allow_core_dumps {
        memory::keep_private();
    }
    let ended = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("starting the runtime")
        .and_then(|runtime| runtime.block_on(run(config)));
    ended.unwrap_or_else(|error| {
        error!("The proxy has encountered a terminal error: {error:#}");
        ExitCode::FAILURE
    })
}

/// Starts, serves until told to stop, drains. The exit code tells which signal it was.
async fn run(config: Config) -> Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let relay = tokio::select! {
        started = start(&config) => started.context("unable to start")?,
        stop = signals.next() => {
            error!("The proxy has encountered a terminal error: {stop} signal received");
            return Ok(stop.exit_code());
        }
    };
    info!("The proxy has started successfully and is ready for new connections!");

    let stop = signals.next().await;
    info!("{stop} signal received. Shutting down...");
    drain(&relay, config.max_sigterm_delay, &mut signals).await?;
    Ok(stop.exit_code())
}

/// Finds the credentials, binds every port, and only then accepts on any of them.
async fn start(config: &Config) -> Result<Relay> {
    info!("Authorizing with Application Default Credentials");
    credentials_exist().await?;
    let connector = Connector::builder()
        .iam_auth(config.auto_iam_authn)
        .user_agent(USER_AGENT)
        .build()
        .await
        .map_err(log::explain)?;

    let listeners = listen::bind(config, &connector).await?;
    let relay = Relay::new(connector);
    for listener in listeners {
        relay.serve(listener);
    }
    Ok(relay)
}

/// Asks who we are, because a proxy without credentials should not look as if it worked.
///
/// A service that is there and cannot answer right now is no reason not to start.
async fn credentials_exist() -> Result<()> {
    let connector = Connector::builder()
        .user_agent(USER_AGENT)
        .timeout(CREDENTIALS_TIMEOUT)
        .build()
        .await;
    let asked = match connector {
        Ok(connector) => connector.principal().await.map(drop),
        Err(error) => Err(error),
    };
    match asked {
        Err(error) if error.is_retryable() && error.kind() != ErrorKind::Credentials => {
            warn!("no token yet: {}", Explained(&error));
            Ok(())
        }
        asked => asked.map_err(log::explain),
    }
}

const USER_AGENT: &str = concat!("iamsql-proxy/", env!("CARGO_PKG_VERSION"));
/// How long the start waits for a metadata server that comes up late.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(10);
