//! Glue for Rust drivers: each takes the engine's stream and logs in over it.

#[cfg(feature = "bb8")]
mod bb8;
#[cfg(feature = "deadpool-postgres")]
mod deadpool_postgres;
#[cfg(feature = "tokio-postgres")]
pub(crate) mod tokio_postgres;
