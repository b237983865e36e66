//! Control of instances: list, add, change, rotate, disconnect, remove.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{delete, get, post};
use serde_json::{Value, json};

use super::ControlError;
use crate::instance::InstanceSpec;
use crate::server::Instance;
use crate::world::World;

pub(super) fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/instances", get(list).post(add))
        .route("/instances/{name}", delete(remove).patch(change))
        .route("/instances/{name}/rotate-server-ca", post(rotate_server))
        .route("/instances/{name}/rotate-client-ca", post(rotate_client))
        .route("/instances/{name}/disconnect", post(disconnect))
}

/// An instance as `GET /emulator` and the ready line show it.
pub(crate) fn describe(world: &World, instance: &Instance) -> Value {
    let spec = instance.spec();
    let addresses: BTreeMap<_, _> = instance
        .addresses
        .iter()
        .map(|(kind, address)| (kind, address.to_string()))
        .collect();
    json!({
        "name": instance.text,
        "database": spec.database,
        "database_version": world.database_version(&spec),
        "ca_mode": spec.ca_mode,
        "iam": spec.iam,
        "addresses": addresses,
        "dns_names": spec.dns_names,
        "psc_dns_name": spec.psc_dns_name,
        "databases": spec.databases,
    })
}

async fn list(State(world): State<Arc<World>>) -> axum::Json<Vec<InstanceSpec>> {
    axum::Json(
        world
            .instances()
            .iter()
            .map(|instance| instance.spec())
            .collect(),
    )
}

async fn add(
    State(world): State<Arc<World>>,
    axum::Json(spec): axum::Json<InstanceSpec>,
) -> Result<axum::Json<Value>, ControlError> {
    let instance = world.add_instance(spec).await?;
    Ok(axum::Json(describe(&world, &instance)))
}

async fn remove(
    State(world): State<Arc<World>>,
    Path(name): Path<String>,
) -> Result<StatusCode, ControlError> {
    find(&world, &name)?;
    world.remove_instance(&name).await;
    Ok(StatusCode::NO_CONTENT)
}

/// Replaces the fields that are given.
async fn change(
    State(world): State<Arc<World>>,
    Path(name): Path<String>,
    axum::Json(fields): axum::Json<serde_json::Map<String, Value>>,
) -> Result<axum::Json<InstanceSpec>, ControlError> {
    let instance = find(&world, &name)?;
    let mut merged = serde_json::to_value(instance.spec()).map_err(anyhow::Error::from)?;
    merged.as_object_mut().expect("a struct").extend(fields);
    let wanted: InstanceSpec = serde_json::from_value(merged).map_err(anyhow::Error::from)?;
    instance.change(&world, |spec| *spec = wanted).await?;
    Ok(axum::Json(instance.spec()))
}

async fn rotate_server(
    State(world): State<Arc<World>>,
    Path(name): Path<String>,
) -> Result<StatusCode, ControlError> {
    find(&world, &name)?.rotate_server_authority(&world).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn rotate_client(
    State(world): State<Arc<World>>,
    Path(name): Path<String>,
) -> Result<StatusCode, ControlError> {
    find(&world, &name)?.rotate_client_authority(&world).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn disconnect(
    State(world): State<Arc<World>>,
    Path(name): Path<String>,
) -> Result<StatusCode, ControlError> {
    find(&world, &name)?.disconnect(&world);
    Ok(StatusCode::NO_CONTENT)
}

fn find(world: &World, name: &str) -> Result<Arc<Instance>, ControlError> {
    world
        .instance(name)
        .ok_or_else(|| ControlError(StatusCode::NOT_FOUND, format!("no instance {name:?}")))
}
