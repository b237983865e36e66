//! What an emulator is set up with, and how it starts.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use super::{Emulator, HUMAN, PROJECT, SERVICE_ACCOUNT, Threads};
use crate::authority::KeyKind;
use crate::dns::{self, Dns, DnsRecord};
use crate::instance::{Database, InstanceSpec};
use crate::issued::IssuedLog;
use crate::loopback::Loopback;
use crate::principal::Principal;
use crate::world::{Settings, World};

/// How an [`Emulator`] is set up. The defaults are the world of this project's documentation, without instances.
pub struct EmulatorBuilder {
    instances: Vec<InstanceSpec>,
    principals: Vec<Principal>,
    project: String,
    attached: Option<String>,
    universe: Option<String>,
    certificate_lifetime: Duration,
    token_lifetime: Duration,
    rsa: Option<bool>,
    issued_log: Option<PathBuf>,
    postgres: Option<PathBuf>,
    mariadb: Option<PathBuf>,
    lazy_mariadb: bool,
    users: Vec<(String, String)>,
    exposed: Option<IpAddr>,
    dns_port: u16,
    dns_records: Vec<(String, Vec<DnsRecord>)>,
}

impl EmulatorBuilder {
    /// Adds an instance. Default: none.
    pub fn instance(mut self, spec: InstanceSpec) -> Self {
        self.instances.push(spec);
        self
    }

    /// Adds a principal. Known from the start: the attached service account and the human [`HUMAN`], with every role.
    pub fn principal(mut self, principal: Principal) -> Self {
        self.principals
            .retain(|known| known.email != principal.email);
        self.principals.push(principal);
        self
    }

    /// The project id that the metadata server tells. Default [`PROJECT`].
    pub fn project(mut self, id: impl Into<String>) -> Self {
        self.project = id.into();
        self
    }

    /// Whom the metadata server stands for. Default [`SERVICE_ACCOUNT`]; `None` is a machine without a service account.
    pub fn attached(mut self, email: Option<&str>) -> Self {
        self.attached = email.map(str::to_string);
        self
    }

    /// The universe domain that the metadata server tells. Default: none, answered 404, which means `googleapis.com`.
    pub fn universe_domain(mut self, domain: impl Into<String>) -> Self {
        self.universe = Some(domain.into());
        self
    }

    /// How long client certificates are valid. Default one hour. X.509 counts whole seconds; the end is rounded up.
    pub fn certificate_lifetime(mut self, lifetime: Duration) -> Self {
        self.certificate_lifetime = lifetime;
        self
    }

    /// How long access tokens are valid. Default one hour. Answers count whole seconds.
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.token_lifetime = lifetime;
        self
    }

    /// Whether servers and CAs have RSA keys as at Google, or ECDSA keys, which start in a millisecond.
    ///
    /// Default: RSA if any instance of the builder has a PostgreSQL or MySQL, else ECDSA.
    pub fn rsa_keys(mut self, rsa: bool) -> Self {
        self.rsa = Some(rsa);
        self
    }

    /// Notes every issued secret in a file in this directory (mode 0700), so that a suite can search its output for them.
    /// Default: the directory that `IAMSQL_EMULATOR_ISSUED_LOG` names, else nowhere.
    pub fn issued_log(mut self, directory: impl Into<PathBuf>) -> Self {
        self.issued_log = Some(directory.into());
        self
    }

    /// The directory with `postgres` and `initdb`. Default: as [`BackendOptions::from_environment`](crate::backend::BackendOptions::from_environment) finds them.
    pub fn postgres(mut self, directory: impl Into<PathBuf>) -> Self {
        self.postgres = Some(directory.into());
        self
    }

    /// The directory with `mariadbd`. Default: as [`BackendOptions::from_environment`](crate::backend::BackendOptions::from_environment) finds it.
    pub fn mariadb(mut self, directory: impl Into<PathBuf>) -> Self {
        self.mariadb = Some(directory.into());
        self
    }

    /// Whether MariaDB starts with the first connection to a MySQL instance, which then takes half a second longer, and
    /// not with the instance. Default false.
    pub fn lazy_mariadb(mut self, lazy: bool) -> Self {
        self.lazy_mariadb = lazy;
        self
    }

    /// Adds a built-in database user with a password. Default: none; the program adds one.
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.users.push((name.into(), password.into()));
        self
    }

    /// Listens on this address instead of loopback, and answers whatever `Host` a request has. There is room for one
    /// instance. Whoever reaches the address can log in: for containers only. Default: loopback.
    pub fn expose(mut self, address: IpAddr) -> Self {
        self.exposed = Some(address);
        self
    }

    /// Gives a name these records in the emulator's DNS server. Default: it knows the instances' own names only.
    pub fn dns(
        mut self,
        name: impl Into<String>,
        records: impl IntoIterator<Item = DnsRecord>,
    ) -> Self {
        self.dns_records
            .push((name.into(), records.into_iter().collect()));
        self
    }

    /// The port of the DNS server. Default 0: any. A system resolver needs 53, which may need a privilege.
    pub fn dns_port(mut self, port: u16) -> Self {
        self.dns_port = port;
        self
    }

    /// Starts the emulator and returns when everything answers.
    ///
    /// # Errors
    /// An instance that cannot exist, no free loopback address, or no PostgreSQL or MariaDB for an instance that wants one.
    pub async fn start(self) -> anyhow::Result<Emulator> {
        let threads = Threads::new()?;
        let started = threads.handle.spawn(launch(self)).await;
        finish(threads, started.context("the emulator panicked").flatten())
    }

    /// As [`EmulatorBuilder::start`], for programs without a runtime. Inside one, it would block it.
    pub fn start_blocking(self) -> anyhow::Result<Emulator> {
        let threads = Threads::new()?;
        let started = threads
            .handle
            .block_on(async { tokio::spawn(launch(self)).await });
        finish(threads, started.context("the emulator panicked").flatten())
    }
}

impl Default for EmulatorBuilder {
    fn default() -> Self {
        EmulatorBuilder {
            instances: Vec::new(),
            principals: vec![
                Principal::service_account(SERVICE_ACCOUNT),
                Principal::human(HUMAN),
            ],
            project: PROJECT.to_string(),
            attached: Some(SERVICE_ACCOUNT.to_string()),
            universe: None,
            certificate_lifetime: HOUR,
            token_lifetime: HOUR,
            rsa: None,
            issued_log: None,
            postgres: None,
            mariadb: None,
            lazy_mariadb: false,
            users: Vec::new(),
            exposed: None,
            dns_port: 0,
            dns_records: Vec::new(),
        }
    }
}

fn finish(threads: Threads, started: anyhow::Result<Arc<World>>) -> anyhow::Result<Emulator> {
    let world = started?;
    Ok(Emulator { world, threads })
}

async fn launch(builder: EmulatorBuilder) -> anyhow::Result<Arc<World>> {
    let (loopback, listener) = Loopback::claim(builder.exposed)?;
    let address = listener.local_addr()?;
    let (sockets, dns_address) = dns::bind(address.ip(), builder.dns_port)?;
    let dns = Dns::new(dns_address);
    for (name, records) in builder.dns_records {
        dns.try_set(&name, records)?;
    }
    let issued = builder
        .issued_log
        .or_else(|| std::env::var_os(ISSUED_LOG).map(PathBuf::from))
        .as_deref()
        .map(IssuedLog::in_directory)
        .transpose()?
        .unwrap_or_default();
    let real = builder
        .instances
        .iter()
        .any(|spec| matches!(spec.database, Database::Postgres | Database::MySql));
    let settings = Settings {
        project: builder.project,
        attached: builder.attached,
        universe: builder.universe,
        certificate_lifetime: builder.certificate_lifetime,
        token_lifetime: builder.token_lifetime,
        keys: if builder.rsa.unwrap_or(real) {
            KeyKind::Rsa2048
        } else {
            KeyKind::EcdsaP256
        },
        exposed: builder.exposed.is_some(),
        postgres: builder.postgres,
        mariadb: builder.mariadb,
        lazy_mariadb: builder.lazy_mariadb,
        users: builder.users,
    };
    let world = World::new(
        settings,
        builder.principals,
        issued,
        loopback,
        address.to_string(),
        dns,
    );
    let started = async {
        follow_faults(&world);
        dns::serve(&world, sockets)?;
        crate::http::serve(world.clone(), listener, world.settings.attached.clone()).await?;
        crate::grpc::serve(&world).await?;
        // Keys and initdb overlap: each instance waits for what it needs.
        futures_util::future::try_join_all(
            builder
                .instances
                .into_iter()
                .map(|spec| world.add_instance(spec)),
        )
        .await?;
        anyhow::Ok(())
    };
    if let Err(error) = started.await {
        world.end().await;
        return Err(error);
    }
    Ok(world)
}

/// Makes [`Faults::inject`] return only when the ports have followed. The listeners run on threads of their own.
fn follow_faults(world: &Arc<World>) {
    let weak = Arc::downgrade(world);
    world.faults.on_change(move |version| {
        let Some(world) = weak.upgrade() else { return };
        let behind = || {
            world
                .instances()
                .iter()
                .any(|instance| instance.is_behind(version))
        };
        while behind() && !world.stop.is_cancelled() {
            std::thread::sleep(Duration::from_micros(200));
        }
    });
}

const HOUR: Duration = Duration::from_secs(3600);
const ISSUED_LOG: &str = "IAMSQL_EMULATOR_ISSUED_LOG";
