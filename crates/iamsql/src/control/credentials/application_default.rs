//! Where Application Default Credentials are: which file, if any. Looks, and reads nothing.

use std::path::PathBuf;

use crate::control::environment::{self, Environment};

/// Where the search ended.
#[derive(Debug, PartialEq)]
pub(super) enum Found {
    /// `GOOGLE_APPLICATION_CREDENTIALS` names it, so it must be there.
    Named(PathBuf),
    /// Where gcloud puts it, and it is there.
    WellKnown(PathBuf),
    MetadataServer,
}

pub(super) fn find(environment: &Environment) -> Found {
    if let Some(path) = environment.path(environment::CREDENTIALS_FILE) {
        return Found::Named(path);
    }
    // What cannot be looked at counts as there, so that reading it says why.
    match well_known(environment) {
        Some(path) if !matches!(path.try_exists(), Ok(false)) => Found::WellKnown(path),
        _ => Found::MetadataServer,
    }
}

fn well_known(environment: &Environment) -> Option<PathBuf> {
    let directory = match environment.path(environment::GCLOUD_DIRECTORY) {
        Some(directory) => directory,
        None if cfg!(windows) => environment.path(environment::APP_DATA)?.join("gcloud"),
        None => environment
            .path(environment::HOME)?
            .join(".config")
            .join("gcloud"),
    };
    Some(directory.join("application_default_credentials.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_file_comes_first_then_gclouds_then_the_metadata_server() {
        let home = tempfile::tempdir().unwrap();
        let empty = Environment::empty().with(environment::HOME, home.path());
        assert_eq!(find(&empty), Found::MetadataServer);

        let gcloud = home.path().join(".config/gcloud");
        std::fs::create_dir_all(&gcloud).unwrap();
        let file = gcloud.join("application_default_credentials.json");
        std::fs::write(&file, "{}").unwrap();
        assert_eq!(find(&empty), Found::WellKnown(file));

        let moved = empty
            .clone()
            .with(environment::GCLOUD_DIRECTORY, home.path());
        assert_eq!(find(&moved), Found::MetadataServer);

        let named = empty.with(environment::CREDENTIALS_FILE, "/no/such/file");
        assert_eq!(find(&named), Found::Named("/no/such/file".into()));
    }
}
