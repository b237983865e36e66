//! The control plane at work: one background thread with its own runtime, for all connectors of one identity.

mod registry;

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, SystemTime};

use reqwest::header::HeaderValue;
use tokio::runtime::{self, Handle};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::control::admin::{AlloyDb, CloudSql, Settings};
use crate::control::cache::Cache;
use crate::control::clock::{Clock, SystemClock};
use crate::control::credentials::{Login, Resolved, Scope, Token, Tokens};
use crate::control::endpoint::Endpoints;
use crate::control::environment::Environment;
use crate::control::http::Http;
use crate::control::http::patience::Patience;
use crate::control::issuer::GoogleIssuer;
use crate::control::key::EngineKey;
use crate::control::names::lookup::Dns;
use crate::control::names::servers::Servers;
use crate::control::names::{Names, Policy};
#[cfg(feature = "sql-data")]
use crate::control::passage::{Passage, Passages, Unsupported};
use crate::control::schedule::{self, ForcedLimit};
use crate::control::sharing::SharingKey;
use crate::control::shelf::Shelf;
use crate::control::static_info::StaticInfo;
use crate::control::target::Target;
use crate::error::{Error, ErrorKind, Result};
use crate::instance::Instance;
use crate::options::{AuthMode, RefreshStrategy};
use crate::tether::Tether;

pub(crate) use registry::Lease;

/// Everything that an engine is made from, checked. A forked child makes its own from the same.
pub(crate) struct EngineSpec {
    pub(crate) key: SharingKey,
    pub(crate) endpoints: Endpoints,
    pub(crate) environment: Environment,
    pub(crate) credentials: Resolved,
    /// What AlloyDB instances are to be found by, in place of the API.
    pub(crate) static_info: Option<Arc<StaticInfo>>,
    pub(crate) strategy: RefreshStrategy,
    pub(crate) user_agent: HeaderValue,
    pub(crate) quota_project: Option<HeaderValue>,
    pub(crate) dns_servers: Vec<SocketAddr>,
    pub(crate) domains: Policy,
}

pub(crate) struct Engine {
    cache: Arc<Cache>,
    issuer: Arc<GoogleIssuer>,
    tokens: Arc<Tokens>,
    names: Arc<Names>,
    refused_logins: Mutex<ForcedLimit>,
    #[cfg(feature = "sql-data")]
    passages: Arc<Passages>,
    runtime: Handle,
    /// Dropping it ends the thread.
    _stop: oneshot::Sender<()>,
}

impl Engine {
    fn start(spec: &EngineSpec) -> Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let http = Arc::new(Http::new(
            &spec.environment,
            spec.user_agent.clone(),
            clock.clone(),
        )?);
        let tokens = Arc::new(Tokens::open(
            &spec.credentials,
            &http,
            &clock,
            &spec.endpoints,
        )?);
        let issuer = Arc::new(GoogleIssuer {
            tokens: tokens.clone(),
            admin: CloudSql::new(
                http.clone(),
                spec.endpoints.admin.clone(),
                spec.quota_project.clone(),
            ),
            alloydb: AlloyDb::new(
                http.clone(),
                spec.endpoints.alloydb.clone(),
                spec.quota_project.clone(),
            ),
            static_info: spec.static_info.clone(),
            key: EngineKey::default(),
            clock: clock.clone(),
            settings: Shelf::new(clock.clone()),
            connection_info: Shelf::new(clock.clone()),
        });
        #[cfg(feature = "sql-data")]
        let passages = Arc::new(Passages {
            http: http.clone(),
            tokens: tokens.clone(),
            endpoint: spec.endpoints.sql_data.clone(),
            user_agent: spec.user_agent.clone(),
            quota_project: spec.quota_project.clone(),
            server: tokio::sync::OnceCell::new(),
            unsupported: Unsupported::default(),
        });
        let (runtime, stop) = start_thread()?;
        // By the time that anybody needs them they may be there.
        let (early, client) = (issuer.clone(), http.clone());
        let admin = spec.endpoints.admin.clone();
        runtime.spawn(async move { tokio::join!(early.key.get(), client.prepare(&admin)) });
        let cache = Cache::new(issuer.clone(), clock, spec.strategy, runtime.clone());
        let servers = match &spec.endpoints.emulator {
            _ if !spec.dns_servers.is_empty() => Servers::Given(spec.dns_servers.clone()),
            Some(origin) => Servers::Emulator {
                http,
                origin: origin.clone(),
            },
            None => Servers::System,
        };
        let users = Arc::downgrade(&cache);
        let names = Names::new(
            Arc::new(Dns::new(servers)),
            issuer.clone(),
            spec.domains.clone(),
            runtime.clone(),
            move || users.upgrade().is_some_and(|cache| cache.is_used()),
        );
        Ok(Engine {
            refused_logins: Mutex::new(ForcedLimit::new(cache.clock().now())),
            cache,
            issuer,
            tokens,
            names,
            #[cfg(feature = "sql-data")]
            passages,
            runtime,
            _stop: stop,
        })
    }

    /// A target to dial. The one at hand costs a lock; otherwise the engine's thread gets one until `deadline`.
    pub(crate) async fn target(
        &self,
        instance: &Instance,
        mode: AuthMode,
        deadline: Instant,
    ) -> Result<Arc<Target>> {
        if let Some(target) = self.cache.at_hand(instance, mode) {
            return Ok(target);
        }
        let target = self.cache.clone().target(instance.clone(), mode, deadline);
        self.run(target).await
    }

    /// The instance that `instance` stands for: itself, unless it is a domain name. An answer at hand costs a lock.
    pub(crate) async fn locate(&self, instance: &Instance, deadline: Instant) -> Result<Instance> {
        let Instance::Domain { name } = instance else {
            return Ok(instance.clone());
        };
        if let Some(found) = self.names.at_hand(name) {
            return Ok(found);
        }
        self.run(self.names.clone().locate(name.clone(), deadline))
            .await
    }

    /// Ties a connection to the domain name that it is opened by; `None` if that leads elsewhere by now.
    pub(crate) fn tie(&self, domain: &str, instance: &Instance) -> Option<Tether> {
        self.names.tie(domain, instance)
    }

    /// The addresses of a DNS name; none if it has no such record.
    pub(crate) async fn look_up(&self, name: &str, deadline: Instant) -> Result<Vec<IpAddr>> {
        match self.names.known_addresses(name) {
            Some(known) => known,
            None => {
                self.run(self.names.clone().addresses(name.to_owned(), deadline))
                    .await
            }
        }
    }

    #[cfg(feature = "sql-data")]
    pub(crate) async fn passage(&self, deadline: Instant) -> Result<Passage> {
        let passages = self.passages.clone();
        self.until(deadline, |patience| async move {
            passages.passage(&patience).await
        })
        .await
    }

    pub(crate) fn force_refresh(&self, instance: &Instance, mode: AuthMode, seen: u64) {
        self.cache.force(instance, mode, seen);
    }

    pub(crate) async fn settings(
        &self,
        instance: &Instance,
        deadline: Instant,
    ) -> Result<Arc<Settings>> {
        let (issuer, instance) = (self.issuer.clone(), instance.clone());
        self.until(deadline, |patience| async move {
            issuer
                .settings(&instance, false, &patience)
                .await
                .map_err(|error| error.with_instance(&instance))
        })
        .await
    }

    pub(crate) async fn principal(&self, deadline: Instant) -> Result<Option<String>> {
        let tokens = self.tokens.clone();
        self.until(deadline, |patience| async move {
            tokens.principal(&patience).await
        })
        .await
    }

    /// A token that becomes a database login, and when it ends; see [`Login`] for what it may be used for.
    pub(crate) async fn login_token(
        &self,
        purpose: Login,
        deadline: Instant,
    ) -> Result<(Token, SystemTime)> {
        let tokens = self.tokens.clone();
        self.until(deadline, |patience| async move {
            tokens.login(purpose, &patience).await
        })
        .await
    }

    /// The token that a metadata exchange sends. The one at hand costs a lock.
    pub(crate) async fn exchange_token(&self, deadline: Instant) -> Result<Token> {
        match self.tokens.exchange_at_hand() {
            Some(token) => Ok(token),
            None => {
                let (token, _) = self.login_token(Login::Exchange, deadline).await?;
                Ok(token)
            }
        }
    }

    /// Drops the exchange's token, because a server refused it; limited like forced refreshes.
    pub(crate) fn exchange_refused(&self, token: &Token) {
        let now = self.cache.clock().now();
        let mut limit = self
            .refused_logins
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if limit.allows(now) {
            let (tokens, token) = (self.tokens.clone(), token.clone());
            self.runtime.spawn(async move {
                let patience = Patience::until(Instant::now() + schedule::FETCH_LIMIT);
                tokens.forget(Scope::AlloyDbLogin, &token, &patience).await;
            });
        }
    }

    /// A token for calls to an API of this scope.
    #[allow(dead_code)]
    pub(crate) async fn api_token(&self, scope: Scope, deadline: Instant) -> Result<Token> {
        let tokens = self.tokens.clone();
        self.until(deadline, |patience| async move {
            tokens.api(scope, &patience).await
        })
        .await
    }

    async fn until<T: Send + 'static, F: Future<Output = Result<T>> + Send + 'static>(
        &self,
        deadline: Instant,
        work: impl FnOnce(Arc<Patience>) -> F,
    ) -> Result<T> {
        let patience = Arc::new(Patience::until(deadline));
        let work = work(patience.clone());
        self.run(async move {
            tokio::time::timeout_at(deadline, work)
                .await
                .unwrap_or_else(|_| Err(patience.timed_out()))
        })
        .await
    }

    /// Runs on the engine's thread; waited for on any runtime, or none. Whoever stops waiting stops the work.
    async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let mut task = Abandoned(self.runtime.spawn(work));
        (&mut task.0).await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Unavailable,
                "the engine stopped in the middle of the call",
            ))
        })
    }
}

struct Abandoned<T>(JoinHandle<T>);

impl<T> Drop for Abandoned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A runtime of the engine's own: a caller's would take the engine with it when it ends.
fn start_thread() -> Result<(Handle, oneshot::Sender<()>)> {
    let failed = |error: std::io::Error| {
        Error::new(
            ErrorKind::Unavailable,
            "the engine's thread could not be started",
        )
        .with_source(error)
    };
    let (started, start) = mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    std::thread::Builder::new()
        .name("iamsql-engine".to_owned())
        .spawn(move || {
            let runtime = match runtime::Builder::new_current_thread()
                .enable_all()
                .thread_name("iamsql-blocking")
                .thread_keep_alive(BLOCKING_KEEP_ALIVE)
                .build()
            {
                Ok(runtime) => runtime,
                Err(error) => {
                    let _ = started.send(Err(error));
                    return;
                }
            };
            let _ = started.send(Ok(runtime.handle().clone()));
            let _ = runtime.block_on(stopped);
            // A name lookup that hangs must not keep the thread.
            runtime.shutdown_background();
        })
        .map_err(failed)?;
    let handle = start
        .recv()
        .map_err(|_| failed(std::io::Error::other("it ended at once")))?
        .map_err(failed)?;
    Ok((handle, stop))
}

const BLOCKING_KEEP_ALIVE: Duration = Duration::from_secs(1);
