//! Tokens of whoever is logged in to gcloud: asked for with a fixed command, of a program that nobody else can have put there.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::control::credentials::program::{Program, is_private};
use crate::control::credentials::token::{Scope, Token};
use crate::control::credentials::{Constancy, Source};
use crate::control::environment::{self, Environment};
use crate::control::http::patience::Patience;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::{Secret, foreign};

/// gcloud, found and not yet run.
#[derive(Clone)]
pub(super) struct Gcloud {
    program: Program,
    universe: String,
}

impl Gcloud {
    /// Searches the absolute directories of `PATH`.
    pub(super) fn find(environment: &Environment, universe: &str) -> Result<Self> {
        let paths = environment.path(environment::PATH).unwrap_or_default();
        let path = std::env::split_paths(&paths)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join("gcloud"))
            .find(|path| is_program(path))
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Credentials,
                    "gcloud is in no absolute directory of PATH",
                )
                .with_advice("install the Google Cloud CLI, or use Application Default Credentials")
            })?;
        check(&path)?;
        Ok(Gcloud {
            program: Program::new("gcloud", path, ARGUMENTS, environment),
            universe: universe.to_owned(),
        })
    }

    async fn ask(&self, patience: &Patience) -> Result<Token> {
        // It may have been replaced since it was found.
        check(&self.program.path)?;
        patience.begin("gcloud");
        let limit = LIMIT.min(patience.remaining());
        let printed = self
            .program
            .run(limit)
            .await
            .map_err(|error| match error.kind() {
                ErrorKind::Credentials => error.with_advice("run `gcloud auth login`"),
                _ => error,
            })?;
        read(&printed, &self.universe)
    }
}

#[async_trait]
impl Source for Gcloud {
    async fn token(&self, scope: Scope, patience: &Patience) -> Result<Token> {
        match scope.is_login() {
            true => Err(no_login()),
            false => self.ask(patience).await,
        }
    }

    async fn principal(&self, patience: &Patience) -> Result<Option<String>> {
        Ok(self.ask(patience).await?.principal().map(str::to_owned))
    }

    /// `gcloud config set account` is all it takes; each token says whose it is.
    fn constancy(&self) -> Constancy {
        Constancy::Foreign
    }
}

/// gcloud's token has every scope of its login, so it is never sent as a database login.
pub(super) fn no_login() -> Error {
    Error::config("gcloud's token cannot be narrowed to a database login").with_advice(
        "use Application Default Credentials (`gcloud auth application-default login`), impersonate a service account, or name other credentials for logging in",
    )
}

fn is_program(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

fn check(path: &Path) -> Result<()> {
    let refused = |why: &str| {
        Error::new(
            ErrorKind::Credentials,
            format!("{} {why}", path.display()),
        )
        .with_advice("install the Google Cloud CLI where only root or you can write, and name that directory first in PATH")
    };
    match is_private(path) {
        Ok(true) => Ok(()),
        Ok(false) => Err(refused(
            "could have been put there by others, and is not run",
        )),
        Err(error) => Err(refused("cannot be looked at").with_source(error)),
    }
}

fn read(printed: &[u8], universe: &str) -> Result<Token> {
    #[derive(Deserialize)]
    struct Printed {
        credential: Credential,
        #[serde(default)]
        configuration: Configuration,
    }
    #[derive(Deserialize)]
    struct Credential {
        access_token: String,
        token_expiry: Option<String>,
    }
    #[derive(Default, Deserialize)]
    struct Configuration {
        #[serde(default)]
        properties: Properties,
    }
    #[derive(Default, Deserialize)]
    struct Properties {
        #[serde(default)]
        core: Core,
        #[serde(default)]
        auth: Auth,
    }
    #[derive(Default, Deserialize)]
    struct Core {
        account: Option<String>,
        universe_domain: Option<String>,
    }
    #[derive(Default, Deserialize)]
    struct Auth {
        impersonate_service_account: Option<String>,
    }
    // What it printed holds a token, so neither it nor the parser's complaint about it is shown.
    let unreadable = || {
        Error::new(
            ErrorKind::Credentials,
            "gcloud printed something else than a configuration with a token",
        )
        .with_advice("run `gcloud auth login`; if that does not help, `gcloud components update`")
    };
    let printed: Printed = serde_json::from_slice(printed).map_err(|_| unreadable())?;
    let secret = Secret::new(printed.credential.access_token);
    if secret.expose().is_empty() {
        return Err(unreadable());
    }
    let properties = printed.configuration.properties;
    if let Some(its) = &properties.core.universe_domain
        && !its.eq_ignore_ascii_case(universe)
    {
        return Err(Error::config(format!(
            "gcloud is of universe {:?}, and the connector is of {universe:?}",
            foreign(its)
        )));
    }
    let token = match printed.credential.token_expiry {
        Some(expiry) => {
            let expiry = OffsetDateTime::parse(&expiry, &Rfc3339).map_err(|_| unreadable())?;
            Token::new(secret).expires_at(SystemTime::from(expiry))
        }
        None => Token::new(secret),
    };
    // Of a chain, the first is whom the token speaks for.
    let impersonated = properties.auth.impersonate_service_account;
    let impersonated = impersonated
        .as_deref()
        .and_then(|chain| chain.split(',').next_back())
        .map(str::trim)
        .map(str::to_owned);
    Ok(match impersonated.or(properties.core.account) {
        Some(principal) if principal.contains('@') => token.of_principal(principal),
        _ => token,
    })
}

const ARGUMENTS: [&str; 6] = [
    "--format",
    "json",
    "config",
    "config-helper",
    "--min-expiry",
    "1h",
];
const LIMIT: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
