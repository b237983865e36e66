//! From nothing to a target: tokens, settings and certificate, each asked for as early as it can be.

mod alloydb;

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::control::admin::{AlloyDb, CloudSql, ConnectionInfo, Settings};
use crate::control::cache::Issuer;
use crate::control::certificate::Certificate;
use crate::control::clock::Clock;
use crate::control::credentials::{Login, Scope, Token, Tokens, is_principal_switch};
use crate::control::http::patience::Patience;
use crate::control::key::EngineKey;
use crate::control::names::{InstanceNames, RESOLUTION_LIMIT};
use crate::control::shelf::Shelf;
use crate::control::static_info::StaticInfo;
use crate::control::target::Target;
use crate::error::{Error, ErrorKind, Result};
use crate::instance::Instance;
use crate::options::AuthMode;
use crate::secret::foreign;
use crate::user::DatabaseEngine;

/// Asks Google for everything, sharing what instances and ways to log in have in common.
pub(crate) struct GoogleIssuer {
    pub(crate) tokens: Arc<Tokens>,
    pub(crate) admin: CloudSql,
    pub(crate) alloydb: AlloyDb,
    /// What AlloyDB instances are to be found by, in place of the API.
    pub(crate) static_info: Option<Arc<StaticInfo>>,
    pub(crate) key: EngineKey,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Shelf<Settings>,
    pub(crate) connection_info: Shelf<ConnectionInfo>,
}

#[async_trait]
impl Issuer for GoogleIssuer {
    async fn issue(
        &self,
        instance: &Instance,
        mode: AuthMode,
        suspect: bool,
        generation: u64,
        patience: &Patience,
    ) -> Result<Target> {
        match instance {
            Instance::CloudSql { .. } => {
                self.cloud_sql(instance, mode, suspect, generation, patience)
                    .await
            }
            Instance::AlloyDb { .. } => self.alloydb(instance, suspect, generation, patience).await,
            Instance::Domain { .. } => Err(not_looked_up(instance)),
        }
    }
}

impl GoogleIssuer {
    async fn cloud_sql(
        &self,
        instance: &Instance,
        mode: AuthMode,
        suspect: bool,
        generation: u64,
        patience: &Patience,
    ) -> Result<Target> {
        let settings = async {
            let settings = self.settings(instance, suspect, patience).await;
            let settings = settings.map_err(Half::Settings)?;
            check_login(mode, &settings).map_err(Half::Settings)?;
            Ok(settings)
        };
        let certificate = async {
            let certificate = self.certificate(instance, mode, patience).await;
            certificate.map_err(Half::Certificate)
        };
        let (settings, certificate) = match both(settings, certificate).await {
            Ok(both) => both,
            // Whoever no longer is who they were must hear that before anything else.
            Err(Half::Settings(error)) if mode == AuthMode::Iam => {
                let login = self.tokens.login(Login::Certificate, patience).await;
                return Err(login.err().filter(is_principal_switch).unwrap_or(error));
            }
            Err(half) => return Err(half.into()),
        };
        let key = self.key.get().await?;
        Target::cloud_sql(instance, &settings, &certificate, &key, generation)
    }

    /// An instance's settings: those at hand, unless they are old or, with `suspect`, doubted.
    pub(crate) async fn settings(
        &self,
        instance: &Instance,
        suspect: bool,
        patience: &Patience,
    ) -> Result<Arc<Settings>> {
        if let Instance::Domain { .. } = instance {
            return Err(not_looked_up(instance));
        }
        let fetch = |patience: Patience| async move {
            let patience = &patience;
            self.authorized(Scope::Api, patience, |token| async move {
                self.admin
                    .connect_settings(instance, &token, patience)
                    .await
            })
            .await
        };
        self.settings.get(instance, suspect, patience, fetch).await
    }

    /// Which instance bears a DNS name of Cloud SQL's own.
    pub(crate) async fn instance_of(
        &self,
        region: &str,
        name: &str,
        patience: &Patience,
    ) -> Result<Instance> {
        self.authorized(Scope::Api, patience, |token| async move {
            self.admin
                .resolve_connect_settings(region, name, &token, patience)
                .await
        })
        .await
    }

    async fn certificate(
        &self,
        instance: &Instance,
        mode: AuthMode,
        patience: &Patience,
    ) -> Result<Certificate> {
        let login = async {
            match mode {
                AuthMode::Iam => self
                    .tokens
                    .login(Login::Certificate, patience)
                    .await
                    .map(Some),
                AuthMode::Password => Ok(None),
            }
        };
        let (login, key) = tokio::try_join!(login, self.key.get())?;
        let (login, login_expires) = login.unzip();
        let (public, within) = (&key.public_pem, login.as_ref());
        let pem = self
            .authorized(Scope::Api, patience, |token| async move {
                self.admin
                    .generate_ephemeral_cert(instance, public, within, &token, patience)
                    .await
            })
            .await;
        // Which of the two tokens was meant, the answer does not say.
        if let (Err(error), Some(login)) = (&pem, &login)
            && error.http_status() == Some(401)
        {
            self.tokens.forget(Scope::Login, login, patience).await;
        }
        Certificate::read(&pem?, login_expires, self.clock.now())
    }

    /// Asks with an API token, and once more with a new one if Google refuses the first.
    async fn authorized<T, F: Future<Output = Result<T>>>(
        &self,
        scope: Scope,
        patience: &Patience,
        ask: impl Fn(Token) -> F,
    ) -> Result<T> {
        let token = self.tokens.api(scope, patience).await?;
        match ask(token.clone()).await {
            Err(error) if error.http_status() == Some(401) => {
                self.tokens.forget(scope, &token, patience).await;
                ask(self.tokens.api(scope, patience).await?).await
            }
            answer => answer,
        }
    }
}

/// Which of two calls failed.
enum Half {
    Settings(Error),
    Certificate(Error),
}

impl From<Half> for Error {
    fn from(half: Half) -> Self {
        match half {
            Half::Settings(error) | Half::Certificate(error) => error,
        }
    }
}

/// Both at once; but the settings' error explains more than what the certificate's call made of the same trouble.
async fn both<S, C>(
    settings: impl Future<Output = Result<S, Half>>,
    certificate: impl Future<Output = Result<C, Half>>,
) -> Result<(S, C), Half> {
    tokio::pin!(settings, certificate);
    tokio::select! {
        settings = &mut settings => Ok((settings?, certificate.await?)),
        certificate = &mut certificate => match certificate {
            Ok(certificate) => Ok((settings.await?, certificate)),
            Err(Half::Certificate(error)) if error.is_retryable() => Err(Half::Certificate(error)),
            Err(error) => Err(settings.await.err().unwrap_or(error)),
        },
    }
}

/// Names are looked up before anything is asked about the instance behind them.
fn not_looked_up(instance: &Instance) -> Error {
    Error::config("the domain name was not looked up").with_instance(instance)
}

fn check_login(mode: AuthMode, settings: &Settings) -> Result<()> {
    let engine = DatabaseEngine::from_database_version(&settings.database_version);
    match (mode, engine) {
        (AuthMode::Iam, Some(DatabaseEngine::SqlServer) | None) => Err(Error::new(
            ErrorKind::Config,
            format!("{} has no IAM login", foreign(&settings.database_version)),
        )
        .with_advice("connect with a database user and its password")),
        _ => Ok(()),
    }
}

#[async_trait]
impl InstanceNames for GoogleIssuer {
    async fn instance_of(&self, region: &str, name: &str) -> Result<Instance> {
        let patience = Patience::until(Instant::now() + RESOLUTION_LIMIT);
        self.instance_of(region, name, &patience).await
    }
}
