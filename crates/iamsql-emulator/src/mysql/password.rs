//! How a client proves that it knows a password, by `mysql_native_password` and `caching_sha2_password`.

use std::fmt;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeySize, OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::greeting::Nonce;

/// What `mysql_native_password` needs of a password: its SHA-1. It logs in like the password itself.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct NativeKey([u8; 20]);

impl NativeKey {
    pub(crate) fn of(password: &[u8]) -> NativeKey {
        NativeKey(sha1(&[password]))
    }

    /// The proof for a nonce.
    pub(crate) fn prove(&self, nonce: &Nonce) -> Vec<u8> {
        let stored = sha1(&[&self.0]);
        xor(&self.0, &sha1(&[nonce, &stored]))
    }

    /// What the server stores, as `IDENTIFIED BY PASSWORD` takes it.
    pub(crate) fn stored(&self) -> String {
        let digits = sha1(&[&self.0]);
        let digits: String = digits.iter().map(|byte| format!("{byte:02X}")).collect();
        format!("*{digits}")
    }
}

impl fmt::Debug for NativeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NativeKey([redacted])")
    }
}

/// What a server that speaks `caching_sha2_password` remembers of a password that was right once.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct CachedKey([u8; 32]);

impl CachedKey {
    pub(crate) fn of(password: &[u8]) -> CachedKey {
        CachedKey(sha256(&[&sha256(&[password])]))
    }

    /// Whether a proof for this nonce is of the same password.
    pub(crate) fn accepts(&self, proof: &[u8], nonce: &Nonce) -> bool {
        let first = xor(proof, &sha256(&[&self.0, nonce]));
        proof.len() == self.0.len()
            && aws_lc_rs::constant_time::verify_slices_are_equal(&sha256(&[&first]), &self.0)
                .is_ok()
    }
}

impl fmt::Debug for CachedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CachedKey([redacted])")
    }
}

/// The key pair with which clients send a password over what they take for an open wire.
pub(crate) struct ServerKey {
    private: OaepPrivateDecryptingKey,
    pem: String,
}

impl ServerKey {
    /// A new one. Takes a tenth of a second.
    pub(crate) fn generate() -> anyhow::Result<ServerKey> {
        let failed = |_| anyhow::anyhow!("cannot make the RSA key for MySQL passwords");
        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).map_err(failed)?;
        let public: PublicKeyX509Der<'_> = private.public_key().as_der().map_err(failed)?;
        let encoded = STANDARD.encode(public.as_ref());
        let lines: Vec<&str> = encoded
            .as_bytes()
            .chunks(64)
            .filter_map(|line| std::str::from_utf8(line).ok())
            .collect();
        let lines = lines.join("\n");
        Ok(ServerKey {
            private: OaepPrivateDecryptingKey::new(private).map_err(failed)?,
            pem: format!("-----BEGIN PUBLIC KEY-----\n{lines}\n-----END PUBLIC KEY-----\n"),
        })
    }

    /// The public half.
    pub(crate) fn pem(&self) -> &str {
        &self.pem
    }

    /// The password that a client masked with the nonce and encrypted, with the zero byte that ends it.
    pub(crate) fn decrypt(&self, encrypted: &[u8], nonce: &Nonce) -> Option<Vec<u8>> {
        let mut buffer = vec![0; self.private.min_output_size()];
        let masked = self
            .private
            .decrypt(&OAEP_SHA1_MGF1SHA1, encrypted, &mut buffer, None)
            .ok()?;
        Some(mask(masked, nonce))
    }
}

/// The length of what a client encrypts for a [`ServerKey`].
pub(crate) const ENCRYPTED: usize = 256;

fn mask(bytes: &[u8], nonce: &Nonce) -> Vec<u8> {
    let key = nonce.iter().cycle();
    bytes
        .iter()
        .zip(key)
        .map(|(byte, key)| byte ^ key)
        .collect()
}

fn xor(one: &[u8], other: &[u8]) -> Vec<u8> {
    one.iter()
        .zip(other)
        .map(|(one, other)| one ^ other)
        .collect()
}

fn sha1(parts: &[&[u8]]) -> [u8; 20] {
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, &parts.concat());
    digest.as_ref().try_into().expect("SHA-1 has 20 bytes")
}

fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let digest = digest(&SHA256, &parts.concat());
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rsa::{OaepPublicEncryptingKey, PublicEncryptingKey};

    use super::*;

    const NONCE: Nonce = *b"abcdefghij0123456789";

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_native_proof_is_the_published_one() {
        let key = NativeKey::of(b"secret");
        // SELECT PASSWORD('secret')
        assert_eq!(key.stored(), "*14E65567ABDB5135D0CFD9A70B3032C179A49EE7");
        // Python: sha1(p) ^ sha1(nonce + sha1(sha1(p)))
        assert_eq!(hex(&key.prove(&NONCE)), NATIVE_PROOF);
        assert_eq!(format!("{key:?}"), "NativeKey([redacted])");
    }

    #[test]
    fn a_cached_password_is_recognised() {
        let stored = CachedKey::of(b"secret");
        let proof = |password: &[u8]| {
            let first = sha256(&[password]);
            xor(&first, &sha256(&[&sha256(&[&first]), &NONCE]))
        };
        assert_eq!(hex(&proof(b"secret")), SHA2_PROOF);
        assert!(stored.accepts(&proof(b"secret"), &NONCE));
        assert!(!stored.accepts(&proof(b"Secret"), &NONCE));
        assert!(!stored.accepts(&proof(b"secret"), b"another-nonce-000000"));
        assert!(!stored.accepts(&proof(b"secret")[..31], &NONCE));
        assert!(!stored.accepts(b"", &NONCE));
    }

    #[test]
    fn an_encrypted_password_is_read() {
        let key = ServerKey::generate().unwrap();
        let der = key
            .pem()
            .lines()
            .filter(|line| !line.starts_with('-'))
            .collect::<String>();
        let public = PublicEncryptingKey::from_der(&STANDARD.decode(der).unwrap()).unwrap();
        let public = OaepPublicEncryptingKey::new(public).unwrap();
        let mut buffer = vec![0; public.ciphertext_size()];
        let masked = mask(b"a password that is longer than the nonce\0", &NONCE);
        let encrypted = public
            .encrypt(&OAEP_SHA1_MGF1SHA1, &masked, &mut buffer, None)
            .unwrap();
        assert_eq!(encrypted.len(), ENCRYPTED);
        assert_eq!(
            key.decrypt(encrypted, &NONCE).unwrap(),
            b"a password that is longer than the nonce\0"
        );
        assert_eq!(key.decrypt(&[1; ENCRYPTED], &NONCE), None);
        assert_eq!(key.decrypt(b"short", &NONCE), None);
    }

    const NATIVE_PROOF: &str = "99db25ccb2a625f0e7cf4ce2e895ef9609dfe5e4";
    const SHA2_PROOF: &str = "bd7d89fc1c297010da753d08822e9e48d3eafbb6e68e1f9b403be12dc5687a40";
}
