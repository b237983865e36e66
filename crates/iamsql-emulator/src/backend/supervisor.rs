//! Holds the shell that runs a database server, and through a pipe the promise that it ends when we do.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use super::account::Account;
use crate::foreign::printable;

/// A started supervisor. Dropping it ends the server soon after; [`Supervisor::stop`] waits for that.
pub(super) struct Supervisor {
    name: &'static str,
    running: Mutex<Option<Running>>,
}

/// What a supervisor runs.
pub(super) struct Supervised<'a> {
    /// What messages call it.
    pub(super) name: &'static str,
    /// Makes a private directory in the first of its last arguments that allows it, prints its name, and runs the server
    /// until its input ends.
    pub(super) script: &'static str,
    pub(super) account: &'a Account,
    /// Before the directories to try. They can be seen in the process list.
    pub(super) arguments: Vec<OsString>,
    /// The first line of the script's input.
    pub(super) secret: &'a str,
    pub(super) temporary: &'a [PathBuf],
}

struct Running {
    shell: Child,
    /// Its end tells the shell to stop. The kernel closes it too when this process is killed, which a parent-death
    /// signal would not cover: that one follows the thread that spawned, not the process.
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    complaints: ChildStderr,
}

impl Supervisor {
    pub(super) async fn start(supervised: Supervised<'_>) -> Result<Supervisor> {
        let Supervised { name, account, .. } = supervised;
        let mut shell = account
            .command("/bin/sh")
            .args(["-c", supervised.script])
            .arg(format!("iamsql-{}", name.to_lowercase()))
            .args(&supervised.arguments)
            .args(supervised.temporary)
            .args(ALWAYS_TRIED)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start a shell as {account}"))?;
        let (Some(mut input), Some(output), Some(complaints)) =
            (shell.stdin.take(), shell.stdout.take(), shell.stderr.take())
        else {
            bail!("the shell has no pipes");
        };
        input
            .write_all(format!("{}\n", supervised.secret).as_bytes())
            .await
            .context("the shell ended at once")?;
        let running = Running {
            shell,
            input,
            output: BufReader::new(output),
            complaints,
        };
        Ok(Supervisor {
            name,
            running: Mutex::new(Some(running)),
        })
    }

    /// The directory that the shell made.
    pub(super) async fn directory(&mut self) -> Result<PathBuf> {
        let mut line = String::new();
        if let Some(running) = self.running.get_mut() {
            running.output.read_line(&mut line).await?;
        }
        match line.strip_suffix('\n') {
            Some(directory) => Ok(directory.into()),
            None => Err(self.failure().await),
        }
    }

    /// Returns when the server accepts connections, or fails when it ends before.
    pub(super) async fn until_accepting(&mut self, socket: &Path) -> Result<()> {
        while UnixStream::connect(socket).await.is_err() {
            let ended = match self.running.get_mut() {
                Some(running) => running.shell.try_wait()?.is_some(),
                None => true,
            };
            if ended {
                return Err(self.failure().await);
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    pub(super) async fn stop(&self) {
        let Some(Running {
            mut shell, input, ..
        }) = self.running.lock().await.take()
        else {
            return;
        };
        drop(input);
        if timeout(STOP_LIMIT, shell.wait()).await.is_err() {
            tracing::warn!(
                "{} takes longer than {} s to end",
                self.name,
                STOP_LIMIT.as_secs()
            );
        }
    }

    /// What the shell had to say when it ended.
    async fn failure(&mut self) -> anyhow::Error {
        let mut complaint = Vec::new();
        if let Some(running) = self.running.get_mut() {
            let mut complaints = (&mut running.complaints).take(LONGEST_COMPLAINT);
            // The pipe ends with the shell; the limit is for a shell that does not.
            let _ = timeout(STOP_LIMIT, complaints.read_to_end(&mut complaint)).await;
        }
        let complaint = printable(&String::from_utf8_lossy(&complaint).replace('\n', " "));
        anyhow::anyhow!("{} did not start: {complaint}", self.name)
    }
}

const ALWAYS_TRIED: [&str; 2] = ["/tmp", "/var/tmp"];
const LONGEST_COMPLAINT: u64 = 16 * 1024;
const POLL: Duration = Duration::from_millis(10);
const STOP_LIMIT: Duration = Duration::from_secs(10);
