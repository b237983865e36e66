//! One dial: a target in, a connection out. TCP, TLS, and the metadata exchange where there is one.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::connection::{Connection, Origin};
use super::line::Line;
use super::tls::Handshake;
use super::{ASKING, Place, Route, exchange, resolve, tcp, tls};
use crate::control::{Address, Exchange, Target};
use crate::error::{Error, ErrorKind, Result};
use crate::options::TLS_TIMEOUT;

impl Route {
    /// Dials `target` in the time that is left.
    pub(super) async fn dial(
        &self,
        place: &Place,
        target: &Target,
        deadline: Instant,
    ) -> Result<Connection, Failure> {
        // The token is asked for while hands are shaken, and sent only to a server that proved its identity.
        let token = async {
            match target.exchange {
                Some(Exchange::AlloyDb) => {
                    let wanted = self.0.targets.login_token(deadline);
                    let token = self.asked_for(wanted, deadline, ASKING);
                    token.await.map(Some).map_err(Failure::Ours)
                }
                Some(Exchange::CloudSql) | None => Ok(None),
            }
        };
        let secure = async {
            let secured = self.secure(place, target, deadline).await;
            secured.map_err(Failure::Dial)
        };
        let (token, (mut line, left)) = tokio::try_join!(token, secure)?;
        if let Some(token) = token {
            let (mode, agent) = (self.0.mode, self.0.targets.user_agent());
            let exchange = exchange::alloydb::exchange(&mut line, mode, &agent, &token);
            let exchanged = self.within(left, deadline, "the metadata exchange", exchange);
            exchanged.await.map_err(|error| {
                if error.kind() == ErrorKind::Handshake {
                    self.0.targets.login_refused(&token);
                }
                Failure::Dial(error)
            })?;
        }
        line.into_connection().map_err(Failure::Dial)
    }

    /// A session with a server that is the instance's, and what is left of [`TLS_TIMEOUT`].
    async fn secure(
        &self,
        place: &Place,
        target: &Target,
        deadline: Instant,
    ) -> Result<(Line, Duration)> {
        let (tcp, dialled) = self.tcp(target, deadline).await?;
        let peer = tcp.peer_addr().map_err(|error| {
            Error::new(ErrorKind::Network, "the connection was lost at once").with_source(error)
        })?;
        let handshake = Handshake {
            server: target.server_name_at(dialled, self.domain())?,
            config: target.tls_for(self.domain()),
            client: (target.exchange == Some(Exchange::CloudSql)).then_some(self.0.client),
            origin: Origin::new(self.clone(), place, target.generation),
        };
        let started = Instant::now();
        let shaking = tls::handshake(tcp, peer, handshake);
        let step = format!("the TLS handshake with {peer}");
        let line = self.within(TLS_TIMEOUT, deadline, &step, shaking).await?;
        Ok((line, TLS_TIMEOUT.saturating_sub(started.elapsed())))
    }

    /// One step of a dial, in the time that is left for it.
    async fn within<T>(
        &self,
        left: Duration,
        deadline: Instant,
        step: &str,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let limit = deadline.min(Instant::now() + left);
        match tokio::time::timeout_at(limit, work).await {
            Ok(done) => done,
            Err(_) if limit == deadline => Err(self.overdue(step)),
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                format!("{step} took longer than {TLS_TIMEOUT:?}"),
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
        let addresses = resolve::addresses(target, self.0.ip_type)?;
        let sockets = |ips: Vec<IpAddr>| -> Vec<SocketAddr> {
            let with_port = |ip| SocketAddr::new(ip, target.port);
            ips.into_iter().map(with_port).collect()
        };
        // A domain's own address records say how to get there, where it has any; who answers is checked all the same.
        if let Some(domain) = self.domain()
            && let Some(&address) = addresses.first()
            && let Ok(ips @ [_, ..]) = self.0.targets.look_up(domain, deadline).await.as_deref()
        {
            let tcp = tcp::connect(&sockets(ips.to_vec()), deadline).await?;
            return Ok((tcp, address));
        }
        for address in addresses {
            let connected = async {
                let ips = match address {
                    Address::Ip(ip) => vec![*ip],
                    Address::Name(name) => self.named(name, deadline).await?,
                };
                tcp::connect(&sockets(ips), deadline).await
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

    async fn named(&self, name: &str, deadline: Instant) -> Result<Vec<IpAddr>> {
        match self.0.targets.look_up(name, deadline).await? {
            ips if ips.is_empty() => Err(Error::new(
                ErrorKind::Dns,
                format!("{name:?} has no address record"),
            )
            .with_advice("add an A record for the Private Service Connect endpoint to your network's DNS zone")),
            ips => Ok(ips),
        }
    }
}

/// A dial that failed.
pub(super) enum Failure {
    /// On the way to the server, or at its word.
    Dial(Error),
    /// For want of something of our own, which no fetch of settings cures.
    Ours(Error),
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Dial(error) | Failure::Ours(error) => error,
        }
    }
}
