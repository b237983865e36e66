//! The one administrator: creates users and databases, grants, ends sessions.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::mysql::client::Client;
use crate::mysql::password::NativeKey;

/// Logs in anew for each task.
pub(super) struct Administrator {
    socket: PathBuf,
    key: NativeKey,
    iam: NativeKey,
    granted: Mutex<Granted>,
}

/// Who exists, and where everybody may do everything.
#[derive(Default)]
struct Granted {
    users: BTreeSet<String>,
    databases: BTreeSet<String>,
}

impl Administrator {
    pub(super) fn new(socket: PathBuf, key: NativeKey, iam: NativeKey) -> Administrator {
        Administrator {
            socket,
            key,
            iam,
            granted: Mutex::default(),
        }
    }

    pub(super) async fn add_iam_users(&self, names: Vec<String>) -> Result<()> {
        let mut granted = self.granted.lock().await;
        let mut session = self.log_in().await?;
        for name in names {
            if granted.users.contains(&name) || is_reserved(&name) {
                continue;
            }
            self.create(&mut session, &mut granted, &name, &self.iam)
                .await?;
        }
        Ok(())
    }

    pub(super) async fn add_user(&self, name: &str, password: &str) -> Result<()> {
        ensure!(
            !password.is_empty() && !password.contains('\0'),
            "the password of database user {name:?} is empty or contains a zero byte"
        );
        let mut granted = self.granted.lock().await;
        let mut session = self.log_in().await?;
        let key = NativeKey::of(password.as_bytes());
        self.create(&mut session, &mut granted, name, &key).await
    }

    pub(super) async fn restore_iam_user(&self, name: &str) -> Result<()> {
        let mut session = self.log_in().await?;
        set_password(&mut session, name, &self.iam).await
    }

    pub(super) async fn add_databases(&self, names: &[String]) -> Result<()> {
        let mut granted = self.granted.lock().await;
        if names.iter().all(|name| granted.databases.contains(name)) {
            return Ok(());
        }
        let mut session = self.log_in().await?;
        for name in names {
            check(name, LONGEST_DATABASE, &RESERVED_DATABASES)?;
            let create = format!("CREATE DATABASE IF NOT EXISTS {}", identifier(name));
            let created = session.run(&create).await;
            created.with_context(|| format!("cannot create database {name:?}"))?;
            for user in &granted.users {
                grant(&mut session, user, &exactly(name)).await?;
            }
            granted.databases.insert(name.clone());
        }
        Ok(())
    }

    pub(super) async fn terminate(&self, user: &str) -> Result<u64> {
        let mut session = self.log_in().await?;
        let mut ended = 0;
        for id in self.sessions(user).await? {
            // It may have ended by itself meanwhile.
            ended += u64::from(session.run(&format!("KILL CONNECTION {id}")).await.is_ok());
        }
        Ok(ended)
    }

    pub(super) async fn sessions(&self, user: &str) -> Result<Vec<u64>> {
        let query = format!(
            "SELECT id FROM information_schema.processlist WHERE user = {}",
            literal(user)
        );
        let rows = self.log_in().await?.run(&query).await;
        let rows = rows.context("cannot list sessions")?;
        Ok(rows.iter().filter_map(|id| id.parse().ok()).collect())
    }

    /// Creates a user, or changes its password, and opens the databases to it.
    async fn create(
        &self,
        session: &mut Client,
        granted: &mut Granted,
        name: &str,
        key: &NativeKey,
    ) -> Result<()> {
        check(name, LONGEST_USER, &[])?;
        ensure!(!is_reserved(name), "the name {name:?} is reserved");
        let create = format!("CREATE USER IF NOT EXISTS {}", account(name));
        let created = session.run(&create).await;
        created.with_context(|| format!("cannot create database user {name:?}"))?;
        set_password(session, name, key).await?;
        for database in granted.databases.iter().map(|name| exactly(name)) {
            grant(session, name, &database).await?;
        }
        grant(session, name, TEST_DATABASES).await?;
        granted.users.insert(name.to_owned());
        Ok(())
    }

    async fn log_in(&self) -> Result<Client> {
        let logged_in = async {
            let server = UnixStream::connect(&self.socket).await?;
            Client::log_in(server, NAME, &self.key).await
        };
        let logged_in = timeout(LOGIN_LIMIT, logged_in).await;
        logged_in
            .context("MariaDB does not answer")?
            .context("the emulator cannot log in to its MariaDB")
    }
}

/// Whether nobody logs in by this name.
pub(crate) fn is_reserved(user: &str) -> bool {
    let reserved = [NAME, "mariadb.sys", "PUBLIC", ""];
    reserved.iter().any(|name| user.eq_ignore_ascii_case(name))
}

async fn set_password(session: &mut Client, user: &str, key: &NativeKey) -> Result<()> {
    let statement = format!(
        "ALTER USER {} IDENTIFIED BY PASSWORD {}",
        account(user),
        literal(&key.stored())
    );
    let changed = session.run(&statement).await;
    // The source is left out: it could quote the statement.
    changed.map_err(|_| anyhow!("cannot set the password of database user {user:?}"))?;
    Ok(())
}

async fn grant(session: &mut Client, user: &str, databases: &str) -> Result<()> {
    let statement = format!("GRANT ALL PRIVILEGES ON {databases}.* TO {}", account(user));
    let granted = session.run(&statement).await;
    granted.with_context(|| format!("cannot open {databases} to {user:?}"))?;
    Ok(())
}

fn check(name: &str, longest: usize, reserved: &[&str]) -> Result<()> {
    ensure!(
        (1..=longest).contains(&name.chars().count()) && !name.contains('\0'),
        "{name:?} must have 1 to {longest} characters and no zero byte to be a name in MySQL"
    );
    let is_reserved = reserved
        .iter()
        .any(|other| name.eq_ignore_ascii_case(other));
    ensure!(!is_reserved, "the name {name:?} is reserved");
    Ok(())
}

/// A user from anywhere, as on Cloud SQL.
fn account(user: &str) -> String {
    format!("{}@'%'", literal(user))
}

fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A database in a grant, where `_` and `%` would stand for others too.
fn exactly(database: &str) -> String {
    let escaped = database.replace('\\', "\\\\");
    identifier(&escaped.replace('_', "\\_").replace('%', "\\%"))
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

pub(super) const NAME: &str = "cloudsqladmin";
/// Databases that anybody may make, as test suites do.
const TEST_DATABASES: &str = "`test\\_%`";
const RESERVED_DATABASES: [&str; 4] = ["mysql", "sys", "information_schema", "performance_schema"];
const LONGEST_DATABASE: usize = 64;
/// MySQL's; MariaDB would take 128.
const LONGEST_USER: usize = 32;
const LOGIN_LIMIT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted() {
        assert_eq!(account(r"o'br\ien"), r"'o''br\\ien'@'%'");
        assert_eq!(identifier("a`b"), "`a``b`");
        assert_eq!(exactly("my_db%"), r"`my\_db\%`");
    }

    #[test]
    fn names_that_are_the_servers_are_refused() {
        for name in ["", "mysql", "MySQL", "sys", "a\0b", &"d".repeat(65)] {
            assert!(
                check(name, LONGEST_DATABASE, &RESERVED_DATABASES).is_err(),
                "{name}"
            );
        }
        assert!(check("mydb", LONGEST_DATABASE, &RESERVED_DATABASES).is_ok());
        for name in ["CloudSQLAdmin", "mariadb.sys", "public", ""] {
            assert!(is_reserved(name), "{name}");
        }
        assert!(!is_reserved("root"));
    }
}
