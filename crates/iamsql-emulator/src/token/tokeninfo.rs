//! Tells what a token of this emulator stands for: owner, scopes, time left.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::{ConnectInfo, Form, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::credentials::client_number;
use crate::faults::Endpoint;
use crate::http::{Asked, Peer, Shape, exchange};
use crate::world::World;

/// `GET /tokeninfo?access_token=…`.
pub(crate) async fn answer_get(
    State(world): State<Arc<World>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    Query(parameters): Query<HashMap<String, String>>,
) -> Response {
    answer(
        &world,
        &peer,
        &headers,
        parameters
            .get("access_token")
            .map(String::as_str)
            .unwrap_or_default(),
    )
    .await
}

/// `POST /tokeninfo`, a form with `access_token`.
pub(crate) async fn answer_post(
    State(world): State<Arc<World>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    Query(parameters): Query<HashMap<String, String>>,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    let token = form
        .get("access_token")
        .or_else(|| parameters.get("access_token"));
    answer(
        &world,
        &peer,
        &headers,
        token.map(String::as_str).unwrap_or_default(),
    )
    .await
}

async fn answer(world: &World, peer: &Peer, headers: &HeaderMap, text: &str) -> Response {
    let token = world.tokens.find(text);
    let asked = Asked {
        endpoint: Endpoint::TokenInfo,
        path: "/tokeninfo".to_string(),
        instance: None,
        principal: token.as_ref().map(|token| token.principal.clone()),
        detail: None,
        secrets: vec![text.to_string()],
        shape: Shape::Oauth,
    };
    let respond = async || {
        let Some(token) = token
            .filter(|token| token.expires > SystemTime::now() && !world.tokens.is_revoked(token))
            // Federated tokens are STS's, and unknown here.
            .filter(|token| !token.principal.starts_with("principal://"))
        else {
            let error = json!({ "error": "invalid_token", "error_description": "Invalid Value" });
            return (StatusCode::BAD_REQUEST, axum::Json(error)).into_response();
        };
        let left = token
            .expires
            .duration_since(SystemTime::now())
            .unwrap_or_default()
            .as_secs();
        let ends = token
            .expires
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let number = client_number(&token.principal);
        let scope = token.scopes.iter().cloned().collect::<Vec<_>>().join(" ");
        let mut answer = json!({
            "azp": number, "aud": number, "scope": scope,
            "exp": ends.to_string(), "expires_in": left.to_string(), "access_type": "online",
        });
        // As at Google, only a token that may read the address shows it.
        if token
            .scopes
            .iter()
            .any(|scope| EMAIL_SCOPES.contains(&scope.as_str()))
        {
            answer["email"] = token.principal.into();
            answer["email_verified"] = "true".into();
        }
        axum::Json(answer).into_response()
    };
    exchange(world, peer, headers, asked, respond).await
}

const EMAIL_SCOPES: [&str; 2] = ["email", "https://www.googleapis.com/auth/userinfo.email"];
