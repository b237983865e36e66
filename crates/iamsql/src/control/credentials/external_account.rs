//! Workload and workforce identity federation: a token of another identity provider, exchanged at Google's STS.

mod aws;
mod executable;
mod signature;
mod subject;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use reqwest::header::AUTHORIZATION;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::control::clock::Clock;
use crate::control::credentials::impersonated::Impersonation;
use crate::control::credentials::resolve::Maker;
use crate::control::credentials::token::{Scope, Token};
use crate::control::credentials::tokens::principal_switched;
use crate::control::credentials::{Constancy, Source, answer};
use crate::control::endpoint::{Endpoint, Endpoints};
use crate::control::environment::Environment;
use crate::control::http::patience::Patience;
use crate::control::http::{Answer, Call, Http, basic};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::{Secret, foreign};

use subject::{Asker, SubjectSource};

/// A checked file of type `external_account`.
#[derive(Clone)]
pub(super) struct ExternalAccount {
    audience: String,
    token_type: String,
    token_endpoint: Endpoint,
    /// The OAuth client, of workforce pools that have one.
    client: Option<(String, Secret)>,
    /// The project that a workforce pool's calls are charged to.
    user_project: Option<String>,
    source: SubjectSource,
    impersonation: Option<Impersonation>,
}

impl ExternalAccount {
    pub(super) fn read(
        json: &Value,
        endpoints: &Endpoints,
        environment: &Environment,
    ) -> Result<Self> {
        #[derive(Deserialize)]
        struct File {
            audience: String,
            subject_token_type: String,
            token_url: Option<String>,
            client_id: Option<String>,
            client_secret: Option<String>,
            workforce_pool_user_project: Option<String>,
        }
        let file = File::deserialize(json)
            .map_err(|_| unusable("lacks audience or subject_token_type"))?;
        let token_url = match &file.token_url {
            Some(url) => url.clone(),
            None => format!("https://sts.{}/v1/token", endpoints.universe),
        };
        let impersonation = Impersonation::read(json, endpoints)?;
        let source = json
            .get("credential_source")
            .ok_or_else(|| unusable("lacks credential_source"))?;
        let about = subject::About {
            audience: &file.audience,
            token_type: &file.subject_token_type,
            impersonated: impersonation.as_ref().map(Impersonation::target),
        };
        Ok(ExternalAccount {
            token_endpoint: endpoints.token_url("token_url", &token_url)?,
            source: SubjectSource::read(source, &about, endpoints, environment)?,
            audience: file.audience,
            token_type: file.subject_token_type,
            client: file
                .client_id
                .zip(file.client_secret)
                .map(|(client, secret)| (client, Secret::new(secret))),
            user_project: file.workforce_pool_user_project,
            impersonation,
        })
    }

    /// Whether a program is run, so that every variable decides who it will be.
    pub(super) fn runs_a_program(&self) -> bool {
        matches!(self.source, SubjectSource::Executable(_))
    }

    pub(super) fn open(self, maker: &Maker<'_>) -> Box<dyn Source> {
        let impersonation = self.impersonation.clone();
        let federated = Federated {
            account: self,
            http: maker.http.clone(),
            clock: maker.clock.clone(),
            subject: Mutex::new(None),
        };
        match impersonation {
            Some(impersonation) => Box::new(impersonation.open(Box::new(federated), maker)),
            None => Box::new(federated),
        }
    }
}

struct Federated {
    account: ExternalAccount,
    http: Arc<Http>,
    clock: Arc<dyn Clock>,
    /// Whom the subject token named, where it says so.
    subject: Mutex<Option<String>>,
}

#[async_trait]
impl Source for Federated {
    async fn token(&self, scope: Scope, patience: &Patience) -> Result<Token> {
        let account = &self.account;
        let asker = Asker {
            http: &self.http,
            now: self.clock.now(),
            patience,
        };
        let subject = account.source.token(&asker).await?;
        // Somebody who is impersonated stays the same, whoever speaks for him.
        if account.impersonation.is_none() {
            self.pin(&subject).await?;
        }
        let options = account
            .user_project
            .as_ref()
            .filter(|_| account.client.is_none())
            .map(|project| json!({"userProject": project}).to_string());
        let mut fields = vec![
            ("grant_type", GRANT),
            ("audience", &account.audience),
            ("scope", scope.url()),
            ("requested_token_type", ACCESS_TOKEN),
            ("subject_token_type", &account.token_type),
            ("subject_token", subject.expose()),
        ];
        fields.extend(options.as_deref().map(|options| ("options", options)));
        let mut call = Call::post_form(SERVICE, account.token_endpoint.clone(), LIMIT, &fields);
        if let Some((client, secret)) = &account.client {
            call = call.header(AUTHORIZATION, basic(client, secret)?);
        }
        let granted = self.http.call(&call, patience, &describe).await?;
        answer::token(&granted, SERVICE, self.clock.now())
    }

    /// A federated identity has no e-mail address.
    async fn principal(&self, _: &Patience) -> Result<Option<String>> {
        Ok(None)
    }

    /// The subject token comes from a file, a program or a service that may speak for another tomorrow.
    fn constancy(&self) -> Constancy {
        Constancy::Foreign
    }
}

impl Federated {
    /// Refuses a subject token that names somebody else than the first one did. One that is no JWT cannot be asked.
    async fn pin(&self, subject: &Secret) -> Result<()> {
        let Some(now) = subject::named_in(subject) else {
            return Ok(());
        };
        let mut pinned = self.subject.lock().await;
        match &*pinned {
            Some(before) if *before != now => Err(principal_switched(before, &now)),
            Some(_) => Ok(()),
            None => {
                *pinned = Some(now);
                Ok(())
            }
        }
    }
}

fn describe(refused: &Answer) -> Error {
    answer::refusal(refused, SERVICE).with_advice(
        "check that the workload identity pool and its provider exist and accept this identity, and that the subject token is fresh",
    )
}

fn unusable(why: &str) -> Error {
    Error::new(
        ErrorKind::Credentials,
        format!("the external account's file {why}"),
    )
    .with_advice("make it anew with `gcloud iam workload-identity-pools create-cred-config`")
}

/// The text at `field` of a JSON object; an empty one counts as absent.
fn text<'a>(json: &'a Value, field: &str) -> Option<&'a str> {
    json.get(field)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::Credentials, foreign(what))
}

const SERVICE: &str = "Google's token exchange (STS)";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const LIMIT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
