//! A program of somebody else's, run for the token that it prints: no shell, no input, a limit on time and output.

use std::ffi::OsString;
use std::io::{ErrorKind as IoErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process_group};
use zeroize::Zeroizing;

use crate::control::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::foreign;

/// What to run. Its environment is the captured one, so that nothing depends on who changed the process's meanwhile.
#[derive(Clone)]
pub(super) struct Program {
    /// Who it is, for errors: "gcloud".
    pub(super) who: &'static str,
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<OsString>,
    pub(super) environment: Vec<(OsString, OsString)>,
}

impl Program {
    pub(super) fn new(
        who: &'static str,
        path: impl Into<PathBuf>,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
        environment: &Environment,
    ) -> Self {
        Program {
            who,
            path: path.into(),
            arguments: arguments.into_iter().map(Into::into).collect(),
            environment: environment
                .all()
                .map(|(name, value)| (name.into(), value.to_owned()))
                .collect(),
        }
    }

    /// What it prints, if it ends well within `limit`. Whatever runs longer is killed, with all that it started.
    pub(super) async fn run(&self, limit: Duration) -> Result<Zeroizing<Vec<u8>>> {
        let program = self.clone();
        tokio::task::spawn_blocking(move || program.run_blocking(limit))
            .await
            .unwrap_or_else(|_| Err(self.failed("could not be run")))
    }

    fn run_blocking(&self, limit: Duration) -> Result<Zeroizing<Vec<u8>>> {
        let deadline = Instant::now() + limit;
        let mut child = Command::new(&self.path)
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // So that a script's children end with it.
            .process_group(0)
            .spawn()
            .map_err(|error| self.failed("could not be started").with_source(error))?;
        let outcome = self.listen(&mut child, deadline, limit);
        if outcome.is_err() {
            end(&mut child);
        }
        outcome
    }

    fn listen(
        &self,
        child: &mut Child,
        deadline: Instant,
        limit: Duration,
    ) -> Result<Zeroizing<Vec<u8>>> {
        let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
        let mut printed = Zeroizing::new(Vec::with_capacity(FIRST));
        let mut complaint = Vec::new();
        loop {
            // In this order: what an ended program has printed is all there by now.
            let ended = ended(child);
            let idle = match ended {
                Some(_) => Duration::ZERO,
                None => POLL,
            };
            let ready = wait(&stdout, &stderr, idle)
                .map_err(|error| self.failed("could not be listened to").with_source(error))?;
            if ready.0 && !take(&mut stdout, &mut printed, MAX_OUTPUT) {
                return Err(self.failed("printed more than 64 KiB"));
            }
            // More complaints than fit are read and dropped.
            if ready.1 && !take(&mut stderr, &mut complaint, MAX_COMPLAINT) {
                complaint.truncate(MAX_COMPLAINT);
            }
            if let Some(status) = ended
                && !ready.0
                && !ready.1
            {
                return match status.is_none_or(|status| status.success()) {
                    true => Ok(printed),
                    false => Err(self.complained(&complaint)),
                };
            }
            if Instant::now() >= deadline {
                let message = format!("{} gave no answer within {limit:.1?}", self.who);
                return Err(Error::new(ErrorKind::Unavailable, message));
            }
        }
    }

    fn complained(&self, complaint: &[u8]) -> Error {
        let text = String::from_utf8_lossy(complaint);
        match text.trim() {
            "" => self.failed("failed and said nothing"),
            text => self.failed(&format!("failed: {}", foreign(text))),
        }
    }

    fn failed(&self, how: &str) -> Error {
        Error::new(ErrorKind::Credentials, format!("{} {how}", self.who))
    }
}

/// Whether the child has ended, and how, unless somebody else took note of it first.
fn ended(child: &mut Child) -> Option<Option<ExitStatus>> {
    match child.try_wait() {
        Ok(None) => None,
        Ok(Some(status)) => Some(Some(status)),
        // A host program may collect all children itself, or none.
        Err(_) => Some(None),
    }
}

fn end(child: &mut Child) {
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(group) = group {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// Which of the two has something to read, or has ended.
fn wait(
    stdout: &Option<ChildStdout>,
    stderr: &Option<ChildStderr>,
    limit: Duration,
) -> std::io::Result<(bool, bool)> {
    let both = [
        stdout.as_ref().map(AsFd::as_fd),
        stderr.as_ref().map(AsFd::as_fd),
    ];
    let mut watched: Vec<_> = both
        .iter()
        .flatten()
        .map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN))
        .collect();
    let timeout = Timespec {
        tv_sec: 0,
        tv_nsec: i64::from(limit.subsec_nanos()),
    };
    match poll(&mut watched, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    let mut ready = watched.iter().map(|fd| !fd.revents().is_empty());
    let mut of = |present: bool| present && ready.next().unwrap_or(false);
    Ok((of(both[0].is_some()), of(both[1].is_some())))
}

/// Reads what is there; the pipe is dropped at its end. False if there is more than `limit`.
fn take<P: Read>(pipe: &mut Option<P>, into: &mut Vec<u8>, limit: usize) -> bool {
    let Some(open) = pipe else {
        return true;
    };
    let mut block = Zeroizing::new([0; 4096]);
    match open.read(&mut *block) {
        Ok(0) => *pipe = None,
        Ok(count) => into.extend_from_slice(&block[..count]),
        Err(error) if error.kind() == IoErrorKind::Interrupted => {}
        Err(_) => *pipe = None,
    }
    into.len() <= limit
}

/// Whether nobody but root, this user and this process's own group can change what `path` is: the file, where it really lies, and both directories.
pub(super) fn is_private(path: &Path) -> std::io::Result<bool> {
    use std::os::unix::fs::MetadataExt;

    let ours = (
        rustix::process::geteuid().as_raw(),
        rustix::process::getegid().as_raw(),
    );
    let real = path.canonicalize()?;
    let places = [path.parent(), Some(&*real), real.parent()];
    for place in places.into_iter().flatten() {
        let metadata = place.metadata()?;
        if !is_only_ours(metadata.mode(), (metadata.uid(), metadata.gid()), ours) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether this mode and owner let only root and ours write.
fn is_only_ours(mode: u32, (uid, gid): (u32, u32), (our_uid, our_gid): (u32, u32)) -> bool {
    let group_writes = mode & 0o020 != 0;
    mode & 0o002 == 0
        && [0, our_uid].contains(&uid)
        && (!group_writes || [0, our_gid].contains(&gid))
}

const MAX_OUTPUT: usize = 64 << 10;
const MAX_COMPLAINT: usize = 4 << 10;
/// A token fits, so that no half of one is left behind by a growing buffer.
const FIRST: usize = 16 << 10;
const POLL: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests;
