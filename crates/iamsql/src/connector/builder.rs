//! What a caller may choose → a connector. Reads files and variables; sends nothing.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::header::HeaderValue;
use rustix::process::geteuid;

use crate::connector::{Connector, Defaults};
use crate::control::credentials::{Credentials, resolve};
use crate::control::endpoint::{EndpointOptions, Endpoints};
use crate::control::engine::EngineSpec;
use crate::control::environment::{self, Environment};
use crate::control::http::user_agent;
use crate::control::names::Policy;
use crate::control::sharing::Sharing;
use crate::control::static_info::StaticInfo;
use crate::error::{Error, Result};
use crate::options::{
    AuthMode, DEFAULT_FAILOVER_PERIOD, DEFAULT_TIMEOUT, IpType, LoginScope, RefreshStrategy,
    checked_timeout,
};
use crate::secret::{Secret, foreign};

/// Builds a [`Connector`]. Everything has a default, and [`build`](Self::build) checks all of it.
///
/// ```no_run
/// # async fn example() -> iamsql::Result<()> {
/// let connector = iamsql::Connector::builder()
///     .iam_auth(true)
///     .ip_type(iamsql::IpType::Private)
///     .build()
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct ConnectorBuilder {
    iam_auth: Option<bool>,
    ip_type: Option<IpType>,
    strategy: RefreshStrategy,
    timeout: Option<Duration>,
    credentials: Credentials,
    login_credentials: Option<Credentials>,
    login_scope: LoginScope,
    quota_project: Option<String>,
    user_agent: Option<String>,
    endpoints: EndpointOptions,
    static_info: Option<Secret>,
    environment: Option<Environment>,
    dns_servers: Vec<SocketAddr>,
    domain_projects: Option<Vec<String>>,
    failover_period: Option<Duration>,
}

impl ConnectorBuilder {
    /// Whether connections log in as the IAM principal, without a password. Default: false for streams; driver glue
    /// turns it on where nobody named a user or password. [`ConnectOptions`](crate::ConnectOptions) may override it.
    pub fn iam_auth(mut self, iam_auth: bool) -> Self {
        self.iam_auth = Some(iam_auth);
        self
    }

    /// Which address to dial. Default: [`IpType::Public`] for Cloud SQL, [`IpType::Private`] for AlloyDB; `ConnectOptions`
    /// may override it.
    pub fn ip_type(mut self, ip_type: IpType) -> Self {
        self.ip_type = Some(ip_type);
        self
    }

    /// When certificates are renewed. Default [`RefreshStrategy::Auto`].
    pub fn refresh_strategy(mut self, strategy: RefreshStrategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// How long one connect may take, from name to ready stream, waiting for a certificate included.
    ///
    /// Default 30 s; from 1 ms to 1 h, anything else is refused with [`ErrorKind::Config`](crate::ErrorKind::Config).
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Which Google identity to act as. Default: Application Default Credentials.
    pub fn credentials(mut self, credentials: Credentials) -> Self {
        self.credentials = credentials;
        self
    }

    /// Who logs in to databases, if that is another than calls the APIs. Default: the same [`credentials`](Self::credentials).
    pub fn login_credentials(mut self, credentials: Credentials) -> Self {
        self.login_credentials = Some(credentials);
        self
    }

    /// Whether a login may ever use a token that can do more than log in. Default [`LoginScope::Narrow`].
    pub fn login_scope(mut self, login_scope: LoginScope) -> Self {
        self.login_scope = login_scope;
        self
    }

    /// The project that Admin API calls are charged to. Default: `GOOGLE_CLOUD_QUOTA_PROJECT`, else what the
    /// credential file says, else the instance's own.
    pub fn quota_project(mut self, project: impl Into<String>) -> Self {
        self.quota_project = Some(project.into());
        self
    }

    /// Appended to the user agent `iamsql/VERSION` of Admin API calls. Default: nothing.
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = Some(user_agent.into());
        self
    }

    /// The Google Cloud universe. Default: `GOOGLE_CLOUD_UNIVERSE_DOMAIN`, else `googleapis.com`.
    pub fn universe_domain(mut self, universe: impl Into<String>) -> Self {
        self.endpoints.universe = Some(universe.into());
        self
    }

    /// Sends Admin API calls, with their tokens, to this URL instead of Google's. Default: none.
    ///
    /// Dangerous because whoever answers there names the addresses and authorities of your databases. Must be https, or
    /// http to a loopback address.
    pub fn dangerous_admin_endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoints.admin = Some(url.into());
        self
    }

    /// Sends AlloyDB Admin API calls, with their tokens, to this URL instead of Google's. Default: none.
    ///
    /// As dangerous as [`dangerous_admin_endpoint`](Self::dangerous_admin_endpoint), and under the same condition.
    pub fn dangerous_alloydb_endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoints.alloydb = Some(url.into());
        self
    }

    /// For development: where AlloyDB instances are and with which certificates to connect, instead of asking the API.
    ///
    /// JSON as Google's AlloyDB connectors take it: `privateKey` and `publicKey`, and under each instance's URI `ipAddress`,
    /// `publicIpAddress`, `pscInstanceConfig.pscDnsName`, `pemCertificateChain` and `caCert`. At most 1 MiB and 256
    /// instances. It is read when the connector is built, and nothing renews it. Cloud SQL is not affected. Default: none.
    pub fn static_connection_info(mut self, json: impl Into<Secret>) -> Self {
        self.static_info = Some(json.into());
        self
    }

    /// Opens the tunnels of [`IpType::SqlData`] at this URL instead of Google's. Default: none.
    ///
    /// As dangerous as [`dangerous_admin_endpoint`](Self::dangerous_admin_endpoint), and under the same condition. All that
    /// the driver says goes there.
    pub fn dangerous_sql_data_endpoint(mut self, url: impl Into<String>) -> Self {
        self.endpoints.sql_data = Some(url.into());
        self
    }

    /// Uses a local emulator, `HOST:PORT`, in place of Google: its identity, tokens and Admin API. Default:
    /// `IAMSQL_EMULATOR_HOST`, else none.
    ///
    /// Loopback addresses only, unless `IAMSQL_EMULATOR_ALLOW_REMOTE=1`. Credentials that do not belong to the emulator
    /// are refused with [`ErrorKind::Config`](crate::ErrorKind::Config), not sent to it.
    pub fn emulator_host(mut self, host: impl Into<String>) -> Self {
        self.endpoints.emulator_host = Some(host.into());
        self
    }

    /// The DNS servers that domain names, and the names of Private Service Connect endpoints, are looked up with. Default:
    /// the emulator's if there is one, else the system's.
    pub fn dns_servers(mut self, servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        self.dns_servers = servers.into_iter().collect();
        self
    }

    /// The projects that a domain name may lead to; another's instance is refused with
    /// [`ErrorKind::Dns`](crate::ErrorKind::Dns). Default: the project of the first answer for each name, for as long as
    /// the engine lives.
    ///
    /// Whoever can change a domain's records decides where the credentials go: this is the limit to that.
    pub fn domain_projects(
        mut self,
        projects: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.domain_projects = Some(projects.into_iter().map(Into::into).collect());
        self
    }

    /// How often a domain name is looked up again while it is used or connections that it opened are open. When it leads to
    /// another instance, those connections are closed and new ones go there.
    ///
    /// Default 30 s; at least 100 ms; `Duration::ZERO` looks names up only when connecting.
    pub fn failover_period(mut self, period: Duration) -> Self {
        self.failover_period = Some(period);
        self
    }

    /// The environment variables to read. Default: the process's own, captured when the connector is built.
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = Some(environment);
        self
    }

    /// Makes the connector. No network: credentials are found and read, the engine's thread is started or joined.
    ///
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) for an option or variable that cannot be, and
    /// [`Credentials`](crate::ErrorKind::Credentials) for a credential file that cannot be read or used.
    pub async fn build(self) -> Result<Connector> {
        self.build_blocking()
    }

    /// [`build`](Self::build) for code that is not async.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_blocking(self) -> Result<Connector> {
        let timeout = checked_timeout(self.timeout.unwrap_or(DEFAULT_TIMEOUT))?;
        let domains = Policy {
            projects: self.domain_projects,
            period: checked_failover_period(
                self.failover_period.unwrap_or(DEFAULT_FAILOVER_PERIOD),
            )?,
        };
        let environment = self.environment.unwrap_or_else(Environment::from_process);
        let endpoints = Endpoints::resolve(&self.endpoints, &environment)?;
        let mut sharing = Sharing::new();
        let credentials = resolve(
            &self.credentials,
            self.login_credentials.as_ref(),
            self.login_scope,
            &endpoints,
            &environment,
            &mut sharing,
        )?;
        if self.iam_auth == Some(true) {
            credentials.check_login()?;
        }
        let user_agent = user_agent(self.user_agent.as_deref())?;
        let quota_project = self
            .quota_project
            .as_deref()
            .filter(|project| !project.is_empty())
            .or(environment.text(environment::QUOTA_PROJECT)?)
            .or(credentials.quota_project.as_deref())
            .map(quota_project)
            .transpose()?;
        let static_info = self
            .static_info
            .as_ref()
            .map(|json| StaticInfo::read(json).map(Arc::new))
            .transpose()?;
        if let Some(json) = &self.static_info {
            sharing.add("static connection info", json.expose());
        }
        for (name, value) in environment.read() {
            sharing.add(name, value.as_encoded_bytes());
        }
        sharing.add("endpoints", format!("{endpoints:?}"));
        sharing.add("user agent", user_agent.as_bytes());
        sharing.add(
            "quota project",
            quota_project
                .as_ref()
                .map_or(&[][..], HeaderValue::as_bytes),
        );
        sharing.add("dns servers", format!("{:?}", self.dns_servers));
        sharing.add("domains", format!("{domains:?}"));
        sharing.add("strategy", format!("{:?}", self.strategy));
        sharing.add("user", geteuid().as_raw().to_be_bytes());
        if let Some(emulator) = &endpoints.emulator
            && !WARNED.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(
                emulator = emulator.origin(),
                "an emulator stands in for Google Cloud"
            );
        }
        Connector::start(
            EngineSpec {
                key: sharing.key(),
                endpoints,
                environment,
                credentials,
                static_info,
                strategy: self.strategy,
                user_agent,
                quota_project,
                dns_servers: self.dns_servers,
                domains,
            },
            Defaults {
                ip_type: self.ip_type,
                auth_mode: self.iam_auth.map(|iam| match iam {
                    true => AuthMode::Iam,
                    false => AuthMode::Password,
                }),
                timeout,
            },
        )
    }
}

impl fmt::Debug for ConnectorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectorBuilder")
            .field("iam_auth", &self.iam_auth)
            .field("ip_type", &self.ip_type)
            .field("refresh_strategy", &self.strategy)
            .field("timeout", &self.timeout)
            .field("credentials", &self.credentials)
            .finish_non_exhaustive()
    }
}

fn checked_failover_period(period: Duration) -> Result<Duration> {
    match period.is_zero() || period >= MIN_FAILOVER_PERIOD {
        true => Ok(period),
        false => Err(Error::config(format!(
            "failover_period of {period:?} is out of range: at least {MIN_FAILOVER_PERIOD:?}, or zero for none"
        ))),
    }
}

const MIN_FAILOVER_PERIOD: Duration = Duration::from_millis(100);

/// One warning per process is enough to be seen, and more would only be noise.
static WARNED: AtomicBool = AtomicBool::new(false);

fn quota_project(text: &str) -> Result<HeaderValue> {
    let named = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte));
    HeaderValue::from_str(text)
        .ok()
        .filter(|_| named)
        .ok_or_else(|| {
            Error::config(format!(
                "quota project {:?} is not a project's name",
                foreign(text)
            ))
        })
}
