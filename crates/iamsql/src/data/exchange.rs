//! Metadata exchanges: what is said to the server's proxy between the TLS handshake and the driver's first byte.

pub(crate) mod alloydb;
pub(crate) mod cloud_sql;
mod wire;
