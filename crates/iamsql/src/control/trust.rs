//! The instance's certificate authorities and names → who may be at the other end. Decided inside the handshake,
//! before client certificate, token or login packet leave.

mod identity;
mod verifier;

use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::control::admin::Settings;
use crate::control::admin::settings::CaMode;
use crate::error::{Detail, Error, ErrorKind, Result};
use crate::instance::Instance;
use crate::secret::foreign;

pub(crate) use verifier::ServerVerifier;

/// Whom an instance's certificate must come from, and what it must say.
#[derive(Clone, Debug)]
pub(crate) struct ServerTrust {
    anchors: Arc<RootCertStore>,
    /// Server certificates that the instance's settings themselves contain.
    pinned: Vec<CertificateDer<'static>>,
    expected: Expected,
}

/// The names under which a server is the instance.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Expected {
    /// Those that are known of the instance.
    Named {
        /// Any of these as a DNS name of the certificate, exactly, but for case and a final dot.
        dns_names: Vec<String>,
        /// `project:instance`, as the only common name; not where the authority is a customer's own.
        common_name: Option<String>,
    },
    /// The very address or DNS name that was dialled, as an alternative name of the certificate.
    Dialled,
}

/// Why a server is not the instance. Reads as a sentence, also where a library prints it for debugging.
#[derive(Clone)]
pub(crate) struct Distrust {
    sentence: String,
    detail: Option<Detail>,
}

impl ServerTrust {
    pub(crate) fn new(instance: &Instance, settings: &Settings) -> Result<Self> {
        let (anchors, pinned) =
            read_authorities(&settings.server_ca).map_err(|error| error.with_advice(ROTATE))?;
        Ok(ServerTrust {
            anchors: Arc::new(anchors),
            pinned,
            expected: Expected::Named {
                dns_names: settings.dns_names.clone(),
                common_name: match settings.ca_mode {
                    CaMode::Google => Some(format!("{}:{}", instance.project(), instance.name())),
                    CaMode::Other => None,
                },
            },
        })
    }

    /// Trusts whom `authority` vouches for under the address or name that is dialled.
    pub(crate) fn as_dialled(authority: &str) -> Result<Self> {
        let (anchors, pinned) = read_authorities(authority)?;
        Ok(ServerTrust {
            anchors: Arc::new(anchors),
            pinned,
            expected: Expected::Dialled,
        })
    }
}

impl ServerTrust {
    /// The same, for whoever came by a domain name of the user's: that is another name for the server; where a customer's
    /// authority signs, the only one, because nothing else there is known to be this instance's alone.
    pub(crate) fn under(&self, domain: &str) -> Self {
        let mut trust = self.clone();
        if let Expected::Named {
            dns_names,
            common_name,
        } = &mut trust.expected
        {
            if common_name.is_none() {
                dns_names.clear();
            }
            dns_names.insert(0, domain.to_owned());
        }
        trust
    }
}

/// Anchors are the CA certificates among them; others are accepted only as themselves.
fn read_authorities(pem: &str) -> Result<(RootCertStore, Vec<CertificateDer<'static>>)> {
    let malformed = |why: &str| {
        Error::new(
            ErrorKind::Tls,
            format!("the instance's server CA certificate {why}"),
        )
    };
    if pem.len() > MAX_AUTHORITIES_BYTES {
        return Err(malformed("is larger than 64 KiB"));
    }
    let mut anchors = RootCertStore::empty();
    let mut pinned = Vec::new();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let der = certificate.map_err(|_| malformed("is not readable PEM"))?;
        if anchors.len() + pinned.len() == MAX_AUTHORITIES {
            return Err(malformed("holds more than 16 certificates"));
        }
        let is_ca = X509Certificate::from_der(&der)
            .map(|(_, certificate)| certificate.is_ca())
            .map_err(|_| malformed("cannot be parsed"))?;
        match is_ca {
            true => anchors
                .add(der)
                .map_err(|error| malformed("cannot be used").with_source(error))?,
            false => pinned.push(der),
        }
    }
    match anchors.is_empty() && pinned.is_empty() {
        true => Err(malformed("is missing")),
        false => Ok((anchors, pinned)),
    }
}

impl Distrust {
    fn new(sentence: impl Into<String>) -> Self {
        Distrust {
            sentence: sentence.into(),
            detail: None,
        }
    }

    /// The names differ: those that the certificate bears, and those of which it had to bear one.
    fn names(presented: &[String], expected: &[String]) -> Self {
        let sentence = format!(
            "server presented {}, expected {}",
            listed(presented, "\""),
            listed(expected, "\"")
        );
        Distrust {
            sentence,
            detail: Some(Detail::WrongServer {
                presented: listed(presented, ""),
                expected: listed(expected, ""),
            }),
        }
    }
}

fn listed(names: &[String], quote: &str) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(MAX_SHOWN)
        .map(|name| format!("{quote}{}{quote}", foreign(name)))
        .collect();
    match names.len() {
        0 => "no name".to_owned(),
        1..=MAX_SHOWN => shown.join(" or "),
        _ => format!("{} and more", shown.join(" or ")),
    }
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl fmt::Debug for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl std::error::Error for Distrust {}

/// A TLS failure in our words: what the server presented, where that was the reason, else what rustls says.
pub(crate) fn tls_error(error: &rustls::Error) -> Error {
    let distrust = match error {
        rustls::Error::InvalidCertificate(rustls::CertificateError::Other(other)) => {
            other.0.downcast_ref::<Distrust>()
        }
        _ => None,
    };
    match distrust {
        Some(distrust) => {
            let error = Error::new(ErrorKind::Tls, &distrust.sentence);
            match &distrust.detail {
                Some(detail) => error.with_detail(detail.clone()),
                None => error,
            }
        }
        None => Error::new(ErrorKind::Tls, "the TLS handshake failed").with_source(error.clone()),
    }
}

const ROTATE: &str = "rotate the server CA: `gcloud sql ssl server-ca-certs create --instance=INSTANCE`, then `gcloud sql ssl server-ca-certs rotate --instance=INSTANCE`";
/// How many names an error repeats.
const MAX_SHOWN: usize = 3;
const MAX_AUTHORITIES: usize = 16;
const MAX_AUTHORITIES_BYTES: usize = 64 << 10;

#[cfg(test)]
mod tests;
