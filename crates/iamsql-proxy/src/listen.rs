//! Instances → bound listeners: all of them, or none.

pub(crate) mod place;
mod unix;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use anyhow::{Context, Result};
use iamsql::{Connector, DatabaseEngine, Product};
use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use tokio::net::TcpListener;
use tracing::{error, info};

use crate::config::{Config, InstanceConfig};
use crate::log::explain;
use place::{Place, Ports, engine_is_needed};
pub(crate) use unix::UnixDoor;

/// Where clients of one instance come in.
pub(crate) struct Listener {
    pub(crate) instance: InstanceConfig,
    /// `None` when nobody had to ask.
    pub(crate) engine: Option<DatabaseEngine>,
    pub(crate) socket: Socket,
}

/// A bound listener.
pub(crate) enum Socket {
    Tcp(TcpListener),
    Unix(UnixDoor),
}

impl Socket {
    /// Where it listens, as people write it.
    pub(crate) fn place(&self) -> String {
        match self {
            Socket::Tcp(socket) => socket
                .local_addr()
                .map_or_else(|error| error.to_string(), |at| at.to_string()),
            Socket::Unix(door) => door.path().display().to_string(),
        }
    }

    /// Whether other machines can reach it.
    pub(crate) fn is_open(&self) -> bool {
        match self {
            Socket::Tcp(socket) => socket
                .local_addr()
                .is_ok_and(|at| !at.ip().to_canonical().is_loopback()),
            Socket::Unix(_) => false,
        }
    }
}

/// Gives every instance its place and binds it.
///
/// # Errors
/// If the engine of an instance is needed and cannot be found out, or a place cannot be bound. Nothing stays bound then.
/// With `--skip-failed-instance-config` such an instance is left out, unless all are.
pub(crate) async fn bind(config: &Config, connector: &Connector) -> Result<Vec<Listener>> {
    let mut ports = Ports::new(config.listeners.port);
    let mut listeners = Vec::new();
    for instance in &config.instances {
        match bind_one(config, instance, connector, &mut ports).await {
            Ok(listener) => listeners.push(listener),
            Err(error) if config.listeners.skip_failed => {
                error!("{error:#} (skipped due to skip-failed-instance-config flag)");
            }
            Err(error) => return Err(error),
        }
    }
    anyhow::ensure!(
        !listeners.is_empty() || config.instances.is_empty(),
        "none of the instances can be listened for"
    );
    for listener in &listeners {
        info!(
            "[{}] Listening on {}",
            label(&listener.instance),
            listener.socket.place()
        );
    }
    Ok(listeners)
}

/// Binds one instance's place; `ports` counts on.
pub(crate) async fn bind_one(
    config: &Config,
    instance: &InstanceConfig,
    connector: &Connector,
    ports: &mut Ports,
) -> Result<Listener> {
    let label = label(instance);
    let engine = match engine_is_needed(config, instance) {
        true => Some(engine(connector, instance).await?),
        false => place::known_engine(instance),
    };
    let place = place::of(config, instance, engine, ports);
    let bound = async {
        match place? {
            Place::Tcp(address) => Ok(Socket::Tcp(tcp(config.product, address)?)),
            Place::Unix(path) => {
                unix::bind(&path, config.listeners.unix_socket_mode).map(Socket::Unix)
            }
        }
    };
    let socket = bound
        .await
        .with_context(|| format!("[{label}] Unable to mount socket"))?;
    Ok(Listener {
        instance: instance.clone(),
        engine,
        socket,
    })
}

/// An instance as log lines name it: an AlloyDB URI by its four names.
pub(crate) fn label(instance: &InstanceConfig) -> String {
    match &instance.instance {
        iamsql::Instance::AlloyDb {
            project,
            region,
            cluster,
            name,
        } => format!("{project}.{region}.{cluster}.{name}"),
        other => other.to_string(),
    }
}

/// cloud-sql-proxy takes `::` for IPv6 alone, alloydb-auth-proxy for both.
fn tcp(product: Product, address: SocketAddr) -> Result<TcpListener> {
    let listen = || {
        let socket = RawSocket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        if address.is_ipv6() {
            let both =
                product == Product::AlloyDb && address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
            socket.set_only_v6(!both)?;
        }
        // A restart finds its port still in TIME_WAIT.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    listen().with_context(|| format!("could not listen on {address}"))
}

async fn engine(connector: &Connector, instance: &InstanceConfig) -> Result<DatabaseEngine> {
    let label = label(instance);
    let version = connector
        .database_version(&instance.instance.to_string())
        .await
        .map_err(explain)
        .with_context(|| format!("[{label}] could not resolve instance version"))?;
    DatabaseEngine::from_database_version(&version).with_context(|| {
        format!("[{label}] runs {version}, which has no usual port: choose one with --port")
    })
}

const BACKLOG: i32 = 1024;
