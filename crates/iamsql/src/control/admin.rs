//! The Admin API: instance settings, and client certificates.

pub(crate) mod cloud_sql;
mod refusal;
pub(crate) mod settings;

pub(crate) use cloud_sql::CloudSql;
pub(crate) use settings::Settings;
