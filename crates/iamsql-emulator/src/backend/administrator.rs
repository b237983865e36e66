//! The one superuser: prepares roles and databases, adds users, ends sessions.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use aws_lc_rs::rand;
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};

use crate::principal::{Principal, PrincipalKind};

/// Logs in to the database anew for each task; an idle session of its own would show in `pg_stat_activity`.
pub(super) struct Administrator {
    socket: PathBuf,
    password: String,
    /// `CREATE DATABASE` and `GRANT` of two sessions at once get in each other's way.
    one_at_a_time: Mutex<()>,
}

impl Administrator {
    pub(super) fn new(socket: PathBuf, password: String) -> Administrator {
        Administrator {
            socket,
            password,
            one_at_a_time: Mutex::default(),
        }
    }

    pub(super) fn password(&self) -> &str {
        &self.password
    }

    /// Creates the groups of a new server, as soon as it has finished starting.
    pub(super) async fn prepare(&self) -> Result<()> {
        let session = loop {
            match self.log_in(TEMPLATE).await {
                Err(error) if is_starting(&error) => sleep(POLL).await,
                other => break other?,
            }
        };
        session
            .batch_execute(&preparation())
            .await
            .context("cannot prepare the database")
    }

    pub(super) async fn add_principals(&self, principals: &[Principal]) -> Result<()> {
        let _turn = self.one_at_a_time.lock().await;
        let session = self.log_in(DATABASE).await?;
        for principal in principals {
            let name = principal.database_user();
            check_name(name)?;
            let create = format!(
                "CREATE ROLE {} LOGIN IN ROLE {}",
                identifier(name),
                group(principal.kind())
            );
            unless_it_exists(session.batch_execute(&create).await)
                .with_context(|| format!("cannot create database user {name:?}"))?;
        }
        Ok(())
    }

    pub(super) async fn add_user(&self, name: &str, password: &str) -> Result<()> {
        check_name(name)?;
        ensure!(
            !password.is_empty() && !password.contains('\0'),
            "the password of database user {name:?} is empty or contains a zero byte"
        );
        let _turn = self.one_at_a_time.lock().await;
        let session = self.log_in(DATABASE).await?;
        let user = identifier(name);
        let created = session
            .batch_execute(&format!(
                "CREATE ROLE {user} CREATEDB LOGIN IN ROLE {BUILT_IN_GROUP}"
            ))
            .await;
        unless_it_exists(created)
            .with_context(|| format!("cannot create database user {name:?}"))?;
        session
            .batch_execute(&format!("ALTER ROLE {user} PASSWORD {}", literal(password)))
            .await
            // The source is left out: it could quote the statement.
            .map_err(|_| anyhow!("cannot set the password of database user {name:?}"))
    }

    pub(super) async fn add_databases(&self, names: &[String]) -> Result<()> {
        let [humans, services] = [PrincipalKind::Human, PrincipalKind::ServiceAccount].map(group);
        let _turn = self.one_at_a_time.lock().await;
        let session = self.log_in(DATABASE).await?;
        for name in names {
            check_name(name)?;
            let database = identifier(name);
            let create = format!("CREATE DATABASE {database} OWNER {BUILT_IN_GROUP}");
            unless_it_exists(session.batch_execute(&create).await)
                .with_context(|| format!("cannot create database {name:?}"))?;
            let grant = format!("GRANT ALL ON DATABASE {database} TO {humans}, {services}");
            session
                .batch_execute(&grant)
                .await
                .with_context(|| format!("cannot open database {name:?}"))?;
        }
        Ok(())
    }

    pub(super) async fn terminate(&self, user: &str) -> Result<u64> {
        let session = self.log_in(DATABASE).await?;
        let query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1";
        Ok(session
            .query(query, &[&user])
            .await
            .context("cannot end sessions")?
            .len() as u64)
    }

    pub(super) async fn sessions(&self, user: &str) -> Result<u64> {
        let session = self.log_in(DATABASE).await?;
        let query = "SELECT pid FROM pg_stat_activity WHERE usename = $1";
        Ok(session
            .query(query, &[&user])
            .await
            .context("cannot list sessions")?
            .len() as u64)
    }

    async fn log_in(&self, database: &str) -> Result<Client> {
        let logged_in = async {
            let stream = UnixStream::connect(&self.socket).await?;
            let mut config = Config::new();
            config
                .user(ADMINISTRATOR)
                .password(&self.password)
                .dbname(database);
            let (client, connection) = config.connect_raw(stream, NoTls).await?;
            // Ends by itself once the client is dropped.
            tokio::spawn(connection);
            anyhow::Ok(client)
        };
        let logged_in = timeout(LOGIN_LIMIT, logged_in)
            .await
            .context("PostgreSQL does not answer")?;
        logged_in.context("the emulator cannot log in to its PostgreSQL")
    }
}

impl fmt::Debug for Administrator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Administrator")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

/// The text of `pg_hba.conf`: who proves what to PostgreSQL itself.
pub(super) fn access_rules() -> String {
    let [humans, services] = [PrincipalKind::Human, PrincipalKind::ServiceAccount].map(group);
    format!(
        "local all {ADMINISTRATOR} scram-sha-256\n\
         local all +{services} trust\n\
         local all +{humans} trust\n\
         local all all scram-sha-256"
    )
}

/// A password that nobody is told, 256 bits in hexadecimal digits.
pub(super) fn random_password() -> Result<String> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| anyhow!("the system has no random numbers"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The groups, and in the template what every database made from it starts with. The template itself is closed: a session
/// in it would stand in the way of `CREATE DATABASE`.
///
/// Built-in users own their databases through their group. They may not create roles: before version 16 that would let
/// them grant themselves `pg_execute_server_program`.
fn preparation() -> String {
    let [humans, services] = [PrincipalKind::Human, PrincipalKind::ServiceAccount].map(group);
    format!(
        "CREATE ROLE {humans} NOLOGIN; CREATE ROLE {services} NOLOGIN; CREATE ROLE {BUILT_IN_GROUP} NOLOGIN;
         GRANT ALL ON SCHEMA public TO {humans}, {services}, {BUILT_IN_GROUP};
         REVOKE CONNECT ON DATABASE {TEMPLATE} FROM PUBLIC;"
    )
}

/// Whether PostgreSQL listens already but does not serve yet.
fn is_starting(error: &anyhow::Error) -> bool {
    let codes = error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<tokio_postgres::Error>()?.code());
    codes
        .into_iter()
        .any(|code| *code == SqlState::CANNOT_CONNECT_NOW)
}

fn unless_it_exists(created: Result<(), tokio_postgres::Error>) -> Result<()> {
    let exists = [&SqlState::DUPLICATE_OBJECT, &SqlState::DUPLICATE_DATABASE];
    match created {
        Err(error) if error.code().is_some_and(|code| exists.contains(&code)) => Ok(()),
        other => Ok(other?),
    }
}

/// Refuses names that PostgreSQL would cut or cannot hold, and those of its own roles and of ours.
fn check_name(name: &str) -> Result<()> {
    ensure!(
        !name.is_empty() && name.len() <= LONGEST_NAME && !name.contains('\0'),
        "{name:?} must have 1 to {LONGEST_NAME} bytes and no zero byte to be a name in PostgreSQL"
    );
    let ours = [
        ADMINISTRATOR,
        BUILT_IN_GROUP,
        group(PrincipalKind::Human),
        group(PrincipalKind::ServiceAccount),
    ];
    ensure!(
        !ours.contains(&name) && !name.starts_with("pg_"),
        "the name {name:?} is reserved"
    );
    Ok(())
}

/// The role whose members are all users of a kind, named as on Cloud SQL.
fn group(kind: PrincipalKind) -> &'static str {
    match kind {
        PrincipalKind::Human => "cloudsqliamuser",
        PrincipalKind::ServiceAccount => "cloudsqliamserviceaccount",
    }
}

fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string constant; `standard_conforming_strings` is on for every session of the administrator.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The only superuser, named as on Cloud SQL and as unreachable.
pub(crate) const ADMINISTRATOR: &str = "cloudsqladmin";
/// PostgreSQL silently cuts longer names, those in a startup packet too.
pub(crate) const LONGEST_NAME: usize = 63;
/// Cloud SQL's name for the role of its built-in users, which despite the name is no superuser.
const BUILT_IN_GROUP: &str = "cloudsqlsuperuser";
const DATABASE: &str = "postgres";
const TEMPLATE: &str = "template1";
const POLL: Duration = Duration::from_millis(10);
const LOGIN_LIMIT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted() {
        assert_eq!(
            identifier(r#"a"; DROP ROLE b; --"#),
            r#""a""; DROP ROLE b; --""#
        );
        assert_eq!(literal(r"it's \'"), r"'it''s \'''");
    }

    #[test]
    fn impossible_names_are_refused() {
        let long = "a".repeat(LONGEST_NAME + 1);
        for name in [
            "",
            "a\0b",
            &long,
            "pg_monitor",
            "cloudsqladmin",
            "cloudsqliamuser",
            "cloudsqlsuperuser",
        ] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        check_name(&long[1..]).unwrap();
    }

    #[test]
    fn only_iam_groups_are_trusted_and_the_administrator_comes_first() {
        let rules = access_rules();
        let trusted: Vec<_> = rules
            .lines()
            .filter(|line| line.ends_with("trust"))
            .collect();
        assert!(trusted.iter().all(|line| line.contains("+cloudsqliam")) && trusted.len() == 2);
        assert!(rules.starts_with("local all cloudsqladmin scram-sha-256"));
    }

    #[test]
    fn passwords_differ_and_are_long() {
        let (one, other) = (random_password().unwrap(), random_password().unwrap());
        assert!(one.len() == 64 && one != other);
    }
}
