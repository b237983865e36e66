//! What decides whether two connectors may share an engine: a digest of identity and destination.

use std::ffi::OsStr;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::control::credentials::TokenSource;

/// Collects everything that an engine's behaviour follows from.
pub(crate) struct Sharing {
    digest: Sha256,
}

/// Engines are shared exactly where this is equal.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SharingKey([u8; 32]);

impl Sharing {
    pub(crate) fn new() -> Self {
        Sharing {
            digest: Sha256::new(),
        }
    }

    pub(crate) fn add(&mut self, label: &str, value: impl AsRef<[u8]>) {
        for part in [label.as_bytes(), value.as_ref()] {
            // With their lengths, so that no two different lists read the same.
            self.digest.update((part.len() as u64).to_be_bytes());
            self.digest.update(part);
        }
    }

    /// All variables that a program is run with: who it speaks for is decided by those that it reads.
    pub(crate) fn add_variables<'a>(
        &mut self,
        variables: impl Iterator<Item = (&'a str, &'a OsStr)>,
    ) {
        for (name, value) in variables {
            self.add(name, value.as_encoded_bytes());
        }
    }

    /// A caller's object is its address, which stays its own as long as the engine holds a reference.
    pub(crate) fn add_caller(&mut self, source: &Arc<dyn TokenSource>) {
        let address = Arc::as_ptr(source).cast::<()>() as usize;
        self.add("caller", address.to_be_bytes());
    }

    pub(crate) fn key(self) -> SharingKey {
        SharingKey(self.digest.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(parts: &[(&str, &str)]) -> SharingKey {
        let mut sharing = Sharing::new();
        for (label, value) in parts {
            sharing.add(label, value);
        }
        sharing.key()
    }

    #[test]
    fn different_lists_never_read_the_same() {
        assert!(key(&[("a", "bc")]) == key(&[("a", "bc")]));
        assert!(key(&[("a", "bc")]) != key(&[("ab", "c")]));
        assert!(key(&[("a", "b"), ("c", "")]) != key(&[("a", "bc")]));
        assert!(key(&[("a", ""), ("b", "")]) != key(&[("b", ""), ("a", "")]));
    }
}
