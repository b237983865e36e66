//! From nothing to a target: tokens, settings and certificate, each asked for as early as it can be.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::control::admin::{CloudSql, Settings};
use crate::control::cache::Issuer;
use crate::control::certificate::Certificate;
use crate::control::clock::Clock;
use crate::control::credentials::{Login, Scope, Tokens};
use crate::control::http::patience::{Patience, Single};
use crate::control::key::EngineKey;
use crate::control::names::{InstanceNames, RESOLUTION_LIMIT};
use crate::control::schedule;
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
    pub(crate) key: EngineKey,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Mutex<HashMap<Instance, Arc<Single<Known>>>>,
}

/// What is known of an instance. Locked across a fetch, so that all who need it share one.
#[derive(Default)]
pub(crate) struct Known {
    settings: Option<Arc<Settings>>,
    fetched: Option<SystemTime>,
    refused: Option<(Error, SystemTime)>,
    failures: u32,
}

impl Known {
    /// Old settings are better than none while asking for new ones fails; but an instance that is gone is gone.
    fn instead_of(&self, error: &Error) -> Result<Arc<Settings>> {
        match &self.settings {
            Some(old) if error.is_retryable() => Ok(old.clone()),
            _ => Err(error.clone()),
        }
    }
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
        check_served(instance)?;
        let settings = async {
            let settings = self.settings(instance, suspect, patience).await?;
            check_login(mode, &settings)?;
            Ok::<_, Error>(settings)
        };
        let certificate = self.certificate(instance, mode, patience);
        tokio::pin!(settings, certificate);
        // Both at once; but the settings' error explains more than what the certificate's call made of the same trouble.
        let (settings, certificate) = tokio::select! {
            settings = &mut settings => (settings?, certificate.await?),
            certificate = &mut certificate => match certificate {
                Ok(certificate) => (settings.await?, certificate),
                Err(error) if error.is_retryable() => return Err(error),
                Err(error) => return Err(settings.await.err().unwrap_or(error)),
            },
        };
        let key = self.key.get().await?;
        Target::new(instance, &settings, &certificate, &key, generation)
    }
}

impl GoogleIssuer {
    /// An instance's settings: those at hand, unless they are old or, with `suspect`, doubted.
    pub(crate) async fn settings(
        &self,
        instance: &Instance,
        suspect: bool,
        patience: &Patience,
    ) -> Result<Arc<Settings>> {
        check_served(instance)?;
        let known = self.known(instance);
        let asked = self.clock.now();
        let (mut known, patience) = known.lock(patience).await;
        let now = self.clock.now();
        if let (Some(settings), Some(fetched)) = (&known.settings, known.fetched) {
            let young = now
                .duration_since(fetched)
                .is_ok_and(|age| age < schedule::SETTINGS_LIFE);
            // Doubt is settled by anything that was fetched since it arose.
            if young && (!suspect || fetched >= asked) {
                return Ok(settings.clone());
            }
        }
        if let Some((error, until)) = &known.refused
            && schedule::is_pause(now, *until)
        {
            return known.instead_of(error);
        }
        match self.fetch_settings(instance, &patience).await {
            Ok(settings) => {
                let settings = Arc::new(settings);
                *known = Known {
                    settings: Some(settings.clone()),
                    fetched: Some(self.clock.now()),
                    ..Known::default()
                };
                Ok(settings)
            }
            Err(error) => {
                known.failures += 1;
                let now = self.clock.now();
                let backoff = schedule::backoff(known.failures, self.clock.chance());
                let pause = schedule::refused_for(!error.is_retryable(), backoff);
                let until = error.retry_at().unwrap_or(now).max(now + pause);
                let outcome = known.instead_of(&error);
                known.refused = Some((error, until));
                outcome
            }
        }
    }

    /// Which instance bears a DNS name of Cloud SQL's own.
    pub(crate) async fn instance_of(
        &self,
        region: &str,
        name: &str,
        patience: &Patience,
    ) -> Result<Instance> {
        let token = self.tokens.api(Scope::Api, patience).await?;
        let ask = async |token| {
            self.admin
                .resolve_connect_settings(region, name, token, patience)
                .await
        };
        match ask(&token).await {
            Err(error) if error.http_status() == Some(401) => {
                self.tokens.forget(Scope::Api, &token, patience).await;
                ask(&self.tokens.api(Scope::Api, patience).await?).await
            }
            answer => answer,
        }
    }

    async fn fetch_settings(&self, instance: &Instance, patience: &Patience) -> Result<Settings> {
        let token = self.tokens.api(Scope::Api, patience).await?;
        let answer = self
            .admin
            .connect_settings(instance, &token, patience)
            .await;
        match answer {
            Err(error) if error.http_status() == Some(401) => {
                self.tokens.forget(Scope::Api, &token, patience).await;
                let token = self.tokens.api(Scope::Api, patience).await?;
                self.admin
                    .connect_settings(instance, &token, patience)
                    .await
            }
            answer => answer,
        }
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
        let (token, login, key) =
            tokio::try_join!(self.tokens.api(Scope::Api, patience), login, self.key.get())?;
        let (login, login_expires) = login.unzip();
        let ask = async |token| {
            self.admin
                .generate_ephemeral_cert(instance, &key.public_pem, login.as_ref(), token, patience)
                .await
        };
        let pem = match ask(&token).await {
            Err(error) if error.http_status() == Some(401) => {
                self.tokens.forget(Scope::Api, &token, patience).await;
                ask(&self.tokens.api(Scope::Api, patience).await?).await
            }
            answer => answer,
        }?;
        Certificate::read(&pem, login_expires, self.clock.now())
    }

    fn known(&self, instance: &Instance) -> Arc<Single<Known>> {
        let mut all = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_KNOWN {
            // Whoever is fetching holds a reference; what was refused may be forgotten.
            all.retain(|_, known| {
                known
                    .try_lock()
                    .is_none_or(|known| known.settings.is_some())
            });
        }
        all.entry(instance.clone()).or_default().clone()
    }
}

fn check_served(instance: &Instance) -> Result<()> {
    let what = match instance {
        Instance::CloudSql { .. } => return Ok(()),
        Instance::AlloyDb { .. } => "AlloyDB instances",
        Instance::Domain { .. } => "domain names",
    };
    Err(
        Error::config(format!("{what} cannot be connected to in this version"))
            .with_instance(instance),
    )
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

const MAX_KNOWN: usize = 1024;

#[async_trait]
impl InstanceNames for GoogleIssuer {
    async fn instance_of(&self, region: &str, name: &str) -> Result<Instance> {
        let patience = Patience::until(Instant::now() + RESOLUTION_LIMIT);
        self.instance_of(region, name, &patience).await
    }
}
