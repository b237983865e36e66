//! Tokens of the service account attached to this machine, pod or function, from its metadata server.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::{HeaderName, HeaderValue};
use tokio::sync::OnceCell;
use url::form_urlencoded;

use crate::control::clock::Clock;
use crate::control::credentials::token::{Scope, Token};
use crate::control::credentials::{Constancy, Source, answer};
use crate::control::endpoint::{Endpoint, GOOGLE};
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
    /// Another universe than Google's own, which the server must confirm before it is asked for a token.
    pub(super) universe: Option<Universe>,
}

pub(super) struct Universe {
    expected: String,
    confirmed: OnceCell<()>,
}

#[async_trait]
impl Source for Metadata {
    async fn token(&self, scope: Scope, patience: &Patience) -> Result<Token> {
        if let Some(universe) = &self.universe {
            let confirm = || self.confirm(&universe.expected, patience);
            universe.confirmed.get_or_try_init(confirm).await?;
        }
        let scope: String = form_urlencoded::byte_serialize(scope.url().as_bytes()).collect();
        let path = format!("{ACCOUNT}/token?scopes={scope}");
        let answer = self.get(&path, patience).await?;
        answer::token(&answer, SERVICE, self.clock.now())
    }

    async fn principal(&self, patience: &Patience) -> Result<Option<String>> {
        let answer = self.get(&format!("{ACCOUNT}/email"), patience).await?;
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
    async fn confirm(&self, expected: &str, patience: &Patience) -> Result<()> {
        let told = match self.get(UNIVERSE, patience).await {
            Ok(answer) => String::from_utf8_lossy(&answer.body).trim().to_owned(),
            // Servers of Google's own universe need not know that there are others.
            Err(error) if error.http_status() == Some(404) => GOOGLE.to_owned(),
            Err(error) => return Err(error),
        };
        match told.eq_ignore_ascii_case(expected) {
            true => Ok(()),
            false => Err(Error::config(format!(
                "the metadata server is of universe {:?}, and the connector is of {expected:?}",
                foreign(&told)
            ))
            .with_advice(
                "set universe_domain or GOOGLE_CLOUD_UNIVERSE_DOMAIN to the machine's universe",
            )),
        }
    }

    async fn get(&self, path: &str, patience: &Patience) -> Result<Answer> {
        let mut call = Call::get(SERVICE, self.server.join(path), LIMIT).header(
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

impl Universe {
    /// Nothing to confirm for Google's own: that would cost everybody a call.
    pub(super) fn to_confirm(expected: &str) -> Option<Self> {
        (expected != GOOGLE).then(|| Universe {
            expected: expected.to_owned(),
            confirmed: OnceCell::new(),
        })
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
const UNIVERSE: &str = "/computeMetadata/v1/universe/universe_domain";
const LIMIT: Duration = Duration::from_secs(5);
const ATTACH: &str = "attach a service account to this machine or service; on GKE, bind the pod's service account with Workload Identity";
