//! The TLS configuration of one connection: TLS 1.3, this instance's certificate, client certificates checked and noted.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, StoresServerSessions,
    WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme, version,
};

use super::Instance;
use crate::authority::serial_of;
use crate::faults::{CertificateAlert, Effect, Endpoint};
use crate::instance::Wire;
use crate::session::SessionHandle;
use crate::world::{IssuedCertificate, World};

/// The configuration for one connection to `instance`; what the client presents is noted in `session`.
pub(crate) fn config(
    world: &Arc<World>,
    instance: &Arc<Instance>,
    session: &SessionHandle,
) -> Result<Arc<ServerConfig>, anyhow::Error> {
    let spec = instance.spec();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(instance.client_authority().anchor().clone())?;
    let inner =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
    let gate = Gate {
        inner,
        world: world.clone(),
        instance: instance.clone(),
        session: session.clone(),
    };
    let versions: &[_] = if spec.wire == Wire::Tls12 {
        &[&version::TLS12]
    } else {
        &[&version::TLS13]
    };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(Arc::new(gate))
        .with_cert_resolver(Arc::new(Fixed(instance.server_trust().key.clone())));
    config.session_storage = if spec.tickets {
        instance.tickets.clone() as Arc<dyn StoresServerSessions>
    } else {
        Arc::new(NoServerSessionStorage {})
    };
    config.send_tls13_tickets = if spec.tickets { TICKETS } else { 0 };
    Ok(Arc::new(config))
}

/// What was remembered of a certificate when it was issued, if it still counts.
pub(crate) fn recognise(
    world: &World,
    instance: &Instance,
    certificate: &CertificateDer<'_>,
) -> Result<IssuedCertificate, Error> {
    let issued = serial_of(certificate).and_then(|serial| world.certificates.find(&serial));
    match issued {
        Some(issued) if issued.instance != instance.certificate_scope() => {
            Err(CertificateError::UnknownIssuer.into())
        }
        Some(issued) if issued.revoked => Err(CertificateError::Revoked.into()),
        Some(issued) => Ok(issued),
        None => Err(CertificateError::UnknownIssuer.into()),
    }
}

/// Checks a client certificate against the instance's client CA, what was revoked, and the faults.
struct Gate {
    inner: Arc<dyn ClientCertVerifier>,
    world: Arc<World>,
    instance: Arc<Instance>,
    session: SessionHandle,
}

impl ClientCertVerifier for Gate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.session.update(|session| {
            session.certificate_seen = true;
            session.certificate = serial_of(certificate);
        });
        let verified = self
            .inner
            .verify_client_cert(certificate, intermediates, now)?;
        let issued = recognise(&self.world, &self.instance, certificate)?;
        let principal = issued.login.principal();
        let refuses = |effect: &Effect| matches!(effect, Effect::RefuseCertificate { .. });
        match self.world.faults.take_where(
            Endpoint::Tls,
            Some(&self.instance.text),
            principal,
            refuses,
        ) {
            Some(Effect::RefuseCertificate { alert }) => Err(refusal(alert)),
            _ => Ok(verified),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl std::fmt::Debug for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gate")
            .field("instance", &self.instance.text)
            .finish_non_exhaustive()
    }
}

/// Presents one certificate whatever name the client asks for.
#[derive(Debug)]
struct Fixed(Arc<CertifiedKey>);

impl ResolvesServerCert for Fixed {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.clone())
    }
}

/// The error that rustls turns into the alert asked for.
fn refusal(alert: CertificateAlert) -> Error {
    match alert {
        CertificateAlert::Bad => CertificateError::BadEncoding,
        CertificateAlert::Revoked => CertificateError::Revoked,
        CertificateAlert::Expired => CertificateError::Expired,
        CertificateAlert::UnknownCa => CertificateError::UnknownIssuer,
        CertificateAlert::AccessDenied => CertificateError::ApplicationVerificationFailure,
    }
    .into()
}

/// As many as a Go server sends.
const TICKETS: usize = 1;
