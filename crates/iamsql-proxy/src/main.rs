//! `iamsql-proxy`: local listeners that log in to Cloud SQL and AlloyDB as your Google identity.
#![forbid(unsafe_code)]

mod access;
mod client;
mod clients;
mod command;
mod config;
mod drain;
mod http;
mod identity;
mod listen;
mod log;
mod memory;
mod relay;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use sd_notify::NotifyState;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::config::{Config, Note, Refusal};
use crate::drain::{Signals, Stop, drain};
use crate::http::Health;
use crate::relay::Relay;

fn main() -> ExitCode {
    if let Some(ended) = command::run(std::env::args()) {
        return ended;
    }
    let config = match Config::from_process() {
        Ok(config) => config,
        Err(refusal) => return refusal.report(),
    };
    if let Err(message) = config.refuse_unserved() {
        return Refusal::Meaning(message).report();
    }
    log::start(config.logs);
    for note in &config.notes {
        match note {
            Note::Info(line) => info!("{line}"),
            Note::Warning(line) => warn!("{line}"),
        }
    }
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

/// Starts, serves until told to stop, drains. The exit code tells what asked for it.
async fn run(config: Config) -> Result<ExitCode> {
    let (quit, quits) = mpsc::channel(1);
    let mut signals = Signals::listen(quits)?;
    let ended = CancellationToken::new();
    let relay = tokio::select! {
        started = start(&config, quit, &ended) => started.context("unable to start")?,
        stop = signals.next() => {
            error!("The proxy has encountered a terminal error: {stop} signal received");
            return Ok(stop.exit_code(config.lifetime.exit_zero_on_sigterm));
        }
    };
    info!("The proxy has started successfully and is ready for new connections!");
    notify(&[NotifyState::Ready]);

    let stop = signals.next().await;
    if stop != Stop::Quit {
        info!("{stop} signal received. Shutting down...");
    }
    notify(&[NotifyState::Stopping]);
    drain(&relay, &config.lifetime, &mut signals).await;
    ended.cancel();
    Ok(stop.exit_code(config.lifetime.exit_zero_on_sigterm))
}

/// Finds the credentials, binds every listener and HTTP port, tries the instances if that was asked for, and only then
/// accepts on any of them: who reads "ready" finds it so.
async fn start(
    config: &Config,
    quit: mpsc::Sender<()>,
    ended: &CancellationToken,
) -> Result<Arc<Relay>> {
    let connector = identity::connector(config).await?;
    let listeners = listen::bind(config, &connector).await?;
    let ports = http::Ports::bind(config).await?;
    let relay = Arc::new(Relay::new(connector, config.listeners.max_connections));
    let waiting = listeners
        .into_iter()
        .map(|listener| relay.add(config, listener))
        .collect();
    ports.serve(
        Arc::new(Health::new(relay.clone(), config.http.backend_check)),
        quit,
        ended,
    );
    if config.lifetime.connection_test {
        info!("Connection test started");
        let failed = relay.try_every_instance().await;
        if !failed.is_empty() {
            error!("Connection test failed");
            bail!("{}", failed.join(", "));
        }
        info!("Connection test passed");
    }
    relay.serve(waiting);
    Ok(relay)
}

/// Tells systemd, if it waits to be told.
fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!("systemd could not be told: {error}");
    }
}
