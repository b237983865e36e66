//! A TLS server and a control plane of the test's own, so that the data plane is tested without the other.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{Route, Targets};
use crate::control::credentials::Token;
use crate::control::{Address, Target};
use crate::error::{Error, ErrorKind, Result};
use crate::instance::Instance;
use crate::options::{AuthMode, CLOUD_SQL_PORT, IpType};
use crate::secret::Secret;
use crate::tether::{Cutter, Tether};

/// An authority that signs servers and clients.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap().der().clone();
        Authority {
            issuer: Issuer::new(parameters, key),
            certificate,
        }
    }

    fn sign(&self, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()])
            .unwrap()
            .signed_by(&key, &self.issuer)
            .unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        (vec![certificate.der().clone()], key)
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        roots
    }
}

/// A server on port 3307 of a loopback address of its own; echoes what it is sent.
pub(crate) struct Server {
    pub(crate) address: IpAddr,
    authority: Authority,
    /// TLS sessions that got as far as application data.
    pub(crate) sessions: Arc<AtomicUsize>,
    running: CancellationToken,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let authority = Authority::new();
        let (chain, key) = authority.sign(SERVER_NAME);
        let clients = WebPkiClientVerifier::builder_with_provider(
            Arc::new(authority.roots()),
            Arc::new(default_provider()),
        )
        .build()
        .unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = bind().await;
        let address = listener.local_addr().unwrap().ip();
        let sessions = Arc::new(AtomicUsize::new(0));
        let running = CancellationToken::new();
        let (counted, stopping) = (sessions.clone(), running.clone());
        tokio::spawn(async move {
            loop {
                let tcp = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap().0,
                    () = stopping.cancelled() => return,
                };
                let (acceptor, counted) = (acceptor.clone(), counted.clone());
                tokio::spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else {
                        return;
                    };
                    counted.fetch_add(1, Ordering::SeqCst);
                    echo(tls).await;
                });
            }
        });
        Server {
            address,
            authority,
            sessions,
            running,
        }
    }

    /// A target whose certificate the server takes, or one that it will refuse.
    pub(crate) fn target(&self, generation: u64, welcome: bool) -> Arc<Target> {
        let stranger = Authority::new();
        let signer = if welcome { &self.authority } else { &stranger };
        let (chain, key) = signer.sign("client.test");
        let tls = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_root_certificates(self.authority.roots())
            .with_client_auth_cert(chain, key)
            .unwrap();
        Arc::new(Target {
            tls: Arc::new(tls),
            addresses: vec![(IpType::Public, Address::Ip(self.address))],
            generation,
            ..target_at(&[])
        })
    }

    /// A route whose certificate the server takes.
    pub(crate) fn route(&self) -> Route {
        route(Published::new(vec![self.target(1, true)]))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.running.cancel();
    }
}

async fn echo(mut tls: tokio_rustls::server::TlsStream<tokio::net::TcpStream>) {
    let mut buffer = vec![0; 32 * 1024];
    while let Ok(count @ 1..) = tls.read(&mut buffer).await {
        if &buffer[..count] == REKEY {
            tls.get_mut().1.refresh_traffic_keys().unwrap();
        }
        if tls.write_all(&buffer[..count]).await.is_err() || tls.flush().await.is_err() {
            return;
        }
    }
    let _ = tls.shutdown().await;
}

/// Listens on port 3307 of some loopback address that nobody else has.
pub(crate) async fn bind() -> TcpListener {
    loop {
        let mut bytes = [0; 3];
        aws_lc_rs::rand::fill(&mut bytes).unwrap();
        let address = Ipv4Addr::new(127, 16 + bytes[0] % 200, bytes[1], 1 + bytes[2] % 250);
        if let Ok(listener) = TcpListener::bind((address, CLOUD_SQL_PORT)).await {
            return listener;
        }
    }
}

/// A control plane with a list of targets: each forced refresh brings the next.
pub(crate) struct Published {
    targets: Mutex<Vec<Arc<Target>>>,
    pub(crate) refused: Mutex<Vec<u64>>,
    pub(crate) names: Mutex<HashMap<String, IpAddr>>,
    /// Where any domain name leads.
    pub(crate) leads_to: Mutex<String>,
    cutters: Mutex<Vec<Cutter>>,
    pub(crate) token: Mutex<Option<Secret>>,
    pub(crate) logins_refused: Mutex<Vec<Secret>>,
    pub(crate) closed: CancellationToken,
}

impl Published {
    pub(crate) fn new(mut targets: Vec<Arc<Target>>) -> Arc<Self> {
        targets.reverse();
        Arc::new(Published {
            targets: Mutex::new(targets),
            refused: Mutex::default(),
            names: Mutex::default(),
            leads_to: Mutex::new("p:r:i".to_owned()),
            cutters: Mutex::default(),
            token: Mutex::new(Some(Secret::new(TOKEN))),
            logins_refused: Mutex::default(),
            closed: CancellationToken::new(),
        })
    }
}

impl Published {
    /// Has every domain name lead elsewhere.
    pub(crate) fn move_to(&self, instance: &str) {
        *self.leads_to.lock().unwrap() = instance.to_owned();
        for cutter in self.cutters.lock().unwrap().drain(..) {
            cutter.cut(&Error::new(ErrorKind::Closed, "moved").with_retryable(true));
        }
    }
}

#[async_trait]
impl Targets for Published {
    async fn target(&self, _: &Instance, _: AuthMode, _: Instant) -> Result<Arc<Target>> {
        Ok(self.targets.lock().unwrap().last().unwrap().clone())
    }

    async fn locate(&self, instance: &Instance, _: Instant) -> Result<Instance> {
        match instance {
            Instance::Domain { .. } => Ok(self.leads_to.lock().unwrap().parse().unwrap()),
            _ => Ok(instance.clone()),
        }
    }

    fn tie(&self, _: &str, instance: &Instance) -> Option<Tether> {
        (*self.leads_to.lock().unwrap() == instance.to_string()).then(|| {
            let (tether, cutter) = Tether::new();
            self.cutters.lock().unwrap().push(cutter);
            tether
        })
    }

    fn force_refresh(&self, _: &Instance, _: AuthMode, seen_generation: u64) {
        self.refused.lock().unwrap().push(seen_generation);
        let mut targets = self.targets.lock().unwrap();
        if targets.len() > 1 && targets.last().unwrap().generation == seen_generation {
            targets.pop();
        }
    }

    async fn look_up(&self, name: &str, _: Instant) -> Result<Vec<IpAddr>> {
        match self.names.lock().unwrap().get(name) {
            Some(address) => Ok(vec![*address]),
            None => Err(Error::new(ErrorKind::Dns, "no such name")),
        }
    }

    async fn login_token(&self, _: Instant) -> Result<Token> {
        let asked = self.token.lock().unwrap().clone();
        match asked {
            Some(token) => Ok(Token::new(token)),
            None => Err(Error::new(ErrorKind::Credentials, "no login token")),
        }
    }

    fn login_refused(&self, token: &Token) {
        self.logins_refused
            .lock()
            .unwrap()
            .push(token.secret().clone());
    }

    fn user_agent(&self) -> String {
        "iamsql/test".to_owned()
    }

    fn closed(&self) -> CancellationToken {
        self.closed.clone()
    }
}

pub(crate) fn route(published: Arc<Published>) -> Route {
    route_within(published, Duration::from_secs(20))
}

pub(crate) fn route_within(published: Arc<Published>, timeout: Duration) -> Route {
    let instance = "p:r:i".parse().unwrap();
    Route::new(published, instance, IpType::Auto, AuthMode::Iam, timeout)
}

/// A target at these addresses, that trusts nobody.
pub(crate) fn target_at(addresses: &[(IpType, &str)]) -> Target {
    let tls = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    Target {
        addresses: addresses
            .iter()
            .map(|(ip_type, ip)| (*ip_type, Address::Ip(ip.parse().unwrap())))
            .collect(),
        port: CLOUD_SQL_PORT,
        exchange: None,
        database_version: None,
        by_domain: None,
        tls: Arc::new(tls),
        server_name: Some(SERVER_NAME.try_into().unwrap()),
        expires: SystemTime::now() + Duration::from_secs(3600),
        generation: 1,
    }
}

/// Bytes that do not repeat in step with any buffer.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes
}

/// Has the server change its keys, and ask for new ones of ours, before it echoes.
pub(crate) const REKEY: &[u8] = b"new keys, please";

/// The login token that metadata exchanges send.
pub(crate) const TOKEN: &str = "login-token-of-the-test";

const SERVER_NAME: &str = "server.test";

/// A route by a domain name, which is also what the server is called.
pub(crate) fn route_by_domain(published: Arc<Published>) -> Route {
    let instance = SERVER_NAME.parse().unwrap();
    let timeout = Duration::from_secs(20);
    Route::new(published, instance, IpType::Auto, AuthMode::Iam, timeout)
}
