//! Runs one client in a process group and directories of its own, and sees that it leaves nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// A running client: its own process group, its own empty home, temporary and runtime directory.
pub struct Client {
    child: Child,
    group: Pid,
    scratch: TempDir,
}

/// What a client that has ended wrote, and how it ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code, or nothing if a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Client {
    /// Starts `program` with nothing in its environment but PATH, its directories and `environment`.
    pub fn start(
        program: &Path,
        arguments: &[String],
        environment: &BTreeMap<String, String>,
    ) -> Result<Self> {
        let scratch = tempfile::Builder::new()
            .prefix("e2e-")
            .tempdir()
            .context("a scratch directory")?;
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        for (variable, name) in DIRECTORIES {
            let directory = scratch.path().join(name);
            std::fs::create_dir(&directory)?;
            std::fs::set_permissions(
                &directory,
                std::os::unix::fs::PermissionsExt::from_mode(0o700),
            )?;
            command.env(variable, directory);
        }
        command.envs(environment);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let group = child
            .id()
            .and_then(|id| Pid::from_raw(id as i32))
            .context("the client ended at once")?;
        Ok(Client {
            child,
            group,
            scratch,
        })
    }

    /// Writes one line to its standard input and closes it.
    pub async fn tell(&mut self, line: &str) -> Result<()> {
        let mut input = self
            .child
            .stdin
            .take()
            .context("standard input is closed")?;
        input.write_all(line.as_bytes()).await?;
        input.write_all(b"\n").await?;
        Ok(())
    }

    /// Waits until a line of standard output contains `text`; false if the client closes its output before.
    pub async fn says(&mut self, text: &str, limit: Duration) -> Result<bool> {
        let output = self
            .child
            .stdout
            .as_mut()
            .context("standard output is taken")?;
        let mut lines = BufReader::new(output).lines();
        let found = async {
            while let Some(line) = lines.next_line().await? {
                if line.contains(text) {
                    return Ok(true);
                }
            }
            anyhow::Ok(false)
        };
        timeout(limit, found)
            .await
            .with_context(|| format!("no {text:?} within {limit:?}"))?
    }

    /// Asks the client to end.
    pub fn terminate(&self) -> Result<()> {
        Ok(kill_process_group(self.group, Signal::TERM)?)
    }

    /// Waits for its end, and demands that no process of its group and no file in its directories is left.
    pub async fn end(mut self, limit: Duration) -> Result<Ended> {
        let (mut stdout, mut stderr) = (String::new(), String::new());
        let (out, err) = (self.child.stdout.take(), self.child.stderr.take());
        let reading = async {
            tokio::try_join!(
                async {
                    if let Some(mut out) = out {
                        out.read_to_string(&mut stdout).await
                    } else {
                        Ok(0)
                    }
                },
                async {
                    if let Some(mut err) = err {
                        err.read_to_string(&mut stderr).await
                    } else {
                        Ok(0)
                    }
                },
            )
        };
        let ended = timeout(limit, async {
            tokio::try_join!(async { self.child.wait().await }, reading)
        })
        .await;
        let Ok(ended) = ended else {
            let _ = kill_process_group(self.group, Signal::KILL);
            bail!("still running after {limit:?}; said {stdout:?} {stderr:?}");
        };
        let (status, _) = ended?;
        self.demand_nothing_left().await?;
        Ok(Ended {
            code: status.code(),
            stdout,
            stderr,
        })
    }

    async fn demand_nothing_left(&self) -> Result<()> {
        let end = Instant::now() + LINGER;
        while test_kill_process_group(self.group).is_ok() {
            if Instant::now() > end {
                let _ = kill_process_group(self.group, Signal::KILL);
                bail!("a process of the client is still running {LINGER:?} after its end");
            }
            sleep(Duration::from_millis(20)).await;
        }
        let left: Vec<PathBuf> = DIRECTORIES
            .iter()
            .flat_map(|(_, name)| {
                std::fs::read_dir(self.scratch.path().join(name))
                    .into_iter()
                    .flatten()
            })
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        match left.is_empty() {
            true => Ok(()),
            false => bail!("the client left {left:?}"),
        }
    }
}

const DIRECTORIES: [(&str, &str); 3] = [
    ("HOME", "home"),
    ("TMPDIR", "tmp"),
    ("XDG_RUNTIME_DIR", "run"),
];
const LINGER: Duration = Duration::from_secs(2);
