//! A plain client, written against the protocol: it gets tokens, settings and a certificate, and dials port 3307.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use iamsql_emulator::Emulator;
use rcgen::{KeyPair, RsaKeySize};
use reqwest::{Method, RequestBuilder, Response};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme, version};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) const ECHO: &str = "your-project-id:us-central1:echo";
pub(crate) const ADMIN_SCOPE: &str = "https://www.googleapis.com/auth/sqlservice.admin";
pub(crate) const LOGIN_SCOPE: &str = "https://www.googleapis.com/auth/sqlservice.login";
pub(crate) const ADMIN: &[&str] = &[ADMIN_SCOPE];
pub(crate) const HOUR: Duration = Duration::from_secs(3600);

/// One application, with a key of its own.
pub(crate) struct Client {
    base: String,
    pub(crate) http: reqwest::Client,
}

/// A signed certificate as it came.
#[derive(Clone)]
pub(crate) struct Signed {
    pub(crate) pem: String,
    pub(crate) answer: Value,
}

impl Client {
    pub(crate) fn new(emulator: &Emulator) -> Self {
        Self::at(emulator.host())
    }

    pub(crate) fn at(host: &str) -> Self {
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(Duration::from_secs(10))
            .build()
            .unwrap();
        Client {
            base: format!("http://{host}"),
            http,
        }
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    pub(crate) async fn metadata(&self, path: &str) -> Response {
        let request = self.request(Method::GET, &format!("/computeMetadata/v1/{path}"));
        request
            .header("Metadata-Flavor", "Google")
            .send()
            .await
            .unwrap()
    }

    /// An access token of the attached service account.
    pub(crate) async fn token(&self, scope: &str) -> String {
        let path = format!("instance/service-accounts/default/token?scopes={scope}");
        let answer: Value = self.metadata(&path).await.json().await.unwrap();
        answer["access_token"].as_str().unwrap().to_string()
    }

    pub(crate) async fn settings(&self, instance: &str, bearer: &str) -> Response {
        let path = format!("{}/connectSettings", api_path(instance));
        self.request(Method::GET, &path)
            .bearer_auth(bearer)
            .send()
            .await
            .unwrap()
    }

    pub(crate) async fn sign(&self, instance: &str, bearer: &str, login: Option<&str>) -> Response {
        let mut body = json!({ "public_key": key().public_key_pem() });
        if let Some(login) = login {
            body["access_token"] = login.into();
        }
        let path = format!("{}:generateEphemeralCert", api_path(instance));
        self.request(Method::POST, &path)
            .bearer_auth(bearer)
            .json(&body)
            .send()
            .await
            .unwrap()
    }

    /// A certificate with the login token of the attached service account.
    pub(crate) async fn certificate(&self, instance: &str) -> Signed {
        let (api, login) = (self.token(ADMIN_SCOPE).await, self.token(LOGIN_SCOPE).await);
        signed(self.sign(instance, &api, Some(&login)).await).await
    }
}

/// The certificate in a good answer.
pub(crate) async fn signed(response: Response) -> Signed {
    assert_eq!(response.status(), 200);
    let answer: Value = response.json().await.unwrap();
    let pem = answer["ephemeralCert"]["cert"]
        .as_str()
        .unwrap()
        .to_string();
    Signed { pem, answer }
}

/// `/sql/v1beta4/projects/p/instances/i`.
pub(crate) fn api_path(instance: &str) -> String {
    let (rest, name) = instance.rsplit_once(':').unwrap();
    let (project, _region) = rest.rsplit_once(':').unwrap();
    format!("/sql/v1beta4/projects/{project}/instances/{name}")
}

/// The key of all clients here: making one takes a while.
pub(crate) fn key() -> &'static KeyPair {
    static KEY: OnceLock<KeyPair> = OnceLock::new();
    KEY.get_or_init(|| {
        KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).unwrap()
    })
}

/// Connects with TLS and, if given, a certificate. Any server is trusted: what it presented can be asked afterwards.
pub(crate) async fn dial(
    address: SocketAddr,
    certificate: Option<&Signed>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting));
    let config = match certificate {
        Some(signed) => {
            let chain = CertificateDer::pem_slice_iter(signed.pem.as_bytes());
            let chain = chain.collect::<Result<_, _>>().unwrap();
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key().serialize_der()));
            builder.with_client_auth_cert(chain, key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::from(address.ip());
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

#[derive(Debug)]
struct Trusting;

impl ServerCertVerifier for Trusting {
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
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
