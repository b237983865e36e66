//! Which DNS servers to ask.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::system_conf::read_system_conf;
use serde::Deserialize;
use tokio::time::Instant;

use crate::control::endpoint::Endpoint;
use crate::control::http::patience::Patience;
use crate::control::http::{Call, Http};
use crate::error::{Error, ErrorKind, Result};

/// Where DNS questions go.
pub(crate) enum Servers {
    /// Where the machine is configured to ask.
    System,
    /// Where the caller says.
    Given(Vec<SocketAddr>),
    /// To the emulator, which says where its own DNS server is.
    Emulator { http: Arc<Http>, origin: Endpoint },
}

impl Servers {
    /// Whether asking again may give other servers.
    pub(crate) fn may_change(&self) -> bool {
        matches!(self, Servers::System)
    }

    /// The servers, and how to ask them.
    ///
    /// # Errors
    /// [`ErrorKind::Dns`] if the machine's configuration cannot be read, or the emulator has no DNS server.
    pub(crate) async fn read(&self) -> Result<(ResolverConfig, ResolverOpts)> {
        match self {
            Servers::System => read_system_conf().map_err(|error| {
                Error::new(
                    ErrorKind::Dns,
                    "this machine's DNS configuration cannot be read",
                )
                .with_advice("name DNS servers with the connector's dns_servers option")
                .with_source(error)
            }),
            Servers::Given(servers) => Ok(exactly(servers)),
            Servers::Emulator { http, origin } => Ok(exactly(&[ask_emulator(http, origin).await?])),
        }
    }
}

fn exactly(servers: &[SocketAddr]) -> (ResolverConfig, ResolverOpts) {
    let servers = servers
        .iter()
        .map(|server| {
            let mut config = NameServerConfig::udp_and_tcp(server.ip());
            for connection in &mut config.connections {
                connection.port = server.port();
            }
            config
        })
        .collect();
    (
        ResolverConfig::from_name_servers(servers),
        ResolverOpts::default(),
    )
}

async fn ask_emulator(http: &Http, origin: &Endpoint) -> Result<SocketAddr> {
    #[derive(Deserialize)]
    struct Body {
        dns: Option<SocketAddr>,
    }
    let patience = Patience::until(Instant::now() + LIMIT);
    let call = Call::get("the emulator", origin.join("/emulator"), LIMIT);
    let answer = http
        .call(&call, &patience, &|answer| {
            Error::new(
                ErrorKind::Dns,
                format!(
                    "the emulator does not say where its DNS server is: HTTP {}",
                    answer.status
                ),
            )
            .with_retryable(false)
            .with_advice("name DNS servers with the connector's dns_servers option")
        })
        .await?;
    serde_json::from_slice::<Body>(&answer.body)
        .ok()
        .and_then(|body| body.dns)
        .ok_or_else(|| {
            Error::new(ErrorKind::Dns, "the emulator has no DNS server")
                .with_retryable(false)
                .with_advice("name DNS servers with the connector's dns_servers option")
        })
}

const LIMIT: Duration = Duration::from_secs(5);
