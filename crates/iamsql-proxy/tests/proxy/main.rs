//! The built program, run as users run it, against an in-process emulator.

mod harness;
mod health;
mod serve;
mod sockets;
mod start;
mod tunnel;
