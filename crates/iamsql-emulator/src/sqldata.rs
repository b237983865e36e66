//! Cloud SQL's data service: a database connection inside a gRPC stream, without TLS or a certificate of its own.
//!
//! ```text
//! StartSession ─▶ who may, which edition ─▶ SessionMetadata
//! DataPacket   ─▶ login ─▶ PostgreSQL ─▶ DataPacket, with how far the other direction was received
//!                                     └▶ TerminateSession
//! ```

mod admission;
mod message;
mod tunnel;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use futures_util::{Stream, stream};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{Grpc, NamedService};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use self::admission::{admit, named};
use self::message::{Asked, StreamRequest, StreamResponse};
use crate::caller::Caller;
use crate::calls::Call;
use crate::faults::{Effect, Endpoint};
use crate::grpc::status;
use crate::http::Peer;
use crate::session::{Login, SessionIdentity};
use crate::world::World;

/// The service.
#[derive(Clone)]
pub(crate) struct SqlDataService(Arc<World>);

impl SqlDataService {
    pub(crate) fn new(world: &Arc<World>) -> Self {
        SqlDataService(world.clone())
    }
}

impl NamedService for SqlDataService {
    const NAME: &'static str = "google.cloud.sql.v1beta4.SqlDataService";
}

impl Service<http::Request<Body>> for SqlDataService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let world = self.0.clone();
        if request.uri().path().rsplit('/').next() != Some("StreamSqlData") {
            return Box::pin(async { Ok(Status::unimplemented("no such method").into_http()) });
        }
        Box::pin(async move {
            let codec = ProstCodec::<StreamResponse, StreamRequest>::default();
            let mut grpc = Grpc::new(codec).max_decoding_message_size(LARGEST);
            Ok(grpc.streaming(Handler(world), request).await)
        })
    }
}

/// The method as the service that tonic wants.
struct Handler(Arc<World>);

/// The messages to the client.
type Answers = Pin<Box<dyn Stream<Item = Result<StreamResponse, Status>> + Send>>;

impl Service<Request<Streaming<StreamRequest>>> for Handler {
    type Response = Response<Answers>;
    type Error = Status;
    type Future = BoxFuture<Response<Answers>, Status>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<StreamRequest>>) -> Self::Future {
        let world = self.0.clone();
        Box::pin(async move { handle(world, request).await })
    }
}

async fn handle(
    world: Arc<World>,
    request: Request<Streaming<StreamRequest>>,
) -> Result<Response<Answers>, Status> {
    let metadata = request.metadata().clone();
    let peer = request.extensions().get::<Peer>().cloned();
    let caller = Caller::of(&world, &metadata.clone().into_headers());
    let mut questions = request.into_inner();
    let first = timeout(START_LIMIT, questions.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("no StartSession in time"))??;
    let start = match first.and_then(|first| first.message) {
        Some(Asked::Start(start)) => start,
        Some(Asked::Continue(_)) => {
            return Err(Status::failed_precondition(
                "RECONNECT_FAILED: sessions cannot be continued",
            ));
        }
        _ => {
            return Err(Status::invalid_argument(
                "the first message must be StartSession",
            ));
        }
    };
    let instance = named(&world, &start);
    let name = instance.as_ref().map(|instance| instance.text.clone());
    let text = |name: &str| {
        metadata
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_string)
    };
    let received = world.calls.received(Call {
        endpoint: Endpoint::SqlData,
        instance: name.clone(),
        principal: caller.email(),
        at: SystemTime::now(),
        path: PATH.to_string(),
        user_agent: text("user-agent"),
        api_client: text("x-goog-api-client"),
        quota_project: text("x-goog-user-project"),
        detail: None,
        status: None,
    });
    let effect = world.faults.take(
        Endpoint::SqlData,
        name.as_deref(),
        caller.email().as_deref(),
    );
    let mut reset_after = None;
    let disturbed = match effect {
        None => None,
        Some(Effect::Delay { milliseconds }) => {
            tokio::time::sleep(milliseconds).await;
            None
        }
        Some(Effect::Hang) => std::future::pending().await,
        Some(Effect::Reset) => {
            if let Some(peer) = &peer {
                peer.reset();
            }
            Some((503, Status::unavailable("reset by a fault")))
        }
        Some(Effect::ResetAfter { bytes }) => {
            reset_after = Some(bytes);
            None
        }
        Some(effect) => Some(scripted(effect, &caller)),
    };
    let admitted = match disturbed {
        Some(refused) => Err(refused),
        None => admit(&world, &caller, &start, &metadata, instance.as_deref()),
    };
    world.calls.answered(
        received,
        admitted.as_ref().map_or_else(|(code, _)| *code, |_| 200),
    );
    let token = admitted.map_err(|(_, status)| status)?;
    let instance = instance.expect("admitted to it");
    let (answers, mut ready) = mpsc::channel(QUEUE);
    let address = world.grpc.get().map_or(NOWHERE, |grpc| grpc.address);
    let client = peer.and_then(|peer| peer.client).unwrap_or(NOWHERE);
    let session = world
        .sessions
        .opened(world.next_session(), &instance.text, address, client);
    session.update(|session| {
        session.authenticated = true;
        session.principal = Some(token.principal.clone());
    });
    let identity = SessionIdentity {
        instance: instance.text.clone(),
        handle: session,
        login: Login::Token(token),
        product: instance.name.product(),
        exclusive: false,
        world,
    };
    tokio::spawn(tunnel::serve(
        instance,
        identity,
        questions,
        answers,
        reset_after,
    ));
    let answers = stream::poll_fn(move |context| ready.poll_recv(context));
    Ok(Response::new(Box::pin(answers)))
}

/// The refusal that a fault asked for.
fn scripted(effect: Effect, caller: &Caller) -> (u16, Status) {
    match effect {
        Effect::Status {
            status: code, body, ..
        } => {
            let message = body
                .as_deref()
                .unwrap_or("scripted by a fault of the emulator");
            (code, status(code, message, None))
        }
        Effect::EchoSecrets { status: code } => {
            let secrets: Vec<String> = caller.text.clone().into_iter().collect();
            (code, status(code, &Effect::echoed(&secrets), None))
        }
        other => unreachable!("{other:?} is no effect of a session"),
    }
}

const PATH: &str = "/google.cloud.sql.v1beta4.SqlDataService/StreamSqlData";
/// As Google's clients have it.
const LARGEST: usize = 100 * 1024 * 1024;
const START_LIMIT: Duration = Duration::from_secs(10);
const QUEUE: usize = 16;
const NOWHERE: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);
