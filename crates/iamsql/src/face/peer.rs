//! Who is at the other end of a Unix socket, and whether that is us.

use rustix::process::{geteuid, getpid};
use tokio::net::UnixStream;

/// What the system says of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) uid: u32,
    pub(crate) pid: Option<i32>,
}

/// Who we are, to compare with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Us {
    pub(crate) uid: u32,
    pub(crate) pid: i32,
    pub(crate) overflow_uid: u32,
}

/// Refuses a peer that is not our own user or, if `same_process`, not this very process.
pub(crate) fn check(stream: &UnixStream, same_process: bool) -> Result<(), String> {
    let credentials = stream
        .peer_cred()
        .map_err(|error| format!("the system does not say who it is: {error}"))?;
    let peer = Peer {
        uid: credentials.uid(),
        pid: credentials.pid(),
    };
    judge(peer, Us::now(), same_process)
}

impl Us {
    pub(crate) fn now() -> Self {
        Us {
            uid: geteuid().as_raw(),
            pid: getpid().as_raw_nonzero().get(),
            overflow_uid: overflow_uid(),
        }
    }
}

fn judge(peer: Peer, us: Us, same_process: bool) -> Result<(), String> {
    if peer.uid != us.uid {
        return Err(format!("it runs as uid {}, not {}", peer.uid, us.uid));
    }
    // Its own number proves this process: nobody else has it in a namespace that we can see.
    if peer.pid == Some(us.pid) {
        return Ok(());
    }
    match peer.pid {
        _ if same_process => Err(match peer.pid {
            Some(pid) => format!("it is process {pid}, not {}", us.pid),
            None => "the system does not say which process it is".to_owned(),
        }),
        _ if peer.uid == us.overflow_uid => {
            Err("its uid stands for any user of another namespace".to_owned())
        }
        Some(0) => Err("it is in a process namespace that cannot be seen from here".to_owned()),
        _ => Ok(()),
    }
}

/// The uid that stands for users who have none in this namespace.
fn overflow_uid() -> u32 {
    std::fs::read_to_string("/proc/sys/kernel/overflowuid")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(65_534)
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: Us = Us {
        uid: 1000,
        pid: 77,
        overflow_uid: 65_534,
    };

    #[test]
    fn only_our_user_and_where_asked_only_our_process_may_enter() {
        for (uid, pid, same_process, enters) in [
            (1000, Some(77), true, true),
            (1000, Some(77), false, true),
            (1000, Some(78), false, true),
            (1000, Some(78), true, false),
            (1000, None, false, true),
            (1000, None, true, false),
            (1000, Some(0), false, false),
            (1000, Some(0), true, false),
            (1001, Some(77), true, false),
            (0, Some(77), false, false),
            (65_534, Some(77), false, false),
        ] {
            let verdict = judge(Peer { uid, pid }, US, same_process);
            assert_eq!(
                verdict.is_ok(),
                enters,
                "uid {uid}, pid {pid:?}: {verdict:?}"
            );
        }
    }

    #[test]
    fn the_overflow_uid_never_suffices_by_itself() {
        let nobody = Us { uid: 65_534, ..US };
        let peer = |pid| Peer { uid: 65_534, pid };
        assert!(judge(peer(Some(78)), nobody, false).is_err());
        assert!(judge(peer(Some(77)), nobody, false).is_ok());
    }
}
