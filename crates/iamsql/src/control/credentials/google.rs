//! External accounts and impersonation, by `google-cloud-auth`, behind guards: it may panic and knows no deadline.

use async_trait::async_trait;
use google_cloud_auth::credentials::{AccessTokenCredentials, external_account, impersonated};
use serde_json::Value;

use crate::control::credentials::Source;
use crate::control::credentials::caller::guarded;
use crate::control::credentials::token::{Scope, Token};
use crate::control::endpoint::Endpoints;
use crate::control::environment::{self, Environment};
use crate::control::http::patience::Patience;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::{Secret, foreign};

/// A credential file of a kind that is not ours to exchange, checked before anybody acts on it.
#[derive(Clone)]
pub(super) struct GoogleFile {
    kind: Kind,
    text: Secret,
    impersonated: Option<String>,
    _secrets: Vec<Secret>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    ExternalAccount,
    Impersonated,
}

impl GoogleFile {
    pub(super) fn external_account(
        json: &Value,
        endpoints: &Endpoints,
        environment: &Environment,
    ) -> Result<Self> {
        Self::read(Kind::ExternalAccount, json, endpoints, environment)
    }

    pub(super) fn impersonated(
        json: &Value,
        endpoints: &Endpoints,
        environment: &Environment,
    ) -> Result<Self> {
        Self::read(Kind::Impersonated, json, endpoints, environment)
    }

    fn read(
        kind: Kind,
        json: &Value,
        endpoints: &Endpoints,
        environment: &Environment,
    ) -> Result<Self> {
        check(json, endpoints, environment)?;
        let mut secrets = Vec::new();
        collect_secrets(json, &mut secrets);
        Ok(GoogleFile {
            kind,
            text: Secret::new(json.to_string()),
            impersonated: json
                .get(IMPERSONATION_URL)
                .and_then(Value::as_str)
                .and_then(impersonated_account),
            _secrets: secrets,
        })
    }

    fn build(&self, scope: Scope) -> Result<AccessTokenCredentials> {
        let json: Value = serde_json::from_str(self.text.expose()).map_err(|_| {
            Error::new(
                ErrorKind::Credentials,
                "the credential file is not JSON any more",
            )
        })?;
        match self.kind {
            Kind::ExternalAccount => external_account::Builder::new(json)
                .with_scopes([scope.url()])
                .build_access_token_credentials(),
            Kind::Impersonated => impersonated::Builder::new(json)
                .with_scopes([scope.url()])
                .build_access_token_credentials(),
        }
        .map_err(|error| {
            Error::new(
                ErrorKind::Credentials,
                format!(
                    "the credential file cannot be used: {}",
                    foreign(&chain(&error))
                ),
            )
        })
    }
}

#[async_trait]
impl Source for GoogleFile {
    /// Builds a new object each time: its own cache would hand out a token with seconds left.
    async fn token(&self, scope: Scope, patience: &Patience) -> Result<Token> {
        let file = self.clone();
        let token = guarded(WHO, patience, async move {
            let credentials = file.build(scope)?;
            let token = credentials.access_token().await.map_err(|error| {
                let kind = match error.is_transient() {
                    true => ErrorKind::Unavailable,
                    false => ErrorKind::Credentials,
                };
                Error::new(kind, foreign(&chain(&error)))
            })?;
            Ok(Token::new(Secret::new(token.token)))
        })
        .await?;
        Ok(match &self.impersonated {
            Some(principal) => token.of_principal(principal),
            None => token,
        })
    }

    async fn principal(&self, _: &Patience) -> Result<Option<String>> {
        Ok(self.impersonated.clone())
    }
}

/// Refuses a file that would send secrets elsewhere or run a program, at any depth.
fn check(json: &Value, endpoints: &Endpoints, environment: &Environment) -> Result<()> {
    for field in [
        "token_url",
        "token_uri",
        "token_info_url",
        IMPERSONATION_URL,
    ] {
        if let Some(url) = json.get(field).and_then(Value::as_str) {
            endpoints.token_url(field, url)?;
        }
    }
    let runs_a_program = json
        .pointer("/credential_source/executable")
        .is_some_and(|executable| !executable.is_null());
    if runs_a_program && !environment.is_on(environment::ALLOW_EXECUTABLES) {
        return Err(Error::config(
            "the external account runs a program to get its tokens",
        )
        .with_advice(
            "set GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1 if you trust the file and the program",
        ));
    }
    match json.get("source_credentials") {
        Some(source) => check(source, endpoints, environment),
        None => Ok(()),
    }
}

/// Registers what must never be shown, so that foreign text is searched for it.
fn collect_secrets(json: &Value, secrets: &mut Vec<Secret>) {
    for field in ["client_secret", "refresh_token", "private_key"] {
        if let Some(secret) = json.get(field).and_then(Value::as_str) {
            secrets.push(Secret::new(secret));
        }
    }
    if let Some(source) = json.get("source_credentials") {
        collect_secrets(source, secrets);
    }
}

/// `…/serviceAccounts/EMAIL:generateAccessToken` → `EMAIL`.
fn impersonated_account(url: &str) -> Option<String> {
    let (_, rest) = url.rsplit_once("/serviceAccounts/")?;
    let (email, _) = rest.split_once(':')?;
    email.contains('@').then(|| email.to_owned())
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

const WHO: &str = "the external credential source";
const IMPERSONATION_URL: &str = "service_account_impersonation_url";

#[cfg(test)]
mod tests;
