//! The data plane: instance and options in, an authenticated byte stream out.
//!
//! It reads the newest [`Target`] that the control plane published, dials it, and reports back when an address or a
//! certificate turned out to be stale.

pub(crate) mod buffer;
pub(crate) mod connection;
#[cfg(unix)]
pub(crate) mod descriptors;
mod dial;
mod exchange;
pub(crate) mod line;
pub(crate) mod resolve;
pub(crate) mod session;
pub(crate) mod tcp;
pub(crate) mod tls;
#[cfg(feature = "sql-data")]
mod tunnel;

#[cfg(test)]
pub(crate) mod testing;

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::connector::Connector;
#[cfg(feature = "sql-data")]
use crate::control::Passage;
use crate::control::Target;
use crate::control::credentials::Token;
use crate::error::{Error, ErrorKind, Result};
use crate::instance::Instance;
use crate::options::{AuthMode, ClientProtocol, ConnectOptions, IpType};
use crate::tether::Tether;
use crate::user::DatabaseEngine;
use connection::Connection;
use dial::Failure;

/// Where the newest target of an instance comes from, and who hears that it was stale: all that this plane sees of the other.
#[async_trait]
pub(crate) trait Targets: Send + Sync {
    /// The newest usable target; waits for one, until `deadline`, if none is cached.
    async fn target(
        &self,
        instance: &Instance,
        mode: AuthMode,
        deadline: Instant,
    ) -> Result<Arc<Target>>;

    /// The instance that `instance` stands for: itself, unless it is a domain name.
    async fn locate(&self, instance: &Instance, deadline: Instant) -> Result<Instance>;

    /// Ties a connection to the domain name that it is opened by; `None` if that leads elsewhere by now.
    fn tie(&self, domain: &str, instance: &Instance) -> Option<Tether>;

    /// Says that the target of `seen_generation` did not work, so that a newer one is fetched.
    fn force_refresh(&self, instance: &Instance, mode: AuthMode, seen_generation: u64);

    /// The addresses behind a DNS name; none if it has no such record.
    async fn look_up(&self, name: &str, deadline: Instant) -> Result<Vec<IpAddr>>;

    /// The login token that a metadata exchange sends; waits for one, until `deadline`, if none is at hand.
    async fn login_token(&self, deadline: Instant) -> Result<Token>;

    /// Says that a server refused this login token, so that the next exchange may send another.
    fn login_refused(&self, token: &Token);

    /// How we introduce ourselves.
    fn user_agent(&self) -> String;

    /// The way to Cloud SQL's SqlData service.
    #[cfg(feature = "sql-data")]
    async fn passage(&self, _deadline: Instant) -> Result<Passage> {
        Err(Error::config("there is no way to the SqlData service"))
    }

    /// Cancelled when the connector closes.
    fn closed(&self) -> CancellationToken;
}

/// One instance as one connect wants it: every option resolved. Cheap to clone; each face keeps one to dial with.
#[derive(Clone)]
pub(crate) struct Route(Arc<Inner>);

struct Inner {
    targets: Arc<dyn Targets>,
    instance: Instance,
    ip_type: IpType,
    mode: AuthMode,
    timeout: Duration,
    engine: Option<DatabaseEngine>,
    client: ClientProtocol,
}

/// Where a name led this time.
#[derive(Clone)]
pub(crate) struct Place {
    /// No domain name.
    pub(crate) instance: Instance,
    /// What the connection is called in messages.
    pub(crate) label: String,
    pub(crate) tether: Option<Tether>,
}

impl Route {
    pub(crate) fn new(
        targets: Arc<dyn Targets>,
        instance: Instance,
        ip_type: IpType,
        mode: AuthMode,
        timeout: Duration,
    ) -> Self {
        Route(Arc::new(Inner {
            targets,
            instance,
            ip_type,
            mode,
            timeout,
            engine: None,
            client: ClientProtocol::Tcp,
        }))
    }

    /// The same, for a driver that speaks to `engine` alone and reaches us over `client`.
    pub(crate) fn for_driver(
        mut self,
        engine: Option<DatabaseEngine>,
        client: ClientProtocol,
    ) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            (inner.engine, inner.client) = (engine, client);
        }
        self
    }

    pub(crate) fn instance(&self) -> &Instance {
        &self.0.instance
    }

    /// Cancelled when the connector closes.
    pub(crate) fn closed(&self) -> CancellationToken {
        self.0.targets.closed()
    }

    /// Tells the control plane that the target of `generation` was refused by `instance`.
    pub(crate) fn refused(&self, instance: &Instance, generation: u64) {
        self.0
            .targets
            .force_refresh(instance, self.0.mode, generation);
    }

    /// From name to authenticated stream, within this route's timeout. Ends early when the connector closes.
    pub(crate) async fn connect(&self) -> Result<Connection> {
        self.unless_closed(self.connect_by(Instant::now() + self.0.timeout))
            .await
            .map_err(|error| error.with_instance(self.instance()))
    }

    /// From a place that is known already.
    #[cfg(feature = "sql-data")]
    pub(crate) async fn connect_around(&self, place: &Place) -> Result<Connection> {
        self.unless_closed(self.connect_at(place, Instant::now() + self.0.timeout))
            .await
            .map_err(|error| error.with_instance(&place.label))
    }

    async fn unless_closed<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let closed = self.closed();
        tokio::select! {
            biased;
            () = closed.cancelled() => Err(Error::new(ErrorKind::Closed, "the connector is closed")),
            done = work => done,
        }
    }

    async fn connect_by(&self, deadline: Instant) -> Result<Connection> {
        for _ in 0..MOVES {
            let Some(place) = self.locate(deadline).await? else {
                continue;
            };
            let connection = self
                .connect_to(&place, deadline)
                .await
                .map_err(|error| error.with_instance(&place.label))?;
            // The name may have moved on during the dial.
            if connection.severed().is_none() {
                return Ok(connection);
            }
        }
        Err(Error::new(
            ErrorKind::Dns,
            "the domain name moved again and again while connecting",
        ))
    }

    /// `None` if the name moved between the lookup and the tie.
    async fn locate(&self, deadline: Instant) -> Result<Option<Place>> {
        let wanted = self.0.targets.locate(&self.0.instance, deadline);
        let instance = match tokio::time::timeout_at(deadline + GRACE, wanted).await {
            Ok(instance) => instance?,
            Err(_) => return Err(self.overdue("looking the domain name up")),
        };
        let Some(domain) = self.domain() else {
            let label = instance.to_string();
            return Ok(Some(Place {
                instance,
                label,
                tether: None,
            }));
        };
        let tether = self.0.targets.tie(domain, &instance);
        Ok(tether.map(|tether| Place {
            label: format!("{domain} -> {instance}"),
            instance,
            tether: Some(tether),
        }))
    }

    fn domain(&self) -> Option<&str> {
        match &self.0.instance {
            Instance::Domain { name } => Some(name),
            _ => None,
        }
    }

    async fn connect_to(&self, place: &Place, deadline: Instant) -> Result<Connection> {
        if self.0.ip_type == IpType::SqlData {
            return self.tunnel(place, deadline).await;
        }
        self.connect_at(place, deadline).await
    }

    #[cfg(not(feature = "sql-data"))]
    async fn tunnel(&self, _: &Place, _: Instant) -> Result<Connection> {
        Err(Error::config(
            "ip_type SQL_DATA needs iamsql's feature `sql-data`",
        ))
    }

    #[cfg(feature = "sql-data")]
    async fn tunnel(&self, place: &Place, deadline: Instant) -> Result<Connection> {
        resolve::check_tunnel(self.0.engine)?;
        let around = self.around();
        let wanted = self.0.targets.passage(deadline);
        let passage = match tokio::time::timeout_at(deadline + GRACE, wanted).await {
            Ok(passage) => passage?,
            Err(_) => return Err(self.overdue("finding the way to SqlData")),
        };
        match passage.unsupported.contains(&place.instance) {
            true => around.connect_at(place, deadline).await,
            false => tunnel::open(place, passage, around, deadline).await,
        }
    }

    /// The same, by address.
    #[cfg(feature = "sql-data")]
    fn around(&self) -> Route {
        let inner = &self.0;
        Route::new(
            inner.targets.clone(),
            inner.instance.clone(),
            IpType::Auto,
            inner.mode,
            inner.timeout,
        )
        .for_driver(inner.engine, inner.client)
    }

    async fn connect_at(&self, place: &Place, deadline: Instant) -> Result<Connection> {
        let target = self.target(place, deadline).await?;
        if let Some(engine) = self.0.engine {
            resolve::check_engine(&target, engine)?;
        }
        let failure = match self.dial(place, &target, deadline).await {
            Ok(connection) => return Ok(connection),
            Err(Failure::Dial(error)) if is_stale(error.kind()) => error,
            Err(failure) => return Err(failure.into()),
        };
        self.refused(&place.instance, target.generation);
        // An address may be unreachable for reasons that no refresh cures; a refused identity or certificate is worth a
        // second look with what the API says now.
        if failure.kind() != ErrorKind::Tls {
            return Err(failure);
        }
        match self.target(place, deadline).await {
            Ok(fresh) if fresh.generation != target.generation => {
                let dialled = self.dial(place, &fresh, deadline).await;
                dialled.map_err(Error::from)
            }
            _ => Err(failure),
        }
    }

    async fn target(&self, place: &Place, deadline: Instant) -> Result<Arc<Target>> {
        let wanted = self
            .0
            .targets
            .target(&place.instance, self.0.mode, deadline);
        self.asked_for(wanted, deadline, FETCHING).await
    }

    /// The control plane keeps the deadline and knows what it was waiting for; this timer is for a stuck engine.
    async fn asked_for<T>(
        &self,
        wanted: impl Future<Output = Result<T>>,
        deadline: Instant,
        step: &str,
    ) -> Result<T> {
        match tokio::time::timeout_at(deadline + GRACE, wanted).await {
            Ok(answer) => answer,
            Err(_) => Err(self.overdue(step)),
        }
    }

    fn overdue(&self, step: &str) -> Error {
        Error::new(
            ErrorKind::Timeout,
            format!(
                "connecting took longer than {:?}, the last step being {step}",
                self.0.timeout
            ),
        )
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("instance", &self.0.instance.to_string())
            .field("ip_type", &self.0.ip_type)
            .field("mode", &self.0.mode)
            .field("timeout", &self.0.timeout)
            .finish()
    }
}

impl Connector {
    /// Connects to `instance` and leaves it to the caller what to make of the connection.
    ///
    /// [`connect`](Self::connect) is this for async Rust; other callers turn the [`Connection`] into the socket that their
    /// driver takes.
    ///
    /// # Errors
    /// Those of [`connect`](Self::connect).
    pub async fn connection(&self, instance: &str, options: &ConnectOptions) -> Result<Connection> {
        self.route(instance, options)?.connect().await
    }

    /// Everything about one connect that is known before anything is fetched.
    pub(crate) fn route(&self, instance: &str, options: &ConnectOptions) -> Result<Route> {
        let instance: Instance = instance.parse()?;
        let ip_type = self.ip_type(&instance, options);
        Ok(Route::new(
            Arc::new(self.clone()),
            instance,
            ip_type,
            self.auth_mode(options),
            self.timeout(options)?,
        )
        .for_driver(
            options.engine,
            // A driver that is handed a stream does not know of the TLS behind it, and encrypts its password itself: a
            // server that was told otherwise would not understand that.
            options.client_protocol.unwrap_or(ClientProtocol::Tcp),
        ))
    }
}

#[async_trait]
impl Targets for Connector {
    async fn target(
        &self,
        instance: &Instance,
        mode: AuthMode,
        deadline: Instant,
    ) -> Result<Arc<Target>> {
        self.target(instance, mode, deadline).await
    }

    fn force_refresh(&self, instance: &Instance, mode: AuthMode, seen_generation: u64) {
        self.force_refresh(instance, mode, seen_generation);
    }

    async fn locate(&self, instance: &Instance, deadline: Instant) -> Result<Instance> {
        self.locate(instance, deadline).await
    }

    fn tie(&self, domain: &str, instance: &Instance) -> Option<Tether> {
        self.tie(domain, instance)
    }

    async fn look_up(&self, name: &str, deadline: Instant) -> Result<Vec<IpAddr>> {
        self.look_up(name, deadline).await
    }

    async fn login_token(&self, deadline: Instant) -> Result<Token> {
        self.exchange_token(deadline).await
    }

    fn login_refused(&self, token: &Token) {
        self.exchange_refused(token);
    }

    fn user_agent(&self) -> String {
        self.user_agent()
    }

    #[cfg(feature = "sql-data")]
    async fn passage(&self, deadline: Instant) -> Result<Passage> {
        self.passage(deadline).await
    }

    fn closed(&self) -> CancellationToken {
        self.closed()
    }
}

/// Whether a dial that failed so may have used settings or a certificate that are no longer true.
fn is_stale(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Network | ErrorKind::Tls | ErrorKind::Timeout
    )
}

/// How often a name may move during one connect.
const MOVES: usize = 3;

const FETCHING: &str = "fetching the instance's settings and certificate";
const ASKING: &str = "asking for a login token";
const GRACE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
