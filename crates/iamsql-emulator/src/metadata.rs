//! The metadata server of a machine with a service account attached.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use crate::faults::Endpoint;
use crate::http::{Asked, Peer, Shape, exchange};
use crate::token::credentials::client_number;
use crate::world::World;

/// What client libraries ask to find out whether there is a metadata server.
pub(crate) async fn ping() -> Response {
    flavoured("computeMetadata/\n".into_response())
}

/// The query of any metadata request.
#[derive(Deserialize)]
pub(crate) struct Parameters {
    #[serde(default)]
    scopes: Option<String>,
    #[serde(default)]
    recursive: Option<String>,
}

/// `GET /computeMetadata/…`.
pub(crate) async fn answer(
    State(world): State<Arc<World>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(path): Path<String>,
    Query(parameters): Query<Parameters>,
    headers: HeaderMap,
) -> Response {
    let path = path.trim_end_matches('/').to_string();
    let is_token = path.starts_with("v1/instance/service-accounts/") && path.ends_with("/token");
    let asked = Asked {
        endpoint: if is_token {
            Endpoint::MetadataToken
        } else {
            Endpoint::Metadata
        },
        path: format!("/computeMetadata/{path}"),
        instance: None,
        principal: peer.attached.clone(),
        detail: parameters.scopes.clone(),
        secrets: Vec::new(),
        shape: Shape::Metadata,
    };
    let respond = async || {
        if headers.contains_key("x-forwarded-for") {
            return refuse(
                StatusCode::FORBIDDEN,
                "requests with X-Forwarded-For are refused",
            );
        }
        if headers.get(FLAVOR).map(HeaderValue::as_bytes) != Some(GOOGLE.as_bytes()) {
            return refuse(
                StatusCode::FORBIDDEN,
                "Missing Metadata-Flavor:Google header.",
            );
        }
        let recursive = parameters
            .recursive
            .as_deref()
            .is_some_and(|value| value.eq_ignore_ascii_case("true"));
        lookup(
            &world,
            peer.attached.as_deref(),
            &path,
            recursive,
            parameters.scopes.as_deref(),
        )
    };
    flavoured(exchange(&world, &peer, &headers, asked, respond).await)
}

fn lookup(
    world: &World,
    attached: Option<&str>,
    path: &str,
    recursive: bool,
    scopes: Option<&str>,
) -> Response {
    match path {
        "v1" => return text("instance/\nproject/\nuniverse/\n"),
        "v1/project/project-id" => return text(world.settings.project.clone()),
        "v1/project/numeric-project-id" => {
            return text(client_number(&world.settings.project)[..12].to_string());
        }
        "v1/universe/universe-domain" | "v1/universe/universe_domain" => {
            return world.settings.universe.clone().map_or_else(not_found, text);
        }
        _ => {}
    }
    let Some(rest) = path.strip_prefix("v1/instance/service-accounts") else {
        return not_found();
    };
    let Some(email) = attached else {
        return if rest.is_empty() {
            text("")
        } else {
            not_found()
        };
    };
    let rest = rest.trim_start_matches('/');
    if rest.is_empty() {
        let entry = description(email);
        return if recursive {
            axum::Json(json!({ "default": entry.clone(), email: entry })).into_response()
        } else {
            text(format!("default/\n{email}/\n"))
        };
    }
    let (account, field) = rest.split_once('/').unwrap_or((rest, ""));
    if account != "default" && account != email {
        return not_found();
    }
    match field {
        "" if recursive => axum::Json(description(email)).into_response(),
        "" => text("aliases\nemail\nidentity\nscopes\ntoken\n"),
        "email" => text(email.to_string()),
        "aliases" => text("default\n"),
        "scopes" => text(ATTACHED_SCOPES.map(|scope| format!("{scope}\n")).concat()),
        "token" => token(world, email, scopes),
        _ => not_found(),
    }
}

fn token(world: &World, email: &str, scopes: Option<&str>) -> Response {
    let scopes: BTreeSet<String> = match scopes.filter(|scopes| !scopes.is_empty()) {
        Some(scopes) => scopes
            .split(',')
            .map(|scope| scope.trim().to_string())
            .collect(),
        None => ATTACHED_SCOPES.iter().map(ToString::to_string).collect(),
    };
    let Some(principal) = world.principal(email) else {
        return refuse(
            StatusCode::NOT_FOUND,
            "the attached service account does not exist",
        );
    };
    if principal
        .allowed_scopes()
        .is_some_and(|allowed| !scopes.is_subset(&allowed))
    {
        return refuse(
            StatusCode::FORBIDDEN,
            "the attached service account may not have these scopes",
        );
    }
    let (text, token) = world
        .tokens
        .hand_out(email, &scopes, world.settings.token_lifetime);
    let left = token
        .expires
        .duration_since(SystemTime::now())
        .unwrap_or_default();
    axum::Json(
        json!({ "access_token": text, "expires_in": left.as_secs(), "token_type": "Bearer" }),
    )
    .into_response()
}

fn description(email: &str) -> serde_json::Value {
    json!({ "aliases": ["default"], "email": email, "scopes": ATTACHED_SCOPES })
}

fn text(body: impl Into<String>) -> Response {
    ([(header::CONTENT_TYPE, "application/text")], body.into()).into_response()
}

fn not_found() -> Response {
    refuse(StatusCode::NOT_FOUND, "not found")
}

fn refuse(status: StatusCode, reason: &str) -> Response {
    (
        status,
        [(header::CONTENT_TYPE, "text/html; charset=UTF-8")],
        format!("<!DOCTYPE html><title>{status}</title>{reason}\n"),
    )
        .into_response()
}

/// Every answer says whose it is; client libraries check it.
fn flavoured(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(FLAVOR, HeaderValue::from_static(GOOGLE));
    response.headers_mut().insert(
        header::SERVER,
        HeaderValue::from_static("Metadata Server for VM"),
    );
    response
}

const FLAVOR: &str = "metadata-flavor";
const GOOGLE: &str = "Google";

/// What a machine made with "full access" has: everything by its roles.
const ATTACHED_SCOPES: [&str; 2] = [
    "https://www.googleapis.com/auth/cloud-platform",
    "https://www.googleapis.com/auth/userinfo.email",
];
