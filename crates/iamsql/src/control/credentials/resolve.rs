//! The caller's choice → one checked source of tokens, when the connector is made: files are read, nothing is sent.

use std::sync::Arc;

use crate::control::clock::Clock;
use crate::control::credentials::application_default::{self, Found};
use crate::control::credentials::caller::Caller;
use crate::control::credentials::file::{self, FilePlan};
use crate::control::credentials::fixed::{Fixed, no_login_token};
use crate::control::credentials::gcloud::{self, Gcloud};
use crate::control::credentials::impersonated::Impersonation;
use crate::control::credentials::metadata::{Metadata, Universe};
use crate::control::credentials::tokeninfo::Tokeninfo;
use crate::control::credentials::{Choice, Credentials, Source, TokenSource};
use crate::control::endpoint::{Endpoints, not_for_the_emulator};
use crate::control::environment::Environment;
use crate::control::http::Http;
use crate::control::sharing::Sharing;
use crate::error::Result;
use crate::options::LoginScope;
use crate::secret::Secret;

/// A source that has been chosen and checked, and not yet asked for anything.
#[derive(Clone)]
pub(crate) struct Resolved {
    plan: Plan,
    /// Who logs in, where that is not whoever calls the API.
    login: Option<Plan>,
    pub(super) login_scope: LoginScope,
    /// The project that the credential file wants charged.
    pub(crate) quota_project: Option<String>,
}

#[derive(Clone)]
enum Plan {
    Metadata,
    File(FilePlan),
    Fixed { api: Secret, login: Option<Secret> },
    Gcloud(Gcloud),
    Caller(Arc<dyn TokenSource>),
    Impersonated { base: Box<Plan>, how: Impersonation },
}

/// What the sources of one engine are made with.
pub(super) struct Maker<'a> {
    pub(super) http: &'a Arc<Http>,
    pub(super) clock: &'a Arc<dyn Clock>,
    pub(super) endpoints: &'a Endpoints,
    pub(super) tokeninfo: Option<&'a Tokeninfo>,
}

/// Chooses the sources, and adds to `sharing` what makes them those sources and no others.
pub(crate) fn resolve(
    credentials: &Credentials,
    login: Option<&Credentials>,
    login_scope: LoginScope,
    endpoints: &Endpoints,
    environment: &Environment,
    sharing: &mut Sharing,
) -> Result<Resolved> {
    let (plan, quota_project) = choose(&credentials.0, endpoints, environment, sharing)?;
    sharing.add("login scope", format!("{login_scope:?}"));
    let login = login
        .map(|login| {
            sharing.add("login", "another");
            choose(&login.0, endpoints, environment, sharing)
        })
        .transpose()?
        .map(|(plan, _)| plan);
    Ok(Resolved {
        plan,
        login,
        login_scope,
        quota_project,
    })
}

/// A source, and the project that its file wants charged.
fn choose(
    choice: &Choice,
    endpoints: &Endpoints,
    environment: &Environment,
    sharing: &mut Sharing,
) -> Result<(Plan, Option<String>)> {
    let plan = match choice {
        Choice::ApplicationDefault => match application_default::find(environment) {
            Found::Named(path) => {
                let bytes = file::bytes(&path)?;
                return from_file(&bytes, endpoints, environment, sharing);
            }
            // The emulator is an identity of its own; a developer's login stays where it is.
            Found::WellKnown(path) if endpoints.emulator.is_none() => {
                let bytes = file::bytes(&path)?;
                return from_file(&bytes, endpoints, environment, sharing);
            }
            Found::WellKnown(_) | Found::MetadataServer => {
                sharing.add("source", "metadata");
                Plan::Metadata
            }
        },
        Choice::File(path) => {
            let bytes = file::bytes(path)?;
            return from_file(&bytes, endpoints, environment, sharing);
        }
        Choice::Json(text) => {
            return from_file(text.expose().as_bytes(), endpoints, environment, sharing);
        }
        Choice::Fixed { api, login } => {
            let tokens = || std::iter::once(api).chain(login);
            let foreign = |token: &Secret| !token.expose().starts_with(EMULATOR_PREFIX);
            if endpoints.emulator.is_some() && tokens().any(foreign) {
                return Err(not_for_the_emulator("the given token"));
            }
            sharing.add("source", "fixed");
            for token in tokens() {
                sharing.add("token", token.expose());
            }
            Plan::Fixed {
                api: api.clone(),
                login: login.clone(),
            }
        }
        Choice::Gcloud => {
            if endpoints.emulator.is_some() {
                return Err(not_for_the_emulator("the login of gcloud"));
            }
            sharing.add("source", "gcloud");
            sharing.add_variables(environment.all());
            Plan::Gcloud(Gcloud::find(environment, &endpoints.universe)?)
        }
        Choice::Impersonated {
            base,
            target,
            delegates,
        } => {
            let how = Impersonation::of(target, delegates, endpoints)?;
            sharing.add("impersonated", how.identity());
            let (base, quota_project) = choose(base, endpoints, environment, sharing)?;
            let plan = Plan::Impersonated {
                base: Box::new(base),
                how,
            };
            return Ok((plan, quota_project));
        }
        Choice::Caller(source) => {
            if endpoints.emulator.is_some() {
                return Err(not_for_the_emulator("the token source"));
            }
            sharing.add_caller(source);
            Plan::Caller(source.clone())
        }
    };
    Ok((plan, None))
}

fn from_file(
    bytes: &[u8],
    endpoints: &Endpoints,
    environment: &Environment,
    sharing: &mut Sharing,
) -> Result<(Plan, Option<String>)> {
    let read = file::parse(bytes, endpoints, environment)?;
    sharing.add("source", "file");
    sharing.add("file", bytes);
    if read.plan.runs_a_program() {
        sharing.add_variables(environment.all());
    }
    Ok((Plan::File(read.plan), read.quota_project))
}

impl Resolved {
    /// Refuses what no login token can come of.
    pub(crate) fn check_login(&self) -> Result<()> {
        match self.login.as_ref().unwrap_or(&self.plan) {
            Plan::Fixed { login: None, .. } => Err(no_login_token()),
            Plan::Gcloud(_) => Err(gcloud::no_login()),
            _ => Ok(()),
        }
    }

    /// Makes the source, on the engine's side.
    pub(super) fn open(&self, maker: &Maker<'_>) -> Result<Box<dyn Source>> {
        self.plan.open(maker)
    }

    /// Makes the source of logins, if it is another.
    pub(super) fn open_login(&self, maker: &Maker<'_>) -> Result<Option<Box<dyn Source>>> {
        self.login.as_ref().map(|plan| plan.open(maker)).transpose()
    }
}

impl Plan {
    fn open(&self, maker: &Maker<'_>) -> Result<Box<dyn Source>> {
        let (http, clock) = (maker.http, maker.clock);
        Ok(match self.clone() {
            Plan::Metadata => Box::new(Metadata {
                http: http.clone(),
                clock: clock.clone(),
                server: maker.endpoints.metadata.clone(),
                emulated: maker.endpoints.emulator.is_some(),
                universe: Universe::to_confirm(&maker.endpoints.universe),
            }),
            Plan::File(plan) => plan.open(maker)?,
            Plan::Fixed { api, login } => Box::new(Fixed {
                api,
                login,
                tokeninfo: maker.tokeninfo.cloned(),
            }),
            Plan::Gcloud(gcloud) => Box::new(gcloud),
            Plan::Caller(source) => Box::new(Caller(source)),
            Plan::Impersonated { base, how } => Box::new(how.open(base.open(maker)?, maker)),
        })
    }
}

/// How every token begins that an emulator issued.
const EMULATOR_PREFIX: &str = "emulator-";
