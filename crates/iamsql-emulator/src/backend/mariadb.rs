//! The real MariaDB behind MySQL instances: found, bootstrapped, started and removed by the emulator itself.
//!
//! ```text
//! installation ─▶ account ─▶ supervisor.sh (mktemp, bootstrap, mariadbd) ─▶ administrator (users, databases)
//! ```
//!
//! The server has no TCP listener; its socket lies in a directory that only its account can enter. Every account has a
//! password. Those of IAM users are one secret of this run: the gate in `login/mysql.rs` logs them in with it once it has
//! judged them. Nobody but the administrator, whose password exists only in the emulator's memory, has a privilege that
//! reaches beyond the instances' databases: no user is `SUPER`, reads files, changes accounts or loads plugins.

mod administrator;
mod installation;

pub use self::installation::Installation;

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::UnixStream;
use tokio::sync::OnceCell;
use tokio::time::timeout;

use self::administrator::Administrator;
use super::BackendOptions;
use super::account::Account;
use super::administrator::random_password;
use super::supervisor::{Supervised, Supervisor};
use crate::mysql::password::{CachedKey, NativeKey, ServerKey};
use crate::principal::Principal;

pub(crate) use self::administrator::is_reserved;

/// A running MariaDB. Cheap to clone; every clone is the same server.
///
/// The server ends, and its data is removed, with [`MariaDb::stop`], when the last clone is dropped, and within seconds
/// of the end of this process, however it ends.
///
/// ```no_run
/// # async fn example() -> anyhow::Result<()> {
/// use iamsql_emulator::backend::BackendOptions;
/// use iamsql_emulator::backend::mariadb::MariaDb;
///
/// let mariadb = MariaDb::start(&BackendOptions::from_environment()).await?;
/// mariadb.add_user("app-user", "its own password").await?;
/// mariadb.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MariaDb(Arc<Server>);

struct Server {
    installation: Installation,
    directory: PathBuf,
    administrator: Administrator,
    supervisor: Supervisor,
    administrators_password: String,
    /// What logs an IAM user in.
    iam_password: String,
    /// Users whose password was right once, as a MySQL that speaks `caching_sha2_password` remembers them.
    known: Mutex<HashMap<String, Known>>,
    key: OnceCell<Arc<ServerKey>>,
}

/// What is remembered of a right password.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) cached: CachedKey,
    /// What logs in to MariaDB.
    pub(crate) native: NativeKey,
}

impl MariaDb {
    /// Starts a MariaDB without users. Takes half a second.
    ///
    /// # Errors
    ///
    /// When no MariaDB is found (see [`Installation::find`]), no directory can hold the data, or the server does not start
    /// within 60 seconds.
    pub async fn start(options: &BackendOptions) -> Result<MariaDb> {
        let installation = Installation::find(options).await?;
        let (administrators_password, iam_password) = (random_password()?, random_password()?);
        let key = NativeKey::of(administrators_password.as_bytes());
        let account = Account::choose(installation::ACCOUNT)?;
        let arguments = vec![
            installation.program().into(),
            installation.system_tables().into(),
            administrator::NAME.into(),
        ];
        let mut supervisor = Supervisor::start(Supervised {
            name: "MariaDB",
            script: include_str!("mariadb/supervisor.sh"),
            account: &account,
            arguments,
            secret: &key.stored(),
            temporary: &options.temporary,
        })
        .await?;
        let directory = supervisor.directory().await?;
        let socket = directory.join(SOCKET);
        timeout(START_LIMIT, supervisor.until_accepting(&socket))
            .await
            .with_context(|| {
                let limit = START_LIMIT.as_secs();
                format!("{installation} did not start within {limit} seconds")
            })??;
        let iam = NativeKey::of(iam_password.as_bytes());
        Ok(MariaDb(Arc::new(Server {
            installation,
            directory,
            administrator: Administrator::new(socket, key, iam),
            supervisor,
            administrators_password,
            iam_password,
            known: Mutex::default(),
            key: OnceCell::new(),
        })))
    }

    /// The programs that run.
    pub fn installation(&self) -> &Installation {
        &self.0.installation
    }

    /// The directory that holds data and socket. It is gone after the end of the server.
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// Creates the database users of IAM principals; those that exist are left alone. Whose name is too long for MySQL has
    /// none.
    pub async fn add_principals(&self, principals: &[Principal]) -> Result<()> {
        let users = principals.iter().filter_map(Principal::mysql_user);
        self.0.administrator.add_iam_users(users.collect()).await
    }

    /// Creates a built-in user, or changes its password if it exists.
    pub async fn add_user(&self, name: &str, password: &str) -> Result<()> {
        self.forget(name);
        self.0.administrator.add_user(name, password).await
    }

    /// Creates databases, in which every user may do everything; those that exist are left alone.
    pub async fn add_databases(&self, names: &[String]) -> Result<()> {
        self.0.administrator.add_databases(names).await
    }

    /// Ends all sessions of a database user, as an administrator would, and says how many there were.
    pub async fn terminate(&self, user: &str) -> Result<u64> {
        self.0.administrator.terminate(user).await
    }

    /// How many sessions a database user has, counted by the database.
    pub async fn sessions(&self, user: &str) -> Result<u64> {
        Ok(self.0.administrator.sessions(user).await?.len() as u64)
    }

    /// Ends the server and all its sessions, and removes its data. Returns when both are done.
    pub async fn stop(&self) {
        self.0.supervisor.stop().await;
    }

    /// The secrets of this run, for the record of what was issued.
    pub(crate) fn secrets(&self) -> [&str; 2] {
        [&self.0.administrators_password, &self.0.iam_password]
    }

    /// What logs an IAM user in whom the gate has judged.
    pub(crate) fn iam_key(&self) -> NativeKey {
        NativeKey::of(self.0.iam_password.as_bytes())
    }

    /// Gives an IAM user its password back, which it may have changed.
    pub(crate) async fn restore_iam_user(&self, user: &str) -> Result<()> {
        self.0.administrator.restore_iam_user(user).await
    }

    /// Opens a connection that has sent nothing yet.
    pub(crate) async fn connect(&self) -> std::io::Result<UnixStream> {
        UnixStream::connect(self.0.directory.join(SOCKET)).await
    }

    pub(crate) fn known(&self, user: &str) -> Option<Known> {
        self.lock().get(user).cloned()
    }

    pub(crate) fn remember(&self, user: &str, password: Known) {
        self.lock().insert(user.to_owned(), password);
    }

    pub(crate) fn forget(&self, user: &str) {
        self.lock().remove(user);
    }

    /// The key pair for passwords over an open wire, made for the first that needs it.
    pub(crate) async fn server_key(&self) -> Result<Arc<ServerKey>> {
        let make = || async {
            let made = tokio::task::spawn_blocking(ServerKey::generate).await;
            anyhow::Ok(Arc::new(made.expect("no panic")?))
        };
        Ok(self.0.key.get_or_try_init(make).await?.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Known>> {
        self.0.known.lock().expect("no panic under lock")
    }
}

impl fmt::Debug for MariaDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MariaDb")
            .field("installation", &self.0.installation)
            .field("directory", &self.0.directory)
            .finish_non_exhaustive()
    }
}

const SOCKET: &str = "socket";
/// A laptop takes half a second; a crowded build machine may take many times that.
const START_LIMIT: Duration = Duration::from_secs(60);
