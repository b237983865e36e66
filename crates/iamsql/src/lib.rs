#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod connector;
mod control;
mod data;
mod drivers;
mod error;
mod face;
mod instance;
mod options;
mod secret;
mod tether;
mod user;

pub use connector::{Connector, ConnectorBuilder};
pub use control::credentials::{Credentials, Scope, Token, TokenSource};
pub use control::environment::Environment;
pub use data::connection::Connection;
#[cfg(unix)]
pub use data::descriptors::inherited_descriptors;
#[cfg(feature = "tokio-postgres")]
pub use drivers::tokio_postgres::PostgresBuilder;
pub use error::{Detail, Error, ErrorKind, Result};
pub use face::stream::Stream;
#[cfg(unix)]
pub use face::{
    blocking::BlockingSocket,
    listener::{ListenOptions, PrivateListener},
    local_proxy::{LocalProxy, LocalProxyOptions},
    nonblocking::NonBlockingSocket,
    pair::Pair,
    pump::{Local, SessionEnd},
    relay::Unserved,
};
pub use instance::{Instance, Product};
pub use options::{AuthMode, ClientProtocol, ConnectOptions, IpType, LoginScope, RefreshStrategy};
pub use secret::{Secret, foreign as foreign_text};
pub use user::{DatabaseEngine, database_user};
