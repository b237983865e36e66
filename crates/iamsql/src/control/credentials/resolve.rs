//! The caller's choice → one checked source of tokens, when the connector is made: files are read, nothing is sent.

use std::sync::Arc;

use crate::control::clock::Clock;
use crate::control::credentials::application_default::{self, Found};
use crate::control::credentials::authorized_user::AuthorizedUser;
use crate::control::credentials::caller::Caller;
use crate::control::credentials::file::{self, FilePlan};
use crate::control::credentials::fixed::Fixed;
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
    Caller(Arc<dyn TokenSource>),
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
    let (plan, quota_project) = choose(credentials, endpoints, environment, sharing)?;
    sharing.add("login scope", format!("{login_scope:?}"));
    let login = login
        .map(|login| {
            sharing.add("login", "another");
            choose(login, endpoints, environment, sharing)
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
    credentials: &Credentials,
    endpoints: &Endpoints,
    environment: &Environment,
    sharing: &mut Sharing,
) -> Result<(Plan, Option<String>)> {
    let plan = match &credentials.0 {
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
    Ok((Plan::File(read.plan), read.quota_project))
}

impl Resolved {
    /// Whether a login token can come of it at all.
    pub(crate) fn can_log_in(&self) -> bool {
        !matches!(
            self.login.as_ref().unwrap_or(&self.plan),
            Plan::Fixed { login: None, .. }
        )
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
        let tokeninfo = maker.tokeninfo.cloned();
        Ok(match self.clone() {
            Plan::Metadata => Box::new(Metadata {
                http: http.clone(),
                clock: clock.clone(),
                server: maker.endpoints.metadata.clone(),
                emulated: maker.endpoints.emulator.is_some(),
                universe: Universe::to_confirm(&maker.endpoints.universe),
            }),
            Plan::File(FilePlan::ServiceAccount(key)) => {
                Box::new(key.open(http.clone(), clock.clone())?)
            }
            Plan::File(FilePlan::AuthorizedUser(file)) => Box::new(AuthorizedUser {
                file,
                http: http.clone(),
                clock: clock.clone(),
                tokeninfo,
            }),
            Plan::File(FilePlan::Google(file)) => Box::new(file),
            Plan::Fixed { api, login } => Box::new(Fixed {
                api,
                login,
                tokeninfo,
            }),
            Plan::Caller(source) => Box::new(Caller(source)),
        })
    }
}

/// How every token begins that an emulator issued.
const EMULATOR_PREFIX: &str = "emulator-";
