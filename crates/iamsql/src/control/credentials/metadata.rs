//! Tokens of the service account attached to this machine, pod or function, from its metadata server.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{HeaderName, HeaderValue};
use url::form_urlencoded;

use crate::control::clock::Clock;
use crate::control::credentials::token::{Scope, Token};
use crate::control::credentials::{Constancy, Source, answer};
use crate::control::endpoint::Endpoint;
use crate::control::http::patience::Patience;
use crate::control::http::retry::Persistence;
use crate::control::http::{Answer, Call, Http};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::foreign;

pub(super) struct Metadata {
    pub(super) http: Arc<Http>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) server: Endpoint,
    /// The emulator plays it; otherwise it is where one looks last.
    pub(super) emulated: bool,
}

#[async_trait]
impl Source for Metadata {
    async fn token(&self, scope: Scope, patience: &Patience) -> Result<Token> {
        let scope: String = form_urlencoded::byte_serialize(scope.url().as_bytes()).collect();
        let answer = self.get(&format!("token?scopes={scope}"), patience).await?;
        answer::token(&answer, SERVICE, self.clock.now())
    }

    async fn principal(&self, patience: &Patience) -> Result<Option<String>> {
        let answer = self.get("email", patience).await?;
        let email = String::from_utf8_lossy(&answer.body).trim().to_owned();
        match email.contains('@') {
            true => Ok(Some(email)),
            false => Err(Error::new(
                ErrorKind::Credentials,
                format!("{SERVICE} names no service account: {:?}", foreign(&email)),
            )
            .with_advice(ATTACH)),
        }
    }

    /// A pod's service account can be bound anew while the pod runs.
    fn constancy(&self) -> Constancy {
        Constancy::Bound
    }
}

impl Metadata {
    async fn get(&self, what: &str, patience: &Patience) -> Result<Answer> {
        let endpoint = self.server.join(&format!("{ACCOUNT}/{what}"));
        let mut call = Call::get(SERVICE, endpoint, LIMIT).header(
            HeaderName::from_static("metadata-flavor"),
            HeaderValue::from_static("Google"),
        );
        call.persistence = Persistence::UntilDeadline;
        match self.emulated {
            true => call.service = EMULATED,
            false => {
                call.service = LAST_RESORT;
                call.unreachable = ErrorKind::Credentials;
            }
        }
        self.http.call(&call, patience, &describe).await
    }
}

fn describe(answer: &Answer) -> Error {
    let error = answer::refusal(answer, SERVICE);
    match answer.status {
        403 | 404 => error.with_advice(ATTACH),
        _ => error,
    }
}

const SERVICE: &str = "the metadata server";
const EMULATED: &str = "the emulator's metadata server";
const LAST_RESORT: &str = "no credential file was found, and the metadata server";
const ACCOUNT: &str = "/computeMetadata/v1/instance/service-accounts/default";
const LIMIT: Duration = Duration::from_secs(5);
const ATTACH: &str = "attach a service account to this machine or service; on GKE, bind the pod's service account with Workload Identity";
