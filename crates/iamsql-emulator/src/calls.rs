//! Counts what clients ask for, per endpoint, instance and principal.

use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use serde::Serialize;

use crate::faults::Endpoint;

/// The HTTP calls received, in order. Cheap to clone.
#[derive(Clone, Default)]
pub struct Calls(Arc<Mutex<Vec<Call>>>);

/// One call, over HTTP or gRPC.
#[derive(Clone, Debug, Serialize)]
pub struct Call {
    /// What was asked for.
    pub endpoint: Endpoint,
    /// The instance in the path, `project:region:instance`, if the emulator knows it.
    pub instance: Option<String>,
    /// Who asked, as far as the bearer token, assertion or refresh token tells.
    pub principal: Option<String>,
    /// When.
    #[serde(with = "crate::session::epoch_seconds")]
    pub at: SystemTime,
    /// The path, without its query. Of gRPC: `/service/Method`.
    pub path: String,
    /// `User-Agent`.
    pub user_agent: Option<String>,
    /// `x-goog-api-client`, where gRPC clients say who they are.
    pub api_client: Option<String>,
    /// `x-goog-user-project`.
    pub quota_project: Option<String>,
    /// For certificates: whether the request carried `access_token`, or asked for a `metadata_exchange`. For tokens: the scopes asked for.
    pub detail: Option<String>,
    /// The status answered; `None` while unanswered, hung or reset.
    pub status: Option<u16>,
}

impl Calls {
    /// Every call so far, the oldest first.
    pub fn all(&self) -> Vec<Call> {
        self.0.lock().expect("no panic under lock").clone()
    }

    /// The calls to one endpoint.
    pub fn to(&self, endpoint: Endpoint) -> Vec<Call> {
        self.all()
            .into_iter()
            .filter(|call| call.endpoint == endpoint)
            .collect()
    }

    /// How many calls there were to an endpoint about this instance.
    pub fn count(&self, endpoint: Endpoint, instance: &str) -> usize {
        self.to(endpoint)
            .iter()
            .filter(|call| call.instance.as_deref() == Some(instance))
            .count()
    }

    /// Forgets all calls.
    pub fn reset(&self) {
        self.0.lock().expect("no panic under lock").clear();
    }

    /// Notes a call and returns its number for [`Calls::answered`].
    pub(crate) fn received(&self, call: Call) -> Received {
        let mut calls = self.0.lock().expect("no panic under lock");
        let at = call.at;
        calls.push(call);
        Received {
            index: calls.len() - 1,
            at,
        }
    }

    pub(crate) fn answered(&self, received: Received, status: u16) {
        // The list may have been reset meanwhile: the time tells whether this entry is still the same call.
        if let Some(call) = self
            .0
            .lock()
            .expect("no panic under lock")
            .get_mut(received.index)
            && call.at == received.at
        {
            call.status = Some(status);
        }
    }
}

/// A noted call that awaits its answer.
#[derive(Clone, Copy)]
pub(crate) struct Received {
    index: usize,
    at: SystemTime,
}
