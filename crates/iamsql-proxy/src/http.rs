//! The HTTP ports: health checks, and the admin port on localhost.

mod admin;
mod health;
mod server;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, lookup_host};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::config::Config;
pub(crate) use health::Health;

/// Bound ports, not answering yet.
pub(crate) struct Ports {
    health: Vec<TcpListener>,
    admin: Vec<TcpListener>,
}

impl Ports {
    /// Binds what the configuration asks for.
    ///
    /// # Errors
    /// If an address does not resolve or is taken.
    pub(crate) async fn bind(config: &Config) -> Result<Self> {
        let mut ports = Ports {
            health: Vec::new(),
            admin: Vec::new(),
        };
        if config.http.health_check {
            let (host, port) = (config.http.address.as_str(), config.http.port);
            ports.health = bind(host, port)
                .await
                .context("failed to start HTTP server")?;
            info!("Starting health check server at {host}:{port}");
            if let Some(wide) = probes_address(config) {
                let place = SocketAddr::new(wide, port);
                match TcpListener::bind(place).await {
                    Ok(listener) => {
                        info!(
                            "Health checks are served at {place} too, because --address is not a loopback address"
                        );
                        ports.health.push(listener);
                    }
                    // The address may cover the first one's.
                    Err(_) if wide.is_unspecified() => {
                        ports.health.clear();
                        let listener = TcpListener::bind(place).await.with_context(|| {
                            format!("failed to start HTTP server: listen {place}")
                        })?;
                        info!(
                            "Health checks are served at {place}, because --address is not a loopback address"
                        );
                        ports.health.push(listener);
                    }
                    Err(error) => {
                        return Err(error).with_context(|| {
                            format!("failed to start HTTP server: listen {place}")
                        });
                    }
                }
            }
        }
        if config.admin.quitquitquit {
            ports.admin = bind("localhost", config.admin.port)
                .await
                .context("failed to start admin server")?;
            info!(
                "Enabling quitquitquit endpoint at localhost:{}",
                config.admin.port
            );
        }
        Ok(ports)
    }

    /// Answers until `ended`; a request to stop goes to `quit`.
    pub(crate) fn serve(
        self,
        health: Arc<Health>,
        quit: mpsc::Sender<()>,
        ended: &CancellationToken,
    ) {
        for listener in self.health {
            tokio::spawn(server::serve(
                listener,
                health::routes(health.clone()),
                ended.clone(),
            ));
        }
        for listener in self.admin {
            tokio::spawn(server::serve(
                listener,
                admin::routes(quit.clone()),
                ended.clone(),
            ));
        }
    }
}

/// Where probes are served besides, so that a kubelet reaches them where it reaches the database port.
fn probes_address(config: &Config) -> Option<IpAddr> {
    let address = config.listeners.address;
    (!address.is_loopback() && !config.http.address_given).then_some(address)
}

/// Every address of the host; at least one of them must be free.
async fn bind(host: &str, port: u16) -> Result<Vec<TcpListener>> {
    let mut bound = Vec::new();
    let mut failed = None;
    for address in lookup_host((host, port))
        .await
        .with_context(|| format!("{host} does not resolve"))?
    {
        match TcpListener::bind(address).await {
            Ok(listener) => bound.push(listener),
            // `localhost` may name an IPv6 address that this machine does not have.
            Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => {
                failed = Some((address, error))
            }
            Err(error) => return Err(error).with_context(|| format!("listen {address}")),
        }
    }
    match (bound.is_empty(), failed) {
        (true, Some((address, error))) => Err(error).with_context(|| format!("listen {address}")),
        _ => Ok(bound),
    }
}
