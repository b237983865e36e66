//! Borrowed identities for tests: federation, impersonation, and what gcloud prints.

use std::time::Duration;

use super::Emulator;
use crate::federation::configuration::ExternalAccount;

impl Emulator {
    /// The configuration (JSON text, type `external_account`) of a workload that is known elsewhere.
    ///
    /// # Errors
    /// When it is to act as a service account that there is not, or a role is no role.
    pub fn external_account(&self, account: &ExternalAccount) -> anyhow::Result<String> {
        Ok(self.world.external_account(account)?.to_string())
    }

    /// The identity of such a workload, `principal://…`: to be a [`Principal::federated`](crate::Principal::federated) with
    /// roles of its own, or a service account's [`Principal::with_token_creator`](crate::Principal::with_token_creator).
    pub fn federated_principal(&self, account: &ExternalAccount) -> String {
        self.world.federated_principal(account)
    }

    /// A subject token, to be written to a file for [`ExternalAccount::file`].
    pub fn subject_token(&self, subject: &str, lifetime: Duration) -> String {
        self.world.subject_token(subject, lifetime)
    }

    /// What a program is to print for [`ExternalAccount::executable`].
    pub fn executable_response(&self, subject: &str, lifetime: Duration) -> String {
        self.world
            .executable_response(subject, lifetime)
            .to_string()
    }

    /// A person of a workforce pool: the identity `principal://…`, and its login (JSON text, type
    /// `external_account_authorized_user`).
    pub fn workforce_user(&self, subject: &str) -> (String, String) {
        let (principal, configuration) = self.world.workforce_user(subject);
        (principal, configuration.to_string())
    }

    /// A configuration (JSON text, type `impersonated_service_account`) by which `source` acts as `target`, through
    /// `delegates` in the order in which they act as one another.
    pub async fn impersonated_service_account(
        &self,
        source: &str,
        delegates: &[&str],
        target: &str,
    ) -> anyhow::Result<String> {
        let (world, source, target) = (self.world.clone(), source.to_string(), target.to_string());
        let delegates: Vec<String> = delegates.iter().map(ToString::to_string).collect();
        self.run(async move {
            Ok(world
                .impersonated(&source, &delegates, &target)
                .await?
                .to_string())
        })
        .await
    }

    /// Lets `member`, an e-mail address or `principal://…`, act as a service account.
    pub fn add_token_creator(&self, service_account: &str, member: &str) -> anyhow::Result<()> {
        self.world.add_token_creator(service_account, member)
    }

    /// What `gcloud config config-helper --format json` prints for a principal who is logged in.
    pub fn gcloud_config_helper(&self, principal: &str) -> anyhow::Result<String> {
        Ok(self.world.config_helper(principal, None)?.to_string())
    }
}
