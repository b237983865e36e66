//! All that is needed to dial an instance: the one thing that passes from the control plane to the data plane.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ClientConfig;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::ServerName;
use rustls::sign::CertifiedKey;

use crate::control::admin::Settings;
use crate::control::certificate::Certificate;
use crate::control::key::Key;
use crate::control::trust::{ServerTrust, ServerVerifier};
use crate::error::{Error, ErrorKind, Result};
use crate::instance::Instance;
use crate::options::{CLOUD_SQL_PORT, IpType};
use crate::secret::foreign;

/// Where an instance can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Ip(IpAddr),
    /// A DNS name, looked up at each dial.
    #[allow(dead_code, reason = "AlloyDB follows")]
    Name(String),
}

/// What is said to the server's proxy between the TLS handshake and the driver's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exchange {
    #[allow(dead_code, reason = "AlloyDB follows")]
    /// AlloyDB's: how the login happens, and a login token.
    AlloyDb,
}

/// A snapshot, good for any number of dials until it expires.
#[derive(Debug)]
pub(crate) struct Target {
    /// May lack the type that is wanted.
    pub(crate) addresses: Vec<(IpType, Address)>,
    pub(crate) port: u16,
    /// Ready to use: client certificate, authorities and names are inside.
    pub(crate) tls: Arc<ClientConfig>,
    /// For the handshake's server name extension; without one, the address or name that is dialled.
    pub(crate) server_name: Option<ServerName<'static>>,
    /// The metadata exchange that the server expects, if any.
    #[allow(dead_code, reason = "AlloyDB follows")]
    pub(crate) exchange: Option<Exchange>,
    pub(crate) expires: SystemTime,
    /// Counts up with each renewal; what a failed dial saw, so that it forces no renewal that already happened.
    pub(crate) generation: u64,
}

impl Target {
    pub(crate) fn new(
        instance: &Instance,
        settings: &Settings,
        certificate: &Certificate,
        key: &Key,
        generation: u64,
    ) -> Result<Self> {
        Ok(Target {
            addresses: settings.addresses.clone(),
            port: CLOUD_SQL_PORT,
            exchange: None,
            tls: Arc::new(client_config(instance, settings, certificate, key)?),
            server_name: settings.dns_names.iter().find_map(|name| dns_name(name)),
            expires: certificate.expires,
            generation,
        })
    }

    /// What the handshake calls the server that was found at `dialled`.
    pub(crate) fn server_name_at(&self, dialled: &Address) -> Result<ServerName<'static>> {
        match (&self.server_name, dialled) {
            (Some(name), _) => Ok(name.clone()),
            (None, Address::Ip(ip)) => Ok(ServerName::IpAddress((*ip).into())),
            (None, Address::Name(name)) => dns_name(name).ok_or_else(|| {
                Error::new(
                    ErrorKind::Dns,
                    format!("{:?} is not a DNS name", foreign(name)),
                )
            }),
        }
    }
}

fn dns_name(name: &str) -> Option<ServerName<'static>> {
    let name = name.strip_suffix('.').unwrap_or(name);
    ServerName::try_from(name.to_owned()).ok()
}

/// TLS 1.3 alone, no session kept: a resumed session would outlive its certificate.
fn client_config(
    instance: &Instance,
    settings: &Settings,
    certificate: &Certificate,
    key: &Key,
) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let trust = ServerTrust::new(instance, settings)?;
    let chain = vec![certificate.der.clone()];
    let certified = Arc::new(CertifiedKey::new(chain, key.signer.clone()));
    certified.keys_match().map_err(|error| {
        Error::new(
            ErrorKind::Unavailable,
            "the Cloud SQL Admin API issued a certificate for another key",
        )
        .with_source(error)
    })?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| Error::new(ErrorKind::Tls, "TLS 1.3 is not available").with_source(error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ServerVerifier::new(trust, algorithms)))
        .with_client_cert_resolver(Arc::new(Always(certified)));
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}

/// The engine's key with the instance's certificate, whichever authorities the server names.
#[derive(Debug)]
struct Always(Arc<CertifiedKey>);

impl ResolvesClientCert for Always {
    fn resolve(
        &self,
        _hints: &[&[u8]],
        _schemes: &[rustls::SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}
