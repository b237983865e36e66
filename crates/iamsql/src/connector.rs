//! The [`Connector`]: joins control plane and data plane, and belongs to no thread, runtime or process.

mod builder;

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::control::admin::alloydb::DATABASE_VERSION;
use crate::control::credentials::{Login, Scope, Token};
use crate::control::engine::{EngineSpec, Lease};
use crate::control::names::domain::InstanceName;
use crate::control::process::PerProcess;
use crate::control::{Exchange, Target};
use crate::data::resolve::{addresses, check_engine, check_tunnel};
use crate::error::{Error, ErrorKind, Result};
use crate::instance::{Instance, Product};
use crate::options::{AuthMode, ConnectOptions, IpType, checked_timeout};
use crate::secret::foreign;
use crate::tether::Tether;
use crate::user::{DatabaseEngine, database_user};

pub use builder::ConnectorBuilder;

/// Connects to Cloud SQL and AlloyDB instances as one Google identity.
///
/// Cheap to clone; clones are the same connector. Safe to use from any thread, any runtime, and after a fork. Connectors
/// with the same credentials and endpoints share certificates and their renewal within a process.
///
/// ```no_run
/// # async fn example() -> iamsql::Result<()> {
/// let connector = iamsql::Connector::builder().iam_auth(true).build().await?;
/// let user = connector.user("your-project-id:us-central1:demo-postgres").await?;
/// # drop(user); Ok(()) }
/// ```
#[derive(Clone)]
pub struct Connector(Arc<Inner>);

struct Inner {
    spec: EngineSpec,
    defaults: Defaults,
    closed: AtomicBool,
    here: PerProcess<Here>,
}

/// What a connector holds in one process.
struct Here {
    lease: Mutex<Option<Arc<Lease>>>,
    closed: CancellationToken,
}

/// What `ConnectOptions` may override.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults {
    pub(crate) ip_type: Option<IpType>,
    pub(crate) auth_mode: Option<AuthMode>,
    pub(crate) timeout: Duration,
}

impl Connector {
    /// A builder with every default.
    pub fn builder() -> ConnectorBuilder {
        ConnectorBuilder::default()
    }

    pub(crate) fn start(spec: EngineSpec, defaults: Defaults) -> Result<Self> {
        let connector = Connector(Arc::new(Inner {
            spec,
            defaults,
            closed: AtomicBool::new(false),
            here: PerProcess::new(),
        }));
        connector.here()?;
        Ok(connector)
    }

    /// The database user that an IAM login to `instance` needs: the principal, as the instance's engine spells it.
    ///
    /// The first call asks for the principal and for the instance's settings; both are kept.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if the credentials cannot tell whom they speak for, or the engine has no IAM login;
    /// otherwise as any call to the Admin API.
    pub async fn user(&self, instance: &str) -> Result<String> {
        self.user_for(instance, None).await
    }

    /// The database user to log in as: `given`, corrected if it is a service account's full address, or
    /// [`user`](Self::user) if nobody gave one.
    ///
    /// # Errors
    /// As [`user`](Self::user).
    pub async fn user_for(&self, instance: &str, given: Option<&str>) -> Result<String> {
        let instance: Instance = instance.parse()?;
        let deadline = Instant::now() + self.0.defaults.timeout;
        let lease = self.lease()?;
        let instance = self.locate(&instance, deadline).await?;
        let version = version(&lease, &instance, deadline);
        let principal = async {
            match given {
                Some(given) => Ok(Some(given.to_owned())),
                None => lease.engine().principal(deadline).await,
            }
        };
        let (version, principal) = self
            .unless_closed(async { tokio::try_join!(version, principal) })
            .await
            .map_err(|error| error.with_instance(&instance))?;
        let engine = DatabaseEngine::from_database_version(&version);
        let refused = |message: String, advice| {
            Err(Error::config(message)
                .with_advice(advice)
                .with_instance(&instance))
        };
        match (principal, engine) {
            (Some(name), Some(engine))
                if given.is_some() || engine != DatabaseEngine::SqlServer =>
            {
                let user = database_user(&name, engine).into_owned();
                if user.len() > engine.longest_user() {
                    // PostgreSQL cuts both what it is told and what it was given; MySQL has no such user.
                    match engine {
                        DatabaseEngine::MySql => {
                            return refused(
                                format!(
                                    "the database user {:?} is longer than the {} characters that MySQL allows",
                                    foreign(&user),
                                    engine.longest_user()
                                ),
                                "use a principal whose address has a shorter part before the @",
                            );
                        }
                        _ => tracing::warn!(user, "the database shortens this user's name"),
                    }
                }
                if given.is_some_and(|given| given != user) {
                    tracing::debug!(given, user, "the database spells this user differently");
                }
                Ok(user)
            }
            (Some(name), None) if given.is_some() => Ok(name),
            (None, _) => refused(
                "the credentials do not tell whom they speak for".to_owned(),
                "name the database user",
            ),
            (Some(_), _) => refused(
                format!("{} has no IAM login", foreign(&version)),
                "connect with a database user and its password",
            ),
        }
    }

    /// The e-mail address that the credentials speak for, or `None` if they cannot tell.
    ///
    /// # Errors
    /// [`Credentials`](ErrorKind::Credentials) or [`Unavailable`](ErrorKind::Unavailable) if asking fails.
    pub async fn principal(&self) -> Result<Option<String>> {
        let deadline = Instant::now() + self.0.defaults.timeout;
        let lease = self.lease()?;
        self.unless_closed(lease.engine().principal(deadline)).await
    }

    /// A token for `product` that can log in to databases and do nothing else, and the moment when it ends.
    ///
    /// For connections that iamsql does not make: it is the password of the IAM principal's database user, for AlloyDB on
    /// port 5432, say. Send it only over TLS whose server certificate was verified (`sslmode=verify-full`): whoever gets it
    /// can log in as you for as long as it lives, an hour at most. One that can do more is never handed out.
    ///
    /// # Errors
    /// [`Credentials`](ErrorKind::Credentials) if the credentials give no such token, and
    /// [`Unavailable`](ErrorKind::Unavailable) if asking fails.
    pub async fn login_token(&self, product: Product) -> Result<Token> {
        let deadline = Instant::now() + self.0.defaults.timeout;
        let purpose = Login::Password(match product {
            Product::CloudSql => Scope::Login,
            Product::AlloyDb => Scope::AlloyDbLogin,
        });
        let lease = self.lease()?;
        let wanted = lease.engine().login_token(purpose, deadline);
        let (token, expires) = self.unless_closed(wanted).await?;
        Ok(token.expires_at(expires))
    }

    /// What the instance runs, as the Admin API spells it: `POSTGRES_17`. For AlloyDB, whose API tells a client no version,
    /// it is `POSTGRES`, and nothing is asked.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound), [`Permission`](ErrorKind::Permission) or
    /// [`Unavailable`](ErrorKind::Unavailable), as the Admin API answers.
    pub async fn database_version(&self, instance: &str) -> Result<String> {
        let instance: Instance = instance.parse()?;
        let deadline = Instant::now() + self.0.defaults.timeout;
        let lease = self.lease()?;
        let instance = self.locate(&instance, deadline).await?;
        self.unless_closed(version(&lease, &instance, deadline))
            .await
    }

    /// Fetches everything that a connect to `instance` needs, and dials nothing.
    ///
    /// # Errors
    /// As connecting, short of the network to the instance.
    pub async fn warm(&self, instance: &str, options: &ConnectOptions) -> Result<()> {
        let instance: Instance = instance.parse()?;
        let deadline = Instant::now() + self.timeout(options)?;
        let (mode, ip_type) = (self.auth_mode(options), self.ip_type(&instance, options));
        let instance = self.locate(&instance, deadline).await?;
        let ip_type = match ip_type {
            IpType::SqlData => {
                check_tunnel(options.engine).map_err(|error| error.with_instance(&instance))?;
                if self.tunnels(&instance, deadline).await? {
                    return Ok(());
                }
                IpType::Auto
            }
            addressed => addressed,
        };
        let target = self.target(&instance, mode, deadline).await?;
        if target.exchange == Some(Exchange::AlloyDb) {
            let token = self.exchange_token(deadline).await;
            token.map_err(|error| error.with_instance(&instance))?;
        }
        options
            .engine
            .map_or(Ok(()), |engine| check_engine(&target, engine))
            .and_then(|()| addresses(&target, ip_type).map(drop))
            .map_err(|error| error.with_instance(&instance))
    }

    /// Closes the connector and its clones: listeners and dials in flight end, new ones are refused with
    /// [`Closed`](ErrorKind::Closed). Open connections live on. Closing twice is nothing special.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        // What another process left behind is not ours to close.
        if let Some(here) = self.0.here.get() {
            here.closed.cancel();
            let lease = here
                .lease
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take();
            drop(lease);
        }
    }

    /// Whether [`close`](Self::close) was called, on this connector or a clone.
    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire)
    }

    /// The instance that `instance` stands for: itself, unless it is a domain name.
    pub(crate) async fn locate(&self, instance: &Instance, deadline: Instant) -> Result<Instance> {
        let lease = self.lease()?;
        self.unless_closed(lease.engine().locate(instance, deadline))
            .await
            .map_err(|error| error.with_instance(instance))
    }

    /// Ties a connection to the domain name that it is opened by; `None` if that leads elsewhere by now.
    pub(crate) fn tie(&self, domain: &str, instance: &Instance) -> Option<Tether> {
        self.lease().ok()?.engine().tie(domain, instance)
    }

    /// The addresses of a DNS name; none if it has no such record.
    pub(crate) async fn look_up(&self, name: &str, deadline: Instant) -> Result<Vec<IpAddr>> {
        let lease = self.lease()?;
        self.unless_closed(lease.engine().look_up(name, deadline))
            .await
    }

    #[cfg(feature = "sql-data")]
    pub(crate) async fn passage(&self, deadline: Instant) -> Result<crate::control::Passage> {
        let lease = self.lease()?;
        self.unless_closed(lease.engine().passage(deadline)).await
    }

    /// Whether connects to the instance go by the SqlData service, as far as is known; what they need is fetched then.
    #[cfg(feature = "sql-data")]
    async fn tunnels(&self, instance: &Instance, deadline: Instant) -> Result<bool> {
        match self.passage(deadline).await {
            Ok(passage) => Ok(!passage.unsupported.contains(instance)),
            Err(error) => Err(error.with_instance(instance)),
        }
    }

    #[cfg(not(feature = "sql-data"))]
    async fn tunnels(&self, instance: &Instance, _: Instant) -> Result<bool> {
        Err(
            Error::config("ip_type SQL_DATA needs iamsql's feature `sql-data`")
                .with_instance(instance),
        )
    }

    /// Everything that a dial needs, fetched if it is not at hand.
    pub(crate) async fn target(
        &self,
        instance: &Instance,
        mode: AuthMode,
        deadline: Instant,
    ) -> Result<Arc<Target>> {
        let lease = self.lease()?;
        self.unless_closed(lease.engine().target(instance, mode, deadline))
            .await
            .map_err(|error| error.with_instance(instance))
    }

    /// Has the next [`target`](Self::target) fetched anew, because generation `seen` failed; limited to 2 at once and
    /// then one per 30 s.
    pub(crate) fn force_refresh(&self, instance: &Instance, mode: AuthMode, seen: u64) {
        if let Ok(lease) = self.lease() {
            lease.engine().force_refresh(instance, mode, seen);
        }
    }

    /// The token that a metadata exchange sends.
    pub(crate) async fn exchange_token(&self, deadline: Instant) -> Result<Token> {
        let lease = self.lease()?;
        self.unless_closed(lease.engine().exchange_token(deadline))
            .await
    }

    /// Has the next metadata exchange send another token, because a server refused this one.
    pub(crate) fn exchange_refused(&self, token: &Token) {
        if let Ok(lease) = self.lease() {
            lease.engine().exchange_refused(token);
        }
    }

    pub(crate) fn user_agent(&self) -> String {
        let agent = self.0.spec.user_agent.to_str();
        agent.unwrap_or_default().to_owned()
    }

    /// Cancelled when the connector is closed. Belongs to this process.
    pub(crate) fn closed(&self) -> CancellationToken {
        match self.here() {
            Ok(here) => here.closed.clone(),
            Err(_) => {
                let closed = CancellationToken::new();
                closed.cancel();
                closed
            }
        }
    }

    pub(crate) fn ip_type(&self, instance: &Instance, options: &ConnectOptions) -> IpType {
        options
            .ip_type
            .or(self.0.defaults.ip_type)
            .unwrap_or_else(|| match instance {
                // An instance's own name stands for one kind of its addresses.
                Instance::Domain { name } => InstanceName::read(name)
                    .map_or(IpType::usual(instance.product()), |name| name.ip_type),
                _ => IpType::usual(instance.product()),
            })
    }

    /// How to log in where nobody said: with a password, because only driver glue knows whether there is one.
    pub(crate) fn auth_mode(&self, options: &ConnectOptions) -> AuthMode {
        self.chosen_auth_mode(options).unwrap_or(AuthMode::Password)
    }

    /// How the caller said to log in, if at all.
    pub(crate) fn chosen_auth_mode(&self, options: &ConnectOptions) -> Option<AuthMode> {
        options.auth_mode.or(self.0.defaults.auth_mode)
    }

    pub(crate) fn timeout(&self, options: &ConnectOptions) -> Result<Duration> {
        match options.timeout {
            Some(timeout) => checked_timeout(timeout),
            None => Ok(self.0.defaults.timeout),
        }
    }

    fn lease(&self) -> Result<Arc<Lease>> {
        if self.is_closed() {
            return Err(closed());
        }
        let lease = self.here()?.lease.lock();
        lease
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .ok_or_else(closed)
    }

    /// This process's share; the first call after a fork takes one anew.
    fn here(&self) -> Result<&Here> {
        self.0.here.get_or_try_make(|| {
            let lease = match self.is_closed() {
                true => None,
                false => Some(Arc::new(Lease::take(&self.0.spec)?)),
            };
            let closed = CancellationToken::new();
            if lease.is_none() {
                closed.cancel();
            }
            Ok(Here {
                lease: Mutex::new(lease),
                closed,
            })
        })
    }

    async fn unless_closed<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let token = self.closed();
        tokio::select! {
            biased;
            () = token.cancelled() => Err(closed()),
            result = work => result,
        }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("defaults", &self.0.defaults)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// What the instance runs. All that there is to know of AlloyDB is known without asking.
async fn version(lease: &Lease, instance: &Instance, deadline: Instant) -> Result<String> {
    match instance.product() {
        Product::AlloyDb => Ok(DATABASE_VERSION.to_owned()),
        Product::CloudSql => {
            let settings = lease.engine().settings(instance, deadline).await?;
            Ok(settings.database_version.clone())
        }
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the connector is closed")
}
