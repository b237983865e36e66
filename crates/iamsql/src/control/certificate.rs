//! The signed client certificate, with the moment until which it is good for logging in.

use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::error::{Error, ErrorKind, Result};

#[derive(Clone, Debug)]
pub(crate) struct Certificate {
    pub(crate) der: CertificateDer<'static>,
    /// The earliest of the certificate's own end, the login token's, and a day from now.
    pub(crate) expires: SystemTime,
}

impl Certificate {
    /// Reads what `generateEphemeralCert` answered; `login_expires` is the end of the login token inside.
    pub(crate) fn read(
        pem: &str,
        login_expires: Option<SystemTime>,
        now: SystemTime,
    ) -> Result<Self> {
        let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| malformed())?;
        let not_after = {
            let (_, certificate) = X509Certificate::from_der(&der).map_err(|_| malformed())?;
            certificate.validity().not_after.timestamp()
        };
        let own_end = u64::try_from(not_after)
            .ok()
            .and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))
            .ok_or_else(malformed)?;
        let expires = own_end
            .min(now + MAX_LIFE)
            .min(login_expires.unwrap_or(own_end));
        if expires <= now {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "the Cloud SQL Admin API issued a certificate that has already expired",
            )
            .with_advice("check this machine's clock"));
        }
        Ok(Certificate { der, expires })
    }
}

fn malformed() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the Cloud SQL Admin API sent no readable certificate",
    )
}

/// However long a certificate says it lives, it is renewed within a day.
const MAX_LIFE: Duration = Duration::from_secs(24 * 3600);

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
