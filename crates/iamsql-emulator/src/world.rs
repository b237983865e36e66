//! The state of one run that every endpoint shares: principals, instances, tokens, certificates, faults and records.

mod changes;
mod federation;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};
use std::time::Duration;

use rcgen::KeyPair;
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::alloydb::Clusters;
use crate::authority::{Authority, KeyKind, generate_key};
use crate::backend::mariadb::MariaDb;
use crate::backend::{Backend, BackendOptions};
use crate::calls::Calls;
use crate::dns::Dns;
use crate::faults::Faults;
use crate::federation::Federation;
use crate::instance::{Database, InstanceSpec};
use crate::issued::{IssuedLog, random_secret};
use crate::loopback::Loopback;
use crate::principal::Principal;
use crate::server::Instance;
use crate::session::{Login, Sessions};
use crate::token::Tokens;
use crate::token::credentials::Grants;

/// Everything that the endpoints of one emulator share.
pub(crate) struct World {
    pub(crate) settings: Settings,
    pub(crate) tokens: Tokens,
    pub(crate) grants: Grants,
    pub(crate) federation: Federation,
    pub(crate) certificates: Certificates,
    pub(crate) faults: Faults,
    pub(crate) dns: Dns,
    pub(crate) calls: Calls,
    pub(crate) sessions: Sessions,
    pub(crate) issued: IssuedLog,
    pub(crate) loopback: Loopback,
    /// `host:port` of the first HTTP listener.
    pub(crate) host: String,
    /// The gRPC port, from the start on.
    pub(crate) grpc: OnceLock<crate::grpc::Endpoint>,
    /// What the control endpoints ask for.
    pub(crate) control_bearer: String,
    pub(crate) stop: CancellationToken,
    /// Cancelled when somebody asks the program to end.
    pub(crate) shutdown_asked: CancellationToken,
    /// The listeners of the HTTP ports and of DNS.
    pub(crate) http: Mutex<Vec<JoinHandle<()>>>,
    instances: RwLock<BTreeMap<String, Arc<Instance>>>,
    principals: RwLock<BTreeMap<String, Principal>>,
    /// Built-in users and their passwords, for the servers that start later, and the stand-in that has none.
    users: RwLock<BTreeMap<String, String>>,
    shared_authority: OnceCell<Arc<Authority>>,
    clusters: Clusters,
    server_key: OnceCell<Arc<KeyPair>>,
    backend: OnceCell<Backend>,
    mariadb: OnceCell<MariaDb>,
    last_session: AtomicU64,
}

/// What a run is configured with.
pub(crate) struct Settings {
    pub(crate) project: String,
    /// Whom the metadata server stands for; `None` when nothing is attached to the machine.
    pub(crate) attached: Option<String>,
    pub(crate) universe: Option<String>,
    pub(crate) certificate_lifetime: Duration,
    pub(crate) token_lifetime: Duration,
    pub(crate) keys: KeyKind,
    /// Whether other hosts may call.
    pub(crate) exposed: bool,
    /// The directory with `postgres` and `initdb`, if given.
    pub(crate) postgres: Option<PathBuf>,
    /// The directory with `mariadbd`, if given.
    pub(crate) mariadb: Option<PathBuf>,
    /// Whether MariaDB starts with the first connection to an instance that needs it, and not with the instance.
    pub(crate) lazy_mariadb: bool,
    /// Built-in database users and their passwords.
    pub(crate) users: Vec<(String, String)>,
}

impl World {
    pub(crate) fn new(
        settings: Settings,
        principals: Vec<Principal>,
        issued: IssuedLog,
        loopback: Loopback,
        host: String,
        dns: Dns,
    ) -> Arc<Self> {
        let control_bearer = random_secret("emulator-control-");
        issued.record("control bearer", &control_bearer);
        for (_, password) in &settings.users {
            issued.record("database password", password);
        }
        Arc::new(World {
            tokens: Tokens::new(issued.clone()),
            grants: Grants::new(issued.clone()),
            federation: Federation::new(&settings.project, issued.clone()),
            certificates: Certificates::default(),
            faults: Faults::new(),
            dns,
            calls: Calls::default(),
            sessions: Sessions::default(),
            issued,
            loopback,
            host,
            grpc: OnceLock::new(),
            control_bearer,
            stop: CancellationToken::new(),
            shutdown_asked: CancellationToken::new(),
            http: Mutex::default(),
            instances: RwLock::default(),
            principals: RwLock::new(
                principals
                    .into_iter()
                    .map(|one| (one.email.clone(), one))
                    .collect(),
            ),
            users: RwLock::new(settings.users.iter().cloned().collect()),
            shared_authority: OnceCell::new(),
            clusters: Clusters::default(),
            server_key: OnceCell::new(),
            backend: OnceCell::new(),
            mariadb: OnceCell::new(),
            last_session: AtomicU64::new(0),
            settings,
        })
    }

    pub(crate) fn instance(&self, name: &str) -> Option<Arc<Instance>> {
        self.instances
            .read()
            .expect("no panic under lock")
            .get(name)
            .cloned()
    }

    /// The instance of an API path, which names no region.
    pub(crate) fn instance_by_path(&self, project: &str, instance: &str) -> Option<Arc<Instance>> {
        let instances = self.instances.read().expect("no panic under lock");
        instances
            .values()
            .find(|one| {
                !one.name.is_alloydb()
                    && one.name.project == project
                    && one.name.instance == instance
            })
            .cloned()
    }

    /// The instances of an AlloyDB cluster.
    pub(crate) fn cluster_instances(&self, path: &str) -> Vec<Arc<Instance>> {
        let of_cluster = |one: &Arc<Instance>| one.name.cluster_path().as_deref() == Some(path);
        self.instances().into_iter().filter(of_cluster).collect()
    }

    pub(crate) fn clusters(&self) -> &Clusters {
        &self.clusters
    }

    pub(crate) fn instances(&self) -> Vec<Arc<Instance>> {
        self.instances
            .read()
            .expect("no panic under lock")
            .values()
            .cloned()
            .collect()
    }

    pub(crate) fn insert_instance(&self, instance: Arc<Instance>) {
        self.instances
            .write()
            .expect("no panic under lock")
            .insert(instance.text.clone(), instance);
    }

    pub(crate) fn take_instance(&self, name: &str) -> Option<Arc<Instance>> {
        self.instances
            .write()
            .expect("no panic under lock")
            .remove(name)
    }

    pub(crate) fn principal(&self, email: &str) -> Option<Principal> {
        self.principals
            .read()
            .expect("no panic under lock")
            .get(email)
            .cloned()
    }

    /// Those who have an address, hence a database user.
    pub(crate) fn principals(&self) -> Vec<Principal> {
        let mut all = self.all_principals();
        all.retain(|one| !one.is_federated());
        all
    }

    pub(crate) fn all_principals(&self) -> Vec<Principal> {
        self.principals
            .read()
            .expect("no panic under lock")
            .values()
            .cloned()
            .collect()
    }

    pub(crate) fn principal_by_database_user(&self, user: &str) -> Option<Principal> {
        let principals = self.principals.read().expect("no panic under lock");
        principals
            .values()
            .find(|one| one.database_user() == user)
            .cloned()
    }

    pub(crate) fn insert_principal(&self, principal: Principal) {
        self.principals
            .write()
            .expect("no panic under lock")
            .insert(principal.email.clone(), principal);
    }

    /// What the stand-in for SQL Server knows.
    pub(crate) fn tds_server(&self, instance: &Instance) -> crate::tds::Server {
        crate::tds::Server {
            users: self.users(),
            databases: instance.spec().databases,
            name: instance.name.instance.clone(),
        }
    }

    /// Built-in users and their passwords, those added while it runs included.
    fn users(&self) -> BTreeMap<String, String> {
        self.users.read().expect("no panic under lock").clone()
    }

    pub(crate) fn remember_user(&self, name: &str, password: &str) {
        let mut users = self.users.write().expect("no panic under lock");
        users.insert(name.to_string(), password.to_string());
    }

    /// The CA that all CAS instances share, as those of one region do.
    pub(crate) async fn shared_authority(&self) -> anyhow::Result<Arc<Authority>> {
        let kind = self.settings.keys;
        let make = || async move { make_authority("Google Cloud SQL Shared CA", kind).await };
        Ok(self.shared_authority.get_or_try_init(make).await?.clone())
    }

    /// The key of every server certificate; a certificate, not its key, tells instances apart.
    pub(crate) async fn server_key(&self) -> anyhow::Result<Arc<KeyPair>> {
        let kind = self.settings.keys;
        let make = || async move {
            anyhow::Ok(Arc::new(
                tokio::task::spawn_blocking(move || generate_key(kind))
                    .await
                    .expect("no panic")?,
            ))
        };
        Ok(self.server_key.get_or_try_init(make).await?.clone())
    }

    /// The PostgreSQL of all instances that have one, started by the first.
    pub(crate) async fn backend(&self) -> anyhow::Result<&Backend> {
        self.backend.get_or_try_init(|| self.start_backend()).await
    }

    /// The same, if it runs.
    pub(crate) fn started_backend(&self) -> Option<&Backend> {
        self.backend.get()
    }

    async fn start_backend(&self) -> anyhow::Result<Backend> {
        let backend = Backend::start(&self.backend_options()).await?;
        self.issued.record(
            "database administrator's password",
            backend.administrator_password(),
        );
        for (name, password) in &self.users() {
            backend.add_user(name, password).await?;
        }
        Ok(backend)
    }

    /// The MariaDB of all MySQL instances, started by the first that needs it.
    pub(crate) async fn mariadb(&self) -> anyhow::Result<&MariaDb> {
        self.mariadb.get_or_try_init(|| self.start_mariadb()).await
    }

    /// The same, if it runs.
    pub(crate) fn started_mariadb(&self) -> Option<&MariaDb> {
        self.mariadb.get()
    }

    async fn start_mariadb(&self) -> anyhow::Result<MariaDb> {
        let mariadb = MariaDb::start(&self.backend_options()).await?;
        for secret in mariadb.secrets() {
            self.issued.record("MariaDB password", secret);
        }
        for (name, password) in &self.users() {
            mariadb.add_user(name, password).await?;
        }
        mariadb.add_principals(&self.principals()).await?;
        Ok(mariadb)
    }

    fn backend_options(&self) -> BackendOptions {
        let mut options = BackendOptions::from_environment();
        if let Some(postgres) = &self.settings.postgres {
            options.postgres = Some(postgres.clone());
        }
        if let Some(mariadb) = &self.settings.mariadb {
            options.mariadb = Some(mariadb.clone());
        }
        options
    }

    /// The text of a certificate's login token, for the fault that repeats it.
    pub(crate) fn login_secret(&self, login: &Login) -> Vec<String> {
        match login {
            Login::Token(token) => self.tokens.text(token).into_iter().collect(),
            Login::Absent | Login::Unknown => Vec::new(),
        }
    }

    /// `databaseVersion` of an instance.
    pub(crate) fn database_version(&self, spec: &InstanceSpec) -> String {
        let real = self
            .backend
            .get()
            .filter(|_| spec.database == Database::Postgres);
        let made_up = match spec.database {
            Database::SqlServer => SQL_SERVER_VERSION,
            Database::MySql => MYSQL_VERSION,
            _ => ECHO_VERSION,
        };
        let version = || real.map_or_else(|| made_up.to_string(), Backend::database_version);
        spec.database_version.clone().unwrap_or_else(version)
    }

    /// Ends listeners, sessions and databases.
    pub(crate) async fn end(&self) {
        self.stop.cancel();
        let http = std::mem::take(&mut *self.http.lock().expect("no panic under lock"));
        for served in http {
            // A listener that panicked is closed as well.
            let _ = served.await;
        }
        for instance in self.instances() {
            self.remove_instance(&instance.text).await;
        }
        if let Some(backend) = self.backend.get() {
            backend.stop().await;
        }
        if let Some(mariadb) = self.mariadb.get() {
            mariadb.stop().await;
        }
    }

    pub(crate) fn next_session(&self) -> u64 {
        self.last_session.fetch_add(1, Ordering::Relaxed) + 1
    }
}

/// What MySQL instances say they are, whatever plays them.
const MYSQL_VERSION: &str = "MYSQL_8_0";
/// What an echo says it is.
const ECHO_VERSION: &str = "POSTGRES_17";
/// What the stand-in says it is.
const SQL_SERVER_VERSION: &str = "SQLSERVER_2022_STANDARD";

/// A new authority, its key made off the async threads.
pub(crate) async fn make_authority(
    common_name: &'static str,
    kind: KeyKind,
) -> anyhow::Result<Arc<Authority>> {
    let authority = tokio::task::spawn_blocking(move || Authority::new(common_name, kind)).await;
    Ok(Arc::new(authority.expect("no panic")?))
}

/// The client certificates of one run, by serial number.
#[derive(Default)]
pub(crate) struct Certificates(Mutex<HashMap<String, IssuedCertificate>>);

/// What is remembered of a client certificate.
#[derive(Clone)]
pub(crate) struct IssuedCertificate {
    /// The instance that it is for, or AlloyDB's cluster.
    pub(crate) instance: String,
    /// Whose API token asked for it.
    pub(crate) requester: Option<String>,
    pub(crate) login: Login,
    /// Whether the server expects a metadata exchange before the database's own protocol.
    pub(crate) exchange: bool,
    pub(crate) revoked: bool,
}

impl Certificates {
    pub(crate) fn remember(&self, serial: String, certificate: IssuedCertificate) {
        self.0
            .lock()
            .expect("no panic under lock")
            .insert(serial, certificate);
    }

    pub(crate) fn find(&self, serial: &str) -> Option<IssuedCertificate> {
        self.0
            .lock()
            .expect("no panic under lock")
            .get(serial)
            .cloned()
    }

    /// Revokes the certificates that `concerned` picks and says how many there were.
    pub(crate) fn revoke(&self, concerned: impl Fn(&str, &IssuedCertificate) -> bool) -> usize {
        let mut certificates = self.0.lock().expect("no panic under lock");
        let chosen = certificates
            .iter_mut()
            .filter(|(serial, one)| !one.revoked && concerned(serial, one));
        chosen
            .map(|(_, certificate)| certificate.revoked = true)
            .count()
    }
}
