//! The environment variables that iamsql reads, captured once, so that nothing later depends on who changed them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

/// A captured set of environment variables.
///
/// A [`Connector`](crate::Connector) reads the process's own unless [`environment`](crate::ConnectorBuilder::environment)
/// hands it another; a later change of the process's variables does not reach it.
///
/// | variable | what it does |
/// |---|---|
/// | `GOOGLE_APPLICATION_CREDENTIALS` | names the credential file |
/// | `CLOUDSDK_CONFIG`, `HOME` (`APPDATA` on Windows) | where gcloud keeps its credential file |
/// | `GCE_METADATA_HOST` | the metadata server, `HOST:PORT`; a loopback address or Google's own |
/// | `GOOGLE_CLOUD_QUOTA_PROJECT`, `GOOGLE_CLOUD_UNIVERSE_DOMAIN` | as the builder's methods of these names |
/// | `GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES` | `1` lets an external account run its program |
/// | `IAMSQL_EMULATOR_HOST` | a local emulator in place of Google |
/// | `IAMSQL_EMULATOR_ALLOW_REMOTE` | `1` lets the emulator be on another machine |
/// | `IAMSQL_ALLOW_CUSTOM_TOKEN_URLS` | `1` lets credential files name token services outside the universe |
/// | `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY` | the way to Google's https services, not to this machine or the metadata server |
///
/// ```
/// let environment = iamsql::Environment::empty().with("GOOGLE_CLOUD_QUOTA_PROJECT", "billing");
/// # drop(environment);
/// ```
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// No variables at all.
    pub fn empty() -> Self {
        Self::default()
    }

    /// The process's variables, as far as iamsql reads them.
    pub fn from_process() -> Self {
        Environment(
            NAMES
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), std::env::var_os(name)?)))
                .collect(),
        )
    }

    /// The same variables, with one set; the last value given to a name counts.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<OsString>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    /// A variable's text; an empty one counts as unset.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.raw(name).and_then(OsStr::to_str)
    }

    /// A variable's value as a path; an empty one counts as unset.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.raw(name).map(PathBuf::from)
    }

    /// Whether a switch is on: `1` or `true`.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        matches!(self.text(name), Some("1" | "true"))
    }

    /// Every variable and its value, in a stable order: part of what decides whether engines may be shared.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &OsStr)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_os_str()))
    }

    fn raw(&self, name: &str) -> Option<&OsStr> {
        self.0
            .get(name)
            .map(OsString::as_os_str)
            .filter(|value| !value.is_empty())
    }
}

impl fmt::Debug for Environment {
    /// Names only: values may hold secrets, such as a proxy's password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Environment")
            .field(&self.0.keys().collect::<Vec<_>>())
            .finish()
    }
}

pub(crate) const CREDENTIALS_FILE: &str = "GOOGLE_APPLICATION_CREDENTIALS";
pub(crate) const GCLOUD_DIRECTORY: &str = "CLOUDSDK_CONFIG";
pub(crate) const HOME: &str = "HOME";
pub(crate) const APP_DATA: &str = "APPDATA";
pub(crate) const METADATA_HOST: &str = "GCE_METADATA_HOST";
pub(crate) const QUOTA_PROJECT: &str = "GOOGLE_CLOUD_QUOTA_PROJECT";
pub(crate) const UNIVERSE: &str = "GOOGLE_CLOUD_UNIVERSE_DOMAIN";
pub(crate) const ALLOW_EXECUTABLES: &str = "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES";
pub(crate) const EMULATOR_HOST: &str = "IAMSQL_EMULATOR_HOST";
pub(crate) const EMULATOR_ALLOW_REMOTE: &str = "IAMSQL_EMULATOR_ALLOW_REMOTE";
pub(crate) const ALLOW_CUSTOM_TOKEN_URLS: &str = "IAMSQL_ALLOW_CUSTOM_TOKEN_URLS";
pub(crate) const PROXIES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
pub(crate) const PROXY_EXCEPTIONS: [&str; 2] = ["NO_PROXY", "no_proxy"];

const NAMES: &[&str] = &[
    CREDENTIALS_FILE,
    GCLOUD_DIRECTORY,
    HOME,
    APP_DATA,
    METADATA_HOST,
    QUOTA_PROJECT,
    UNIVERSE,
    ALLOW_EXECUTABLES,
    EMULATOR_HOST,
    EMULATOR_ALLOW_REMOTE,
    ALLOW_CUSTOM_TOKEN_URLS,
    PROXIES[0],
    PROXIES[1],
    PROXIES[2],
    PROXIES[3],
    PROXY_EXCEPTIONS[0],
    PROXY_EXCEPTIONS[1],
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_counts_as_unset_and_the_last_value_counts() {
        let environment = Environment::empty()
            .with(UNIVERSE, "")
            .with(QUOTA_PROJECT, "a")
            .with(QUOTA_PROJECT, "b");
        assert_eq!(environment.text(UNIVERSE), None);
        assert_eq!(environment.text(QUOTA_PROJECT), Some("b"));
    }

    #[test]
    fn debug_shows_names_and_no_values() {
        let environment = Environment::empty().with(PROXIES[0], "http://user:pass@proxy");
        assert_eq!(format!("{environment:?}"), "Environment([\"HTTPS_PROXY\"])");
    }
}
