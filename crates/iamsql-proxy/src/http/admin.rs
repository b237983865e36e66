//! `/quitquitquit` on localhost: stops the proxy. Whoever is on this machine may ask, a web page in its browser may not.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::routing::any;
use tokio::sync::mpsc;
use tracing::info;

pub(crate) fn routes(quit: mpsc::Sender<()>) -> Router {
    Router::new()
        .route("/quitquitquit", any(quitquitquit))
        .with_state(quit)
}

async fn quitquitquit(
    State(quit): State<mpsc::Sender<()>>,
    method: Method,
    headers: HeaderMap,
) -> StatusCode {
    if method != Method::GET && method != Method::POST {
        return StatusCode::BAD_REQUEST;
    }
    if !is_local(&headers) {
        return StatusCode::FORBIDDEN;
    }
    // Only the first has an effect; there is room for one.
    if quit.try_send(()).is_ok() {
        info!("/quitquitquit received request. Shutting down...");
    }
    StatusCode::OK
}

/// Browsers add `Origin` or `Sec-Fetch-Site`; a name that was made to resolve to localhost shows in `Host`.
fn is_local(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(header::HOST.as_str()).unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let loopback = name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback());
    loopback
        && !headers.contains_key(header::ORIGIN)
        && text("sec-fetch-site").is_none_or(|site| site == "none")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_web_page_is_not_local() {
        let headers = |pairs: &[(&'static str, &str)]| -> HeaderMap {
            pairs
                .iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect()
        };
        for local in [
            &[("host", "localhost:9091")][..],
            &[("host", "127.0.0.1:9091")],
            &[("host", "[::1]:9091")],
            &[("host", "LOCALHOST"), ("sec-fetch-site", "none")],
        ] {
            assert!(is_local(&headers(local)), "{local:?}");
        }
        for foreign in [
            &[][..],
            &[("host", "rebound.example:9091")],
            &[("host", "localhost.example")],
            &[("host", "localhost"), ("origin", "null")],
            &[("host", "localhost"), ("sec-fetch-site", "cross-site")],
        ] {
            assert!(!is_local(&headers(foreign)), "{foreign:?}");
        }
    }
}
