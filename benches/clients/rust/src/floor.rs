//! The least a Rust client can do: TCP, rustls with a certificate made beforehand.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Result;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::setting;

/// Dials the instance with a fixed identity.
pub(crate) struct Floor {
    address: IpAddr,
    tls: TlsConnector,
}

impl Floor {
    pub(crate) fn from_settings() -> Result<Self> {
        let identity = setting("BENCH_CERTIFICATE")?;
        let chain = CertificateDer::pem_file_iter(&identity)?.collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_file(&identity)?;
        let mut config = ClientConfig::builder_with_protocol_versions(&[&rustls::version::TLS13])
            .with_root_certificates(RootCertStore::empty())
            .with_client_auth_cert(chain, key)?;
        config.resumption = rustls::client::Resumption::disabled();
        config
            .dangerous()
            .set_certificate_verifier(Arc::new(unverified::AnyServer));
        Ok(Self {
            address: setting("BENCH_ADDRESS")?.parse()?,
            tls: TlsConnector::from(Arc::new(config)),
        })
    }

    pub(crate) async fn connect(&self) -> Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect((self.address, 3307)).await?;
        tcp.set_nodelay(true)?;
        Ok(self
            .tls
            .connect(ServerName::from(self.address), tcp)
            .await?)
    }
}

/// A verifier that only checks signatures: names and chains cost nothing on the floor.
mod unverified {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::aws_lc_rs::default_provider;
    use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};
    use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

    #[derive(Debug)]
    pub(super) struct AnyServer;

    impl ServerCertVerifier for AnyServer {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }

        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = default_provider().signature_verification_algorithms;
            verify_tls12_signature(message, certificate, signature, &algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = default_provider().signature_verification_algorithms;
            verify_tls13_signature(message, certificate, signature, &algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            default_provider()
                .signature_verification_algorithms
                .supported_schemes()
        }
    }
}
