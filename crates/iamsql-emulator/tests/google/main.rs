//! The emulator's endpoints as a client sees them, over real sockets; no database is needed.

mod alloydb;
mod client;
mod control;
mod dns;
mod faults;
mod federation;
mod guard;
mod metadata;
mod names;
mod server;
mod sql_server;
mod sqladmin;
mod token;
