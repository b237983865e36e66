//! Control of database users: add one, end its sessions.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ControlError;
use crate::world::World;

pub(super) fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/users", post(add))
        .route("/users/terminate", post(terminate))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewUser {
    name: String,
    password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
}

async fn add(
    State(world): State<Arc<World>>,
    axum::Json(user): axum::Json<NewUser>,
) -> Result<StatusCode, ControlError> {
    world.add_user(&user.name, &user.password).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn terminate(
    State(world): State<Arc<World>>,
    axum::Json(user): axum::Json<Named>,
) -> Result<axum::Json<Value>, ControlError> {
    let sessions = world.terminate_sessions(&user.name).await?;
    Ok(axum::Json(json!({ "sessions": sessions })))
}
