//! The account that a database server runs as: our own, or an unprivileged one when we are root, whom it refuses to serve.

use std::ffi::OsStr;
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result};
use tokio::process::Command;

/// Who runs a database server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// `None` is whoever we are.
    other: Option<Unprivileged>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Unprivileged {
    name: String,
    uid: u32,
    gid: u32,
}

impl Account {
    /// Our own account; as root, the first of `preferred` and `nobody` that exists.
    ///
    /// Only these can reach the socket besides root. An account made for the database has fewer strangers than `nobody`.
    pub(crate) fn choose(preferred: &str) -> Result<Account> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Account { other: None });
        }
        let accounts =
            std::fs::read_to_string(ACCOUNTS).with_context(|| format!("cannot read {ACCOUNTS}"))?;
        let other = [preferred, "nobody"]
            .into_iter()
            .find_map(|name| unprivileged(&accounts, name))
            .with_context(|| {
                format!(
                    "the database refuses to run as root, and {ACCOUNTS} has no account {preferred} or nobody: \
                     run as another user, or add one with `useradd --system {preferred}`"
                )
            })?;
        Ok(Account { other: Some(other) })
    }

    /// A command run by this account in its own process group, with no environment but a search path and neutral settings, no
    /// supplementary groups, and `/` as its working directory.
    ///
    /// A process group of its own keeps ctrl-C at the terminal from ending it before its clients.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", SEARCH_PATH)
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .current_dir(Path::new("/"))
            .process_group(0);
        if let Some(other) = &self.other {
            // The standard library drops the supplementary groups as well, when it sets the user as root.
            command.gid(other.gid).uid(other.uid);
        }
        command
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.other {
            Some(other) => write!(f, "user {}", other.name),
            None => write!(f, "this user"),
        }
    }
}

/// Finds an account that is not root's in the text of `/etc/passwd`.
fn unprivileged(accounts: &str, wanted: &str) -> Option<Unprivileged> {
    accounts.lines().find_map(|line| {
        let [name, _password, uid, gid, ..] = line.split(':').collect::<Vec<_>>()[..] else {
            return None;
        };
        // macOS writes nobody as -2.
        let number = |text: &str| text.parse::<i64>().map(|number| number as u32).ok();
        let (uid, gid) = (number(uid)?, number(gid)?);
        (name == wanted && uid != 0 && gid != 0).then(|| Unprivileged {
            name: name.to_owned(),
            uid,
            gid,
        })
    })
}

const ACCOUNTS: &str = "/etc/passwd";
const SEARCH_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_read() {
        let accounts = "root:x:0:0:root:/root:/bin/sh\n# comment\n+::::::\nnobody:*:-2:-2:Unprivileged:/var/empty:\n\
                        toor:x:0:0::/:\npostgres:x:101:104:PostgreSQL:/var/lib/postgresql:/bin/bash\n";
        let cases = [
            ("postgres", Some((101, 104))),
            ("nobody", Some((4_294_967_294, 4_294_967_294))),
            ("toor", None),
            ("+", None),
            ("missing", None),
        ];
        for (name, expected) in cases {
            let found = unprivileged(accounts, name).map(|account| (account.uid, account.gid));
            assert_eq!(found, expected, "{name}");
        }
    }

    #[tokio::test]
    async fn a_command_runs_without_privileges_groups_or_environment() {
        let run = async |program: &str, argument: &str| {
            let output = Account::choose("postgres")
                .unwrap()
                .command(program)
                .arg(argument)
                .output()
                .await
                .unwrap();
            String::from_utf8(output.stdout).unwrap()
        };
        assert_ne!(run("id", "-u").await.trim(), "0");
        if rustix::process::geteuid().is_root() {
            assert_eq!(run("id", "-G").await.split_whitespace().count(), 1);
        }
        let environment = run("env", "--").await;
        assert!(
            environment
                .lines()
                .all(|line| ["PATH=", "LC_ALL=C", "TZ=UTC"]
                    .iter()
                    .any(|known| line.starts_with(known))),
            "{environment}"
        );
    }
}
