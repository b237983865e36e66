//! One API call: noted, disturbed if a fault says so, answered.

use std::time::{Duration, SystemTime};

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, stream};

use super::Peer;
use crate::calls::Call;
use crate::faults::{Effect, Endpoint};
use crate::sqladmin::error::ApiError;
use crate::token::endpoint::OauthError;
use crate::world::World;

/// What a request turned out to ask for.
pub(crate) struct Asked {
    pub(crate) endpoint: Endpoint,
    pub(crate) path: String,
    pub(crate) instance: Option<String>,
    pub(crate) principal: Option<String>,
    pub(crate) detail: Option<String>,
    /// What the caller sent in confidence, for the fault that repeats it.
    pub(crate) secrets: Vec<String>,
    /// How this endpoint words errors.
    pub(crate) shape: Shape,
}

/// How an endpoint words its errors.
#[derive(Clone, Copy)]
pub(crate) enum Shape {
    /// `{"error": {"code", "message", "errors", "status"}}`.
    Api,
    /// The same without `errors`, of the service named.
    Service(&'static str),
    /// `{"error", "error_description"}`.
    Oauth,
    /// A page of HTML.
    Metadata,
}

/// Notes the call, lets a fault answer it, or else `answer`.
pub(crate) async fn exchange(
    world: &World,
    peer: &Peer,
    headers: &HeaderMap,
    asked: Asked,
    answer: impl AsyncFnOnce() -> Response,
) -> Response {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_string)
    };
    let received = world.calls.received(Call {
        endpoint: asked.endpoint,
        instance: asked.instance.clone(),
        principal: asked.principal.clone(),
        at: SystemTime::now(),
        path: asked.path.clone(),
        user_agent: text("user-agent"),
        api_client: text("x-goog-api-client"),
        quota_project: text("x-goog-user-project"),
        detail: asked.detail.clone(),
        status: None,
    });
    let effect = world.faults.take(
        asked.endpoint,
        asked.instance.as_deref(),
        asked.principal.as_deref(),
    );
    let response = match effect {
        None => answer().await,
        Some(Effect::Delay { milliseconds }) => {
            tokio::time::sleep(milliseconds).await;
            answer().await
        }
        Some(Effect::Hang) => std::future::pending().await,
        Some(Effect::Reset) => {
            peer.reset();
            // The connection ends at the first byte of this answer.
            return StatusCode::SERVICE_UNAVAILABLE.into_response();
        }
        Some(effect) => disturbed(effect, &asked),
    };
    world.calls.answered(received, response.status().as_u16());
    response
}

fn disturbed(effect: Effect, asked: &Asked) -> Response {
    match effect {
        Effect::Status {
            status,
            body,
            retry_after,
        } => {
            let status = StatusCode::from_u16(status).expect("checked when it was injected");
            let mut response = match body {
                Some(body) => (status, body).into_response(),
                None => worded(asked.shape, status, "scripted by a fault of the emulator"),
            };
            if let Some(value) = retry_after.and_then(|value| HeaderValue::try_from(value).ok()) {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
            response
        }
        Effect::Malformed => json(Bytes::from_static(
            b"{\"kind\": \"sql#connectSettings\", \"access_token\": \"emul",
        )),
        Effect::Huge { bytes } => {
            let mut body = br#"{"filler": ""#.to_vec();
            body.resize(bytes.max(body.len()), b'x');
            body.extend_from_slice(br#""}"#);
            json(Bytes::from(body))
        }
        Effect::ResetMidBody => cut_off(),
        Effect::Redirect { status, location } => {
            let status = StatusCode::from_u16(status).expect("checked when it was injected");
            match HeaderValue::try_from(location) {
                Ok(location) => (status, [(header::LOCATION, location)]).into_response(),
                Err(_) => status.into_response(),
            }
        }
        Effect::EchoSecrets { status } => {
            let status = StatusCode::from_u16(status).expect("checked when it was injected");
            let message = Effect::echoed(&asked.secrets);
            worded(asked.shape, status, &message)
        }
        other => unreachable!("{other:?} is no HTTP effect"),
    }
}

fn worded(shape: Shape, status: StatusCode, message: &str) -> Response {
    match shape {
        Shape::Api => ApiError::scripted(status, message).into_response(),
        Shape::Service(service) => ApiError::scripted(status, message)
            .of(service)
            .into_response(),
        Shape::Oauth => OauthError::scripted(status, message).into_response(),
        Shape::Metadata => (
            status,
            [(header::CONTENT_TYPE, "text/html")],
            format!("<html>{message}</html>"),
        )
            .into_response(),
    }
}

fn json(body: Bytes) -> Response {
    (
        [(header::CONTENT_TYPE, "application/json; charset=UTF-8")],
        body,
    )
        .into_response()
}

/// An answer that promises more bytes than come.
fn cut_off() -> Response {
    let begin = stream::once(async { Ok(Bytes::from_static(b"{\"kind\": ")) });
    let end = stream::once(async {
        // What was said so far must leave before the connection ends.
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(std::io::Error::other("reset by a fault"))
    });
    let body = Body::from_stream(begin.chain(end));
    let headers = [
        (header::CONTENT_TYPE, "application/json; charset=UTF-8"),
        (header::CONTENT_LENGTH, "4096"),
    ];
    (headers, body).into_response()
}
