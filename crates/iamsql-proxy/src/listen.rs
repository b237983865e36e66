//! Instances → bound ports: all of them, or none.

use std::collections::HashMap;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use iamsql::{Connector, DatabaseEngine, Instance};
use tokio::net::TcpListener;
use tracing::info;

use crate::config::Config;
use crate::log::explain;

/// A port that stands for an instance.
pub(crate) struct Listener {
    pub(crate) instance: Instance,
    /// `None` when the port was given, because nobody had to ask.
    pub(crate) engine: Option<DatabaseEngine>,
    pub(crate) socket: TcpListener,
}

/// Gives every instance its port and binds it.
///
/// # Errors
/// If a port is needed for an instance whose engine cannot be found out, or cannot be bound. Nothing stays bound then.
pub(crate) async fn bind(config: &Config, connector: &Connector) -> Result<Vec<Listener>> {
    let mut engines = Vec::new();
    for instance in &config.instances {
        engines.push(match config.port {
            Some(_) => None,
            None => Some(engine(connector, instance).await?),
        });
    }
    let ports = ports(config.port, &engines);
    let mut listeners = Vec::new();
    for ((instance, engine), port) in config.instances.iter().zip(engines).zip(ports) {
        let address = SocketAddr::new(config.address, port);
        let socket = TcpListener::bind(address)
            .await
            .with_context(|| format!("[{instance}] could not listen on {address}"))?;
        listeners.push(Listener {
            instance: instance.clone(),
            engine,
            socket,
        });
    }
    for listener in &listeners {
        info!(
            "[{}] Listening on {}",
            listener.instance,
            listener.socket.local_addr()?
        );
    }
    Ok(listeners)
}

async fn engine(connector: &Connector, instance: &Instance) -> Result<DatabaseEngine> {
    let version = connector
        .database_version(&instance.to_string())
        .await
        .map_err(explain)
        .with_context(|| format!("[{instance}] could not resolve instance version"))?;
    DatabaseEngine::from_database_version(&version).with_context(|| {
        format!("[{instance}] runs {version}, which has no usual port: choose one with --port")
    })
}

/// From the first port upwards; without one, from each engine's usual port upwards.
fn ports(first: Option<u16>, engines: &[Option<DatabaseEngine>]) -> Vec<u16> {
    let mut next: HashMap<Option<DatabaseEngine>, u16> = HashMap::new();
    engines
        .iter()
        .map(|engine| {
            let counter = engine.filter(|_| first.is_none());
            let usual = match counter {
                Some(DatabaseEngine::MySql) => 3306,
                Some(DatabaseEngine::SqlServer) => 1433,
                _ => 5432,
            };
            let port = next.entry(counter).or_insert(first.unwrap_or(usual));
            let given = *port;
            *port = port.saturating_add(1);
            given
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_count_upwards_from_the_first_or_by_engine() {
        use DatabaseEngine::{MySql, Postgres, SqlServer};
        let engines = [Postgres, MySql, Postgres, SqlServer, MySql].map(Some);
        assert_eq!(ports(None, &engines), [5432, 3306, 5433, 1433, 3307]);
        assert_eq!(ports(Some(6000), &[None, None, None]), [6000, 6001, 6002]);
        assert_eq!(ports(Some(65535), &[None]), [65535]);
    }
}
