//! The emulator as a library: started, asked, disturbed and stopped from a test.

mod builder;
mod federation;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::{Handle, Runtime};

pub use self::builder::EmulatorBuilder;

use crate::calls::Calls;
use crate::dns::Dns;
use crate::faults::Faults;
use crate::instance::{AddressType, InstanceSpec};
use crate::issued::random_secret;
use crate::principal::Principal;
use crate::server::Instance;
use crate::session::Sessions;
use crate::world::World;

/// A running local Google. It has its own threads, so it outlives the runtime that started it; dropping it stops it.
///
/// ```no_run
/// # async fn example() -> anyhow::Result<()> {
/// use iamsql_emulator::{Emulator, InstanceSpec};
///
/// let emulator = Emulator::builder().instance(InstanceSpec::echo("your-project-id:us-central1:orders")).start().await?;
/// println!("IAMSQL_EMULATOR_HOST={}", emulator.host());
/// # Ok(()) }
/// ```
pub struct Emulator {
    world: Arc<World>,
    threads: Threads,
}

impl Emulator {
    /// Starts to describe an emulator.
    pub fn builder() -> EmulatorBuilder {
        EmulatorBuilder::default()
    }

    /// `address:port` of the HTTP port: the value of `IAMSQL_EMULATOR_HOST`.
    pub fn host(&self) -> &str {
        &self.world.host
    }

    /// `http://` and [`Emulator::host`]: the Admin API endpoint for clients that take one.
    pub fn url(&self) -> String {
        format!("http://{}", self.world.host)
    }

    /// `address:port` of the gRPC port, which speaks TLS: AlloyDB's API for clients that take an endpoint.
    pub fn grpc(&self) -> String {
        self.grpc_endpoint().address.to_string()
    }

    /// The certificate (PEM) of the CA that the gRPC port's certificate comes from.
    pub fn ca(&self) -> &str {
        &self.grpc_endpoint().ca
    }

    /// The bearer of the control endpoints.
    pub fn control_bearer(&self) -> &str {
        &self.world.control_bearer
    }

    /// The environment in which clients find this emulator. A variable with an empty value is to be unset.
    ///
    /// `IAMSQL_EMULATOR_HOST` is all that iamsql needs; the rest is for Google's clients.
    pub fn env(&self) -> BTreeMap<String, String> {
        crate::environment::variables(&self.world)
    }

    /// The `GET /emulator` description, as JSON.
    pub fn information(&self) -> serde_json::Value {
        crate::control::describe(&self.world)
    }

    /// Another HTTP port, on an address of its own, whose metadata server stands for `principal`: its value is a
    /// `IAMSQL_EMULATOR_HOST` for that principal. Instances are the same.
    pub async fn host_as(&self, principal: &str) -> anyhow::Result<String> {
        let (world, principal) = (self.world.clone(), principal.to_string());
        self.run(async move { world.add_host(principal).await })
            .await
    }

    /// The failures in force.
    pub fn faults(&self) -> Faults {
        self.world.faults.clone()
    }

    /// The DNS server: its address and its zone.
    pub fn dns(&self) -> Dns {
        self.world.dns.clone()
    }

    /// The HTTP calls received.
    pub fn calls(&self) -> Calls {
        self.world.calls.clone()
    }

    /// The connections to port 3307.
    pub fn sessions(&self) -> Sessions {
        self.world.sessions.clone()
    }

    /// Adds an instance and returns its addresses.
    pub async fn add_instance(
        &self,
        spec: InstanceSpec,
    ) -> anyhow::Result<BTreeMap<AddressType, SocketAddr>> {
        let world = self.world.clone();
        self.run(async move { Ok(world.add_instance(spec).await?.addresses.clone()) })
            .await
    }

    /// Removes an instance: its ports close and its sessions end.
    pub async fn remove_instance(&self, name: &str) {
        let (world, name) = (self.world.clone(), name.to_string());
        let removed = self.run(async move {
            world.remove_instance(&name).await;
            Ok(())
        });
        removed.await.expect("the emulator runs");
    }

    /// Changes settings of a running instance and issues its server certificate anew. Name, database and address types
    /// cannot change.
    pub async fn change_instance(
        &self,
        name: &str,
        change: impl FnOnce(&mut InstanceSpec) + Send + 'static,
    ) -> anyhow::Result<()> {
        let (world, instance) = (self.world.clone(), self.instance(name)?);
        self.run(async move { instance.change(&world, change).await })
            .await
    }

    /// Where an instance listens.
    pub fn addresses(&self, name: &str) -> anyhow::Result<BTreeMap<AddressType, SocketAddr>> {
        Ok(self.instance(name)?.addresses.clone())
    }

    /// Replaces an instance's server CA and certificate; settings read from now on name the new CA alone.
    pub async fn rotate_server_ca(&self, name: &str) -> anyhow::Result<()> {
        let (world, instance) = (self.world.clone(), self.instance(name)?);
        self.run(async move { instance.rotate_server_authority(&world).await })
            .await
    }

    /// Replaces an instance's client CA: certificates issued so far are refused from now on.
    pub async fn rotate_client_ca(&self, name: &str) -> anyhow::Result<()> {
        let (world, instance) = (self.world.clone(), self.instance(name)?);
        self.run(async move { instance.rotate_client_authority(&world).await })
            .await
    }

    /// Ends an instance's open sessions, as a restart does.
    pub fn disconnect(&self, name: &str) -> anyhow::Result<()> {
        self.instance(name)?.disconnect(&self.world);
        Ok(())
    }

    /// Adds a principal, or replaces the one with this address.
    pub async fn add_principal(&self, principal: Principal) -> anyhow::Result<()> {
        let world = self.world.clone();
        self.run(async move { world.add_principal(principal).await })
            .await
    }

    /// Adds a built-in database user to all instances, or changes its password.
    ///
    /// # Errors
    /// When no instance has a database, or the name is reserved.
    pub async fn add_user(&self, name: &str, password: &str) -> anyhow::Result<()> {
        let (world, name, password) = (self.world.clone(), name.to_string(), password.to_string());
        self.run(async move { world.add_user(&name, &password).await })
            .await
    }

    /// Ends all sessions of a database user as an administrator would, and says how many there were: PostgreSQL's
    /// clients read FATAL 57P01. [`Emulator::disconnect`] cuts connections without a word.
    pub async fn terminate_sessions(&self, user: &str) -> anyhow::Result<u64> {
        let (world, user) = (self.world.clone(), user.to_string());
        self.run(async move { world.terminate_sessions(&user).await })
            .await
    }

    /// A service-account key file (JSON text) whose token endpoint is this emulator.
    pub async fn service_account_key(&self, principal: &str) -> anyhow::Result<String> {
        let (world, principal) = (self.world.clone(), principal.to_string());
        self.run(async move { Ok(world.service_account_key(&principal).await?.to_string()) })
            .await
    }

    /// An authorized_user file (JSON text) whose token endpoint is this emulator, with the scopes of
    /// `gcloud auth application-default login` for humans.
    pub fn authorized_user(&self, principal: &str) -> anyhow::Result<String> {
        Ok(self.world.authorized_user(principal, None)?.to_string())
    }

    /// A new access token for `principal` with exactly these scopes, valid for `lifetime`.
    pub fn access_token(
        &self,
        principal: &str,
        scopes: &[&str],
        lifetime: Duration,
    ) -> anyhow::Result<String> {
        self.world.access_token(
            principal,
            scopes.iter().map(ToString::to_string).collect(),
            lifetime,
        )
    }

    /// Revokes every token, key and certificate of a principal issued so far, and says how many certificates there were.
    pub fn revoke_principal(&self, principal: &str) -> usize {
        self.world.revoke_principal(principal)
    }

    /// Revokes every client certificate of an instance issued so far, and says how many there were.
    pub fn revoke_certificates(&self, instance: &str) -> usize {
        self.world.revoke_certificates(instance)
    }

    /// Completes when somebody asks the emulator to end through its control endpoint.
    pub async fn shutdown_asked(&self) {
        self.world.shutdown_asked.cancelled().await;
    }

    /// Ends listeners, sessions and databases, and returns when they are gone.
    pub async fn shutdown(self) {
        let world = self.world.clone();
        let ended = self.run(async move {
            world.end().await;
            Ok(())
        });
        ended.await.expect("the emulator runs");
    }

    fn grpc_endpoint(&self) -> &crate::grpc::Endpoint {
        self.world.grpc.get().expect("served from the start on")
    }

    fn instance(&self, name: &str) -> anyhow::Result<Arc<Instance>> {
        self.world
            .instance(name)
            .with_context(|| format!("no instance {name:?}"))
    }

    async fn run<T: Send + 'static>(
        &self,
        act: impl Future<Output = anyhow::Result<T>> + Send + 'static,
    ) -> anyhow::Result<T> {
        self.threads
            .handle
            .spawn(act)
            .await
            .context("the emulator panicked")?
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.world.stop.cancel();
    }
}

impl std::fmt::Debug for Emulator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Emulator")
            .field("host", &self.world.host)
            .finish_non_exhaustive()
    }
}

/// Threads of the emulator's own: tests come and go with their runtimes, the emulator stays.
struct Threads {
    handle: Handle,
    runtime: Option<Runtime>,
}

impl Threads {
    fn new() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("iamsql-emulator")
            .enable_all()
            .build()
            .context("cannot start the emulator's threads")?;
        Ok(Threads {
            handle: runtime.handle().clone(),
            runtime: Some(runtime),
        })
    }
}

impl Drop for Threads {
    /// Waits for nothing: a start that is given up, or an emulator, may be dropped inside somebody's async task.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A password for a built-in user, as random as every other secret of the emulator.
pub fn random_password() -> String {
    random_secret("emulator-password-")
}

/// The project of this project's documentation.
pub const PROJECT: &str = "your-project-id";
/// The service account of this project's documentation.
pub const SERVICE_ACCOUNT: &str = "cloudsql-client@your-project-id.iam.gserviceaccount.com";
/// A human with every role.
pub const HUMAN: &str = "jane@example.com";
/// The PostgreSQL instance of this project's documentation.
pub const INSTANCE: &str = "your-project-id:us-central1:demo-postgres";
/// The AlloyDB primary instance of this project's documentation.
pub const ALLOYDB_INSTANCE: &str =
    "projects/my-project/locations/us-central1/clusters/my-alloydb-cluster/instances/my-primary";
/// The read pool of the same cluster.
pub const ALLOYDB_READ_POOL: &str =
    "projects/my-project/locations/us-central1/clusters/my-alloydb-cluster/instances/my-read-pool";
/// The stand-in for SQL Server of this project's documentation.
pub const SQL_SERVER_INSTANCE: &str = "your-project-id:us-central1:demo-sqlserver";
/// The MySQL instance of this project's documentation.
pub const MYSQL_INSTANCE: &str = "your-project-id:us-central1:demo-mysql";
