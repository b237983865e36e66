//! The control plane: from credentials to a [`Target`](target::Target) that can be dialled, always one step ahead of expiry.
//!
//! `credentials` give tokens, `admin` turns them into settings and a signed `certificate`, `trust` says who the server
//! must be, and `cache` keeps the result fresh by the arithmetic of `schedule`. All of it runs on the `engine`'s thread.

pub(crate) mod admin;
pub(crate) mod cache;
pub(crate) mod certificate;
pub(crate) mod clock;
pub(crate) mod credentials;
pub(crate) mod endpoint;
pub(crate) mod engine;
pub(crate) mod environment;
pub(crate) mod http;
pub(crate) mod issuer;
pub(crate) mod key;
pub(crate) mod names;
#[cfg(feature = "sql-data")]
pub(crate) mod passage;
pub(crate) mod process;
pub(crate) mod schedule;
pub(crate) mod sharing;
pub(crate) mod shelf;
pub(crate) mod static_info;
pub(crate) mod target;
pub(crate) mod trust;

#[cfg(feature = "sql-data")]
pub(crate) use passage::Passage;
pub(crate) use target::{Address, Exchange, Target};
pub(crate) use trust::tls_error;
