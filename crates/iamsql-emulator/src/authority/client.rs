//! Signs client certificates: a public key and a lifetime go in, a leaf and its serial number come out.

use std::time::{Duration, SystemTime};

use anyhow::Context;
use rcgen::{ExtendedKeyUsagePurpose, PublicKeyData as _, SubjectPublicKeyInfo};

use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::RSAPublicKey;

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

/// The same, and PKCS#1 under the label `RSA PUBLIC KEY`, which is what that label means.
pub(crate) fn any_public_key(pem: &str) -> anyhow::Result<SubjectPublicKeyInfo> {
    let pkcs1 = pem
        .trim_start()
        .starts_with("-----BEGIN RSA PUBLIC KEY-----");
    match public_key(pem) {
        Err(_) if pkcs1 => {
            let (_, parsed) = x509_parser::pem::parse_x509_pem(pem.as_bytes())
                .map_err(|_| anyhow::anyhow!("the public key is not PEM"))?;
            wrapped(&parsed.contents)
        }
        other => other,
    }
}

/// The SubjectPublicKeyInfo around a PKCS#1 key.
fn wrapped(pkcs1: &[u8]) -> anyhow::Result<SubjectPublicKeyInfo> {
    let sound = RSAPublicKey::from_der(pkcs1).is_ok_and(|(rest, _)| rest.is_empty());
    anyhow::ensure!(sound, "the public key is not an RSA key");
    let bits = [&[0][..], pkcs1].concat();
    let content = [RSA_ALGORITHM, &tagged(BIT_STRING, &bits)[..]].concat();
    SubjectPublicKeyInfo::from_der(&tagged(SEQUENCE, &content))
        .context("the public key is not an RSA key")
}

/// DER: tag, length, value.
fn tagged(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = value.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let short = value.len() < 0x80;
    let mut out = vec![tag];
    if !short {
        out.push(0x80 | length.len() as u8);
    }
    out.extend(if value.is_empty() { &[0][..] } else { length });
    out.extend(value);
    out
}

/// Signs a certificate for `key` that is valid from a minute ago until `lifetime` from now.
pub(crate) fn sign_client(
    authority: &Authority,
    common_name: &str,
    key: &SubjectPublicKeyInfo,
    lifetime: Duration,
) -> anyhow::Result<ClientCertificate> {
    let created = SystemTime::now() - CLOCK_SKEW;
    let params = leaf(
        common_name,
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

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
/// AlgorithmIdentifier of rsaEncryption, whole.
const RSA_ALGORITHM: &[u8] = &[
    0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
];

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
    fn a_pkcs1_key_is_wrapped() {
        let pair = generate_key(KeyKind::Rsa2048).unwrap();
        let spki = public_key(&pair.public_key_pem()).unwrap();
        // What rcgen calls the bytes of an RSA key is PKCS#1.
        let text = base64::Engine::encode(
            &base64::engine::general_purpose::STANDARD,
            rcgen::PublicKeyData::der_bytes(&pair),
        );
        let pem = format!(
            "-----BEGIN RSA PUBLIC KEY-----\n{}\n-----END RSA PUBLIC KEY-----\n",
            text.as_bytes()
                .chunks(64)
                .map(|line| std::str::from_utf8(line).unwrap())
                .collect::<Vec<_>>()
                .join("\n")
        );
        assert_eq!(any_public_key(&pem).unwrap(), spki);
        assert_eq!(any_public_key(&pair.public_key_pem()).unwrap(), spki);
        assert!(public_key(&pem).is_err());
        assert!(any_public_key(&pem.replace("RSA PUBLIC", "PUBLIC")).is_err());
    }

    #[test]
    fn the_certificate_lives_at_least_as_long_as_asked() {
        let authority = Authority::new("Google Cloud SQL Client CA", KeyKind::EcdsaP256).unwrap();
        let key = public_key(&generate_key(KeyKind::Rsa2048).unwrap().public_key_pem()).unwrap();
        let before = SystemTime::now();
        let certificate =
            sign_client(&authority, "client", &key, Duration::from_millis(1500)).unwrap();
        let life = certificate.expires.duration_since(before).unwrap();
        assert!(
            life >= Duration::from_millis(1500) && life < Duration::from_millis(2600),
            "{life:?}"
        );
    }
}
