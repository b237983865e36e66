//! All that is needed to dial an instance: the one thing that passes from the control plane to the data plane.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use rustls::ClientConfig;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SigningKey};

use crate::control::admin::alloydb::DATABASE_VERSION as ALLOYDB_VERSION;
use crate::control::admin::{ConnectionInfo, Settings};
use crate::control::certificate::Certificate;
use crate::control::key::Key;
use crate::control::names::domain::is_immutable;
use crate::control::trust::{ServerTrust, ServerVerifier};
use crate::error::{Error, ErrorKind, Result};
use crate::instance::Instance;
use crate::options::{ALLOYDB_PORT, CLOUD_SQL_PORT, IpType};
use crate::secret::foreign;

/// Where an instance can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Address {
    Ip(IpAddr),
    /// A DNS name, looked up at each dial.
    Name(String),
}

/// What is said to the server's proxy between the TLS handshake and the driver's first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exchange {
    /// AlloyDB's: how the login happens, and a login token.
    AlloyDb,
    /// Cloud SQL's: how the driver connects.
    CloudSql,
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
    pub(crate) exchange: Option<Exchange>,
    /// What the instance runs, as the Admin API spells it, where it says.
    pub(crate) database_version: Option<String>,
    /// The same as `tls` for those who come by a domain name; absent where nobody can.
    pub(crate) by_domain: Option<ByDomain>,
    pub(crate) expires: SystemTime,
    /// Counts up with each renewal; what a failed dial saw, so that it forces no renewal that already happened.
    pub(crate) generation: u64,
}

impl Target {
    pub(crate) fn cloud_sql(
        instance: &Instance,
        settings: &Settings,
        certificate: &Certificate,
        key: &Key,
        generation: u64,
    ) -> Result<Self> {
        let trust = ServerTrust::new(instance, settings)?;
        let tls = client_config(trust.clone(), certificate, key.signer.clone())?;
        Ok(Target {
            addresses: settings.addresses.clone(),
            port: CLOUD_SQL_PORT,
            exchange: settings.asks_client_protocol.then_some(Exchange::CloudSql),
            database_version: Some(settings.database_version.clone()),
            by_domain: Some(ByDomain::new(trust, tls.clone())),
            tls,
            server_name: settings.dns_names.iter().find_map(|name| dns_name(name)),
            expires: certificate.expires,
            generation,
        })
    }

    /// The server must bear the address or name that is dialled, signed by `authority`.
    pub(crate) fn alloydb(
        info: &ConnectionInfo,
        authority: &str,
        certificate: &Certificate,
        signer: Arc<dyn SigningKey>,
        generation: u64,
    ) -> Result<Self> {
        let trust = ServerTrust::as_dialled(authority)?;
        Ok(Target {
            addresses: info.addresses.clone(),
            port: ALLOYDB_PORT,
            exchange: Some(Exchange::AlloyDb),
            database_version: Some(ALLOYDB_VERSION.to_owned()),
            by_domain: None,
            tls: client_config(trust, certificate, signer)?,
            server_name: None,
            expires: certificate.expires,
            generation,
        })
    }

    /// How to shake hands with a server to which `domain` led, if one did.
    pub(crate) fn tls_for(&self, domain: Option<&str>) -> Arc<ClientConfig> {
        match (domain, &self.by_domain) {
            (Some(domain), Some(by_domain)) => by_domain.tls(domain),
            _ => self.tls.clone(),
        }
    }

    /// What the handshake calls the server that was found at `dialled`, and to which `domain` led, if one did.
    pub(crate) fn server_name_at(
        &self,
        dialled: &Address,
        domain: Option<&str>,
    ) -> Result<ServerName<'static>> {
        if let Some(name) = domain.and_then(dns_name) {
            return Ok(name);
        }
        match (dialled, &self.server_name) {
            (Address::Ip(_), Some(name)) => Ok(name.clone()),
            (Address::Ip(ip), None) => Ok(ServerName::IpAddress((*ip).into())),
            (Address::Name(name), _) => dns_name(name).ok_or_else(|| {
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
    trust: ServerTrust,
    certificate: &Certificate,
    signer: Arc<dyn SigningKey>,
) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let certified = Arc::new(CertifiedKey::new(certificate.chain.clone(), signer));
    certified.keys_match().map_err(|error| {
        Error::new(
            ErrorKind::Unavailable,
            "the client certificate was issued for another key",
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
    Ok(Arc::new(config))
}

/// A configuration for each domain name that leads here: the same certificate, but another name for the server.
#[derive(Debug)]
pub(crate) struct ByDomain {
    trust: ServerTrust,
    plain: Arc<ClientConfig>,
    made: Mutex<HashMap<String, Arc<ClientConfig>>>,
}

impl ByDomain {
    fn new(trust: ServerTrust, plain: Arc<ClientConfig>) -> Self {
        ByDomain {
            trust,
            plain,
            made: Mutex::default(),
        }
    }

    fn tls(&self, domain: &str) -> Arc<ClientConfig> {
        // The Admin API itself says whose that name is, and which names the server may bear.
        if is_immutable(domain) {
            return self.plain.clone();
        }
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = made.get(domain) {
            return config.clone();
        }
        let mut config = ClientConfig::clone(&self.plain);
        let algorithms = config.crypto_provider().signature_verification_algorithms;
        let verifier = ServerVerifier::new(self.trust.under(domain), algorithms);
        config
            .dangerous()
            .set_certificate_verifier(Arc::new(verifier));
        let config = Arc::new(config);
        made.insert(domain.to_owned(), config.clone());
        config
    }
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
