//! Issues an instance's server certificate: genuine by its CA mode, or wrong in exactly one way.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use rcgen::{ExtendedKeyUsagePurpose, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};

use super::{Authority, CLOCK_SKEW, KeyKind, leaf, subject};
use crate::instance::CaMode;

/// What server certificate an instance presents. All but the first four must be refused by every client.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerCertificate {
    /// As the real service issues it under the instance's CA mode.
    #[default]
    Genuine,
    /// Common name `project:instance` and no DNS name. Right under the internal CA and GOOGLE_MANAGED_CAS_CA, wrong under
    /// a customer's CA.
    CommonNameOnly,
    /// The instance's DNS names and a common name that says nothing. Right wherever the settings list a DNS name.
    DnsNameOnly,
    /// As [`ServerCertificate::DnsNameOnly`], with the DNS names in upper case and without the final dot: still right.
    OtherSpelling,
    /// Valid in all but its names, which are another instance's.
    WrongName,
    /// Valid in all but its addresses, which are another instance's. Only AlloyDB's certificates name addresses.
    WrongAddress,
    /// `*.` in place of the DNS name's first label; the common name is another instance's.
    Wildcard,
    /// Common name `project:instance.`, with a final dot, and no DNS name.
    DottedCommonName,
    /// Two common names: another instance's, then this one's. No DNS name.
    TwoCommonNames,
    /// Right names, ended a day ago.
    Expired,
    /// Right names, starts tomorrow.
    NotYetValid,
    /// Right names, for client authentication only.
    ClientAuthOnly,
    /// Right names, signed by the pinned certificate, which says CA:FALSE.
    SignerNotCa,
    /// Right names, signed by a CA of the same name that is not in the settings.
    ForeignCa,
}

/// What a server presents and what its clients are told to trust.
pub(crate) struct ServerTrust {
    /// `serverCaCert`: the authority whose certificate the settings list.
    pub(crate) authority: Arc<Authority>,
    /// The PEM text of `serverCaCert.cert`; several certificates during a rotation.
    pub(crate) pem: String,
    /// The certificate and key that the TLS server uses.
    pub(crate) key: Arc<CertifiedKey>,
}

/// The names that a genuine certificate carries.
pub(crate) struct ServerNames<'a> {
    /// `project:instance`.
    pub(crate) common_name: &'a str,
    /// DNS names of the settings, then the customer's.
    pub(crate) dns_names: &'a [String],
    /// AlloyDB: the addresses that clients dial.
    pub(crate) addresses: &'a [IpAddr],
}

/// Issues a server certificate from `authority`; with `pinned`, the settings list the leaf itself.
pub(crate) fn issue_server(
    authority: &Arc<Authority>,
    mode: CaMode,
    wanted: ServerCertificate,
    pinned: bool,
    names: &ServerNames<'_>,
    key: &KeyPair,
) -> anyhow::Result<ServerTrust> {
    let now = SystemTime::now();
    let (mut from, mut until) = (now - CLOCK_SKEW, now + SERVER_LIFE);
    let mut usage = ExtendedKeyUsagePurpose::ServerAuth;
    let mut common_names = vec![names.common_name.to_string()];
    let mut dns_names = names.dns_names.to_vec();
    let mut addresses = names.addresses.to_vec();
    let mut signer = authority.clone();
    let mut listed = authority.clone();
    match mode {
        CaMode::Internal | CaMode::Unspecified => {}
        CaMode::Cas => {}
        CaMode::CustomerCas => common_names = vec![NAMELESS.to_string()],
    }
    let kind = if key.algorithm() == &rcgen::PKCS_RSA_SHA256 {
        KeyKind::Rsa2048
    } else {
        KeyKind::EcdsaP256
    };
    match wanted {
        ServerCertificate::Genuine => {}
        ServerCertificate::CommonNameOnly => {
            common_names = vec![names.common_name.to_string()];
            dns_names.clear();
            addresses.clear();
        }
        ServerCertificate::DnsNameOnly => {
            common_names = vec![NAMELESS.to_string()];
            addresses.clear();
        }
        ServerCertificate::OtherSpelling => {
            common_names = vec![NAMELESS.to_string()];
            dns_names = dns_names
                .iter()
                .map(|name| name.trim_end_matches('.').to_uppercase())
                .collect();
        }
        ServerCertificate::WrongName => {
            common_names = vec![OTHER_INSTANCE.to_string()];
            dns_names = dns_names
                .iter()
                .map(|name| format!("other-{name}"))
                .collect();
            addresses.fill(OTHER_ADDRESS);
        }
        ServerCertificate::WrongAddress => addresses.fill(OTHER_ADDRESS),
        ServerCertificate::Wildcard => {
            common_names = vec![OTHER_INSTANCE.to_string()];
            dns_names = dns_names
                .iter()
                .filter_map(|name| Some(format!("*.{}", name.split_once('.')?.1)))
                .collect();
            addresses.clear();
        }
        ServerCertificate::DottedCommonName => {
            common_names = vec![format!("{}.", names.common_name)];
            dns_names.clear();
            addresses.clear();
        }
        ServerCertificate::TwoCommonNames => {
            common_names = vec![OTHER_INSTANCE.to_string(), names.common_name.to_string()];
            dns_names.clear();
            addresses.clear();
        }
        ServerCertificate::Expired => (from, until) = (now - 30 * DAY, now - DAY),
        ServerCertificate::NotYetValid => from = now + DAY,
        ServerCertificate::ClientAuthOnly => usage = ExtendedKeyUsagePurpose::ClientAuth,
        ServerCertificate::SignerNotCa => {
            listed = Arc::new(authority.impostor(kind, false)?);
            signer = listed.clone();
        }
        ServerCertificate::ForeignCa => signer = Arc::new(authority.impostor(kind, true)?),
    }
    let mut params = leaf(&common_names[0], from, until, usage);
    params.distinguished_name =
        subject(&common_names.iter().map(String::as_str).collect::<Vec<_>>());
    params.subject_alt_names = dns_names
        .iter()
        .map(|name| Ok(SanType::DnsName(name.as_str().try_into()?)))
        .collect::<Result<_, rcgen::Error>>()
        .context("a DNS name of the instance is not ASCII")?;
    params
        .subject_alt_names
        .extend(addresses.into_iter().map(SanType::IpAddress));
    let certificate = params
        .signed_by(key, &signer.issuer)
        .context("cannot sign a server certificate")?;
    Ok(ServerTrust {
        pem: if pinned {
            certificate.pem()
        } else {
            listed.pem.clone()
        },
        key: Arc::new(certified(certificate.der().clone(), key)?),
        authority: listed,
    })
}

/// Issues the certificate of an ordinary TLS server at `addresses` and `localhost`.
pub(crate) fn issue_endpoint(
    authority: &Authority,
    addresses: &[IpAddr],
) -> anyhow::Result<CertifiedKey> {
    let now = SystemTime::now();
    let usage = ExtendedKeyUsagePurpose::ServerAuth;
    let mut params = leaf(ENDPOINT, now - CLOCK_SKEW, now + SERVER_LIFE, usage);
    let addresses = addresses.iter().map(|address| SanType::IpAddress(*address));
    let localhost = SanType::DnsName("localhost".try_into().expect("ASCII"));
    params.subject_alt_names = addresses.chain([localhost]).collect();
    let key = super::generate_key(KeyKind::EcdsaP256)?;
    let certificate = params
        .signed_by(&key, &authority.issuer)
        .context("cannot sign a server certificate")?;
    certified(certificate.der().clone(), &key)
}

fn certified(certificate: CertificateDer<'static>, key: &KeyPair) -> anyhow::Result<CertifiedKey> {
    let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&der)
        .context("cannot use a server key")?;
    Ok(CertifiedKey::new(vec![certificate], key))
}

const DAY: Duration = Duration::from_secs(24 * 3600);
const SERVER_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
const OTHER_INSTANCE: &str = "other-project:other-instance";
const OTHER_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const ENDPOINT: &str = "iamsql-emulator";
const NAMELESS: &str = "Cloud SQL server";

#[cfg(test)]
mod tests;
