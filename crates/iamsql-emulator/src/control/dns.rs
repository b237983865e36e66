//! Control of the DNS zone: list, set and remove names; what was asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, put};

use super::ControlError;
use crate::dns::{DnsQuery, DnsRecord};
use crate::world::World;

pub(super) fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/dns", get(list))
        .route("/dns/queries", get(queries).delete(forget))
        .route("/dns/names/{name}", put(set).delete(remove))
}

async fn list(State(world): State<Arc<World>>) -> axum::Json<BTreeMap<String, Vec<DnsRecord>>> {
    axum::Json(world.dns.all())
}

async fn set(
    State(world): State<Arc<World>>,
    Path(name): Path<String>,
    axum::Json(records): axum::Json<Vec<DnsRecord>>,
) -> Result<StatusCode, ControlError> {
    world.dns.try_set(&name, records)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn remove(State(world): State<Arc<World>>, Path(name): Path<String>) -> StatusCode {
    world.dns.remove(&name);
    StatusCode::NO_CONTENT
}

async fn queries(State(world): State<Arc<World>>) -> axum::Json<Vec<DnsQuery>> {
    axum::Json(world.dns.queries())
}

async fn forget(State(world): State<Arc<World>>) -> StatusCode {
    world.dns.forget_queries();
    StatusCode::NO_CONTENT
}
