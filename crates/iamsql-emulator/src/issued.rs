//! Makes secrets and, when asked, notes every one in a private file, so that a suite can search its output for them.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Where issued secrets are noted: one JSON string per line, in a file of mode 0600.
#[derive(Clone, Default)]
pub(crate) struct IssuedLog(Option<Arc<Mutex<File>>>);

impl IssuedLog {
    /// Notes nothing.
    #[cfg(test)]
    pub(crate) fn nowhere() -> Self {
        IssuedLog(None)
    }

    /// Appends to a new file in `directory`, which is made with mode 0700 or must have it.
    pub(crate) fn in_directory(directory: &Path) -> anyhow::Result<Self> {
        if !directory.exists() {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .with_context(|| format!("cannot make {}", directory.display()))?;
        }
        let mode = fs::metadata(directory)
            .with_context(|| directory.display().to_string())?
            .permissions()
            .mode()
            & 0o777;
        anyhow::ensure!(
            mode & 0o077 == 0,
            "{} has mode {mode:o}: the issued secrets need 700",
            directory.display()
        );
        let path = directory.join(format!(
            "issued-{}-{}.jsonl",
            std::process::id(),
            random_text(6)
        ));
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        Ok(IssuedLog(Some(Arc::new(Mutex::new(file.with_context(
            || format!("cannot write {}", path.display()),
        )?)))))
    }

    /// Notes one secret. `what` says which sort, for whoever reads a finding.
    pub(crate) fn record(&self, what: &str, secret: &str) {
        if let Some(file) = &self.0 {
            let line = serde_json::json!({ "what": what, "secret": secret });
            // A full disk must not fail the caller's login; the search would then find less, not something wrong.
            let _ = writeln!(file.lock().expect("no panic under lock"), "{line}");
        }
    }
}

/// 256 random bits as text after a prefix that tells the emulator's secrets from real ones.
pub(crate) fn random_secret(prefix: &str) -> String {
    format!("{prefix}{}", random_text(32))
}

/// Random bytes as URL-safe text.
pub(crate) fn random_text(bytes: usize) -> String {
    URL_SAFE_NO_PAD.encode(random_bytes(bytes))
}

/// Random bytes from the system.
pub(crate) fn random_bytes(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has random numbers");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_noted_in_a_private_file() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("issued");
        let log = IssuedLog::in_directory(&directory).unwrap();
        log.record("access token", "emulator-token-\"x\"");
        let entry = fs::read_dir(&directory).unwrap().next().unwrap().unwrap();
        assert_eq!(
            entry.metadata().unwrap().permissions().mode() & 0o777,
            0o600
        );
        let line: serde_json::Value =
            serde_json::from_str(&fs::read_to_string(entry.path()).unwrap()).unwrap();
        assert_eq!(line["secret"], "emulator-token-\"x\"");
    }

    #[test]
    fn a_directory_that_others_can_read_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let open = parent.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(IssuedLog::in_directory(&open).is_err());
    }
}
