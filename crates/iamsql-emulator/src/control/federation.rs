//! Control of borrowed identities: configurations for federation and impersonation, subject tokens, what gcloud prints.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ControlError;
use crate::federation::configuration::ExternalAccount;
use crate::world::World;

pub(super) fn router() -> Router<Arc<World>> {
    Router::new()
        .route("/external-account", post(external_account))
        .route("/subject-token", post(subject_token))
        .route("/workforce-user", post(workforce_user))
        .route("/impersonated-service-account", post(impersonated))
        .route("/token-creators", post(add_token_creator))
        .route("/gcloud-config-helper", post(config_helper))
}

/// `{"principal", "configuration"}`: whom the workload becomes without impersonation, and its file.
async fn external_account(
    State(world): State<Arc<World>>,
    axum::Json(account): axum::Json<ExternalAccount>,
) -> Result<axum::Json<Value>, ControlError> {
    let configuration = world.external_account(&account)?;
    Ok(axum::Json(
        json!({ "principal": world.federated_principal(&account), "configuration": configuration }),
    ))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    subject: String,
    #[serde(
        default,
        with = "crate::instance::milliseconds",
        rename = "lifetime_ms"
    )]
    lifetime: Option<Duration>,
}

/// `{"subject_token", "executable_response"}`: the bare token, and what an executable prints.
async fn subject_token(
    State(world): State<Arc<World>>,
    axum::Json(wanted): axum::Json<Subject>,
) -> axum::Json<Value> {
    let lifetime = wanted.lifetime.unwrap_or(world.settings.token_lifetime);
    axum::Json(json!({
        "subject_token": world.subject_token(&wanted.subject, lifetime),
        "executable_response": world.executable_response(&wanted.subject, lifetime),
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Person {
    subject: String,
}

async fn workforce_user(
    State(world): State<Arc<World>>,
    axum::Json(person): axum::Json<Person>,
) -> axum::Json<Value> {
    let (principal, configuration) = world.workforce_user(&person.subject);
    axum::Json(json!({ "principal": principal, "configuration": configuration }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Impersonation {
    source: String,
    #[serde(default)]
    delegates: Vec<String>,
    target: String,
}

async fn impersonated(
    State(world): State<Arc<World>>,
    axum::Json(wanted): axum::Json<Impersonation>,
) -> Result<axum::Json<Value>, ControlError> {
    let configuration = world
        .impersonated(&wanted.source, &wanted.delegates, &wanted.target)
        .await?;
    Ok(axum::Json(configuration))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenCreator {
    service_account: String,
    member: String,
}

async fn add_token_creator(
    State(world): State<Arc<World>>,
    axum::Json(grant): axum::Json<TokenCreator>,
) -> Result<StatusCode, ControlError> {
    world.add_token_creator(&grant.service_account, &grant.member)?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Account {
    principal: String,
    #[serde(
        default,
        with = "crate::instance::milliseconds",
        rename = "lifetime_ms"
    )]
    lifetime: Option<Duration>,
}

async fn config_helper(
    State(world): State<Arc<World>>,
    axum::Json(account): axum::Json<Account>,
) -> Result<axum::Json<Value>, ControlError> {
    Ok(axum::Json(
        world.config_helper(&account.principal, account.lifetime)?,
    ))
}
