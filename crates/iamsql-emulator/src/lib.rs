//! A local Google for Cloud SQL and AlloyDB: credentials, APIs and server-side proxy, in front of a real PostgreSQL and MariaDB.
//!
//! ```text
//!            HTTP  127.x.y.1:9470                                     TLS 1.3  127.x.y.n:3307
//! client ──▶ metadata, /token  ──▶ tokens ─┐                client ──▶ server ─▶ who is it? ─▶ login ─▶ PostgreSQL, MariaDB
//!        ──▶ sqladmin ──▶ authority ───────┴─▶ certificate ─────────────┘  ▲                └▶ echo
//!        ──▶ /emulator/control ──▶ faults, calls, sessions ────────────────┘
//!
//!            DNS   127.x.y.1, UDP and TCP ──▶ the zone of a test, and the instances' own names
//! ```
//!
//! Google's own clients work with it unmodified. It shares no code with the engine `iamsql`, so that one misreading of
//! the protocol cannot pass on both sides.

#![forbid(unsafe_code)]

mod alloydb;
mod authority;
pub mod backend;
mod caller;
mod calls;
mod control;
mod dns;
mod emulator;
mod environment;
mod faults;
mod federation;
mod foreign;
mod grpc;
mod http;
mod iamcredentials;
mod instance;
mod issued;
mod login;
mod loopback;
mod metadata;
mod mysql;
mod principal;
mod server;
mod session;
mod sqladmin;
mod sqldata;
mod tds;
mod token;
mod world;

pub use authority::ServerCertificate;
pub use calls::{Call, Calls};
pub use dns::{Dns, DnsQuery, DnsRecord};
pub use emulator::{
    ALLOYDB_INSTANCE, ALLOYDB_READ_POOL, Emulator, EmulatorBuilder, HUMAN, INSTANCE,
    MYSQL_INSTANCE, PROJECT, SERVICE_ACCOUNT, SQL_SERVER_INSTANCE, random_password,
};
pub use faults::{CertificateAlert, DnsCode, Effect, Endpoint, Fault, FaultId, Faults};
pub use federation::configuration::{ExternalAccount, ExternalSource};
pub use instance::{AddressType, CaMode, Database, Edition, InstanceSpec, PasswordPlugin, Wire};
pub use principal::{Principal, PrincipalKind, Role};
pub use server::client_protocol::ClientProtocol;
pub use session::{Session, Sessions};

/// The README's examples are tested with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
