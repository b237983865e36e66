//! The signed client certificate, with the moment until which it is good for logging in.

use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::control::admin::{alloydb, cloud_sql};
use crate::error::{Error, ErrorKind, Result};

#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    /// The certificate, then those that vouch for it: what is presented.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    /// The earliest of the certificate's own end, the end of the login token inside, and a day from now.
    pub(crate) expires: SystemTime,
}

impl Certificate {
    /// Reads what `generateEphemeralCert` answered; `login_expires` is the end of the login token inside.
    pub(crate) fn read(
        pem: &str,
        login_expires: Option<SystemTime>,
        now: SystemTime,
    ) -> Result<Self> {
        let malformed = || unreadable(cloud_sql::SERVICE);
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| malformed())?;
        let own_end = not_after(&der).ok_or_else(malformed)?;
        let expires = own_end.min(login_expires.unwrap_or(own_end));
        Certificate::until(vec![der], expires, now, cloud_sql::SERVICE)
    }

    /// Reads what `generateClientCertificate` answered, the leaf first. No login is inside, so its own end is what counts.
    pub(crate) fn read_chain(pems: &[String], now: SystemTime) -> Result<Self> {
        let malformed = || unreadable(alloydb::SERVICE);
        let chain = chain(pems).ok_or_else(malformed)?;
        let own_end = chain.first().and_then(not_after).ok_or_else(malformed)?;
        Certificate::until(chain, own_end, now, alloydb::SERVICE)
    }

    fn until(
        chain: Vec<CertificateDer<'static>>,
        expires: SystemTime,
        now: SystemTime,
        service: &str,
    ) -> Result<Self> {
        if expires <= now {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("{service} issued a certificate that has already expired"),
            )
            .with_advice("check this machine's clock"));
        }
        Ok(Certificate {
            chain,
            expires: expires.min(now + MAX_LIFE),
        })
    }
}

/// One certificate of each text; `None` if a text holds none, or there are too many.
pub(crate) fn chain(pems: &[String]) -> Option<Vec<CertificateDer<'static>>> {
    let bytes: usize = pems.iter().map(String::len).sum();
    if pems.len() > MAX_CHAIN || bytes > MAX_CHAIN_BYTES {
        return None;
    }
    pems.iter()
        .map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()).ok())
        .collect()
}

/// When a certificate says that it ends.
pub(crate) fn not_after(der: &CertificateDer<'_>) -> Option<SystemTime> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn unreadable(service: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("{service} sent no readable certificate"),
    )
}

/// However long a certificate says it lives, it is renewed within a day.
const MAX_LIFE: Duration = Duration::from_secs(24 * 3600);
const MAX_CHAIN: usize = 16;
const MAX_CHAIN_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(not_after: SystemTime) -> String {
        let mut params = rcgen::CertificateParams::default();
        params.not_after = not_after.into();
        let key = rcgen::KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().pem()
    }

    fn expires(cert: u64, login: Option<u64>) -> Result<u64> {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let after = |seconds| now + Duration::from_secs(seconds);
        let certificate = Certificate::read(&pem(after(cert)), login.map(after), now)?;
        Ok(certificate.expires.duration_since(now).unwrap().as_secs())
    }

    #[test]
    fn the_shortest_life_counts() {
        assert_eq!(expires(3600, None).unwrap(), 3600);
        assert_eq!(expires(3600, Some(2400)).unwrap(), 2400);
        assert_eq!(expires(3600, Some(9000)).unwrap(), 3600);
        assert_eq!(expires(400_000, Some(300_000)).unwrap(), 86_400);
    }

    #[test]
    fn a_chain_is_presented_whole_and_ends_with_its_leaf() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let after = |seconds| now + Duration::from_secs(seconds);
        let pems = [pem(after(3600)), pem(after(900)), pem(after(90_000))];
        let certificate = Certificate::read_chain(&pems, now).unwrap();
        assert_eq!(certificate.chain.len(), 3);
        assert_eq!(certificate.expires, after(3600));
        for broken in [vec![], vec![String::new()], vec![pem(now); MAX_CHAIN + 1]] {
            let error = Certificate::read_chain(&broken, now).unwrap_err();
            assert!(error.to_string().contains("no readable certificate"));
        }
        let error = Certificate::read_chain(&[pem(now)], now).unwrap_err();
        assert!(error.to_string().contains("already expired"), "{error}");
    }

    #[test]
    fn an_expired_or_unreadable_certificate_is_refused() {
        assert!(expires(0, None).is_err());
        assert!(
            Certificate::read(
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                None,
                SystemTime::now()
            )
            .is_err()
        );
        assert!(Certificate::read("", None, SystemTime::now()).is_err());
    }
}
