//! The engine's one RSA key, for which every client certificate is issued. It never leaves memory.

use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::SigningKey;
use tokio::sync::OnceCell;

use crate::error::{Error, ErrorKind, Result};

/// Made once, at the first need, off the async threads: it takes a tenth of a second of processor time.
#[derive(Default)]
pub(crate) struct EngineKey(OnceCell<Key>);

#[derive(Clone)]
pub(crate) struct Key {
    /// SPKI in PEM, as the Admin API wants it.
    pub(crate) public_pem: Arc<str>,
    pub(crate) signer: Arc<dyn SigningKey>,
}

impl EngineKey {
    pub(crate) async fn get(&self) -> Result<Key> {
        self.0
            .get_or_try_init(|| async {
                tokio::task::spawn_blocking(generate)
                    .await
                    .map_err(|_| failed())?
            })
            .await
            .cloned()
    }
}

fn generate() -> Result<Key> {
    let pair = KeyPair::generate(KeySize::Rsa2048).map_err(|_| failed())?;
    let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| failed())?;
    let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| failed())?;
    let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(pkcs8.as_ref()));
    let signer = rustls::crypto::aws_lc_rs::sign::any_supported_type(&der).map_err(|_| failed())?;
    Ok(Key {
        public_pem: pem("PUBLIC KEY", spki.as_ref()).into(),
        signer,
    })
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(LINE) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem.push_str(&format!("-----END {label}-----\n"));
    pem
}

fn failed() -> Error {
    Error::new(ErrorKind::Unavailable, "no RSA key could be made")
}

const LINE: usize = 64;

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo};
    use x509_parser::public_key::PublicKey;

    use super::*;

    #[test]
    fn the_public_half_is_a_pem_spki_of_2048_bits() {
        let key = generate().unwrap();
        assert!(key.public_pem.starts_with("-----BEGIN PUBLIC KEY-----\n"));
        assert!(key.public_pem.ends_with("\n-----END PUBLIC KEY-----\n"));
        assert!(key.public_pem.lines().all(|line| line.len() <= 64));
        let text: String = key
            .public_pem
            .lines()
            .filter(|line| !line.contains('-'))
            .collect();
        let der = STANDARD.decode(text).unwrap();
        let (_, spki) = SubjectPublicKeyInfo::from_der(&der).unwrap();
        match spki.parsed().unwrap() {
            PublicKey::RSA(rsa) => assert_eq!(
                (rsa.key_size(), rsa.try_exponent().unwrap()),
                (2048, 65_537)
            ),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn an_engine_has_one_key() {
        let key = EngineKey::default();
        let (one, other) = tokio::join!(key.get(), key.get());
        assert!(Arc::ptr_eq(
            &one.unwrap().public_pem,
            &other.unwrap().public_pem
        ));
    }
}
