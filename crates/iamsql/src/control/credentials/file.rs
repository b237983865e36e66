//! The JSON text of a credential file → a checked plan for its kind. No network.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::Value;
use zeroize::Zeroizing;

use crate::control::credentials::Source;
use crate::control::credentials::authorized_user::{AuthorizedUser, UserFile};
use crate::control::credentials::external_account::ExternalAccount;
use crate::control::credentials::impersonated::Impersonation;
use crate::control::credentials::resolve::Maker;
use crate::control::credentials::service_account::ServiceAccountKey;
use crate::control::endpoint::Endpoints;
use crate::control::environment::Environment;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::foreign;

/// What a credential file asks for.
#[derive(Clone)]
pub(super) enum FilePlan {
    ServiceAccount(ServiceAccountKey),
    AuthorizedUser(UserFile),
    ExternalAccount(Box<ExternalAccount>),
    Impersonated {
        base: Box<FilePlan>,
        how: Impersonation,
    },
}

/// A checked credential file.
pub(super) struct ReadFile {
    pub(super) plan: FilePlan,
    pub(super) quota_project: Option<String>,
}

/// Reads a file's bytes; the error names the path and never the content.
pub(super) fn bytes(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let unreadable = |error: std::io::Error| {
        Error::new(
            ErrorKind::Credentials,
            format!("the credential file {} cannot be read", path.display()),
        )
        .with_source(error)
        .with_advice("check that the file exists and that this user may read it; if GOOGLE_APPLICATION_CREDENTIALS is stale, unset it")
    };
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    match bytes.len() as u64 > MAX_FILE {
        true => Err(unusable("is larger than 1 MiB")),
        false => Ok(bytes),
    }
}

pub(super) fn parse(
    bytes: &[u8],
    endpoints: &Endpoints,
    environment: &Environment,
) -> Result<ReadFile> {
    // The parser's own message may quote the file.
    let json: Value = serde_json::from_slice(bytes).map_err(|_| unusable("is not JSON"))?;
    if let Some(universe) = text(&json, "universe_domain")
        && !universe.eq_ignore_ascii_case(&endpoints.universe)
    {
        return Err(Error::config(format!(
            "the credentials are of universe {:?}, and the connector is of {:?}",
            foreign(universe),
            endpoints.universe
        ))
        .with_advice(
            "set universe_domain or GOOGLE_CLOUD_UNIVERSE_DOMAIN to the credentials' universe",
        ));
    }
    let plan = match text(&json, "type") {
        Some("impersonated_service_account") => impersonated(&json, endpoints, environment)?,
        _ => own(&json, endpoints, environment)?,
    };
    Ok(ReadFile {
        plan,
        quota_project: text(&json, "quota_project_id").map(str::to_owned),
    })
}

/// A file that speaks for itself.
fn own(json: &Value, endpoints: &Endpoints, environment: &Environment) -> Result<FilePlan> {
    Ok(match text(json, "type") {
        Some("service_account") => {
            FilePlan::ServiceAccount(ServiceAccountKey::read(json, endpoints)?)
        }
        Some("authorized_user") => FilePlan::AuthorizedUser(UserFile::read(json, endpoints)?),
        Some("external_account_authorized_user") => {
            FilePlan::AuthorizedUser(UserFile::external(json, endpoints)?)
        }
        Some("external_account") => {
            let account = ExternalAccount::read(json, endpoints, environment)?;
            FilePlan::ExternalAccount(Box::new(account))
        }
        Some(other) => {
            return Err(unusable(&format!(
                "is of type {:?}, which is not supported",
                foreign(other)
            )));
        }
        None => return Err(unusable("names no type")),
    })
}

/// A file that speaks for a service account, through the credentials inside it.
fn impersonated(
    json: &Value,
    endpoints: &Endpoints,
    environment: &Environment,
) -> Result<FilePlan> {
    let source = json
        .get("source_credentials")
        .ok_or_else(|| unusable("lacks source_credentials"))?;
    Ok(FilePlan::Impersonated {
        how: Impersonation::read(json, endpoints)?
            .ok_or_else(|| unusable("lacks service_account_impersonation_url"))?,
        base: Box::new(own(source, endpoints, environment)?),
    })
}

impl FilePlan {
    /// Whether a program is run, so that every variable decides who it will be.
    pub(super) fn runs_a_program(&self) -> bool {
        match self {
            FilePlan::ExternalAccount(account) => account.runs_a_program(),
            FilePlan::Impersonated { base, .. } => base.runs_a_program(),
            _ => false,
        }
    }

    pub(super) fn open(self, maker: &Maker<'_>) -> Result<Box<dyn Source>> {
        let (http, clock) = (maker.http.clone(), maker.clock.clone());
        Ok(match self {
            FilePlan::ServiceAccount(key) => Box::new(key.open(http, clock)?),
            FilePlan::AuthorizedUser(file) => Box::new(AuthorizedUser {
                file,
                http,
                clock,
                tokeninfo: maker.tokeninfo.cloned(),
            }),
            FilePlan::ExternalAccount(account) => account.open(maker),
            FilePlan::Impersonated { base, how } => Box::new(how.open(base.open(maker)?, maker)),
        })
    }
}

fn text<'a>(json: &'a Value, field: &str) -> Option<&'a str> {
    json.get(field)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

fn unusable(why: &str) -> Error {
    Error::new(ErrorKind::Credentials, format!("the credential file {why}")).with_advice(
        "use a service-account key, or the file that `gcloud auth application-default login` writes",
    )
}

const MAX_FILE: u64 = 1 << 20;
