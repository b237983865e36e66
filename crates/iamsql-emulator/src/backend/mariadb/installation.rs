//! Finds a MariaDB on this machine that the unprivileged account can run.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::super::BackendOptions;
use super::super::account::Account;
use crate::foreign::printable;

/// The program `mariadbd`, the SQL that makes its system tables, and the version it reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    program: PathBuf,
    system_tables: PathBuf,
    version: String,
}

impl Installation {
    /// Looks for MariaDB where [`BackendOptions`] says, then where systems install it, and takes the first that runs.
    ///
    /// A directory set with [`BackendOptions::mariadb`] is the only one looked at. Any version from 10.5 on will do.
    ///
    /// # Errors
    ///
    /// When none runs: the message lists what was tried, why it failed, and how to install MariaDB.
    pub async fn find(options: &BackendOptions) -> Result<Installation> {
        let account = Account::choose(ACCOUNT)?;
        let mut failures = Vec::new();
        for program in candidates(options) {
            match Installation::probe(&program, &account).await {
                Ok(found) => return Ok(found),
                Err(failure) => failures.push(format!("{}: {failure:#}", program.display())),
            }
        }
        if failures.is_empty() {
            failures.push("none of the usual directories has one".to_owned());
        }
        bail!(
            "found no MariaDB that {account} can run ({}). {INSTALL}",
            failures.join("; ")
        )
    }

    /// The server program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The version as the server reports it, such as `10.11.14`.
    pub fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn system_tables(&self) -> &Path {
        &self.system_tables
    }

    async fn probe(program: &Path, account: &Account) -> Result<Installation> {
        let output = account
            .command(program)
            .args(["--no-defaults", "--version"])
            .stdin(Stdio::null())
            .output()
            .await
            .context("cannot run it")?;
        if !output.status.success() {
            let complaint = printable(&String::from_utf8_lossy(&output.stderr));
            bail!("it ended with {}: {complaint}", output.status);
        }
        let report = String::from_utf8_lossy(&output.stdout).into_owned();
        let Some((version, number)) = parse_version(&report) else {
            bail!("its version {:?} is not understood", printable(&report));
        };
        if number < OLDEST {
            bail!("version {version} is older than {}.{}", OLDEST.0, OLDEST.1);
        }
        let system_tables = system_tables(program)
            .context("its share directory lacks the SQL for system tables")?;
        Ok(Installation {
            program: program.to_owned(),
            system_tables,
            version,
        })
    }
}

impl fmt::Display for Installation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MariaDB {} at {}", self.version, self.program.display())
    }
}

/// The programs worth trying, the preferred first.
fn candidates(options: &BackendOptions) -> Vec<PathBuf> {
    if let Some(directory) = &options.mariadb {
        return vec![directory.join(PROGRAM)];
    }
    let path = options.path.as_deref().unwrap_or_default();
    let mut found: Vec<PathBuf> = std::env::split_paths(path)
        // A relative entry would run whatever lies in the working directory.
        .filter(|entry| entry.is_absolute())
        .chain(SYSTEM_DIRECTORIES.iter().map(PathBuf::from))
        .map(|directory| directory.join(PROGRAM))
        .filter(|program| program.is_file())
        .collect();
    let mut seen = std::collections::HashSet::new();
    found.retain(|program| seen.insert(program.clone()));
    found
}

/// The SQL file, which moved and changed its name over the versions.
fn system_tables(program: &Path) -> Option<PathBuf> {
    // Homebrew links its programs into a directory that all packages share.
    let real = std::fs::canonicalize(program).ok();
    let roots = [Some(program.to_owned()), real]
        .into_iter()
        .flatten()
        .filter_map(|program| Some(program.parent()?.parent()?.to_owned()));
    let files = roots.flat_map(|root| {
        let places = ["share/mysql", "share/mariadb", "share"];
        places.into_iter().flat_map(move |place| {
            let directory = root.join(place);
            ["mariadb_system_tables.sql", "mysql_system_tables.sql"]
                .map(|file| directory.join(file))
        })
    });
    files.into_iter().find(|file| file.is_file())
}

/// Reads `mariadbd  Ver 10.11.14-MariaDB-0+deb12u2 for debian-linux-gnu` as `("10.11.14", (10, 11))`.
fn parse_version(report: &str) -> Option<(String, (u32, u32))> {
    let version = report.split_once("Ver ")?.1.split_once("-MariaDB")?.0;
    let mut numbers = version.split('.').map(str::parse);
    let major = numbers.next()?.ok()?;
    let minor = numbers.next()?.ok()?;
    Some((version.to_owned(), (major, minor)))
}

/// Debian's own account for it.
pub(super) const ACCOUNT: &str = "mysql";
const PROGRAM: &str = "mariadbd";
/// Debian, Fedora and Arch; Homebrew on both kinds of Mac.
const SYSTEM_DIRECTORIES: [&str; 6] = [
    "/usr/sbin",
    "/usr/libexec",
    "/usr/bin",
    "/usr/local/sbin",
    "/opt/homebrew/opt/mariadb/bin",
    "/usr/local/opt/mariadb/bin",
];
/// The first whose accounts and start options are those that the emulator uses.
const OLDEST: (u32, u32) = (10, 5);
const INSTALL: &str = "Install it with `apt-get install mariadb-server` or `brew install mariadb`, or name the directory of \
                       mariadbd in IAMSQL_EMULATOR_MARIADB";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        let cases = [
            (
                "mariadbd  Ver 10.11.14-MariaDB-0+deb12u2 for debian-linux-gnu on x86_64 (Debian 12)\n",
                Some(("10.11.14", (10, 11))),
            ),
            (
                "mariadbd  Ver 11.8.2-MariaDB for osx10.19",
                Some(("11.8.2", (11, 8))),
            ),
            (
                "mysqld  Ver 8.0.36 for Linux on x86_64 (Source distribution)",
                None,
            ),
            ("", None),
        ];
        for (report, expected) in cases {
            let expected = expected.map(|(version, number)| (version.to_owned(), number));
            assert_eq!(parse_version(report), expected, "{report}");
        }
    }

    #[tokio::test]
    async fn a_wrong_setting_is_an_error_that_says_what_to_install() {
        let options = BackendOptions {
            mariadb: Some("/nowhere".into()),
            ..BackendOptions::default()
        };
        let message = Installation::find(&options).await.unwrap_err().to_string();
        assert!(
            message.contains("/nowhere/mariadbd")
                && message.contains("apt-get install mariadb-server"),
            "{message}"
        );
    }

    #[test]
    fn the_search_path_comes_first_and_relative_entries_count_for_nothing() {
        let root = tempfile::tempdir().unwrap();
        for name in ["one", "relative"] {
            std::fs::create_dir(root.path().join(name)).unwrap();
            std::fs::write(root.path().join(name).join(PROGRAM), "").unwrap();
        }
        let one = root.path().join("one");
        let options = BackendOptions {
            path: Some(std::env::join_paths([Path::new("relative"), &one, &one]).unwrap()),
            ..BackendOptions::default()
        };
        let found: Vec<_> = candidates(&options)
            .into_iter()
            .filter(|program| program.starts_with(root.path()))
            .collect();
        assert_eq!(found, [one.join(PROGRAM)]);
    }
}
