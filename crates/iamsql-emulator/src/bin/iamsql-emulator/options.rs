//! The command line, and what it means for the emulator.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use iamsql_emulator::backend::{BackendOptions, mariadb};
use iamsql_emulator::{
    ALLOYDB_INSTANCE, ALLOYDB_READ_POOL, Emulator, EmulatorBuilder, INSTANCE, InstanceSpec,
    MYSQL_INSTANCE, PROJECT, Principal, SERVICE_ACCOUNT, SQL_SERVER_INSTANCE,
};

use crate::instances;

/// A local Google for Cloud SQL and AlloyDB: metadata server, OAuth, Admin API and server-side proxies, with a real PostgreSQL and MariaDB.
///
/// Prints one line of JSON when it is ready, then runs until it is interrupted. With --env it prints shell exports
/// instead and goes on in the background: eval "$(iamsql-emulator --env)". Independent of Google.
#[derive(Debug, Parser)]
#[command(version, disable_help_subcommand = true)]
pub(crate) struct Options {
    /// An instance with a PostgreSQL: PROJECT:REGION:INSTANCE, or projects/…/instances/I of AlloyDB, optionally with ?ca=cas&address=private&iam=off&database=d
    /// (also address=psc, psc-dns=NAME, dns=NAME, edition=developer, tickets=off, version=POSTGRES_17, pinned=on, certificate=expired…). Default: the demo instances.
    #[arg(long = "instance", value_name = "NAME[?SETTINGS]", value_parser = instances::parse)]
    instances: Vec<InstanceSpec>,

    /// An instance with MySQL, played by a MariaDB, with the same settings and plugin=native.
    #[arg(long = "mysql", value_name = "NAME[?SETTINGS]", value_parser = instances::parse_mysql)]
    mysql: Vec<InstanceSpec>,

    /// An instance that sends every byte back, with the same settings.
    #[arg(long = "echo", value_name = "NAME[?SETTINGS]", value_parser = instances::parse_echo)]
    echoes: Vec<InstanceSpec>,

    /// An instance with the stand-in for SQL Server, with the same settings.
    #[arg(long = "sql-server", value_name = "NAME[?SETTINGS]", value_parser = instances::parse_sql_server)]
    sql_servers: Vec<InstanceSpec>,

    /// A further principal with every role, by e-mail address.
    #[arg(long = "principal", value_name = "EMAIL")]
    principals: Vec<String>,

    /// Whom the metadata server stands for; "none" for a machine without a service account.
    #[arg(long, value_name = "EMAIL", default_value = SERVICE_ACCOUNT)]
    attached: String,

    /// The project that the metadata server tells.
    #[arg(long, value_name = "ID", default_value = PROJECT)]
    project: String,

    /// A built-in database user. Its password is in IAMSQL_EMULATOR_PASSWORD, or made up; the ready line tells it.
    #[arg(long, value_name = "NAME", default_value = "app-user")]
    user: String,

    /// The port of the DNS server, on UDP and TCP; 0 is any. A system resolver needs 53, which may need a privilege.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    dns_port: u16,

    /// Life of client certificates: 1500ms, 90s, 5m or 1h.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    certificate_lifetime: Duration,

    /// Life of access tokens.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    token_lifetime: Duration,

    /// The universe domain that the metadata server tells.
    #[arg(long, value_name = "DOMAIN")]
    universe_domain: Option<String>,

    /// Directory of postgres and initdb. Default: IAMSQL_EMULATOR_POSTGRES, PATH, Debian's places, a Python wheel.
    #[arg(long, value_name = "DIRECTORY")]
    postgres: Option<PathBuf>,

    /// Directory of mariadbd. Default: IAMSQL_EMULATOR_MARIADB, PATH, where systems install it.
    #[arg(long, value_name = "DIRECTORY")]
    mariadb: Option<PathBuf>,

    /// Writes a service-account key of the attached principal to this file (mode 0600); removed at the end.
    #[arg(long, value_name = "FILE")]
    service_account_key: Option<PathBuf>,

    /// Writes an authorized_user file of the human principal to this file (mode 0600); removed at the end.
    #[arg(long, value_name = "FILE")]
    authorized_user: Option<PathBuf>,

    /// Notes every issued secret in a file in this directory (mode 0700), for suites that search their output. Default:
    /// IAMSQL_EMULATOR_ISSUED_LOG, else nowhere.
    #[arg(long, value_name = "DIRECTORY")]
    issued_log: Option<PathBuf>,

    /// Listens on this address instead of loopback, for one instance: other hosts can then log in. For containers.
    #[arg(long, value_name = "IP")]
    expose: Option<std::net::IpAddr>,

    /// Starts in the background and prints exports for the shell. It ends with the terminal (session) that started it,
    /// with the process of --exit-with, or with: eval "$(iamsql-emulator --stop)".
    #[arg(long, conflicts_with = "exit_with_parent")]
    pub(crate) env: bool,

    /// Ends the emulator that --env started, found by its environment variables, and prints their removal.
    #[arg(long)]
    pub(crate) stop: bool,

    /// Ends within seconds of the process that started it.
    #[arg(long)]
    pub(crate) exit_with_parent: bool,

    /// Ends within seconds of this process.
    #[arg(long, value_name = "PID")]
    pub(crate) exit_with: Option<i32>,

    /// With --env: where the background process writes its log. Default: nowhere.
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,

    /// Set by --env for the process that it starts.
    #[arg(long, hide = true)]
    pub(crate) background: bool,
}

impl Options {
    /// The emulator asked for.
    pub(crate) async fn builder(
        &self,
        users: &[(String, String)],
    ) -> anyhow::Result<EmulatorBuilder> {
        let mut builder = Emulator::builder()
            .project(&self.project)
            .attached(Some(self.attached.as_str()).filter(|email| *email != "none"))
            .certificate_lifetime(self.certificate_lifetime)
            .token_lifetime(self.token_lifetime)
            .dns_port(self.dns_port);
        let known = [SERVICE_ACCOUNT, iamsql_emulator::HUMAN, "none"];
        let attached =
            std::iter::once(&self.attached).filter(|email| !known.contains(&email.as_str()));
        for email in self.principals.iter().chain(attached) {
            anyhow::ensure!(email.contains('@'), "{email:?} is no e-mail address");
            builder = builder.principal(Principal::human(email));
        }
        let none = self.instances.is_empty() && self.echoes.is_empty();
        let default = if none && self.mysql.is_empty() && self.sql_servers.is_empty() {
            builder = builder.lazy_mariadb(true);
            self.default_instances().await
        } else {
            Vec::new()
        };
        for spec in self
            .instances
            .iter()
            .chain(&self.mysql)
            .chain(&self.echoes)
            .chain(&self.sql_servers)
            .cloned()
            .chain(default)
        {
            builder = builder.instance(spec);
        }
        for (name, password) in users {
            builder = builder.user(name, password);
        }
        if let Some(domain) = &self.universe_domain {
            builder = builder.universe_domain(domain);
        }
        if let Some(directory) = &self.postgres {
            builder = builder.postgres(directory);
        }
        if let Some(directory) = &self.mariadb {
            builder = builder.mariadb(directory);
        }
        if let Some(directory) = &self.issued_log {
            builder = builder.issued_log(directory);
        }
        if let Some(address) = self.expose {
            builder = builder.expose(address);
        }
        Ok(builder)
    }

    /// Those of this project's documentation; one, where there is one address for everything.
    async fn default_instances(&self) -> Vec<InstanceSpec> {
        let mut specs = vec![InstanceSpec::postgres(INSTANCE)];
        if cfg!(target_os = "linux") && self.expose.is_none() {
            specs.extend([ALLOYDB_INSTANCE, ALLOYDB_READ_POOL].map(InstanceSpec::postgres));
            specs.push(InstanceSpec::sql_server(SQL_SERVER_INSTANCE));
            let mut options = BackendOptions::from_environment();
            options.mariadb = self.mariadb.clone().or(options.mariadb);
            if mariadb::Installation::find(&options).await.is_ok() {
                specs.push(InstanceSpec::mysql(MYSQL_INSTANCE));
            }
        }
        specs
    }

    /// The built-in database users and their passwords.
    pub(crate) fn users(&self) -> Vec<(String, String)> {
        let given = std::env::var("IAMSQL_EMULATOR_PASSWORD")
            .ok()
            .filter(|password| !password.is_empty());
        vec![(
            self.user.clone(),
            given.unwrap_or_else(iamsql_emulator::random_password),
        )]
    }

    /// Writes the credential files that were asked for.
    pub(crate) async fn write_files(&self, emulator: &Emulator) -> anyhow::Result<()> {
        if let Some(path) = &self.service_account_key {
            let email = if self.attached == "none" {
                SERVICE_ACCOUNT
            } else {
                &self.attached
            };
            write_private(path, &emulator.service_account_key(email).await?)?;
        }
        if let Some(path) = &self.authorized_user {
            write_private(path, &emulator.authorized_user(iamsql_emulator::HUMAN)?)?;
        }
        Ok(())
    }

    /// Removes them: their keys mean nothing after this run.
    pub(crate) fn remove_files(&self) {
        for path in [&self.service_account_key, &self.authorized_user]
            .into_iter()
            .flatten()
        {
            // Somebody else may have removed it first.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Writes a file that only its owner can read. A file that exists is replaced only if it is this user's private one.
fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if let Ok(found) = std::fs::symlink_metadata(path) {
        let private = found.is_file() && found.permissions().mode() & 0o077 == 0;
        anyhow::ensure!(
            private,
            "{} exists and is not a private file",
            path.display()
        );
        std::fs::remove_file(path).with_context(|| format!("cannot replace {}", path.display()))?;
    }
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let mut file = file.with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("cannot write {}", path.display()))
}

/// `1500ms`, `90s`, `5m`, `1h`, or seconds without a unit.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let count: u64 = digits
        .parse()
        .map_err(|_| format!("{text:?} is no time such as 1500ms, 90s, 5m or 1h"))?;
    match &text[digits.len()..] {
        "ms" => Ok(Duration::from_millis(count)),
        "" | "s" => Ok(Duration::from_secs(count)),
        "m" => Ok(Duration::from_secs(60 * count)),
        "h" => Ok(Duration::from_secs(3600 * count)),
        unit => Err(format!("{unit:?} is no unit: use ms, s, m or h")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, wanted) in [
            ("1500ms", 1500),
            ("90s", 90_000),
            ("90", 90_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(wanted)), "{text}");
        }
        for bad in ["", "h", "5 m", "-1s", "1d", "1.5h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn files_are_private_and_replace_only_private_files() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.json");
        write_private(&path, "one").unwrap();
        write_private(&path, "two").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(write_private(&path, "three").is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory as _;
        Options::command().debug_assert();
    }
}
