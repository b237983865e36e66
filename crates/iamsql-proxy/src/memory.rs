//! Keeps tokens and keys out of core dumps and other processes' sight.

use tracing::warn;

/// No core dump, and no debugger of the same user: `--allow-core-dumps` leaves both as they are.
pub(crate) fn keep_private() {
    use rustix::process::{Resource, Rlimit, setrlimit};

    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        warn!("core dumps could not be switched off: {error}");
    }
    #[cfg(target_os = "linux")]
    if let Err(error) =
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
    {
        warn!("other processes could not be kept from reading this one: {error}");
    }
}
