//! The OAuth token endpoint: JWT-bearer grants of service-account keys and refresh grants of users.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::{ConnectInfo, Form, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::jwt;
use crate::faults::Endpoint;
use crate::http::{Asked, Peer, Shape, exchange};
use crate::principal::Principal;
use crate::world::World;

/// `POST /token`, a form.
pub(crate) async fn answer(
    State(world): State<Arc<World>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    let asked = Asked {
        endpoint: Endpoint::Token,
        path: "/token".to_string(),
        instance: None,
        principal: claimed(&world, &form),
        detail: form
            .get("scope")
            .cloned()
            .or_else(|| form.get("grant_type").cloned()),
        secrets: ["assertion", "refresh_token", "client_secret"]
            .iter()
            .filter_map(|name| form.get(*name).cloned())
            .collect(),
        shape: Shape::Oauth,
    };
    let host = headers
        .get("host")
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    // Google's own clients name Google's endpoint whatever the key file says; only keys of this emulator count anyway.
    let audiences = [
        format!("http://{host}/token"),
        format!("http://{}/token", world.host),
        GOOGLE_ENDPOINT.to_string(),
    ];
    let respond = async || match grant(&world, &form, &audiences) {
        Ok(response) => response,
        Err(error) => error.into_response(),
    };
    exchange(&world, &peer, &headers, asked, respond).await
}

/// An error as OAuth words it.
pub(crate) struct OauthError {
    status: StatusCode,
    error: &'static str,
    description: String,
}

impl OauthError {
    pub(crate) fn new(error: &'static str, description: impl Into<String>) -> Self {
        let status = if error == "invalid_client" {
            StatusCode::UNAUTHORIZED
        } else {
            StatusCode::BAD_REQUEST
        };
        OauthError {
            status,
            error,
            description: description.into(),
        }
    }

    /// An error that a fault asked for.
    pub(crate) fn scripted(status: StatusCode, description: &str) -> Self {
        let error = match status.as_u16() {
            401 => "invalid_client",
            429 => "rate_limit_exceeded",
            500.. => "internal_failure",
            _ => "invalid_grant",
        };
        OauthError {
            status,
            error,
            description: description.to_string(),
        }
    }
}

impl IntoResponse for OauthError {
    fn into_response(self) -> Response {
        (
            self.status,
            axum::Json(json!({ "error": self.error, "error_description": self.description })),
        )
            .into_response()
    }
}

fn grant(
    world: &World,
    form: &HashMap<String, String>,
    audiences: &[String],
) -> Result<Response, OauthError> {
    match form.get("grant_type").map(String::as_str) {
        Some(JWT_BEARER) => {
            let assertion = form.get("assertion").ok_or_else(|| required("assertion"))?;
            let claims = jwt::check(assertion, &world.grants, audiences, SystemTime::now())
                .map_err(|description| OauthError::new("invalid_grant", description))?;
            if claims.sub.as_ref().is_some_and(|sub| sub != &claims.iss) {
                return Err(OauthError::new(
                    "unauthorized_client",
                    "Client is unauthorized to retrieve access tokens using this method, or client not authorized for any \
                     of the scopes requested.",
                ));
            }
            let principal = account(world, &claims.iss)?;
            let scopes = words(claims.scope.as_deref());
            if scopes.is_empty() {
                return Err(OauthError::new(
                    "invalid_scope",
                    "Invalid OAuth scope or ID token audience provided.",
                ));
            }
            issue(world, &principal, scopes, principal.allowed_scopes())
        }
        Some("refresh_token") => {
            let text = form
                .get("refresh_token")
                .ok_or_else(|| required("refresh_token"))?;
            let grant = world
                .grants
                .refresh_token(text)
                .ok_or_else(|| OauthError::new("invalid_grant", "Bad Request"))?;
            if form.get("client_id") != Some(&grant.client_id) {
                return Err(OauthError::new(
                    "invalid_client",
                    "The OAuth client was not found.",
                ));
            }
            if form.get("client_secret") != Some(&grant.client_secret) {
                return Err(OauthError::new(
                    "invalid_client",
                    "The provided client secret is invalid.",
                ));
            }
            let principal = account(world, &grant.principal)?;
            let allowed = grant.scopes.clone().or_else(|| principal.allowed_scopes());
            let mut scopes = words(form.get("scope").map(String::as_str));
            if scopes.is_empty() {
                scopes = allowed
                    .clone()
                    .unwrap_or_else(|| words(Some(CLOUD_PLATFORM)));
            }
            issue(world, &principal, scopes, allowed)
        }
        Some(other) => Err(OauthError::new(
            "unsupported_grant_type",
            format!("Invalid grant_type: {}", bounded(other)),
        )),
        None => Err(required("grant_type")),
    }
}

fn issue(
    world: &World,
    principal: &Principal,
    scopes: BTreeSet<String>,
    allowed: Option<BTreeSet<String>>,
) -> Result<Response, OauthError> {
    if allowed.is_some_and(|allowed| !scopes.is_subset(&allowed)) {
        return Err(OauthError::new("invalid_scope", "Bad Request"));
    }
    let scope = scopes.iter().cloned().collect::<Vec<_>>().join(" ");
    let (text, token) =
        world
            .tokens
            .issue(principal.email(), scopes, world.settings.token_lifetime);
    let left = token
        .expires
        .duration_since(SystemTime::now())
        .unwrap_or_default();
    // Rounded up, so that a lifetime of whole seconds reads as such.
    let expires_in = left.as_secs_f64().ceil() as u64;
    Ok(
        axum::Json(json!({ "access_token": text, "expires_in": expires_in, "scope": scope, "token_type": "Bearer" }))
            .into_response(),
    )
}

fn account(world: &World, email: &str) -> Result<Principal, OauthError> {
    world
        .principal(email)
        .ok_or_else(|| OauthError::new("invalid_grant", "Invalid grant: account not found"))
}

/// Whose credential the form carries, unchecked.
fn claimed(world: &World, form: &HashMap<String, String>) -> Option<String> {
    let by_assertion = || {
        form.get("assertion")
            .and_then(|assertion| jwt::issuer(assertion))
    };
    let by_refresh = || {
        form.get("refresh_token")
            .and_then(|text| Some(world.grants.refresh_token(text)?.principal))
    };
    by_assertion().or_else(by_refresh)
}

fn required(parameter: &str) -> OauthError {
    OauthError::new(
        "invalid_request",
        format!("Missing required parameter: {parameter}"),
    )
}

fn words(text: Option<&str>) -> BTreeSet<String> {
    text.unwrap_or_default()
        .split_whitespace()
        .map(str::to_string)
        .collect()
}

fn bounded(text: &str) -> String {
    text.chars().take(80).collect()
}

const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const GOOGLE_ENDPOINT: &str = "https://oauth2.googleapis.com/token";
const CLOUD_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";
