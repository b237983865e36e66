//! The calls of the Cloud SQL Admin API that connectors make: an instance's settings, by its name or a DNS name of its, and
//! a client certificate.

pub(crate) mod error;
mod resolve;
mod settings;

use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub(crate) use self::resolve::resolve;

use self::error::ApiError;
use self::settings::settings;
use crate::authority::{public_key, sign_client};
use crate::caller::Caller;
use crate::faults::Endpoint;
use crate::http::{Asked, Peer, Shape, exchange};
use crate::principal::Role;
use crate::server::Instance;
use crate::session::Login;
use crate::world::{IssuedCertificate, World};

/// `GET …/instances/{instance}/connectSettings`.
pub(crate) async fn connect_settings(
    State(world): State<Arc<World>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path((project, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let caller = Caller::of(&world, &headers);
    let instance = world.instance_by_path(&project, &name);
    let asked = Asked {
        endpoint: Endpoint::ConnectSettings,
        path: format!("/sql/v1beta4/projects/{project}/instances/{name}/connectSettings"),
        instance: instance.as_ref().map(|instance| instance.text.clone()),
        principal: caller.email(),
        detail: None,
        secrets: caller.text.clone().into_iter().collect(),
        shape: Shape::Api,
    };
    let respond = async || match may_connect(&caller, &world, &project, instance.as_deref()) {
        Ok(instance) => axum::Json(settings(&world, instance)).into_response(),
        Err(error) => error.into_response(),
    };
    exchange(&world, &peer, &headers, asked, respond).await
}

/// `POST …/instances/{instance}:generateEphemeralCert`; any other custom method is unknown.
pub(crate) async fn instance_call(
    State(world): State<Arc<World>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path((project, call)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(name) = call.strip_suffix(":generateEphemeralCert") else {
        return unknown_path().await;
    };
    let caller = Caller::of(&world, &headers);
    let instance = world.instance_by_path(&project, name);
    let request = serde_json::from_slice::<CertificateRequest>(&body);
    let login_text = request
        .as_ref()
        .ok()
        .and_then(|request| request.access_token.clone());
    let asked = Asked {
        endpoint: Endpoint::GenerateEphemeralCert,
        path: format!("/sql/v1beta4/projects/{project}/instances/{call}"),
        instance: instance.as_ref().map(|instance| instance.text.clone()),
        principal: caller.email(),
        detail: login_text.as_ref().map(|_| "access_token".to_string()),
        secrets: caller.text.clone().into_iter().chain(login_text).collect(),
        shape: Shape::Api,
    };
    let respond = async || {
        let signed = may_connect(&caller, &world, &project, instance.as_deref())
            .and_then(|instance| ephemeral_certificate(&world, &caller, instance, request));
        match signed {
            Ok(answer) => axum::Json(answer).into_response(),
            Err(error) => error.into_response(),
        }
    };
    exchange(&world, &peer, &headers, asked, respond).await
}

/// Anything that the API does not have.
pub(crate) async fn unknown_path() -> Response {
    ApiError::not_found(
        "The requested URL was not found on this server.",
        "notFound",
    )
    .into_response()
}

/// The body of a certificate request. Its keys are in snake case; the optional ones that no connector sends are not.
#[derive(Deserialize)]
struct CertificateRequest {
    #[serde(default)]
    public_key: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

/// The checks of both calls, in the order of the real service: token, scope, role, and only then the instance.
pub(crate) fn may_connect<'a>(
    caller: &Caller,
    world: &World,
    project: &str,
    instance: Option<&'a Instance>,
) -> Result<&'a Instance, ApiError> {
    caller.authenticate(world, &API_SCOPES)?;
    let known = || {
        let instances = world.instances();
        instances
            .iter()
            .any(|one| !one.name.is_alloydb() && one.name.project == project)
    };
    // The real service does not tell a project that does not exist from one that is somebody else's.
    if !caller.has_role(world, Role::CloudSqlClient) || (instance.is_none() && !known()) {
        return Err(ApiError::not_authorized());
    }
    instance.ok_or_else(|| {
        ApiError::not_found(
            "The Cloud SQL instance does not exist.",
            "instanceDoesNotExist",
        )
    })
}

fn ephemeral_certificate(
    world: &World,
    caller: &Caller,
    instance: &Instance,
    request: Result<CertificateRequest, serde_json::Error>,
) -> Result<Value, ApiError> {
    let request = request.map_err(|_| ApiError::invalid("Invalid JSON payload received."))?;
    let text = request
        .public_key
        .ok_or_else(|| ApiError::invalid("Missing parameter: public_key."))?;
    let key = public_key(&text)
        .map_err(|error| ApiError::invalid(format!("Invalid value for: public_key: {error}.")))?;
    let login = match &request.access_token {
        None => Login::Absent,
        Some(text) => world.tokens.find(text).map_or(Login::Unknown, Login::Token),
    };
    let certificate = sign_client(
        &instance.client_authority(),
        CLIENT_NAME,
        &key,
        instance.life_of_certificates(world),
    )
    .map_err(|error| ApiError::internal(error.to_string()))?;
    let issued = IssuedCertificate {
        instance: instance.text.clone(),
        requester: caller.email(),
        login,
        exchange: false,
        revoked: false,
    };
    world
        .certificates
        .remember(certificate.serial.clone(), issued);
    Ok(json!({
        "ephemeralCert": {
            "kind": "sql#sslCert",
            "certSerialNumber": certificate.serial,
            "cert": certificate.pem,
            "commonName": CLIENT_NAME,
            "instance": instance.name.instance,
            "createTime": timestamp(certificate.created),
            "expirationTime": timestamp(certificate.expires),
        }
    }))
}

fn timestamp(time: SystemTime) -> String {
    let time = OffsetDateTime::from(time);
    let millisecond = time
        .replace_millisecond(time.millisecond())
        .expect("its own milliseconds");
    millisecond.format(&Rfc3339).expect("a year of four digits")
}

/// Subject of every ephemeral certificate.
const CLIENT_NAME: &str = "Google Cloud SQL Client";
/// Any one of these is enough.
const API_SCOPES: [&str; 2] = [
    "https://www.googleapis.com/auth/sqlservice.admin",
    "https://www.googleapis.com/auth/cloud-platform",
];
