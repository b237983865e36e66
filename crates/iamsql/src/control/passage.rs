//! How to reach Cloud SQL's SqlData service: where it is, whom to trust there, and what to say who we are.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls_platform_verifier::BuilderVerifierExt;
use serde::Deserialize;
use tokio::sync::OnceCell;

use crate::control::credentials::{Scope, Tokens};
use crate::control::endpoint::{Endpoint, SqlData};
use crate::control::http::patience::Patience;
use crate::control::http::{Call, Http, bearer};
use crate::error::{Error, ErrorKind, Result};
use crate::instance::Instance;

/// Everything that one tunnel is opened with.
#[derive(Clone)]
pub(crate) struct Passage {
    pub(crate) server: Arc<Server>,
    /// Who we are, and whose project is charged.
    pub(crate) headers: HeaderMap,
    /// The instances that turned out to have no such service.
    pub(crate) unsupported: Unsupported,
}

/// The service's place.
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) port: u16,
    /// `None` only for a loopback address.
    pub(crate) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// Instances of an edition without the service: they are dialled in the other way at once.
#[derive(Clone, Default)]
pub(crate) struct Unsupported(Arc<Mutex<HashSet<Instance>>>);

impl Unsupported {
    pub(crate) fn add(&self, instance: &Instance) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < MAX_UNSUPPORTED {
            known.insert(instance.clone());
        }
    }

    pub(crate) fn contains(&self, instance: &Instance) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.contains(instance)
    }
}

/// Makes passages, of which the service's place is found once.
pub(crate) struct Passages {
    pub(crate) http: Arc<Http>,
    pub(crate) tokens: Arc<Tokens>,
    /// The service itself, unless an emulator says where its own is.
    pub(crate) endpoint: SqlData,
    pub(crate) user_agent: HeaderValue,
    pub(crate) quota_project: Option<HeaderValue>,
    pub(crate) server: OnceCell<Arc<Server>>,
    pub(crate) unsupported: Unsupported,
}

impl Passages {
    pub(crate) async fn passage(&self, patience: &Patience) -> Result<Passage> {
        let server = self.server.get_or_try_init(|| self.find(patience)).await?;
        let token = self.tokens.api(Scope::Api, patience).await?;
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, bearer(token.secret())?);
        headers.insert(USER_AGENT, self.user_agent.clone());
        if let Some(project) = &self.quota_project {
            headers.insert(
                HeaderName::from_static("x-goog-user-project"),
                project.clone(),
            );
        }
        Ok(Passage {
            server: server.clone(),
            headers,
            unsupported: self.unsupported.clone(),
        })
    }

    async fn find(&self, patience: &Patience) -> Result<Arc<Server>> {
        let (endpoint, authority) = match &self.endpoint {
            SqlData::At(endpoint) => (endpoint.clone(), None),
            SqlData::Emulator(emulator) => {
                let (endpoint, authority) = self.ask_emulator(emulator, patience).await?;
                (endpoint, Some(authority))
            }
        };
        let host = endpoint.host().trim_matches(['[', ']']).to_owned();
        let tls = match endpoint.is_plain() {
            true => None,
            false => {
                let name = ServerName::try_from(host.clone()).map_err(|error| {
                    Error::config("the SqlData endpoint has no name for a certificate")
                        .with_source(error)
                })?;
                // Reading the system's certificates takes a while, and this thread serves every instance.
                let config = tokio::task::spawn_blocking(|| client_config(authority));
                let config = config.await.map_err(unusable)??;
                Some((Arc::new(config), name))
            }
        };
        Ok(Arc::new(Server {
            host,
            port: endpoint.url().port_or_known_default().unwrap_or(443),
            tls,
        }))
    }

    async fn ask_emulator(
        &self,
        emulator: &Endpoint,
        patience: &Patience,
    ) -> Result<(Endpoint, String)> {
        #[derive(Deserialize)]
        struct Body {
            grpc: Option<String>,
            ca: Option<String>,
        }
        let silent = || {
            Error::new(
                ErrorKind::Unavailable,
                "the emulator does not say where its gRPC port is",
            )
            .with_retryable(false)
        };
        let call = Call::get("the emulator", emulator.join("/emulator"), LIMIT);
        let answer = self.http.call(&call, patience, &|_| silent()).await?;
        let body: Body = serde_json::from_slice(&answer.body).map_err(|_| silent())?;
        let (grpc, authority) = body.grpc.zip(body.ca).ok_or_else(silent)?;
        let endpoint = Endpoint::parse("the emulator's gRPC port", &format!("https://{grpc}"))?;
        match endpoint.host() == emulator.host() {
            true => Ok((endpoint, authority)),
            false => Err(silent()),
        }
    }
}

/// HTTP/2 alone is offered here; everything else speaks HTTP/1.
///
/// TLS 1.2 stays allowed, as it is for the API's other calls: this is the same front of Google's, proved by its name, and no
/// certificate of ours is sent that 1.2 would show. Every call's handshake is a whole one, and no byte goes before it.
fn client_config(authority: Option<String>) -> Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = || {
        ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(unusable)
    };
    let mut config = match authority {
        Some(pem) => {
            let mut roots = rustls::RootCertStore::empty();
            for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                let certificate = certificate.map_err(unusable)?;
                roots.add(certificate).map_err(unusable)?;
            }
            builder()?
                .with_root_certificates(roots)
                .with_no_client_auth()
        }
        None => match builder()?.with_platform_verifier() {
            Ok(verified) => verified.with_no_client_auth(),
            Err(error) => {
                tracing::info!(%error, "using the built-in Mozilla roots");
                let mut roots = rustls::RootCertStore::empty();
                roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
                builder()?
                    .with_root_certificates(roots)
                    .with_no_client_auth()
            }
        },
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}

fn unusable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Unavailable, "no TLS client could be made").with_source(error)
}

const LIMIT: Duration = Duration::from_secs(5);
const MAX_UNSUPPORTED: usize = 4096;
