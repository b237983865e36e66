//! Control of credentials: key files, user files, tokens, and taking them back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ControlError;
use crate::world::World;

pub(super) fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/service-account-key", post(service_account_key))
        .route("/authorized-user", post(authorized_user))
        .route("/token", post(token))
        .route("/revoke", post(revoke))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    principal: String,
    #[serde(default)]
    scopes: Option<BTreeSet<String>>,
    #[serde(
        default,
        with = "crate::instance::milliseconds",
        rename = "lifetime_ms"
    )]
    lifetime: Option<Duration>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Concerned {
    Principal(String),
    Instance(String),
}

async fn service_account_key(
    State(world): State<Arc<World>>,
    axum::Json(wanted): axum::Json<Wanted>,
) -> Result<axum::Json<Value>, ControlError> {
    Ok(axum::Json(
        world.service_account_key(&wanted.principal).await?,
    ))
}

async fn authorized_user(
    State(world): State<Arc<World>>,
    axum::Json(wanted): axum::Json<Wanted>,
) -> Result<axum::Json<Value>, ControlError> {
    Ok(axum::Json(
        world.authorized_user(&wanted.principal, wanted.scopes)?,
    ))
}

async fn token(
    State(world): State<Arc<World>>,
    axum::Json(wanted): axum::Json<Wanted>,
) -> Result<axum::Json<Value>, ControlError> {
    let scopes = wanted.scopes.unwrap_or_default();
    let lifetime = wanted.lifetime.unwrap_or(world.settings.token_lifetime);
    Ok(axum::Json(
        json!({ "access_token": world.access_token(&wanted.principal, scopes, lifetime)? }),
    ))
}

async fn revoke(
    State(world): State<Arc<World>>,
    axum::Json(concerned): axum::Json<Concerned>,
) -> axum::Json<Value> {
    let certificates = match concerned {
        Concerned::Principal(email) => world.revoke_principal(&email),
        Concerned::Instance(name) => world.revoke_certificates(&name),
    };
    axum::Json(json!({ "certificates": certificates }))
}
