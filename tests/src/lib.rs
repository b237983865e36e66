//! One scenario table, run through every door against one emulator.
//!
//! A [`scenario::Scenario`] says what the world is like, what a client asks for and what must come of it. A
//! [`door::Door`] turns the request into a process of its own: a Rust, Python or Node client, or `psql` through the proxy.
//! The process answers with an [`outcome::Outcome`]; [`run::run`] compares it and sees that nothing is left behind.

#![forbid(unsafe_code)]

pub mod door;
pub mod outcome;
pub mod process;
pub mod request;
pub mod run;
pub mod scenario;
pub mod secrets;
pub mod world;
