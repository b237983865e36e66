//! Certificate authorities of one run: they sign server certificates, right or wrong on purpose, and client certificates.

mod client;
mod server;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, DnValue, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, RsaKeySize, SerialNumber,
};
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;

pub(crate) use client::{any_public_key, public_key, sign_client};
pub use server::ServerCertificate;
pub(crate) use server::{ServerNames, ServerTrust, issue_endpoint, issue_server};

use crate::issued::random_bytes;

/// Which keys a run uses: the real service's, or quick ones for tests that make many instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    Rsa2048,
    EcdsaP256,
}

/// One certificate authority: its certificate and its key.
pub(crate) struct Authority {
    pub(crate) certificate: CertificateDer<'static>,
    pub(crate) pem: String,
    pub(crate) common_name: String,
    /// Makes the subject unlike every other authority's: clients find a signer by its subject.
    pub(crate) qualifier: String,
    pub(crate) serial: String,
    pub(crate) created: SystemTime,
    pub(crate) expires: SystemTime,
    /// Who signed it, unless it is its own.
    parent: Option<Arc<Authority>>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new self-signed authority.
    pub(crate) fn new(common_name: &str, kind: KeyKind) -> anyhow::Result<Self> {
        Self::make(common_name, hex(&random_bytes(16)), kind, true, None)
    }

    /// A new authority below this one.
    pub(crate) fn subordinate(
        self: &Arc<Self>,
        common_name: &str,
        kind: KeyKind,
    ) -> anyhow::Result<Self> {
        let qualifier = hex(&random_bytes(16));
        Self::make(common_name, qualifier, kind, true, Some(self.clone()))
    }

    /// The certificate at the top: what a verifier trusts.
    pub(crate) fn anchor(&self) -> &CertificateDer<'static> {
        self.parent
            .as_ref()
            .map_or(&self.certificate, |parent| &parent.certificate)
    }

    /// The PEM texts of this certificate and of those above it.
    pub(crate) fn chain(&self) -> Vec<String> {
        let above = self.parent.as_ref().map(|parent| parent.pem.clone());
        std::iter::once(self.pem.clone()).chain(above).collect()
    }

    /// An authority that calls itself the same and has another key. With `ca` false its certificate says CA:FALSE, so
    /// that nothing it signs may be trusted.
    pub(crate) fn impostor(&self, kind: KeyKind, ca: bool) -> anyhow::Result<Self> {
        let qualifier = self.qualifier.clone();
        Self::make(&self.common_name, qualifier, kind, ca, None)
    }

    fn make(
        common_name: &str,
        qualifier: String,
        kind: KeyKind,
        ca: bool,
        parent: Option<Arc<Authority>>,
    ) -> anyhow::Result<Self> {
        let key = generate_key(kind)?;
        let created = SystemTime::now() - CLOCK_SKEW;
        let expires = created + AUTHORITY_LIFE;
        let mut params = params(common_name, created, expires);
        let qualifier_type = DnType::CustomDnType(DN_QUALIFIER_OID.to_vec());
        let printable = DnValue::PrintableString(qualifier.as_str().try_into()?);
        params.distinguished_name.push(qualifier_type, printable);
        params.is_ca = if ca {
            IsCa::Ca(BasicConstraints::Unconstrained)
        } else {
            IsCa::ExplicitNoCa
        };
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let serial = serial_text(&params);
        let signed = match &parent {
            None => params.self_signed(&key),
            Some(parent) => {
                params.use_authority_key_identifier_extension = true;
                params.signed_by(&key, &parent.issuer)
            }
        };
        let certificate = signed.context("cannot sign a CA certificate")?;
        Ok(Authority {
            certificate: certificate.der().clone(),
            pem: certificate.pem(),
            common_name: common_name.to_string(),
            qualifier,
            serial,
            created,
            expires,
            parent,
            issuer: Issuer::new(params, key),
        })
    }
}

/// A new key. RSA takes about 75 ms of CPU: call it off the async threads.
pub(crate) fn generate_key(kind: KeyKind) -> anyhow::Result<KeyPair> {
    match kind {
        KeyKind::Rsa2048 => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048),
        KeyKind::EcdsaP256 => KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
    }
    .context("cannot make a key")
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The certificate's serial number as this emulator writes it.
pub(crate) fn serial_of(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(hex(&parsed.tbs_certificate.serial.to_bytes_be()))
}

/// Parameters common to all certificates: subject, validity, a random serial number.
fn params(common_name: &str, from: SystemTime, until: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = subject(&[common_name]);
    params.not_before = OffsetDateTime::from(from);
    params.not_after = whole_second_after(until);
    let mut serial = random_bytes(16);
    // Positive and of fixed length, so that its text is the same wherever it is parsed.
    serial[0] = serial[0] & 0x7f | 0x40;
    params.serial_number = Some(SerialNumber::from(serial));
    params
}

/// The serial number in lower-case hex.
fn serial_text(params: &CertificateParams) -> String {
    hex(params
        .serial_number
        .as_ref()
        .expect("every certificate gets one")
        .as_ref())
}

/// A subject in the style of Cloud SQL's, with as many common names as given (two at most).
fn subject(common_names: &[&str]) -> rcgen::DistinguishedName {
    let mut name = rcgen::DistinguishedName::new();
    name.push(
        DnType::CountryName,
        DnValue::PrintableString("US".try_into().expect("printable")),
    );
    name.push(DnType::OrganizationName, "Google, Inc");
    let types = [
        DnType::CommonName,
        DnType::CustomDnType(COMMON_NAME_OID.to_vec()),
    ];
    for (kind, common_name) in types.into_iter().zip(common_names) {
        name.push(kind, *common_name);
    }
    name
}

fn leaf(
    common_name: &str,
    from: SystemTime,
    until: SystemTime,
    usage: ExtendedKeyUsagePurpose,
) -> CertificateParams {
    let mut params = params(common_name, from, until);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::KeyEncipherment,
    ];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    params
}

/// X.509 counts whole seconds: rounding up keeps a certificate valid for at least as long as was asked.
fn whole_second_after(time: SystemTime) -> OffsetDateTime {
    let time = OffsetDateTime::from(time);
    if time.nanosecond() == 0 {
        return time;
    }
    time.replace_nanosecond(0).expect("zero is a nanosecond") + Duration::from_secs(1)
}

const DN_QUALIFIER_OID: [u64; 4] = [2, 5, 4, 46];
const COMMON_NAME_OID: [u64; 4] = [2, 5, 4, 3];
const CLOCK_SKEW: Duration = Duration::from_secs(60);
const AUTHORITY_LIFE: Duration = Duration::from_secs(3650 * 24 * 3600);
