//! `--env`: starts this program again in the background, waits until it is ready, prints exports for the shell.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Context;
use rustix::stdio::{dup2_stderr, dup2_stdout};
use serde_json::Value;

use crate::ready;

/// Starts the background process and prints what `eval` needs once it is ready.
pub(crate) fn start() -> anyhow::Result<()> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let arguments = std::env::args_os()
        .skip(1)
        .filter(|argument| argument != "--env");
    let mut child = Command::new(program)
        .args(arguments)
        .arg("--background")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start the background process")?;
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("piped above"));
    stdout
        .read_line(&mut line)
        .context("the background process broke off")?;
    if line.is_empty() {
        let status = child.wait().context("the background process is lost")?;
        anyhow::bail!("the background process ended before it was ready ({status})");
    }
    let ready: Value =
        serde_json::from_str(&line).context("the background process said something else")?;
    ready::print_exports(&ready)
}

/// In the background process, once the line is out: nothing of the shell's stays open.
pub(crate) fn let_go(log: Option<&Path>) -> anyhow::Result<()> {
    let sink = match log {
        Some(path) => {
            let file = OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o600)
                .open(path);
            file.with_context(|| format!("cannot write {}", path.display()))?
        }
        None => File::options()
            .write(true)
            .open("/dev/null")
            .context("no /dev/null")?,
    };
    dup2_stdout(&sink).context("cannot let go of the shell's output")?;
    dup2_stderr(&sink).context("cannot let go of the shell's errors")
}
