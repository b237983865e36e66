//! Signs client certificates: a public key and a lifetime go in, a leaf and its serial number come out.

use std::time::{Duration, SystemTime};

use anyhow::Context;
use rcgen::{ExtendedKeyUsagePurpose, PublicKeyData as _, SubjectPublicKeyInfo};

use super::{Authority, CLOCK_SKEW, leaf, serial_text};

/// A signed client certificate.
pub(crate) struct ClientCertificate {
    pub(crate) pem: String,
    pub(crate) serial: String,
    pub(crate) created: SystemTime,
    pub(crate) expires: SystemTime,
}

/// Reads a public key as clients send it: SPKI under either PEM label. Only RSA, as the real service.
pub(crate) fn public_key(pem: &str) -> anyhow::Result<SubjectPublicKeyInfo> {
    let label = pem.trim_start().lines().next().unwrap_or_default();
    anyhow::ensure!(
        [
            "-----BEGIN PUBLIC KEY-----",
            "-----BEGIN RSA PUBLIC KEY-----"
        ]
        .contains(&label.trim_end()),
        "the public key is not PEM"
    );
    let key = SubjectPublicKeyInfo::from_pem(pem)
        .context("the public key is not SubjectPublicKeyInfo")?;
    anyhow::ensure!(
        key.algorithm() == &rcgen::PKCS_RSA_SHA256,
        "the public key is not RSA"
    );
    Ok(key)
}

/// Signs a certificate for `key` that is valid from a minute ago until `lifetime` from now.
pub(crate) fn sign_client(
    authority: &Authority,
    key: &SubjectPublicKeyInfo,
    lifetime: Duration,
) -> anyhow::Result<ClientCertificate> {
    let created = SystemTime::now() - CLOCK_SKEW;
    let params = leaf(
        COMMON_NAME,
        created,
        SystemTime::now() + lifetime,
        ExtendedKeyUsagePurpose::ClientAuth,
    );
    let serial = serial_text(&params);
    let certificate = params
        .signed_by(key, &authority.issuer)
        .context("cannot sign a client certificate")?;
    Ok(ClientCertificate {
        pem: certificate.pem(),
        serial,
        created,
        expires: params.not_after.into(),
    })
}

/// Subject of every ephemeral certificate.
const COMMON_NAME: &str = "Google Cloud SQL Client";

#[cfg(test)]
mod tests {
    use super::super::{KeyKind, generate_key};
    use super::*;

    #[test]
    fn a_key_is_read_under_either_label() {
        let pem = generate_key(KeyKind::Rsa2048).unwrap().public_key_pem();
        let key = public_key(&pem).unwrap();
        assert_eq!(
            public_key(&pem.replace("PUBLIC", "RSA PUBLIC")).unwrap(),
            key
        );
        assert!(public_key(&pem.replace("PUBLIC", "PRIVATE")).is_err());
        assert!(public_key("").is_err());
        let elliptic = generate_key(KeyKind::EcdsaP256).unwrap().public_key_pem();
        assert!(
            public_key(&elliptic)
                .unwrap_err()
                .to_string()
                .contains("not RSA")
        );
    }

    #[test]
    fn the_certificate_lives_at_least_as_long_as_asked() {
        let authority = Authority::new("Google Cloud SQL Client CA", KeyKind::EcdsaP256).unwrap();
        let key = public_key(&generate_key(KeyKind::Rsa2048).unwrap().public_key_pem()).unwrap();
        let before = SystemTime::now();
        let certificate = sign_client(&authority, &key, Duration::from_millis(1500)).unwrap();
        let life = certificate.expires.duration_since(before).unwrap();
        assert!(
            life >= Duration::from_millis(1500) && life < Duration::from_millis(2600),
            "{life:?}"
        );
    }
}
