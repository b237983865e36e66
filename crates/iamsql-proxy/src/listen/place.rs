//! Which port or path an instance is listened for on: pure, given its engine.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use iamsql::{DatabaseEngine, Instance, Product};

use crate::config::{Config, InstanceConfig};

/// Where a listener goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Counts ports upwards from the first, or from each engine's usual one.
#[derive(Debug)]
pub(crate) struct Ports {
    first: Option<u16>,
    next: HashMap<Option<DatabaseEngine>, Option<u16>>,
}

impl Ports {
    pub(crate) fn new(first: Option<u16>) -> Self {
        Ports {
            first,
            next: HashMap::new(),
        }
    }

    fn take(&mut self, product: Product, engine: Option<DatabaseEngine>) -> Result<u16> {
        // AlloyDB is PostgreSQL; its proxy counts from 5432 without asking.
        let counter = match product {
            Product::AlloyDb => Some(DatabaseEngine::Postgres),
            _ => engine,
        }
        .filter(|_| self.first.is_none());
        let usual = match counter {
            Some(DatabaseEngine::MySql) => 3306,
            Some(DatabaseEngine::SqlServer) => 1433,
            _ => 5432,
        };
        let next = self
            .next
            .entry(counter)
            .or_insert(Some(self.first.unwrap_or(usual)));
        let port = next.context("no port is left: the last is 65535")?;
        *next = port.checked_add(1);
        Ok(port)
    }
}

/// What an instance is listened for on.
///
/// # Errors
/// If the ports ran out or a path is too long for a socket.
pub(crate) fn of(
    config: &Config,
    instance: &InstanceConfig,
    engine: Option<DatabaseEngine>,
    ports: &mut Ports,
) -> Result<Place> {
    let place = match unix_path(config, instance, engine) {
        Some(path) => Place::Unix(path),
        None => {
            let address = instance.address.unwrap_or(config.listeners.address);
            let port = match instance.port.filter(|port| *port != 0) {
                Some(port) => port,
                None => ports.take(instance.kind(), engine)?,
            };
            Place::Tcp(SocketAddr::new(address, port))
        }
    };
    if let Place::Unix(path) = &place {
        let length = path.as_os_str().len();
        anyhow::ensure!(
            length <= MAX_SOCKET_PATH,
            "{} has {length} bytes, and a socket's path at most {MAX_SOCKET_PATH}: choose a shorter directory",
            path.display()
        );
    }
    Ok(place)
}

/// Whether the port or the path depends on what the instance runs, and the name does not tell.
pub(crate) fn engine_is_needed(config: &Config, instance: &InstanceConfig) -> bool {
    let by_port =
        instance.port.filter(|port| *port != 0).is_none() && config.listeners.port.is_none();
    known_engine(instance).is_none() && (is_unix(config, instance) || by_port)
}

/// The engine, where the name tells it.
pub(crate) fn known_engine(instance: &InstanceConfig) -> Option<DatabaseEngine> {
    match instance.kind() {
        Product::AlloyDb => Some(DatabaseEngine::Postgres),
        // The tunnel carries PostgreSQL alone.
        _ if instance.sql_data == Some(true) => Some(DatabaseEngine::Postgres),
        _ => None,
    }
}

fn is_unix(config: &Config, instance: &InstanceConfig) -> bool {
    let tcp_of_its_own = instance.address.is_some() || instance.port.is_some();
    instance.has_own_socket() || (config.listeners.unix_socket.is_some() && !tcp_of_its_own)
}

fn unix_path(
    config: &Config,
    instance: &InstanceConfig,
    engine: Option<DatabaseEngine>,
) -> Option<PathBuf> {
    if !is_unix(config, instance) {
        return None;
    }
    let postgres = engine == Some(DatabaseEngine::Postgres);
    if let Some(path) = &instance.unix_socket_path {
        let complete = !postgres || path.file_name().is_some_and(|name| name == POSTGRES_SOCKET);
        return Some(if complete {
            path.clone()
        } else {
            path.join(POSTGRES_SOCKET)
        });
    }
    // What an instance says comes before what the flag says.
    let directory = instance
        .unix_socket
        .as_ref()
        .or(config.listeners.unix_socket.as_ref())?;
    Some(in_directory(directory, &instance.instance, postgres))
}

/// The official layout: a socket named after the instance, for PostgreSQL a directory of that name with libpq's socket.
pub(crate) fn in_directory(directory: &Path, instance: &Instance, postgres: bool) -> PathBuf {
    let name = match instance {
        Instance::AlloyDb {
            project,
            region,
            cluster,
            name,
        } => format!("{project}.{region}.{cluster}.{name}")
            .to_lowercase()
            .replace(':', "_"),
        other => other.to_string(),
    };
    match postgres {
        true => directory.join(name).join(POSTGRES_SOCKET),
        false => directory.join(name),
    }
}

pub(crate) const POSTGRES_SOCKET: &str = ".s.PGSQL.5432";

/// `sun_path` holds 108 bytes, the last of them zero.
const MAX_SOCKET_PATH: usize = 107;

#[cfg(test)]
mod tests {
    use iamsql::DatabaseEngine::{MySql, Postgres, SqlServer};

    use super::*;
    use crate::config::Config;

    const ALLOYDB: &str = "projects/Dom:P/locations/r/clusters/c/instances/I";

    fn config(arguments: &[&str]) -> Config {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        Config::from("iamsql-proxy", arguments, &|_| None).unwrap()
    }

    fn places(arguments: &[&str], engines: &[Option<DatabaseEngine>]) -> Vec<String> {
        let config = config(arguments);
        let mut ports = Ports::new(config.listeners.port);
        let instances = config.instances.iter().zip(engines);
        instances
            .map(
                |(instance, engine)| match of(&config, instance, *engine, &mut ports).unwrap() {
                    Place::Tcp(address) => address.to_string(),
                    Place::Unix(path) => path.display().to_string(),
                },
            )
            .collect()
    }

    #[test]
    fn ports_count_upwards_from_the_first_or_by_engine() {
        let engines = [Postgres, MySql, Postgres, SqlServer, MySql].map(Some);
        let names = ["p:r:a", "p:r:b", "p:r:c", "p:r:d", "p:r:e"];
        let ports = [5432, 3306, 5433, 1433, 3307].map(|port| format!("127.0.0.1:{port}"));
        assert_eq!(places(&names, &engines), ports);
        // A port of its own moves no counter.
        let places = places(
            &[
                "--port=6000",
                "p:r:a",
                "p:r:b?port=7000",
                "p:r:c?address=::1",
            ],
            &[None; 3],
        );
        assert_eq!(places, ["127.0.0.1:6000", "127.0.0.1:7000", "[::1]:6001"]);
    }

    #[test]
    fn alloydb_counts_from_5432_without_asking() {
        let config = config(&[ALLOYDB]);
        assert!(!engine_is_needed(&config, &config.instances[0]));
        assert_eq!(
            places(&[ALLOYDB, "p:r:i"], &[None, Some(Postgres)]),
            ["127.0.0.1:5432", "127.0.0.1:5433"]
        );
    }

    #[test]
    fn sockets_lie_where_the_official_proxies_put_them() {
        for (arguments, engine, path) in [
            (
                &["-u", "/s", "p:r:i"][..],
                Postgres,
                "/s/p:r:i/.s.PGSQL.5432",
            ),
            (&["-u", "/s", "p:r:i"], MySql, "/s/p:r:i"),
            (
                &["-u", "/s", ALLOYDB],
                Postgres,
                "/s/dom_p.r.c.i/.s.PGSQL.5432",
            ),
            (&["p:r:i?unix-socket-path=/run/x"], MySql, "/run/x"),
            (
                &["p:r:i?unix-socket-path=/run/x"],
                Postgres,
                "/run/x/.s.PGSQL.5432",
            ),
            (
                &["p:r:i?unix-socket-path=/run/.s.PGSQL.5432"],
                Postgres,
                "/run/.s.PGSQL.5432",
            ),
            (&["-u", "/s", "p:r:i?port=5433"], Postgres, "127.0.0.1:5433"),
            (&["-p", "5000", "p:r:i?unix-socket=/t"], MySql, "/t/p:r:i"),
            (&["-u", "/s", "p:r:i?unix-socket=/t"], MySql, "/t/p:r:i"),
        ] {
            assert_eq!(places(arguments, &[Some(engine)]), [path], "{arguments:?}");
        }
    }

    #[test]
    fn a_path_that_no_socket_can_have_is_refused_by_its_length() {
        let directory = format!("--unix-socket=/{}", "d".repeat(100));
        let config = config(&[&directory, "p:r:i"]);
        let refused = of(
            &config,
            &config.instances[0],
            Some(Postgres),
            &mut Ports::new(None),
        )
        .unwrap_err();
        assert!(refused.to_string().contains("at most 107"), "{refused}");
    }
}
