//! The Admin APIs: where instances are and what they run, and client certificates.

pub(crate) mod alloydb;
mod api;
pub(crate) mod cloud_sql;
mod refusal;
pub(crate) mod settings;

pub(crate) use alloydb::{AlloyDb, ConnectionInfo};
pub(crate) use cloud_sql::CloudSql;
pub(crate) use settings::Settings;
