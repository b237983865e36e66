//! The one HTTP port: metadata, tokens, Admin API, information and control; browsers and foreign hosts are turned away.

mod exchange;
mod line;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use tokio::net::TcpListener;

pub(crate) use exchange::{Asked, Shape, exchange};
pub(crate) use line::{Line, Peer};

use crate::world::World;
use crate::{alloydb, control, federation, iamcredentials, metadata, sqladmin, token};

/// Serves `listener` until the emulator stops. `attached` is whom its metadata server stands for.
pub(crate) async fn serve(
    world: Arc<World>,
    listener: std::net::TcpListener,
    attached: Option<String>,
) -> anyhow::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = line::Lines {
        listener: TcpListener::from_std(listener)?,
        attached,
    };
    let app = router(world.clone()).into_make_service_with_connect_info::<Peer>();
    let stop = world.stop.clone();
    let served = tokio::spawn(async move {
        tokio::select! {
            served = axum::serve(listener, app) => if let Err(error) = served {
                tracing::error!(%error, "the HTTP server ended");
            },
            () = stop.cancelled() => {}
        }
    });
    world.http.lock().expect("no panic under lock").push(served);
    Ok(())
}

fn router(world: Arc<World>) -> Router {
    Router::new()
        .merge(alloydb::rest::router())
        .route("/", get(metadata::ping))
        .route("/computeMetadata/{*path}", get(metadata::answer))
        .route("/token", post(token::endpoint::answer))
        .route("/v1/token", post(federation::sts::answer))
        .route("/v1/oauthtoken", post(federation::workforce::answer))
        .route(
            "/v1/projects/-/serviceAccounts/{call}",
            post(iamcredentials::service_account_call),
        )
        .route(
            "/emulator/subject-token",
            get(federation::configuration::subject_token),
        )
        .route(
            "/emulator/aws/{role}/latest/{*path}",
            any(federation::aws::answer),
        )
        .route(
            "/tokeninfo",
            get(token::tokeninfo::answer_get).post(token::tokeninfo::answer_post),
        )
        .route(
            "/oauth2/v3/tokeninfo",
            get(token::tokeninfo::answer_get).post(token::tokeninfo::answer_post),
        )
        .route(
            "/sql/v1beta4/projects/{project}/instances/{instance}/connectSettings",
            get(sqladmin::connect_settings),
        )
        .route(
            "/sql/v1beta4/projects/{project}/instances/{call}",
            post(sqladmin::instance_call),
        )
        .route(
            "/sql/v1beta4/locations/{region}/dns/{call}",
            get(sqladmin::resolve),
        )
        .route("/emulator", get(control::information))
        .nest("/emulator/control", control::router(&world))
        .fallback(sqladmin::unknown_path)
        .layer(from_fn_with_state(world.clone(), guard))
        .layer(DefaultBodyLimit::max(LARGEST_BODY))
        .with_state(world)
}

/// Turns away what no client library sends: pages in a browser, and names rebound to this address.
async fn guard(State(world): State<Arc<World>>, request: Request, next: Next) -> Response {
    let host = request.headers().get("host");
    let host = host.and_then(|host| host.to_str().ok());
    match turned_away(request.headers(), host, world.settings.exposed) {
        Some(reason) => (StatusCode::FORBIDDEN, format!("{reason}\n")).into_response(),
        None => next.run(request).await,
    }
}

/// Why a request to `host` is not answered, if it is not.
pub(crate) fn turned_away(
    headers: &HeaderMap,
    host: Option<&str>,
    exposed: bool,
) -> Option<String> {
    if headers.contains_key("origin") {
        return Some("the emulator answers no web pages: the request has an Origin".to_string());
    }
    if let Some(name) = headers
        .keys()
        .find(|name| name.as_str().starts_with("sec-fetch-"))
    {
        return Some(format!(
            "the emulator answers no browsers, nor fetch(): the request has {name}"
        ));
    }
    if !exposed && !host.is_some_and(is_loopback) {
        return Some("the Host of the request is not a loopback address".to_string());
    }
    None
}

/// Whether a `Host` names this machine: `localhost` or a loopback literal, with or without a port.
fn is_loopback(host: &str) -> bool {
    let name = host
        .parse::<SocketAddr>()
        .map(|address| address.ip().to_string());
    let name = match &name {
        Ok(ip) => ip.as_str(),
        Err(_) => host
            .strip_suffix(|c: char| c.is_ascii_digit())
            .map_or(host, |_| {
                host.rsplit_once(':').map_or(host, |(name, _)| name)
            }),
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

const LARGEST_BODY: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: Option<&str> = Some("localhost");

    #[test]
    fn only_loopback_hosts_are_answered() {
        for host in [
            "127.0.0.1",
            "127.34.5.1:9470",
            "localhost",
            "LocalHost:80",
            "[::1]:80",
            "[::1]",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "example.com",
            "example.com:80",
            "127.0.0.1.example.com",
            "10.0.0.1:80",
            "metadata.google.internal",
            "localhost.example",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn browsers_are_turned_away() {
        let headers = |name: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("host", "127.0.0.1".parse().unwrap());
            headers.insert(name, "null".parse().unwrap());
            headers
        };
        assert!(turned_away(&headers("origin"), LOCAL, true).is_some());
        assert!(turned_away(&headers("sec-fetch-site"), LOCAL, true).is_some());
        assert!(turned_away(&headers("accept"), LOCAL, false).is_none());
        assert!(turned_away(&HeaderMap::new(), None, false).is_some());
        assert!(turned_away(&HeaderMap::new(), None, true).is_none());
    }
}
