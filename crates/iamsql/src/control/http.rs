//! The one way out to Google's HTTP services: deadlines, retries, no redirects, capped bodies, no secrets in errors.

pub(crate) mod patience;
pub(crate) mod retry;

use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Method, Proxy};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::control::clock::Clock;
use crate::control::endpoint::{Endpoint, is_loopback};
use crate::control::environment::{self, Environment};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::{Secret, foreign};

use patience::Patience;
use retry::{Next, Outcome, Persistence};

/// One client for everything an engine asks of Google.
pub(crate) struct Http {
    plain: OnceCell<reqwest::Client>,
    secure: OnceCell<reqwest::Client>,
    user_agent: HeaderValue,
    proxy: Option<Proxy>,
    clock: Arc<dyn Clock>,
}

/// A request that may be sent several times.
pub(crate) struct Call {
    /// Who is asked, for errors: "the metadata server".
    pub(crate) service: &'static str,
    /// What it means when it cannot be reached.
    pub(crate) unreachable: ErrorKind,
    pub(crate) method: Method,
    pub(crate) endpoint: Endpoint,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<Vec<u8>>,
    /// How long one try may take.
    pub(crate) limit: Duration,
    pub(crate) persistence: Persistence,
}

/// An answer of any status.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
    retry_after: Option<Duration>,
}

impl Http {
    pub(crate) fn new(
        environment: &Environment,
        user_agent: HeaderValue,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        Ok(Http {
            plain: OnceCell::new(),
            secure: OnceCell::new(),
            user_agent,
            proxy: proxy(environment)?,
            clock,
        })
    }

    /// Sends until an answer of 200 to 299 comes; any other is put into words by `describe`.
    pub(crate) async fn call(
        &self,
        call: &Call,
        patience: &Patience,
        describe: &(dyn Fn(&Answer) -> Error + Send + Sync),
    ) -> Result<Answer> {
        patience.begin(&format!("{} at {}", call.service, call.endpoint.origin()));
        let mut tries = 0;
        loop {
            tries += 1;
            let (error, status, retry_after) = match self.try_once(call, patience).await {
                Ok(answer) if (200..300).contains(&answer.status) => return Ok(answer),
                Ok(answer) => (describe(&answer), Some(answer.status), answer.retry_after),
                Err(error) => (error, None, None),
            };
            let outcome = Outcome {
                status,
                refused: error.io_kind() == Some(io::ErrorKind::ConnectionRefused),
                retry_after,
                tries,
                remaining: patience.remaining(),
            };
            match retry::next(outcome, call.persistence, self.clock.chance()) {
                Next::GiveUp(None) => return Err(error),
                Next::GiveUp(Some(asked)) => {
                    return Err(error.with_retry_at(self.clock.now() + asked));
                }
                Next::Wait(wait) => {
                    tracing::debug!(
                        service = call.service,
                        tries,
                        ?wait,
                        error = %error.chain(),
                        "trying again"
                    );
                    let error = match retry_after {
                        Some(_) => error.with_retry_at(self.clock.now() + wait),
                        None => error,
                    };
                    patience.pause(error, wait).await;
                }
            }
        }
    }

    /// Gets ready to speak to `endpoint`: reading the system's certificates takes longer than many a request.
    pub(crate) async fn prepare(&self, endpoint: &Endpoint) {
        // The first request reports what is wrong.
        let _ = self.client(endpoint).await;
    }

    async fn try_once(&self, call: &Call, patience: &Patience) -> Result<Answer> {
        let limit = call.limit.min(patience.remaining());
        tokio::time::timeout_at(Instant::now() + limit, self.exchange(call))
            .await
            .unwrap_or_else(|_| Err(call.failed(&format!("did not answer within {limit:.1?}"))))
    }

    async fn exchange(&self, call: &Call) -> Result<Answer> {
        let client = self.client(&call.endpoint).await?;
        let mut request = client
            .request(call.method.clone(), call.endpoint.url().clone())
            .headers(call.headers.clone());
        if let Some(body) = &call.body {
            request = request.body(body.clone());
        }
        let unreachable = |error: reqwest::Error| {
            call.failed("could not be reached")
                .with_source(error.without_url())
        };
        let mut response = request.send().await.map_err(unreachable)?;
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| read_retry_after(value.to_str().ok()?, self.clock.now()));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(call.failed("sent more than 1 MiB"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer {
            status,
            body,
            retry_after,
        })
    }

    /// Plain http stays on this machine or goes to the metadata server; it sees neither a proxy nor a CA store.
    async fn client(&self, endpoint: &Endpoint) -> Result<&reqwest::Client> {
        let cell = match endpoint.is_plain() {
            true => &self.plain,
            false => &self.secure,
        };
        cell.get_or_try_init(|| async {
            let user_agent = self.user_agent.clone();
            let builder = move || {
                reqwest::Client::builder()
                    .redirect(reqwest::redirect::Policy::none())
                    .no_proxy()
                    .referer(false)
                    .http1_only()
                    .connect_timeout(CONNECT_TIMEOUT)
                    .pool_idle_timeout(POOL_IDLE)
                    .user_agent(user_agent.clone())
            };
            if endpoint.is_plain() {
                return builder().tls_certs_only([]).build().map_err(unusable);
            }
            let proxy = self.proxy.clone();
            // Reading the system's certificates takes a while, and this thread serves every instance.
            tokio::task::spawn_blocking(move || {
                with_roots(|| match &proxy {
                    Some(proxy) => builder().proxy(proxy.clone()),
                    None => builder(),
                })
            })
            .await
            .map_err(unusable)?
        })
        .await
    }
}

#[cfg(test)]
impl Answer {
    pub(crate) fn new(status: u16, body: &str) -> Self {
        Answer {
            status,
            body: body.as_bytes().to_vec(),
            retry_after: None,
        }
    }
}

impl Call {
    pub(crate) fn get(service: &'static str, endpoint: Endpoint, limit: Duration) -> Self {
        Call {
            service,
            unreachable: ErrorKind::Unavailable,
            method: Method::GET,
            endpoint,
            headers: HeaderMap::new(),
            body: None,
            limit,
            persistence: Persistence::Bounded,
        }
    }

    pub(crate) fn post_form(
        service: &'static str,
        endpoint: Endpoint,
        limit: Duration,
        fields: &[(&str, &str)],
    ) -> Self {
        let body = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish();
        Call::get(service, endpoint, limit).with_body("application/x-www-form-urlencoded", body)
    }

    pub(crate) fn post_json(
        service: &'static str,
        endpoint: Endpoint,
        limit: Duration,
        body: &serde_json::Value,
    ) -> Self {
        Call::get(service, endpoint, limit).with_body("application/json", body.to_string())
    }

    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    pub(crate) fn put(service: &'static str, endpoint: Endpoint, limit: Duration) -> Self {
        Call {
            method: Method::PUT,
            ..Call::get(service, endpoint, limit)
        }
    }

    fn failed(&self, how: &str) -> Error {
        let origin = self.endpoint.origin();
        Error::new(
            self.unreachable,
            format!("{} at {origin} {how}", self.service),
        )
        .with_retryable(true)
    }

    fn with_body(mut self, content_type: &'static str, body: String) -> Self {
        self.method = Method::POST;
        self.headers.insert(
            reqwest::header::CONTENT_TYPE,
            HeaderValue::from_static(content_type),
        );
        self.body = Some(body.into_bytes());
        self
    }
}

/// `Authorization: Bearer …`, marked so that no log of headers shows it.
pub(crate) fn bearer(token: &Secret) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|_| {
        Error::new(
            ErrorKind::Credentials,
            "the access token holds characters that no token has",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// `Authorization: Basic …` for a client of an OAuth service, as shy as [`bearer`].
pub(crate) fn basic(client: &str, secret: &Secret) -> Result<HeaderValue> {
    let pair = zeroize::Zeroizing::new(format!("{client}:{}", secret.expose()));
    let encoded = Secret::new(STANDARD.encode(pair.as_bytes()));
    let mut value = HeaderValue::from_str(&format!("Basic {}", encoded.expose()))
        .map_err(|_| Error::config("a client's name and secret cannot be encoded"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The system's CA certificates; where it has none, Mozilla's, which are built in.
fn with_roots(builder: impl Fn() -> reqwest::ClientBuilder) -> Result<reqwest::Client> {
    builder().build().or_else(|error| {
        tracing::info!(error = %Error::new(ErrorKind::Config, "no usable CA store").with_source(error).chain(),
            "using the built-in Mozilla roots");
        with_bundled_roots(builder())
    })
}

fn with_bundled_roots(builder: reqwest::ClientBuilder) -> Result<reqwest::Client> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    builder
        .tls_backend_preconfigured(config)
        .build()
        .map_err(unusable)
}

fn unusable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Unavailable, "no HTTP client could be made").with_source(error)
}

/// `HTTPS_PROXY` or `ALL_PROXY`, with `NO_PROXY`: for https only, and never for this machine.
fn proxy(environment: &Environment) -> Result<Option<Proxy>> {
    let first = |names: &'static [&'static str]| {
        let set =
            |name: &&'static str| Ok::<_, Error>(environment.text(name)?.map(|text| (*name, text)));
        names
            .iter()
            .map(set)
            .find_map(Result::transpose)
            .transpose()
    };
    let Some((name, text)) = first(&environment::PROXIES)? else {
        return Ok(None);
    };
    let text = match text.contains("://") {
        true => text.to_owned(),
        false => format!("http://{text}"),
    };
    // The value may hold a password, so the error does not repeat it.
    let url = url::Url::parse(&text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| Error::config(format!("{name} is not a proxy's URL")))?;
    let exceptions = first(&environment::PROXY_EXCEPTIONS)?
        .and_then(|(_, exceptions)| reqwest::NoProxy::from_string(exceptions));
    let proxy = Proxy::custom(move |target| {
        (target.scheme() == "https" && !is_loopback(target)).then(|| url.clone())
    });
    Ok(Some(proxy.no_proxy(exceptions)))
}

/// `Retry-After`: seconds, or a date.
fn read_retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = OffsetDateTime::parse(text.trim(), &Rfc2822).ok()?;
    Some(
        SystemTime::from(date)
            .duration_since(now)
            .unwrap_or_default(),
    )
}

/// A user agent of ours, with what the caller appends.
pub(crate) fn user_agent(appended: Option<&str>) -> Result<HeaderValue> {
    let ours = concat!("iamsql/", env!("CARGO_PKG_VERSION"));
    let text = match appended.map(str::trim).filter(|text| !text.is_empty()) {
        Some(appended) => format!("{ours} {appended}"),
        None => ours.to_owned(),
    };
    HeaderValue::from_str(&text).map_err(|_| {
        Error::config(format!(
            "user agent {:?} holds characters that no header may",
            foreign(&text)
        ))
    })
}

const MAX_BODY: usize = 1 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Shorter than the refresh interval: nothing is kept open between refreshes.
const POOL_IDLE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
