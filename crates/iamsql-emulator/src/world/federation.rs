//! Borrowed identities of a run: configurations for federation and impersonation, and who may act as whom.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::World;
use crate::federation::configuration::{ExternalAccount, ExternalSource};
use crate::federation::{aws, workforce};
use crate::iamcredentials::{impersonation_url, timestamp};
use crate::principal::{GCLOUD_SCOPES, PrincipalKind};

impl World {
    /// The configuration of a workload known elsewhere.
    pub(crate) fn external_account(&self, account: &ExternalAccount) -> anyhow::Result<Value> {
        if let Some(email) = &account.impersonate {
            self.principal(email)
                .with_context(|| format!("no principal {email:?}"))?;
        }
        self.federation.external_account(account, &self.base())
    }

    /// Who such a workload is here, before it acts as anybody.
    pub(crate) fn federated_principal(&self, account: &ExternalAccount) -> String {
        match account.source {
            ExternalSource::Aws => self.federation.principal(&aws::subject(&account.subject)),
            _ => self.federation.principal(&account.subject),
        }
    }

    /// A subject token for a file.
    pub(crate) fn subject_token(&self, subject: &str, lifetime: Duration) -> String {
        self.federation.subject_token(&self.host, subject, lifetime)
    }

    /// What an executable prints to hand over a subject token.
    pub(crate) fn executable_response(&self, subject: &str, lifetime: Duration) -> Value {
        let ends = (SystemTime::now() + lifetime)
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        json!({
            "version": 1,
            "success": true,
            "token_type": "urn:ietf:params:oauth:token-type:id_token",
            "id_token": self.subject_token(subject, lifetime),
            "expiration_time": ends.as_secs(),
        })
    }

    /// Who a person of the workforce pool is here, and the file of its login.
    pub(crate) fn workforce_user(&self, subject: &str) -> (String, Value) {
        (
            workforce::principal(subject),
            self.federation.workforce_user(subject, &self.base()),
        )
    }

    /// An `impersonated_service_account` file: `source` acts as `target` through `delegates`, the first of whom it may act as.
    pub(crate) async fn impersonated(
        self: &Arc<Self>,
        source: &str,
        delegates: &[String],
        target: &str,
    ) -> anyhow::Result<Value> {
        let known = self
            .principal(source)
            .with_context(|| format!("no principal {source:?}"))?;
        let source = match known.kind() {
            PrincipalKind::ServiceAccount => self.service_account_key(source).await?,
            PrincipalKind::Human => self.authorized_user(source, None)?,
        };
        Ok(json!({
            "type": "impersonated_service_account",
            "service_account_impersonation_url": impersonation_url(&self.base(), target),
            "delegates": delegates.iter().map(|email| format!("projects/-/serviceAccounts/{email}")).collect::<Vec<_>>(),
            "source_credentials": source,
            "universe_domain": "googleapis.com",
        }))
    }

    /// Lets `member` act as a service account.
    pub(crate) fn add_token_creator(
        &self,
        service_account: &str,
        member: &str,
    ) -> anyhow::Result<()> {
        let account = self
            .principal(service_account)
            .with_context(|| format!("no principal {service_account:?}"))?;
        self.insert_principal(account.with_token_creator(member));
        Ok(())
    }

    /// What `gcloud config config-helper --format json` prints for a principal who is logged in.
    pub(crate) fn config_helper(
        &self,
        principal: &str,
        lifetime: Option<Duration>,
    ) -> anyhow::Result<Value> {
        let known = self
            .principal(principal)
            .with_context(|| format!("no principal {principal:?}"))?;
        let scopes = known
            .allowed_scopes()
            .unwrap_or_else(|| GCLOUD_SCOPES.iter().map(ToString::to_string).collect());
        let lifetime = lifetime.unwrap_or(self.settings.token_lifetime);
        let (text, token) = self.tokens.issue(principal, scopes, lifetime);
        Ok(json!({
            "configuration": {
                "active_configuration": "default",
                "properties": { "core": { "account": principal, "project": self.settings.project } },
            },
            "credential": { "access_token": text, "token_expiry": timestamp(token.expires) },
            "sentinels": { "config_sentinel": "/nonexistent/iamsql-emulator/config_sentinel" },
        }))
    }

    fn base(&self) -> String {
        format!("http://{}", self.host)
    }
}
