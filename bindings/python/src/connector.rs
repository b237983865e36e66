//! The engine's connector, in Python's words.

use iamsql::{ClientProtocol, ConnectOptions, Connection, ListenOptions};
use pyo3::prelude::*;

use crate::credentials::Credentials;
use crate::listener::Listener;
use crate::options::{self, connect_options, seconds};
use crate::socket::Socket;
use crate::transport::Transport;
use crate::{awaitable, error, pair, runtime};

/// Dials instances as one Google identity, from any thread, event loop or forked child.
#[pyclass(frozen, module = "iamsql._native")]
pub(crate) struct Connector(iamsql::Connector);

#[pymethods]
impl Connector {
    #[new]
    #[pyo3(signature = (*, ip_type=None, iam=None, timeout=None, credentials=None, login_credentials=None, login_scope=None,
                        quota_project=None, admin_endpoint=None, alloydb_endpoint=None, sql_data_endpoint=None,
                        user_agent=None, universe_domain=None, refresh_strategy=None, dns_servers=None, domain_projects=None,
                        failover_period=None, static_connection_info=None, emulator_host=None))]
    #[expect(clippy::too_many_arguments, reason = "one per option, all by name")]
    fn new(
        py: Python<'_>,
        ip_type: Option<&str>,
        iam: Option<bool>,
        timeout: Option<f64>,
        credentials: Option<PyRef<'_, Credentials>>,
        login_credentials: Option<PyRef<'_, Credentials>>,
        login_scope: Option<&str>,
        quota_project: Option<&str>,
        admin_endpoint: Option<&str>,
        alloydb_endpoint: Option<&str>,
        sql_data_endpoint: Option<&str>,
        user_agent: Option<&str>,
        universe_domain: Option<&str>,
        refresh_strategy: Option<&str>,
        dns_servers: Option<Vec<String>>,
        domain_projects: Option<Vec<String>>,
        failover_period: Option<f64>,
        static_connection_info: Option<String>,
        emulator_host: Option<&str>,
    ) -> PyResult<Self> {
        let mut builder = iamsql::Connector::builder();
        if let Some(ip_type) = ip_type {
            builder = builder.ip_type(ip_type.parse().map_err(error::raise)?);
        }
        if let Some(iam) = iam {
            builder = builder.iam_auth(iam);
        }
        if let Some(timeout) = timeout {
            builder = builder.timeout(seconds("timeout", timeout)?);
        }
        if let Some(credentials) = credentials {
            builder = builder.credentials(credentials.0.clone());
        }
        if let Some(credentials) = login_credentials {
            builder = builder.login_credentials(credentials.0.clone());
        }
        if let Some(scope) = login_scope {
            builder = builder.login_scope(scope.parse().map_err(error::raise)?);
        }
        if let Some(project) = quota_project {
            builder = builder.quota_project(project);
        }
        if let Some(endpoint) = admin_endpoint {
            builder = builder.dangerous_admin_endpoint(endpoint);
        }
        if let Some(endpoint) = alloydb_endpoint {
            builder = builder.dangerous_alloydb_endpoint(endpoint);
        }
        if let Some(endpoint) = sql_data_endpoint {
            builder = builder.dangerous_sql_data_endpoint(endpoint);
        }
        if let Some(agent) = user_agent {
            builder = builder.user_agent(agent);
        }
        if let Some(domain) = universe_domain {
            builder = builder.universe_domain(domain);
        }
        if let Some(strategy) = refresh_strategy {
            builder = builder.refresh_strategy(strategy.parse().map_err(error::raise)?);
        }
        if let Some(servers) = dns_servers {
            builder = builder.dns_servers(options::dns_servers(servers)?);
        }
        if let Some(projects) = domain_projects {
            builder = builder.domain_projects(projects);
        }
        if let Some(period) = failover_period {
            builder = builder.failover_period(seconds("failover_period", period)?);
        }
        if let Some(json) = static_connection_info {
            builder = builder.static_connection_info(json);
        }
        if let Some(host) = emulator_host {
            builder = builder.emulator_host(host);
        }
        py.detach(|| builder.build_blocking())
            .map(Connector)
            .map_err(error::raise)
    }

    /// A blocking connection to the instance, its server's identity checked, and the user to log in as.
    #[pyo3(signature = (instance, user=None, *, iam, ip_type=None, timeout=None, engine=None))]
    #[expect(clippy::too_many_arguments, reason = "one per option, all by name")]
    fn dial(
        &self,
        py: Python<'_>,
        instance: String,
        user: Option<String>,
        iam: bool,
        ip_type: Option<&str>,
        timeout: Option<f64>,
        engine: Option<&str>,
    ) -> PyResult<(Socket, Option<String>)> {
        let options = connect_options(iam, ip_type, timeout, engine)?.client_protocol(OURS);
        let dialled = dialled(self.0.clone(), instance, user, iam, options);
        let (connection, user) = runtime::wait(py, dialled)?;
        Ok((Socket::new(py, connection), user))
    }

    /// The same for an event loop: resolves to a `Transport` and the user.
    #[pyo3(signature = (event_loop, instance, user=None, *, iam, ip_type=None, timeout=None, engine=None))]
    #[expect(clippy::too_many_arguments, reason = "one per option, all by name")]
    fn dial_async<'py>(
        &self,
        event_loop: &Bound<'py, PyAny>,
        instance: String,
        user: Option<String>,
        iam: bool,
        ip_type: Option<&str>,
        timeout: Option<f64>,
        engine: Option<&str>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let options = connect_options(iam, ip_type, timeout, engine)?.client_protocol(OURS);
        let dialled = dialled(self.0.clone(), instance, user, iam, options);
        awaitable::spawn(event_loop, dialled, |py, (connection, user)| {
            Ok((Transport::new(py, connection), user))
        })
    }

    /// The descriptor of a Unix socket that leads to the instance, for the caller to close, and the user to log in as.
    #[pyo3(signature = (instance, user=None, *, iam, ip_type=None, timeout=None, engine=None))]
    #[expect(clippy::too_many_arguments, reason = "one per option, all by name")]
    fn dial_pair(
        &self,
        py: Python<'_>,
        instance: String,
        user: Option<String>,
        iam: bool,
        ip_type: Option<&str>,
        timeout: Option<f64>,
        engine: Option<&str>,
    ) -> PyResult<(i32, Option<String>)> {
        let options = connect_options(iam, ip_type, timeout, engine)?.client_protocol(OURS);
        pair::dial(py, self.0.clone(), instance, user, iam, options)
    }

    /// A private Unix socket that leads to the instance, open until closed.
    #[pyo3(signature = (instance, *, iam, ip_type=None, timeout=None, engine=None, same_process=true, socket_name=None))]
    #[expect(clippy::too_many_arguments, reason = "one per option, all by name")]
    fn listen(
        &self,
        py: Python<'_>,
        instance: String,
        iam: bool,
        ip_type: Option<&str>,
        timeout: Option<f64>,
        engine: Option<&str>,
        same_process: bool,
        socket_name: Option<&str>,
    ) -> PyResult<Listener> {
        let mut options = ListenOptions::new()
            .connect(connect_options(iam, ip_type, timeout, engine)?)
            .require_same_pid(same_process);
        if let Some(name) = socket_name {
            options = options.socket_name(name);
        }
        Listener::open(py, self.0.clone(), instance, iam, &options)
    }

    /// The database user: `given` as the instance spells it, or that of the credentials.
    #[pyo3(signature = (instance, given=None))]
    fn user_for(
        &self,
        py: Python<'_>,
        instance: String,
        given: Option<String>,
    ) -> PyResult<String> {
        let engine = self.0.clone();
        runtime::wait(py, async move {
            engine.user_for(&instance, given.as_deref()).await
        })
    }

    /// The same for an event loop: resolves to the user.
    #[pyo3(signature = (event_loop, instance, given=None))]
    fn user_for_async<'py>(
        &self,
        event_loop: &Bound<'py, PyAny>,
        instance: String,
        given: Option<String>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let engine = self.0.clone();
        awaitable::spawn(
            event_loop,
            async move { engine.user_for(&instance, given.as_deref()).await },
            |_, user| Ok(user),
        )
    }

    /// What the instance runs, as in `POSTGRES_16`.
    fn database_version(&self, py: Python<'_>, instance: String) -> PyResult<String> {
        let engine = self.0.clone();
        runtime::wait(py, async move { engine.database_version(&instance).await })
    }

    /// The same for an event loop: resolves to the version.
    fn database_version_async<'py>(
        &self,
        event_loop: &Bound<'py, PyAny>,
        instance: String,
    ) -> PyResult<Bound<'py, PyAny>> {
        let engine = self.0.clone();
        awaitable::spawn(
            event_loop,
            async move { engine.database_version(&instance).await },
            |_, version| Ok(version),
        )
    }

    /// The e-mail of the identity that logs in, where it can be known.
    fn principal(&self, py: Python<'_>) -> PyResult<Option<String>> {
        let engine = self.0.clone();
        runtime::wait(py, async move { engine.principal().await })
    }

    /// The same for an event loop: resolves to the e-mail.
    fn principal_async<'py>(&self, event_loop: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let engine = self.0.clone();
        awaitable::spawn(
            event_loop,
            async move { engine.principal().await },
            |_, principal| Ok(principal),
        )
    }

    /// Refuses new connections and ends this connector's listeners; open sessions live on.
    fn close(&self) {
        self.0.close();
    }
}

async fn dialled(
    engine: iamsql::Connector,
    instance: String,
    user: Option<String>,
    iam: bool,
    options: ConnectOptions,
) -> iamsql::Result<(Connection, Option<String>)> {
    tokio::try_join!(
        engine.connection(&instance, &options),
        login_user(&engine, &instance, iam, user)
    )
}

/// Whom the driver logs in as: with IAM as the instance spells it, else as given.
pub(crate) async fn login_user(
    engine: &iamsql::Connector,
    instance: &str,
    iam: bool,
    given: Option<String>,
) -> iamsql::Result<Option<String>> {
    match iam {
        true => engine.user_for(instance, given.as_deref()).await.map(Some),
        false => Ok(given),
    }
}

/// The drivers that get a socket of ours are told that it is secure, so the server must be, too.
const OURS: ClientProtocol = ClientProtocol::Tls;
