//! Where an external account's own token is: in a file, behind a URL, printed by a program, or signed for on AWS.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use zeroize::Zeroizing;

use super::aws::Aws;
use super::executable::Executable;
use super::{text, unusable};
use crate::control::credentials::answer;
use crate::control::endpoint::{Endpoint, Endpoints};
use crate::control::environment::Environment;
use crate::control::http::patience::Patience;
use crate::control::http::{Call, Http};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::{Secret, foreign};

#[derive(Clone)]
pub(super) enum SubjectSource {
    File {
        path: PathBuf,
        format: Format,
    },
    Url {
        endpoint: Endpoint,
        headers: HeaderMap,
        format: Format,
    },
    Executable(Executable),
    Aws(Aws),
}

/// What the rest of the file says that a source may have to repeat.
pub(super) struct About<'a> {
    pub(super) audience: &'a str,
    pub(super) token_type: &'a str,
    pub(super) impersonated: Option<&'a str>,
}

/// What it takes to ask for a token.
pub(super) struct Asker<'a> {
    pub(super) http: &'a Http,
    pub(super) now: SystemTime,
    pub(super) patience: &'a Patience,
}

/// How the token is written down.
#[derive(Clone)]
pub(super) enum Format {
    Text,
    /// In this field of a JSON object.
    Json(String),
}

impl SubjectSource {
    pub(super) fn read(
        source: &Value,
        about: &About<'_>,
        endpoints: &Endpoints,
        environment: &Environment,
    ) -> Result<Self> {
        if let Some(version) = text(source, "environment_id") {
            return Aws::read(version, source, about, endpoints, environment)
                .map(SubjectSource::Aws);
        }
        if let Some(executable) = source.get("executable").filter(|given| !given.is_null()) {
            return Executable::read(executable, about, environment).map(SubjectSource::Executable);
        }
        let format = Format::read(source)?;
        match (text(source, "file"), text(source, "url")) {
            (Some(path), None) => Ok(SubjectSource::File {
                path: path.into(),
                format,
            }),
            (None, Some(url)) => Ok(SubjectSource::Url {
                endpoint: endpoints.subject_url("the credential source", url)?,
                headers: headers(source)?,
                format,
            }),
            _ => Err(unusable(
                "names no credential source that is known: a file, a URL, a program or AWS",
            )),
        }
    }

    /// The token as it is now: whoever renews it does not tell us.
    pub(super) async fn token(&self, asker: &Asker<'_>) -> Result<Secret> {
        match self {
            SubjectSource::File { path, format } => format.token(&bytes(path)?),
            SubjectSource::Url {
                endpoint,
                headers,
                format,
            } => {
                let mut call = Call::get(SERVICE, endpoint.clone(), LIMIT);
                call.headers = headers.clone();
                let answer = asker
                    .http
                    .call(&call, asker.patience, &|refused| {
                        answer::refusal(refused, SERVICE)
                    })
                    .await?;
                format.token(&Zeroizing::new(answer.body))
            }
            SubjectSource::Executable(executable) => executable.token(asker).await,
            SubjectSource::Aws(aws) => aws.token(asker).await,
        }
    }
}

impl Format {
    fn read(source: &Value) -> Result<Self> {
        let format = source.get("format").unwrap_or(&Value::Null);
        match text(format, "type") {
            None | Some("text") => Ok(Format::Text),
            Some("json") => match text(format, "subject_token_field_name") {
                Some(field) => Ok(Format::Json(field.to_owned())),
                None => Err(unusable("names no field of the JSON that holds the token")),
            },
            Some(_) => Err(unusable("names a format that is neither text nor json")),
        }
    }

    fn token(&self, bytes: &[u8]) -> Result<Secret> {
        let unreadable = |why: &str| {
            Error::new(
                ErrorKind::Credentials,
                format!("the external account's subject token {why}"),
            )
            .with_advice("check what writes the token that the credential source names")
        };
        let secret = match self {
            Format::Text => {
                let text = std::str::from_utf8(bytes).map_err(|_| unreadable("is no text"))?;
                Secret::new(text.trim())
            }
            Format::Json(field) => {
                let json: Value =
                    serde_json::from_slice(bytes).map_err(|_| unreadable("is not in JSON"))?;
                let token = text(&json, field).ok_or_else(|| {
                    unreadable(&format!("is not in the field {:?}", foreign(field)))
                })?;
                Secret::new(token)
            }
        };
        match secret.expose().is_empty() {
            true => Err(unreadable("is empty")),
            false => Ok(secret),
        }
    }
}

/// Whom a JWT names, without believing it: only to notice when that changes.
pub(super) fn named_in(token: &Secret) -> Option<String> {
    let payload = token.expose().split('.').nth(1)?;
    let payload = Zeroizing::new(URL_SAFE_NO_PAD.decode(payload).ok()?);
    let claims: Value = serde_json::from_slice(&payload).ok()?;
    let subject = text(&claims, "sub")?;
    Some(match text(&claims, "iss") {
        Some(issuer) => format!("{subject} of {issuer}"),
        None => subject.to_owned(),
    })
}

fn headers(source: &Value) -> Result<HeaderMap> {
    let Some(given) = source.get("headers").and_then(Value::as_object) else {
        return Ok(HeaderMap::new());
    };
    let invalid = || unusable("holds a header that no request may have");
    given
        .iter()
        .map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
            let text = value.as_str().ok_or_else(invalid)?;
            let mut value = HeaderValue::from_str(text).map_err(|_| invalid())?;
            // GitHub's is a bearer token.
            value.set_sensitive(true);
            Ok((name, value))
        })
        .collect()
}

fn bytes(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let unreadable = |error: std::io::Error| {
        Error::new(
            ErrorKind::Credentials,
            format!("the subject token {} cannot be read", path.display()),
        )
        .with_source(error)
        .with_advice(
            "check that the platform writes the token there, and that this user may read it",
        )
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(16 << 10));
    File::open(path)
        .and_then(|file| file.take(MAX_TOKEN).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    Ok(bytes)
}

const SERVICE: &str = "the external account's credential source";
const LIMIT: Duration = Duration::from_secs(5);
const MAX_TOKEN: u64 = 1 << 20;
