//! Glue for Rust drivers: each takes the engine's stream and logs in over it.

#[cfg(feature = "tokio-postgres")]
pub(crate) mod tokio_postgres;
