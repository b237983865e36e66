//! The gRPC port: TLS with ALPN `h2`, beside the HTTP port. Google's APIs that have no other transport answer here.

mod roots;
mod status;
mod unary;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use futures_util::stream;
use rustls::ServerConfig;
use rustls::server::ResolvesServerCert;
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Connected;

use crate::alloydb::AlloyDbAdmin;
use crate::authority::{Authority, KeyKind, issue_endpoint};
use crate::http::{Line, Peer, turned_away};
use crate::loopback::grpc_address;
use crate::sqldata::SqlDataService;
use crate::world::World;

pub(crate) use self::roots::Roots;
pub(crate) use self::status::status;
pub(crate) use self::unary::{Method, Subject, unary};

/// Where gRPC is served, and whom its clients must trust.
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    /// The CA's certificate, PEM.
    pub(crate) ca: String,
    /// The same as a file.
    pub(crate) roots: Roots,
}

/// Serves the gRPC port until the emulator stops.
pub(crate) async fn serve(world: &Arc<World>) -> anyhow::Result<()> {
    let http: SocketAddr = world.host.parse().context("the HTTP port has no address")?;
    let wanted = grpc_address(http);
    let listener = TcpListener::bind(wanted)
        .await
        .with_context(|| format!("cannot listen on {wanted}"))?;
    let address = listener.local_addr()?;
    let authority = Authority::new("iamsql-emulator", KeyKind::EcdsaP256)?;
    let key = issue_endpoint(&authority, &[address.ip()])?;
    let ca = authority.pem.clone();
    let endpoint = Endpoint {
        roots: Roots::new(&ca)?,
        address,
        ca,
    };
    // There is one emulator to a world.
    let _ = world.grpc.set(endpoint);
    let incoming = accept(listener, acceptor(key)?);
    let (routes, stop) = (services(world), world.stop.clone());
    let served = tokio::spawn(async move {
        tokio::select! {
            served = Server::builder().add_routes(routes).serve_with_incoming(incoming) => {
                if let Err(error) = served {
                    tracing::error!(%error, "the gRPC server ended");
                }
            }
            () = stop.cancelled() => {}
        }
    });
    world.http.lock().expect("no panic under lock").push(served);
    Ok(())
}

/// Every service that the port has.
fn services(world: &Arc<World>) -> Routes {
    let routes = Routes::new(AlloyDbAdmin::new(world)).add_service(SqlDataService::new(world));
    let guarded = routes
        .into_axum_router()
        .layer(from_fn_with_state(world.clone(), guard));
    Routes::from(guarded)
}

/// Turns away what the HTTP port turns away.
async fn guard(State(world): State<Arc<World>>, request: Request, next: Next) -> Response {
    let host = request
        .uri()
        .authority()
        .map(|authority| authority.to_string());
    match turned_away(request.headers(), host.as_deref(), world.settings.exposed) {
        Some(reason) => tonic::Status::permission_denied(reason).into_http(),
        None => next.run(request).await,
    }
}

fn acceptor(key: CertifiedKey) -> anyhow::Result<TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Only(Arc::new(key))));
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The connections that completed their handshakes, which do not wait for one another.
fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
) -> impl stream::Stream<Item = std::io::Result<Secured>> {
    let (secured, mut ready) = mpsc::channel(1);
    let accept = async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(shake_hands(stream, acceptor.clone(), secured.clone()));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    };
    let mut accept = Box::pin(accept);
    stream::poll_fn(move |context| {
        // Never completes; it is polled here so that it ends with the server.
        let _: Poll<()> = accept.as_mut().poll(context);
        ready.poll_recv(context).map(|secured| secured.map(Ok))
    })
}

async fn shake_hands(stream: TcpStream, acceptor: TlsAcceptor, secured: mpsc::Sender<Secured>) {
    // Fails only if the client left already.
    let _ = stream.set_nodelay(true);
    if let Ok(Ok(stream)) = timeout(HANDSHAKE_LIMIT, acceptor.accept(Line::new(stream))).await {
        // Fails only when the server ends.
        let _ = secured.send(Secured(stream)).await;
    }
}

/// One connection, after its handshake.
struct Secured(TlsStream<Line>);

impl Connected for Secured {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.0.get_ref().0.peer.clone()
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// The one certificate of this port.
#[derive(Debug)]
struct Only(Arc<CertifiedKey>);

impl ResolvesServerCert for Only {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

const HANDSHAKE_LIMIT: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
