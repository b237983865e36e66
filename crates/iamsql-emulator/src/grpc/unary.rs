//! One unary call: decoded, noted, disturbed if a fault says so, answered.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::SystemTime;

use axum::body::{Body as Bytewise, Bytes};
use futures_util::stream;
use prost::Message;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::Grpc;
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

use super::status;
use crate::caller::Caller;
use crate::calls::Call;
use crate::faults::{Effect, Endpoint};
use crate::http::Peer;
use crate::sqladmin::error::ApiError;
use crate::world::World;

/// What a request turned out to ask for.
pub(crate) struct Subject {
    pub(crate) endpoint: Endpoint,
    pub(crate) instance: Option<String>,
    /// The resource that the routing header must name too.
    pub(crate) parent: String,
    pub(crate) detail: Option<String>,
}

/// A method: how to read what a request asks for, and the answer.
pub(crate) struct Method<Q, A> {
    pub(crate) subject: fn(&World, &Q) -> Subject,
    pub(crate) answer: fn(&World, &Caller, Q) -> Result<A, ApiError>,
}

/// Answers `request`, unless a fault does.
pub(crate) async fn unary<Q, A>(
    world: Arc<World>,
    request: http::Request<Body>,
    method: Method<Q, A>,
) -> http::Response<Body>
where
    Q: Message + Default + 'static,
    A: Message + 'static,
{
    let raw = Raw::default();
    let handler = Handler {
        world,
        path: request.uri().path().to_string(),
        raw: raw.clone(),
        method: Arc::new(method),
    };
    let codec = ProstCodec::<A, Q>::default();
    let mut grpc = Grpc::new(codec).max_decoding_message_size(LARGEST);
    let response = grpc.unary(handler, request).await;
    let raw = raw.0.lock().expect("no panic under lock").take();
    raw.unwrap_or(response)
}

/// An answer that a gRPC library would not give.
#[derive(Clone, Default)]
struct Raw(Arc<Mutex<Option<http::Response<Body>>>>);

/// A method as the service that tonic wants.
struct Handler<Q, A> {
    world: Arc<World>,
    path: String,
    raw: Raw,
    method: Arc<Method<Q, A>>,
}

impl<Q: Send + 'static, A: Send + 'static> Service<Request<Q>> for Handler<Q, A> {
    type Response = Response<A>;
    type Error = Status;
    type Future = BoxFuture<Response<A>, Status>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        let (world, path) = (self.world.clone(), self.path.clone());
        let (raw, method) = (self.raw.clone(), self.method.clone());
        Box::pin(async move { handle(&world, path, &raw, &method, request).await })
    }
}

async fn handle<Q, A>(
    world: &World,
    path: String,
    raw: &Raw,
    method: &Method<Q, A>,
    request: Request<Q>,
) -> Result<Response<A>, Status> {
    let headers = request.metadata().clone().into_headers();
    let peer = request.extensions().get::<Peer>().cloned();
    let request = request.into_inner();
    let caller = Caller::of(world, &headers);
    let subject = (method.subject)(world, &request);
    let text = |name: &str| {
        let value = headers.get(name);
        value
            .and_then(|value| value.to_str().ok())
            .map(str::to_string)
    };
    let received = world.calls.received(Call {
        endpoint: subject.endpoint,
        instance: subject.instance.clone(),
        principal: caller.email(),
        at: SystemTime::now(),
        path,
        user_agent: text("user-agent"),
        api_client: text("x-goog-api-client"),
        quota_project: text("x-goog-user-project"),
        detail: subject.detail,
        status: None,
    });
    let effect = world.faults.take(
        subject.endpoint,
        subject.instance.as_deref(),
        caller.email().as_deref(),
    );
    let disturbance = match effect {
        None => None,
        Some(Effect::Delay { milliseconds }) => {
            tokio::time::sleep(milliseconds).await;
            None
        }
        Some(Effect::Hang) => std::future::pending().await,
        Some(effect) => Some(disturbed(effect, &caller, peer, raw)),
    };
    let (code, outcome) = match disturbance {
        Some((code, status)) => (code, Err(status)),
        None => {
            let answered = routed(text("x-goog-request-params"), &subject.parent)
                .and_then(|()| (method.answer)(world, &caller, request));
            let code = answered.as_ref().map_or_else(ApiError::code, |_| 200);
            let outcome = answered.map(Response::new);
            (code, outcome.map_err(|error| error.grpc()))
        }
    };
    world.calls.answered(received, code);
    outcome
}

/// The header by which Google's front ends find the region of a request; every client of theirs sends it.
fn routed(header: Option<String>, parent: &str) -> Result<(), ApiError> {
    let header = header.unwrap_or_default();
    let named = header
        .split('&')
        .find_map(|pair| pair.strip_prefix("parent="))
        .map(decoded);
    if named.as_deref() != Some(parent) {
        let message = "The header x-goog-request-params does not name the parent of the request.";
        return Err(ApiError::invalid(message).of("alloydb.googleapis.com"));
    }
    Ok(())
}

/// Undoes percent-encoding.
fn decoded(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.as_bytes().iter();
    while let Some(byte) = bytes.next() {
        let rest = bytes.as_slice();
        let hex = rest
            .get(..2)
            .and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (byte, hex) {
            (b'%', Some(value)) => {
                out.push(value);
                bytes.nth(1);
            }
            _ => out.push(*byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// What a fault answers: the HTTP status to note, and the gRPC status, or something else in `raw`.
fn disturbed(effect: Effect, caller: &Caller, peer: Option<Peer>, raw: &Raw) -> (u16, Status) {
    let send = |response: http::Response<Body>| {
        let code = response.status().as_u16();
        *raw.0.lock().expect("no panic under lock") = Some(response);
        (code, Status::unknown("answered otherwise"))
    };
    match effect {
        Effect::Status {
            status: code,
            body,
            retry_after,
        } => {
            let message = body
                .as_deref()
                .unwrap_or("scripted by a fault of the emulator");
            let mut answer = status(code, message, None);
            if let Some(value) = retry_after.and_then(|value| value.parse().ok()) {
                answer.metadata_mut().insert("retry-after", value);
            }
            (code, answer)
        }
        Effect::EchoSecrets { status: code } => {
            let secrets: Vec<String> = caller.text.clone().into_iter().collect();
            (code, status(code, &Effect::echoed(&secrets), None))
        }
        Effect::Reset => {
            if let Some(peer) = peer {
                peer.reset();
            }
            // The connection ends at the first byte of this answer.
            (503, Status::unavailable("reset by a fault"))
        }
        Effect::Malformed => send(whole(b"\0\0\0\0\x04\xff\xff\xff\xff".to_vec())),
        Effect::Huge { bytes } => {
            let length = u32::try_from(bytes).unwrap_or(u32::MAX);
            let mut body = vec![0];
            body.extend(length.to_be_bytes());
            body.resize(5 + bytes, b'x');
            send(whole(body))
        }
        Effect::ResetMidBody => {
            let begin = Ok(Bytes::from_static(b"\0\0\0\x10\0\x0a"));
            let end = Err(std::io::Error::other("reset by a fault"));
            let body = Bytewise::from_stream(stream::iter([begin, end]));
            send(grpc_response(Body::new(body)))
        }
        Effect::Redirect {
            status: code,
            location,
        } => {
            let response = http::Response::builder()
                .status(code)
                .header("location", location)
                .body(Body::empty());
            send(response.unwrap_or_else(|_| Status::internal("no such location").into_http()))
        }
        other => unreachable!("{other:?} is no effect of a call"),
    }
}

fn whole(body: Vec<u8>) -> http::Response<Body> {
    grpc_response(Body::new(Bytewise::from(body)))
}

fn grpc_response(body: Body) -> http::Response<Body> {
    let mut response = http::Response::new(body);
    let kind = http::HeaderValue::from_static("application/grpc");
    response.headers_mut().insert("content-type", kind);
    response
}

const LARGEST: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_routed_by_its_parent() {
        let good = [
            "parent=projects/p",
            "parent=projects%2Fp",
            "a=b&parent=projects%2fp",
        ];
        for header in good {
            assert!(
                routed(Some(header.to_string()), "projects/p").is_ok(),
                "{header}"
            );
        }
        for header in [
            "",
            "parent=projects/q",
            "name=projects/p",
            "parent=projects%2",
        ] {
            assert!(
                routed(Some(header.to_string()), "projects/p").is_err(),
                "{header}"
            );
        }
        assert!(routed(None, "projects/p").is_err());
    }
}
