//! The emulator's own endpoints: what there is for anybody, and what may be changed for who holds the bearer.
//!
//! The README lists them.

mod credentials;
mod dns;
mod federation;
mod instances;
mod users;

use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::calls::Call;
use crate::faults::{Fault, FaultId};
use crate::principal::Principal;
use crate::session::Session;
use crate::world::World;

/// Everything below `/emulator/control`.
pub(crate) fn router(world: &Arc<World>) -> Router<Arc<World>> {
    Router::new()
        .route("/calls", get(list_calls).delete(forget_calls))
        .route("/sessions", get(list_sessions))
        .route(
            "/faults",
            get(list_faults).post(inject_fault).delete(clear_faults),
        )
        .route("/faults/{id}", delete(clear_fault))
        .route("/principals", get(list_principals).post(add_principal))
        .route("/hosts", post(add_host))
        .route("/shutdown", post(shutdown))
        .merge(instances::router())
        .merge(credentials::router())
        .merge(users::router())
        .merge(dns::router())
        .merge(federation::router())
        .layer(from_fn_with_state(world.clone(), require_bearer))
}

/// `GET /emulator`: what runs here. Nothing in it is secret.
pub(crate) async fn information(State(world): State<Arc<World>>) -> axum::Json<Value> {
    axum::Json(describe(&world))
}

/// What runs here, as JSON.
pub(crate) fn describe(world: &World) -> Value {
    json!({
        "name": "iamsql-emulator",
        "version": env!("CARGO_PKG_VERSION"),
        "host": world.host,
        "http": world.host,
        "grpc": world.grpc.get().map(|grpc| grpc.address.to_string()),
        "ca": world.grpc.get().map(|grpc| grpc.ca.clone()),
        "dns": world.dns.address().to_string(),
        "project": world.settings.project,
        "principal": world.settings.attached,
        "instances": world.instances().iter().map(|instance| instances::describe(world, instance)).collect::<Vec<_>>(),
    })
}

/// An error of a control call: says what was wrong with it.
pub(crate) struct ControlError(StatusCode, String);

impl From<anyhow::Error> for ControlError {
    fn from(error: anyhow::Error) -> Self {
        ControlError(StatusCode::BAD_REQUEST, format!("{error:#}"))
    }
}

impl IntoResponse for ControlError {
    fn into_response(self) -> Response {
        (self.0, axum::Json(json!({ "error": self.1 }))).into_response()
    }
}

async fn require_bearer(State(world): State<Arc<World>>, request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .map(|value| value.as_bytes())
        .unwrap_or_default();
    let wanted = format!("Bearer {}", world.control_bearer);
    if aws_lc_rs::constant_time::verify_slices_are_equal(given, wanted.as_bytes()).is_err() {
        let reason = "control needs the bearer of the emulator's ready line";
        return ControlError(StatusCode::UNAUTHORIZED, reason.to_string()).into_response();
    }
    next.run(request).await
}

async fn list_calls(State(world): State<Arc<World>>) -> axum::Json<Vec<Call>> {
    axum::Json(world.calls.all())
}

async fn forget_calls(State(world): State<Arc<World>>) -> StatusCode {
    world.calls.reset();
    StatusCode::NO_CONTENT
}

async fn list_sessions(State(world): State<Arc<World>>) -> axum::Json<Vec<Session>> {
    axum::Json(world.sessions.all())
}

async fn list_faults(State(world): State<Arc<World>>) -> axum::Json<Value> {
    let faults = world.faults.active();
    axum::Json(
        faults
            .into_iter()
            .map(|(id, fault)| json!({ "id": id, "fault": fault }))
            .collect(),
    )
}

async fn inject_fault(
    State(world): State<Arc<World>>,
    axum::Json(fault): axum::Json<Fault>,
) -> Result<axum::Json<Value>, ControlError> {
    let (id, version) = world.faults.add(fault).map_err(anyhow::Error::msg)?;
    world.settled(version).await;
    Ok(axum::Json(json!({ "id": id })))
}

async fn clear_faults(State(world): State<Arc<World>>) -> StatusCode {
    let version = world.faults.clear_quietly(None);
    world.settled(version).await;
    StatusCode::NO_CONTENT
}

async fn clear_fault(State(world): State<Arc<World>>, Path(id): Path<FaultId>) -> StatusCode {
    let version = world.faults.clear_quietly(Some(id));
    world.settled(version).await;
    StatusCode::NO_CONTENT
}

async fn list_principals(State(world): State<Arc<World>>) -> axum::Json<Vec<Principal>> {
    axum::Json(world.all_principals())
}

async fn add_principal(
    State(world): State<Arc<World>>,
    axum::Json(principal): axum::Json<Principal>,
) -> Result<StatusCode, ControlError> {
    world
        .add_principal(principal)
        .await
        .context("cannot add the principal")?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whom another metadata server is to stand for.
#[derive(Deserialize)]
struct Attached {
    principal: String,
}

async fn add_host(
    State(world): State<Arc<World>>,
    axum::Json(attached): axum::Json<Attached>,
) -> Result<axum::Json<Value>, ControlError> {
    let host = world.add_host(attached.principal).await?;
    Ok(axum::Json(json!({ "host": host })))
}

async fn shutdown(State(world): State<Arc<World>>) -> StatusCode {
    // The answer leaves first.
    tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        world.shutdown_asked.cancel();
    });
    StatusCode::ACCEPTED
}
