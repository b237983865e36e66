//! Which descriptors the engine's own tasks hold, so that the child of a fork can let go of them.
//!
//! A child inherits every descriptor but none of the threads, so nobody there would ever close what a pump or a listener
//! of the parent held. Owned sockets cannot be closed through tasks that never run again; their numbers can.

use std::collections::BTreeSet;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Mutex, PoisonError};

use crate::control::process::PerProcess;

/// Keeps a descriptor's number listed. Declare it before the descriptor's owner, so that it goes first.
pub(crate) struct Listed(RawFd);

impl Listed {
    pub(crate) fn new(owner: &impl AsRawFd) -> Self {
        let number = owner.as_raw_fd();
        let listed = LISTED.get_or_make(Mutex::default);
        listed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(number);
        Listed(number)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        if let Some(listed) = LISTED.get() {
            listed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&self.0);
        }
    }
}

/// In the child of a fork: the numbers of descriptors that the engine's tasks held in the parent, each told once.
///
/// Close them right after the fork, before anything else opens descriptors: they are sockets of the parent's sessions and
/// listeners, and the locks on its directories. Nothing else in the child will. Closing sends and unlinks nothing, so the
/// parent notices nothing. Empty in a process that was not forked; sockets with an `abandon` of their own are not among
/// them.
pub fn inherited_descriptors() -> Vec<RawFd> {
    let inherited = LISTED.inherited();
    // A lock that was held during the fork stays shut; what it guards then stays open until the child ends.
    let lists = inherited.filter_map(|listed| listed.try_lock().ok());
    lists
        .flat_map(|mut listed| std::mem::take(&mut *listed))
        .collect()
}

#[cfg(test)]
pub(crate) fn is_listed(number: RawFd) -> bool {
    let listed = LISTED.get().map(|listed| listed.lock().unwrap());
    listed.is_some_and(|listed| listed.contains(&number))
}

static LISTED: PerProcess<Mutex<BTreeSet<RawFd>>> = PerProcess::new();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_listed_as_long_as_it_is_held_and_only_for_children() {
        let file = std::fs::File::open("/").unwrap();
        let is_listed = || is_listed(file.as_raw_fd());
        let listed = Listed::new(&file);
        assert!(is_listed());
        assert!(inherited_descriptors().is_empty(), "nobody forked");
        assert!(is_listed());
        drop(listed);
        assert!(!is_listed());
    }
}
