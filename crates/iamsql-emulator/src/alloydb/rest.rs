//! The AlloyDB API over HTTP: the paths below `/v1alpha`, `/v1beta` and `/v1`.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::Value;

use super::message::Span;
use super::{SERVICE, Wanted, client_certificate, connection_info, invalid};
use crate::caller::Caller;
use crate::faults::Endpoint;
use crate::http::{Asked, Peer, Shape, exchange};
use crate::sqladmin::error::ApiError;
use crate::world::World;

/// The paths of all versions, which have the same two calls.
pub(crate) fn router() -> Router<Arc<World>> {
    let mut router = Router::new();
    for version in ["v1alpha", "v1beta", "v1"] {
        let location = format!("/{version}/projects/{{project}}/locations/{{region}}");
        router = router
            .route(
                &format!("{location}/clusters/{{cluster}}/instances/{{instance}}/connectionInfo"),
                get(get_connection_info),
            )
            .route(&format!("{location}/clusters/{{call}}"), post(cluster_call));
    }
    router
}

async fn get_connection_info(
    State(world): State<Arc<World>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    uri: Uri,
    Path((project, region, cluster, instance)): Path<(String, String, String, String)>,
    headers: HeaderMap,
) -> Response {
    let caller = Caller::of(&world, &headers);
    let name =
        format!("projects/{project}/locations/{region}/clusters/{cluster}/instances/{instance}");
    let asked = Asked {
        endpoint: Endpoint::ConnectionInfo,
        path: uri.path().to_string(),
        instance: world.instance(&name).map(|instance| instance.text.clone()),
        principal: caller.email(),
        detail: None,
        secrets: caller.text.clone().into_iter().collect(),
        shape: Shape::Service(SERVICE),
    };
    let respond = async || answer(connection_info(&world, &caller, &name).map(|info| info.json()));
    exchange(&world, &peer, &headers, asked, respond).await
}

/// `POST …/clusters/{cluster}:generateClientCertificate`; any other custom method is unknown.
async fn cluster_call(
    State(world): State<Arc<World>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    uri: Uri,
    Path((project, region, call)): Path<(String, String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(cluster) = call.strip_suffix(":generateClientCertificate") else {
        return crate::sqladmin::unknown_path().await;
    };
    let caller = Caller::of(&world, &headers);
    let path = format!("projects/{project}/locations/{region}/clusters/{cluster}");
    let request = read(&path, &body);
    let exchanges = request.as_ref().is_ok_and(|wanted| wanted.exchange);
    let asked = Asked {
        endpoint: Endpoint::GenerateClientCertificate,
        path: uri.path().to_string(),
        instance: super::first_of(&world, &path),
        principal: caller.email(),
        detail: exchanges.then(|| METADATA_EXCHANGE.to_string()),
        secrets: caller.text.clone().into_iter().collect(),
        shape: Shape::Service(SERVICE),
    };
    let respond = async || {
        let signed = request.and_then(|wanted| client_certificate(&world, &caller, &path, &wanted));
        answer(signed.map(|signed| signed.json()))
    };
    exchange(&world, &peer, &headers, asked, respond).await
}

/// The body of a certificate request. As everywhere in Google's JSON, names in snake case are understood too.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Body {
    #[serde(default)]
    parent: Option<String>,
    #[serde(default, alias = "request_id")]
    #[expect(dead_code, reason = "only so that it is no unknown field")]
    request_id: Option<String>,
    #[serde(default, alias = "pem_csr")]
    #[expect(dead_code, reason = "only so that it is no unknown field")]
    pem_csr: Option<String>,
    #[serde(default, alias = "cert_duration")]
    cert_duration: Option<String>,
    #[serde(default, alias = "public_key")]
    public_key: String,
    #[serde(default, alias = "use_metadata_exchange")]
    use_metadata_exchange: bool,
}

fn read(path: &str, body: &[u8]) -> Result<Wanted, ApiError> {
    let body: Body = serde_json::from_slice(body)
        .map_err(|error| invalid(format!("Invalid JSON payload received. {error}")))?;
    if body.parent.is_some_and(|parent| parent != path) {
        return Err(invalid("The parent of the request is not that of its URL."));
    }
    let duration = match body.cert_duration.as_deref().map(Span::parse) {
        Some(None) => return Err(invalid("Invalid certificate duration.")),
        other => other.flatten(),
    };
    Ok(Wanted {
        public_key: body.public_key,
        duration,
        exchange: body.use_metadata_exchange,
    })
}

fn answer(outcome: Result<Value, ApiError>) -> Response {
    match outcome {
        Ok(value) => axum::Json(value).into_response(),
        Err(error) => error.into_response(),
    }
}

pub(super) const METADATA_EXCHANGE: &str = "metadata_exchange";
