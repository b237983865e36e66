//! Faces: what an authenticated [`Connection`](crate::Connection) becomes for a driver.
//!
//! | face | for |
//! |---|---|
//! | [`stream`] | Rust drivers |
//! | [`blocking`] | drivers that read and write a socket on their own thread |
//! | [`nonblocking`] | drivers with an event loop of their own |
//! | [`pair`] | whoever adopts a file descriptor |
//! | [`listener`] | drivers that take a path only |
//! | [`local_proxy`] | tools that read a path of the user's choice |
//! | [`relay`] | clients of somebody else's listener: the proxy's |

#[cfg(unix)]
pub(crate) mod blocking;
#[cfg(unix)]
pub(crate) mod directory;
#[cfg(unix)]
pub(crate) mod listener;
#[cfg(unix)]
pub(crate) mod local_proxy;
#[cfg(unix)]
pub(crate) mod nonblocking;
#[cfg(unix)]
pub(crate) mod pair;
#[cfg(unix)]
pub(crate) mod peer;
#[cfg(unix)]
pub(crate) mod pump;
#[cfg(unix)]
pub(crate) mod refusal;
#[cfg(unix)]
pub(crate) mod relay;
pub(crate) mod stream;

#[cfg(all(test, unix))]
mod tests;
