//! What rustls asks during the handshake: is this the instance's server?

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;
use x509_parser::x509::X509Version;

use crate::control::trust::{Distrust, ServerTrust};

/// Checks chain, purpose, dates and name, in one go.
#[derive(Debug)]
pub(crate) struct ServerVerifier {
    trust: ServerTrust,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerVerifier {
    pub(crate) fn new(trust: ServerTrust, algorithms: WebPkiSupportedAlgorithms) -> Self {
        ServerVerifier { trust, algorithms }
    }

    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        dialled: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        let (_, certificate) = X509Certificate::from_der(leaf)
            .map_err(|_| rustls::Error::from(CertificateError::BadEncoding))?;
        if certificate.version() != X509Version::V3 {
            return Err(distrusted(Distrust::new(
                "server presented a certificate of an outdated form: rotate the instance's server CA",
            )));
        }
        check_purpose(&certificate).map_err(distrusted)?;
        match self.trust.pinned.iter().any(|pinned| pinned == leaf) {
            // The settings name this very certificate, so nobody needs to vouch for it; all else still holds.
            true => check_dates(&certificate, now).map_err(distrusted)?,
            false => verify_server_cert_signed_by_trust_anchor(
                &ParsedCertificate::try_from(leaf)?,
                &self.trust.anchors,
                intermediates,
                now,
                self.algorithms.all,
            )
            .map_err(in_our_words)?,
        }
        self.trust
            .expected
            .check(&certificate, dialled)
            .map_err(distrusted)
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        dialled: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity, intermediates, dialled, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General(
            "TLS 1.2 is never spoken to an instance".to_owned(),
        ))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// What webpki leaves out, or does only while it builds a chain: the certificate is for servers, and for signing.
fn check_purpose(certificate: &X509Certificate<'_>) -> Result<(), Distrust> {
    let unreadable = |_| Distrust::new("server presented a certificate with unreadable extensions");
    if certificate.is_ca() {
        return Err(Distrust::new(
            "server presented a certificate authority's certificate as its own",
        ));
    }
    if let Some(usage) = certificate.key_usage().map_err(unreadable)?
        && !usage.value.digital_signature()
    {
        return Err(Distrust::new(
            "server presented a certificate whose key may not sign",
        ));
    }
    if let Some(purposes) = certificate.extended_key_usage().map_err(unreadable)?
        && !(purposes.value.server_auth || purposes.value.any)
    {
        return Err(Distrust::new(
            "server presented a certificate that is not for servers",
        ));
    }
    Ok(())
}

fn check_dates(certificate: &X509Certificate<'_>, now: UnixTime) -> Result<(), Distrust> {
    let now = i64::try_from(now.as_secs())
        .ok()
        .and_then(|seconds| ASN1Time::from_timestamp(seconds).ok());
    match now.is_some_and(|now| certificate.validity().is_valid_at(now)) {
        true => Ok(()),
        false => Err(Distrust::new(WRONG_TIME)),
    }
}

/// The two failures that users do meet, said plainly; the rest as rustls says it.
fn in_our_words(error: rustls::Error) -> rustls::Error {
    use CertificateError::{
        BadSignature, Expired, ExpiredContext, NotValidYet, NotValidYetContext, UnknownIssuer,
    };
    match error {
        rustls::Error::InvalidCertificate(UnknownIssuer | BadSignature) => {
            distrusted(Distrust::new(NOT_SIGNED))
        }
        rustls::Error::InvalidCertificate(
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. },
        ) => distrusted(Distrust::new(WRONG_TIME)),
        other => other,
    }
}

fn distrusted(distrust: Distrust) -> rustls::Error {
    CertificateError::Other(OtherError(Arc::new(distrust))).into()
}

const NOT_SIGNED: &str =
    "server presented a certificate that none of the instance's server CAs signed";
const WRONG_TIME: &str = "server presented a certificate that has expired or is not valid yet";
