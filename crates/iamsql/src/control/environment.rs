//! The environment variables that iamsql reads, captured once, so that nothing later depends on who changed them.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use crate::error::{Error, Result};

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
/// | `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_REGION`, `AWS_DEFAULT_REGION` | an external account of AWS, where they are set |
/// | `PATH` | where `gcloud` is looked for, in absolute directories that others may not write |
/// | `IAMSQL_EMULATOR_HOST` | a local emulator in place of Google |
/// | `IAMSQL_EMULATOR_ALLOW_REMOTE` | `1` lets the emulator be on another machine |
/// | `IAMSQL_ALLOW_CUSTOM_TOKEN_URLS` | `1` lets credential files name token services outside the universe |
/// | `HTTPS_PROXY`, `ALL_PROXY`, `NO_PROXY` | the way to Google's https services, not to this machine or the metadata server |
///
/// A program that is run for a token (`gcloud`, an external account's) gets every variable that was captured, and no other.
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

    /// The process's variables.
    pub fn from_process() -> Self {
        // A variable whose very name is not text is none that anybody asks for.
        let named = |(name, value): (OsString, _)| Some((name.into_string().ok()?, value));
        Environment(std::env::vars_os().filter_map(named).collect())
    }

    /// The same variables, with one set; the last value given to a name counts.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<OsString>) -> Self {
        self.0.insert(name.into(), value.into());
        self
    }

    /// A variable's text; an empty one counts as unset.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if it is not UTF-8: leaving it out could mean another identity.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>> {
        let Some(raw) = self.raw(name) else {
            return Ok(None);
        };
        match raw.to_str() {
            Some(text) => Ok(Some(text)),
            None => Err(Error::config(format!("{name} is not valid UTF-8"))),
        }
    }

    /// A variable's value as a path; an empty one counts as unset.
    pub(crate) fn path(&self, name: &str) -> Option<PathBuf> {
        self.raw(name).map(PathBuf::from)
    }

    /// Whether a switch is on: `1` or `true`.
    pub(crate) fn is_on(&self, name: &str) -> Result<bool> {
        Ok(matches!(self.text(name)?, Some("1" | "true")))
    }

    /// The variables that iamsql itself reads, in a stable order: part of what decides whether engines may be shared.
    pub(crate) fn read(&self) -> impl Iterator<Item = (&str, &OsStr)> {
        self.all().filter(|(name, _)| NAMES.contains(name))
    }

    /// Every variable and its value, in a stable order: what a program is run with.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&str, &OsStr)> {
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
pub(crate) const PATH: &str = "PATH";
pub(crate) const AWS_ACCESS_KEY_ID: &str = "AWS_ACCESS_KEY_ID";
pub(crate) const AWS_SECRET_ACCESS_KEY: &str = "AWS_SECRET_ACCESS_KEY";
pub(crate) const AWS_SESSION_TOKEN: &str = "AWS_SESSION_TOKEN";
pub(crate) const AWS_REGIONS: [&str; 2] = ["AWS_REGION", "AWS_DEFAULT_REGION"];
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
    AWS_ACCESS_KEY_ID,
    AWS_SECRET_ACCESS_KEY,
    AWS_SESSION_TOKEN,
    AWS_REGIONS[0],
    AWS_REGIONS[1],
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
        assert_eq!(environment.text(UNIVERSE).unwrap(), None);
        assert_eq!(environment.text(QUOTA_PROJECT).unwrap(), Some("b"));
    }

    #[cfg(unix)]
    #[test]
    fn a_value_that_is_no_text_is_an_error_and_not_taken_for_unset() {
        use std::os::unix::ffi::OsStringExt;

        let garbled = OsString::from_vec(b"caf\xe9".to_vec());
        let environment = Environment::empty().with(EMULATOR_HOST, garbled.clone());
        let error = environment.text(EMULATOR_HOST).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::Config);
        assert!(error.to_string().contains(EMULATOR_HOST), "{error}");
        assert!(environment.is_on(EMULATOR_HOST).is_err());
        // A path may be anything.
        let environment = environment.with(HOME, garbled.clone());
        assert_eq!(environment.path(HOME), Some(garbled.into()));
    }

    #[test]
    fn what_iamsql_does_not_read_decides_nothing() {
        let environment = Environment::empty().with("EDITOR", "ed").with(HOME, "/");
        let read: Vec<_> = environment.read().map(|(name, _)| name).collect();
        assert_eq!((read, environment.all().count()), (vec![HOME], 2));
    }

    #[test]
    fn debug_shows_names_and_no_values() {
        let environment = Environment::empty().with(PROXIES[0], "http://user:pass@proxy");
        assert_eq!(format!("{environment:?}"), "Environment([\"HTTPS_PROXY\"])");
    }
}
