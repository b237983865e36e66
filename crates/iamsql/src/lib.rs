#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod error;
mod instance;
mod options;
mod secret;
mod user;

pub use error::{Detail, Error, ErrorKind, Result};
pub use instance::Instance;
pub use options::{AuthMode, ConnectOptions, IpType, RefreshStrategy};
pub use secret::Secret;
pub use user::{DatabaseEngine, database_user};
