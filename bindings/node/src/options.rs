//! JavaScript option objects → the engine's builder and options. The engine checks the values.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use iamsql::{ConnectOptions, ConnectorBuilder, Credentials, Error, ErrorKind, Result};
use napi_derive::napi;

/// `NativeConnectorOptions` in `node/src/native.ts`; what is absent keeps the engine's default.
#[napi(object)]
pub struct ConnectorOptions {
    /// A credentials file.
    pub credentials_file: Option<String>,
    /// Whether tokens are gcloud's.
    pub gcloud: Option<bool>,
    /// The service account to become.
    pub impersonate: Option<String>,
    /// The service accounts on the way to it, in order.
    pub delegates: Option<Vec<String>>,
    /// The project billed for Admin API calls.
    pub quota_project: Option<String>,
    /// `AUTO`, `BACKGROUND` or `LAZY`.
    pub refresh_strategy: Option<String>,
    /// Cloud SQL's API.
    pub admin_endpoint: Option<String>,
    /// AlloyDB's API.
    pub alloydb_endpoint: Option<String>,
    /// Cloud SQL's SqlData service.
    pub sql_data_endpoint: Option<String>,
    /// JSON text that stands in for AlloyDB's API.
    pub static_connection_info: Option<String>,
    /// `NARROW` or `STRICT`.
    pub login_scope: Option<String>,
    /// `ADDRESS` or `ADDRESS:PORT` each.
    pub dns_servers: Option<Vec<String>>,
    /// The projects that a domain name may lead to.
    pub domain_projects: Option<Vec<String>>,
    /// How often a domain name is looked up again, in milliseconds.
    pub failover_period: Option<f64>,
    /// The connect deadline in milliseconds.
    pub timeout_ms: Option<f64>,
    /// The Google universe.
    pub universe_domain: Option<String>,
    /// Added to the user agent.
    pub user_agent: Option<String>,
    /// `HOST:PORT` of an emulator.
    pub emulator_host: Option<String>,
}

/// `NativeConnectOptions` in `node/src/native.ts`; what is absent comes from the connector.
#[napi(object)]
pub struct NativeConnectOptions {
    /// `IAM` or `PASSWORD`.
    pub auth_mode: Option<String>,
    /// `PUBLIC`, `PRIVATE`, `PSC`, `AUTO` or `SQL_DATA`.
    pub ip_type: Option<String>,
    /// The connect deadline in milliseconds.
    pub timeout_ms: Option<f64>,
}

impl ConnectorOptions {
    /// Whose tokens are used: those that JavaScript gives, a file's, gcloud's or the default ones (`None`); then those of
    /// whom they may impersonate.
    pub(crate) fn credentials(&self, asked: Option<Credentials>) -> Option<Credentials> {
        let base = asked
            .or_else(|| self.credentials_file.clone().map(Credentials::file))
            .or_else(|| self.gcloud.unwrap_or_default().then(Credentials::gcloud));
        let Some(target) = self.impersonate.clone() else {
            return base;
        };
        let delegates = self.delegates.clone().unwrap_or_default();
        Some(
            base.unwrap_or_else(Credentials::application_default)
                .impersonate(target, delegates),
        )
    }

    pub(crate) fn apply_to(self, mut builder: ConnectorBuilder) -> Result<ConnectorBuilder> {
        if let Some(project) = self.quota_project {
            builder = builder.quota_project(project);
        }
        if let Some(strategy) = self.refresh_strategy {
            builder = builder.refresh_strategy(strategy.parse()?);
        }
        if let Some(endpoint) = self.admin_endpoint {
            builder = builder.dangerous_admin_endpoint(endpoint);
        }
        if let Some(endpoint) = self.alloydb_endpoint {
            builder = builder.dangerous_alloydb_endpoint(endpoint);
        }
        if let Some(endpoint) = self.sql_data_endpoint {
            builder = builder.dangerous_sql_data_endpoint(endpoint);
        }
        if let Some(json) = self.static_connection_info {
            builder = builder.static_connection_info(json);
        }
        if let Some(scope) = self.login_scope {
            builder = builder.login_scope(scope.parse()?);
        }
        if let Some(servers) = self.dns_servers {
            let servers: Result<Vec<SocketAddr>> = servers.iter().map(|s| dns_server(s)).collect();
            builder = builder.dns_servers(servers?);
        }
        if let Some(projects) = self.domain_projects {
            builder = builder.domain_projects(projects);
        }
        if let Some(period) = self.failover_period {
            builder = builder.failover_period(milliseconds("failoverPeriod", period)?);
        }
        if let Some(timeout) = self.timeout_ms {
            builder = builder.timeout(milliseconds("timeoutMs", timeout)?);
        }
        if let Some(universe) = self.universe_domain {
            builder = builder.universe_domain(universe);
        }
        if let Some(user_agent) = self.user_agent {
            builder = builder.user_agent(user_agent);
        }
        if let Some(host) = self.emulator_host {
            builder = builder.emulator_host(host);
        }
        Ok(builder)
    }
}

impl TryFrom<NativeConnectOptions> for ConnectOptions {
    type Error = Error;

    fn try_from(given: NativeConnectOptions) -> Result<Self> {
        let mut options = ConnectOptions::new();
        options.auth_mode = given.auth_mode.map(|mode| mode.parse()).transpose()?;
        options.ip_type = given.ip_type.map(|ip_type| ip_type.parse()).transpose()?;
        options.timeout = given
            .timeout_ms
            .map(|timeout| milliseconds("timeoutMs", timeout))
            .transpose()?;
        Ok(options)
    }
}

fn dns_server(text: &str) -> Result<SocketAddr> {
    let address = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
    address.or_else(|_| text.parse()).map_err(|_| {
        Error::new(
            ErrorKind::Config,
            format!("dnsServers: {text:?} is no address, as 192.0.2.53 or 192.0.2.53:53 is"),
        )
    })
}

fn milliseconds(option: &str, given: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(given / 1000.0).map_err(|cause| {
        Error::new(
            ErrorKind::Config,
            format!("{option} {given} is no length of time"),
        )
        .with_source(cause)
    })
}
