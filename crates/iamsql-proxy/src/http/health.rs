//! `/startup`, `/readiness` and `/liveness`, with the official proxies' answers.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tracing::error;

use crate::relay::Relay;

/// What the probes look at.
pub(crate) struct Health {
    relay: Arc<Relay>,
    backend_check: bool,
    look: Mutex<Option<Look>>,
}

/// A look at the instances, under way or done.
#[derive(Clone)]
struct Look {
    found: Shared<BoxFuture<'static, Vec<String>>>,
    done: Arc<OnceLock<Instant>>,
}

impl Look {
    fn begin(relay: Arc<Relay>) -> Self {
        let done = Arc::new(OnceLock::new());
        let looking = tokio::spawn({
            let done = done.clone();
            async move {
                let found = relay.try_every_instance().await;
                _ = done.set(Instant::now());
                found
            }
        });
        let found = looking.map(|looked| looked.unwrap_or_else(|error| vec![error.to_string()]));
        Look {
            found: found.boxed().shared(),
            done,
        }
    }

    fn is_fresh(&self) -> bool {
        self.done.get().is_none_or(|at| at.elapsed() < KEPT)
    }
}

impl Health {
    pub(crate) fn new(relay: Arc<Relay>, backend_check: bool) -> Self {
        Health {
            relay,
            backend_check,
            look: Mutex::new(None),
        }
    }

    /// What is wrong with the instances; one line each that cannot be connected to.
    ///
    /// One look at a time, shared by all who ask meanwhile and for a second after; it goes on if they hang up.
    async fn backends(&self) -> Vec<String> {
        let look = {
            let mut last = self.look.lock().unwrap_or_else(PoisonError::into_inner);
            match &*last {
                Some(look) if look.is_fresh() => look.clone(),
                _ => last.insert(Look::begin(self.relay.clone())).clone(),
            }
        };
        look.found.await
    }

    async fn startup(&self) -> Result<(), String> {
        if !self.relay.is_serving() {
            return Err("error".to_owned());
        }
        match self.backend_check {
            true => self.all_reachable().await,
            false => Ok(()),
        }
    }

    /// # Errors
    /// Why no client should be sent here now. With `?min-ready=N`, when fewer instances than that can be connected to.
    async fn readiness(&self, query: Option<&str>) -> Result<(), String> {
        if !self.relay.is_serving() {
            return Err("proxy is not started".to_owned());
        }
        if self.relay.is_stopping() {
            return Err("proxy has stopped".to_owned());
        }
        let (open, most) = (self.relay.clients().count(), self.relay.clients().most());
        if let Some(most) = most.filter(|most| open >= *most) {
            return Err(format!(
                "max connections reached (open = {open}, max = {most})"
            ));
        }
        match min_ready(query)? {
            Some(least) => {
                let all = self.relay.instances();
                let missing = self.backends().await;
                let ready = all.saturating_sub(missing.len());
                match ready >= least.min(all) {
                    true => Ok(()),
                    false => Err(format!(
                        "{ready} of {all} instances ready, want {least}: {}",
                        missing.join(", ")
                    )),
                }
            }
            None if self.backend_check => self.all_reachable().await,
            None => Ok(()),
        }
    }

    async fn all_reachable(&self) -> Result<(), String> {
        let missing = self.backends().await;
        match missing.is_empty() {
            true => Ok(()),
            false => Err(missing.join(", ")),
        }
    }
}

pub(crate) fn routes(health: Arc<Health>) -> Router {
    Router::new()
        .route("/startup", any(startup))
        .route("/readiness", any(readiness))
        .route("/liveness", any(|| async { "ok" }))
        .with_state(health)
}

async fn startup(State(health): State<Arc<Health>>) -> Response {
    answer("Startup", health.startup().await)
}

async fn readiness(State(health): State<Arc<Health>>, RawQuery(query): RawQuery) -> Response {
    answer("Readiness", health.readiness(query.as_deref()).await)
}

fn answer(probe: &str, result: Result<(), String>) -> Response {
    match result {
        Ok(()) => "ok".into_response(),
        Err(why) => {
            error!("[Health Check] {probe} failed: {why}");
            (StatusCode::SERVICE_UNAVAILABLE, why).into_response()
        }
    }
}

/// `min-ready=N`, at least 1.
fn min_ready(query: Option<&str>) -> Result<Option<usize>, String> {
    let given = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .find(|(name, _)| name == "min-ready");
    given
        .map(|(_, text)| {
            text.parse()
                .ok()
                .filter(|least| *least > 0)
                .ok_or_else(|| "min-ready is no number of instances: want 1 or more".to_owned())
        })
        .transpose()
}

const KEPT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn min_ready_is_a_number_from_one() {
        assert_eq!(min_ready(None), Ok(None));
        assert_eq!(min_ready(Some("min-ready=2&x=y")), Ok(Some(2)));
        for wrong in ["min-ready=0", "min-ready=", "min-ready=-1", "min-ready=all"] {
            assert!(min_ready(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
