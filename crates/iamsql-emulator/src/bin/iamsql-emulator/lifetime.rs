//! When the program ends: by a signal, or with another process.

use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, getppid, getsid, setsid, test_kill_process};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::options::Options;

/// Whose end is ours.
pub(crate) struct Watch {
    /// Ours until we are ready; after that too with `--exit-with-parent`.
    parent: Option<Pid>,
    parent_for_good: bool,
    others: Vec<Pid>,
}

/// The signals and processes that end this program.
pub(crate) struct Ends {
    watch: Watch,
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Watch {
    /// Notes the processes of now, and leaves the session of the shell if this runs in the background.
    pub(crate) fn new(options: &Options) -> anyhow::Result<Self> {
        let mut others = Vec::new();
        if let Some(pid) = options.exit_with {
            let pid = Pid::from_raw(pid).filter(|pid| runs(*pid));
            others.push(pid.context("--exit-with names no running process")?);
        }
        let parent = if options.exit_with_parent || options.background {
            getppid()
        } else {
            None
        };
        if options.background {
            if others.is_empty() {
                // Zero when the leader is outside this container: then there is nobody to end with.
                others.extend(
                    getsid(None)
                        .ok()
                        .filter(|leader| Some(*leader) != Pid::from_raw(std::process::id() as i32)),
                );
            }
            setsid().context("cannot leave the session")?;
        }
        Ok(Watch {
            parent,
            parent_for_good: options.exit_with_parent,
            others,
        })
    }

    /// Starts to listen.
    pub(crate) fn ends(self) -> anyhow::Result<Ends> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Ends {
            watch: self,
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    fn is_over(&self) -> bool {
        self.parent.is_some_and(|parent| getppid() != Some(parent))
            || self.others.iter().any(|pid| !runs(*pid))
    }
}

impl Ends {
    /// From now on a background process lives on without whoever started it.
    pub(crate) fn became_ready(&mut self) {
        if !self.watch.parent_for_good {
            self.watch.parent = None;
        }
    }

    /// Completes when this program should end.
    pub(crate) async fn wait(&mut self) {
        let watch = &self.watch;
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
            () = until_over(watch) => {}
        }
    }

    /// Completes when a signal comes.
    pub(crate) async fn again(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

async fn until_over(watch: &Watch) {
    while !watch.is_over() {
        tokio::time::sleep(POLL).await;
    }
}

/// Whether the process exists, whoever owns it.
fn runs(pid: Pid) -> bool {
    !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH))
}

/// Often enough to be gone within seconds, rarely enough to cost nothing.
const POLL: Duration = Duration::from_millis(500);
