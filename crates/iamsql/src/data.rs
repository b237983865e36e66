//! The data plane: instance and options in, an authenticated byte stream out.
//!
//! It reads the newest [`Target`] that the control plane published, dials it, and reports back when an address or a
//! certificate turned out to be stale.

pub(crate) mod buffer;
pub(crate) mod connection;
#[cfg(unix)]
pub(crate) mod descriptors;
pub(crate) mod resolve;
pub(crate) mod session;
pub(crate) mod tcp;
pub(crate) mod tls;

#[cfg(test)]
pub(crate) mod testing;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::connector::Connector;
use crate::control::{Address, Target};
use crate::error::{Error, ErrorKind, Result};
use crate::instance::Instance;
use crate::options::{AuthMode, ConnectOptions, IpType, TLS_TIMEOUT};
use connection::{Connection, Origin};

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

    /// Says that the target of `seen_generation` did not work, so that a newer one is fetched.
    fn force_refresh(&self, instance: &Instance, mode: AuthMode, seen_generation: u64);

    /// The addresses behind a DNS name.
    async fn look_up(&self, name: &str, deadline: Instant) -> Result<Vec<IpAddr>>;

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
        }))
    }

    pub(crate) fn instance(&self) -> &Instance {
        &self.0.instance
    }

    /// Cancelled when the connector closes.
    pub(crate) fn closed(&self) -> CancellationToken {
        self.0.targets.closed()
    }

    /// Tells the control plane that the target of `generation` was refused.
    pub(crate) fn refused(&self, generation: u64) {
        self.0
            .targets
            .force_refresh(&self.0.instance, self.0.mode, generation);
    }

    /// From name to authenticated stream, within this route's timeout. Ends early when the connector closes.
    pub(crate) async fn connect(&self) -> Result<Connection> {
        let closed = self.closed();
        tokio::select! {
            biased;
            () = closed.cancelled() => Err(Error::new(ErrorKind::Closed, "the connector is closed")),
            connected = self.connect_by(Instant::now() + self.0.timeout) => connected,
        }
        .map_err(|error| error.with_instance(self.instance()))
    }

    async fn connect_by(&self, deadline: Instant) -> Result<Connection> {
        let target = self.target(deadline).await?;
        let failure = match self.dial(&target, deadline).await {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        if !is_stale(failure.kind()) {
            return Err(failure);
        }
        self.refused(target.generation);
        // An address may be unreachable for reasons that no refresh cures; a refused identity or certificate is worth a
        // second look with what the API says now.
        if failure.kind() != ErrorKind::Tls {
            return Err(failure);
        }
        match self.target(deadline).await {
            Ok(fresh) if fresh.generation != target.generation => self.dial(&fresh, deadline).await,
            _ => Err(failure),
        }
    }

    async fn target(&self, deadline: Instant) -> Result<Arc<Target>> {
        let wanted = self
            .0
            .targets
            .target(&self.0.instance, self.0.mode, deadline);
        // The control plane keeps the deadline and knows what it was waiting for; this timer is for a stuck engine.
        match tokio::time::timeout_at(deadline + GRACE, wanted).await {
            Ok(target) => target,
            Err(_) => Err(self.overdue("fetching the instance's settings and certificate")),
        }
    }

    async fn dial(&self, target: &Target, deadline: Instant) -> Result<Connection> {
        let (tcp, dialled) = self.tcp(target, deadline).await?;
        let server = target.server_name_at(dialled)?;
        let peer = tcp.peer_addr().map_err(|error| {
            Error::new(ErrorKind::Network, "the connection was lost at once").with_source(error)
        })?;
        let origin = Origin::new(self.clone(), target.generation);
        let limit = deadline.min(Instant::now() + TLS_TIMEOUT);
        match tokio::time::timeout_at(limit, tls::handshake(tcp, peer, server, target, origin))
            .await
        {
            Ok(connection) => connection,
            Err(_) if limit == deadline => {
                Err(self.overdue(&format!("the TLS handshake with {peer}")))
            }
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                format!("the TLS handshake with {peer} took longer than {TLS_TIMEOUT:?}"),
            )),
        }
    }

    /// Connects to the first address of the type asked for that answers, and says which that was.
    async fn tcp<'a>(
        &self,
        target: &'a Target,
        deadline: Instant,
    ) -> Result<(TcpStream, &'a Address)> {
        let mut failure = None;
        for address in resolve::addresses(target, self.0.ip_type)? {
            let connected = async {
                let ips = match address {
                    Address::Ip(ip) => vec![*ip],
                    Address::Name(name) => self.0.targets.look_up(name, deadline).await?,
                };
                let sockets: Vec<SocketAddr> = ips
                    .into_iter()
                    .map(|ip| SocketAddr::new(ip, target.port))
                    .collect();
                tcp::connect(&sockets, deadline).await
            };
            match connected.await {
                Ok(tcp) => return Ok((tcp, address)),
                Err(error) => failure = Some(error),
            }
        }
        Err(failure.unwrap_or_else(|| {
            Error::new(ErrorKind::NotFound, "the instance has no address to dial")
        }))
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

    async fn look_up(&self, name: &str, deadline: Instant) -> Result<Vec<IpAddr>> {
        resolve::look_up(name, deadline).await
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

const GRACE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
