//! What tests and the control endpoints do to a run: add, remove, hand out, revoke.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;

use super::World;
use crate::instance::{Database, InstanceName, InstanceSpec};
use crate::principal::{Principal, PrincipalKind};
use crate::server::Instance;

impl World {
    /// Starts an instance, and PostgreSQL if it is the first that needs it.
    pub(crate) async fn add_instance(
        self: &Arc<Self>,
        spec: InstanceSpec,
    ) -> anyhow::Result<Arc<Instance>> {
        let alloydb = InstanceName::parse(&spec.name)?.is_alloydb();
        anyhow::ensure!(
            !alloydb || matches!(spec.database, Database::Postgres | Database::Echo),
            "{}: AlloyDB is a PostgreSQL",
            spec.name
        );
        match spec.database {
            Database::Postgres => {}
            Database::Echo | Database::SqlServer => return Instance::start(self, spec).await,
            Database::MySql => return self.add_mysql(spec).await,
        }
        let (name, databases) = (spec.name.clone(), spec.databases.clone());
        // Making keys and initialising a database take equally long.
        let (instance, prepared) = tokio::join!(
            Instance::start(self, spec),
            self.prepare_backend(&databases)
        );
        if prepared.is_err() && instance.is_ok() {
            self.remove_instance(&name).await;
        }
        prepared?;
        instance
    }

    /// Starts an instance, and MariaDB if it is the first that needs it, or else the first client does.
    async fn add_mysql(self: &Arc<Self>, spec: InstanceSpec) -> anyhow::Result<Arc<Instance>> {
        if self.settings.lazy_mariadb {
            return Instance::start(self, spec).await;
        }
        let (name, databases) = (spec.name.clone(), spec.databases.clone());
        let prepared = async { self.mariadb().await?.add_databases(&databases).await };
        let (instance, prepared) = tokio::join!(Instance::start(self, spec), prepared);
        if prepared.is_err() && instance.is_ok() {
            self.remove_instance(&name).await;
        }
        prepared?;
        instance
    }

    /// Starts PostgreSQL unless it runs, and creates the databases and the users of all principals that it lacks.
    async fn prepare_backend(&self, databases: &[String]) -> anyhow::Result<()> {
        let backend = self.backend().await?;
        backend.add_principals(&self.principals()).await?;
        backend.add_databases(databases).await
    }

    /// Ends an instance: its port is closed and its sessions are over. Nothing happens if there is none.
    pub(crate) async fn remove_instance(&self, name: &str) {
        if let Some(instance) = self.take_instance(name) {
            instance.stop(self);
            for progress in &instance.progress {
                progress.until(u64::MAX).await;
            }
        }
    }

    /// Adds a principal, or replaces the one with this address, and makes its database user.
    pub(crate) async fn add_principal(&self, principal: Principal) -> anyhow::Result<()> {
        anyhow::ensure!(
            principal.email.contains('@') || principal.is_federated(),
            "{:?} is no e-mail address and no principal://",
            principal.email
        );
        self.insert_principal(principal.clone());
        // Nobody is added twice or not at all: a server that starts meanwhile asks for all principals when it has.
        if principal.is_federated() {
            return Ok(());
        }
        if let Some(backend) = self.started_backend() {
            backend
                .add_principals(std::slice::from_ref(&principal))
                .await?;
        }
        match self.started_mariadb() {
            Some(mariadb) => mariadb.add_principals(&[principal]).await,
            None => Ok(()),
        }
    }

    /// Another HTTP port, on an address of its own, whose metadata server stands for `principal`.
    pub(crate) async fn add_host(self: &Arc<Self>, principal: String) -> anyhow::Result<String> {
        self.known(&principal)?;
        let address = SocketAddr::new(self.loopback.address()?, 0);
        let listener =
            TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
        let host = listener.local_addr()?.to_string();
        crate::http::serve(self.clone(), listener, Some(principal)).await?;
        Ok(host)
    }

    /// Adds a built-in database user, or changes its password.
    pub(crate) async fn add_user(&self, name: &str, password: &str) -> anyhow::Result<()> {
        self.has_database()?;
        if let Some(backend) = self.started_backend() {
            backend.add_user(name, password).await?;
        }
        self.remember_user(name, password);
        match self.started_mariadb() {
            Some(mariadb) => mariadb.add_user(name, password).await,
            None => Ok(()),
        }
    }

    /// Ends the sessions of a database user and says how many there were.
    pub(crate) async fn terminate_sessions(&self, user: &str) -> anyhow::Result<u64> {
        self.has_database()?;
        let mut ended = 0;
        if let Some(backend) = self.started_backend() {
            ended += backend.terminate(user).await?;
        }
        if let Some(mariadb) = self.started_mariadb() {
            ended += mariadb.terminate(user).await?;
        }
        Ok(ended)
    }

    /// A service-account key file for a principal.
    pub(crate) async fn service_account_key(
        self: &Arc<Self>,
        principal: &str,
    ) -> anyhow::Result<Value> {
        let known = self.known(principal)?;
        anyhow::ensure!(
            known.kind() == PrincipalKind::ServiceAccount,
            "{principal} is no service account"
        );
        let (world, principal) = (self.clone(), principal.to_string());
        let make = move || {
            let base = format!("http://{}", world.host);
            world
                .grants
                .service_account_key(&principal, &world.settings.project, &base)
        };
        tokio::task::spawn_blocking(make).await.expect("no panic")
    }

    /// An authorized_user file for a principal, limited to `scopes` if given.
    pub(crate) fn authorized_user(
        &self,
        principal: &str,
        scopes: Option<BTreeSet<String>>,
    ) -> anyhow::Result<Value> {
        self.known(principal)?;
        let base = format!("http://{}", self.host);
        Ok(self
            .grants
            .authorized_user(principal, &self.settings.project, &base, scopes))
    }

    /// The text of a new access token.
    pub(crate) fn access_token(
        &self,
        principal: &str,
        scopes: BTreeSet<String>,
        lifetime: Duration,
    ) -> anyhow::Result<String> {
        self.known(principal)?;
        Ok(self.tokens.issue(principal, scopes, lifetime).0)
    }

    /// Revokes the principal's tokens, keys, refresh tokens and certificates issued so far; says how many certificates.
    pub(crate) fn revoke_principal(&self, principal: &str) -> usize {
        self.tokens.revoke_principal(principal);
        self.grants.revoke_principal(principal);
        self.federation.revoke_principal(principal);
        self.certificates.revoke(|_, issued| {
            let alloydb = || {
                issued
                    .requester
                    .as_deref()
                    .filter(|_| issued.login.is_absent())
            };
            issued.login.principal().or_else(alloydb) == Some(principal)
        })
    }

    /// Revokes the certificates for an instance, or for the whole cluster of an AlloyDB instance; says how many.
    pub(crate) fn revoke_certificates(&self, instance: &str) -> usize {
        let cluster = InstanceName::parse(instance)
            .ok()
            .and_then(|name| name.cluster_path());
        let scope = cluster.as_deref().unwrap_or(instance);
        self.certificates
            .revoke(|_, issued| issued.instance == scope)
    }

    /// Waits until every listener has followed the faults up to `version`.
    pub(crate) async fn settled(&self, version: u64) {
        for instance in self.instances() {
            for progress in &instance.progress {
                progress.until(version).await;
            }
        }
    }

    fn has_database(&self) -> anyhow::Result<()> {
        let mut instances = self.instances().into_iter();
        let found = instances.any(|instance| instance.spec().database != Database::Echo);
        anyhow::ensure!(found, "no instance has a database");
        Ok(())
    }

    fn known(&self, principal: &str) -> anyhow::Result<Principal> {
        self.principal(principal)
            .with_context(|| format!("no principal {principal:?}"))
    }
}
