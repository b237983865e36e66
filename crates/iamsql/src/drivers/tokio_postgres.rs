//! tokio-postgres over the engine's stream: connect, log in as whoever we are, explain a refused login, cancel.

mod login;

use std::fmt;
use std::time::Duration;

use ::tokio_postgres::tls::NoTlsStream;
use ::tokio_postgres::{CancelToken, Client, Config, Connection, NoTls};
use tokio::time::Instant;

use crate::connector::Connector;
use crate::data::connection::is_certificate_refusal;
use crate::error::{Error, ErrorKind, Result};
use crate::face::stream::Stream;
use crate::options::{AuthMode, ConnectOptions};
use crate::secret::{Secret, foreign};
use crate::user::DatabaseEngine;

/// One tokio-postgres connection in the making: [`Connector::postgres`].
#[derive(Clone)]
pub struct PostgresBuilder {
    connector: Connector,
    instance: String,
    user: Option<String>,
    password: Option<Secret>,
    settings: Config,
    options: ConnectOptions,
}

impl Connector {
    /// Starts a tokio-postgres connection to `instance`.
    ///
    /// ```no_run
    /// # async fn example() -> iamsql::Result<()> {
    /// let connector = iamsql::Connector::builder().iam_auth(true).build().await?;
    /// let (client, connection) = connector
    ///     .postgres("your-project-id:us-central1:demo-postgres")
    ///     .dbname("mydb")
    ///     .connect()
    ///     .await?;
    /// tokio::spawn(connection);
    /// # drop(client); Ok(()) }
    /// ```
    pub fn postgres(&self, instance: &str) -> PostgresBuilder {
        PostgresBuilder {
            connector: self.clone(),
            instance: instance.to_owned(),
            user: None,
            password: None,
            settings: Config::new(),
            options: ConnectOptions::default(),
        }
    }
}

impl PostgresBuilder {
    /// The database user. Default: the IAM principal, spelled as PostgreSQL spells it.
    ///
    /// A service account's full address is corrected: the user lacks its `.gserviceaccount.com`.
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// The user's password. Default none: the login is by IAM.
    ///
    /// With a password the login is that user's own, unless [`iam_auth`](crate::ConnectorBuilder::iam_auth) or the options
    /// say IAM; even then the server takes it from a built-in user.
    pub fn password(mut self, password: impl Into<Secret>) -> Self {
        self.password = Some(password.into());
        self
    }

    /// The database. Default: the one named like the user, as the server has it.
    pub fn dbname(mut self, dbname: impl Into<String>) -> Self {
        self.settings.dbname(dbname);
        self
    }

    /// What the server shows as the application's name. Default none.
    pub fn application_name(mut self, name: impl Into<String>) -> Self {
        self.settings.application_name(name);
        self
    }

    /// Server settings for the session, as in `-c statement_timeout=5s`. Default none.
    pub fn session_options(mut self, options: impl Into<String>) -> Self {
        self.settings.options(options);
        self
    }

    /// How to connect; what is unset comes from the connector. The timeout includes the login.
    pub fn options(mut self, options: ConnectOptions) -> Self {
        self.options = options;
        self
    }

    /// Connects and logs in. Spawn the connection: the client waits for it.
    ///
    /// Should the server refuse our certificate only now, which TLS 1.3 allows, all of it is done once more with a new one.
    ///
    /// # Errors
    /// Those of [`Connector::connect`]; [`Login`](ErrorKind::Login) if the database refuses the login, with its own text,
    /// the principal, the user asked for, and the user that would work; [`Config`](ErrorKind::Config) if the instance does
    /// not run PostgreSQL, or a password has no user.
    pub async fn connect(self) -> Result<(Client, Connection<Stream, NoTlsStream>)> {
        let timeout = self.connector.timeout(&self.options)?;
        let deadline = Instant::now() + timeout;
        // Each step keeps the deadline and knows what it was waiting for; this timer is for what has none of its own.
        let connecting = self.connect_twice(deadline);
        let connected = tokio::time::timeout_at(deadline + GRACE, connecting).await;
        connected
            .unwrap_or_else(|_| Err(overdue(timeout)))
            .map_err(|error| error.with_instance(&self.instance))
    }

    /// Asks the server to stop what the connection behind `token` is running, over a connection of its own.
    ///
    /// Whether anything was stopped the server does not say: the query then fails, or it was done already.
    ///
    /// # Errors
    /// Those of [`Connector::connect`].
    pub async fn cancel(&self, token: &CancelToken) -> Result<()> {
        let stream = self.dial().await?;
        token
            .cancel_query_raw(stream, NoTls)
            .await
            .map_err(|error| {
                Error::new(
                    ErrorKind::Network,
                    "the request to cancel was not delivered",
                )
                .with_source(error)
                .with_instance(&self.instance)
            })
    }

    async fn connect_twice(
        &self,
        deadline: Instant,
    ) -> Result<(Client, Connection<Stream, NoTlsStream>)> {
        match self.connect_once(deadline).await {
            Err(error) if is_certificate_refusal(&error) => self.connect_once(deadline).await,
            outcome => outcome,
        }
    }

    async fn connect_once(
        &self,
        deadline: Instant,
    ) -> Result<(Client, Connection<Stream, NoTlsStream>)> {
        let (stream, user, ()) =
            tokio::try_join!(self.dial(), self.database_user(), self.check_engine())?;
        let mut settings = self.settings.clone();
        settings.user(&user);
        if let Some(password) = &self.password {
            settings.password(password.expose());
        }
        let logging_in = settings.connect_raw(stream, NoTls);
        match tokio::time::timeout_at(deadline, logging_in).await {
            Ok(Ok(connected)) => Ok(connected),
            Ok(Err(error)) => {
                let until = deadline + GRACE / 2;
                Err(login::explain(&self.connector, &self.instance, &user, error, until).await)
            }
            Err(_) => Err(Error::new(
                ErrorKind::Timeout,
                "the deadline passed while the database was logging us in",
            )),
        }
    }

    async fn dial(&self) -> Result<Stream> {
        let options = self.options.clone().auth_mode(self.mode());
        self.connector.connect_with(&self.instance, &options).await
    }

    async fn database_user(&self) -> Result<String> {
        match (&self.user, self.mode()) {
            (Some(user), AuthMode::Password) => Ok(user.clone()),
            (None, AuthMode::Password) => {
                Err(Error::config("a login with a password needs a user")
                    .with_advice("name the user, or leave the password out to log in over IAM"))
            }
            (user, _) => {
                self.connector
                    .user_for(&self.instance, user.as_deref())
                    .await
            }
        }
    }

    async fn check_engine(&self) -> Result<()> {
        let version = self.connector.database_version(&self.instance).await?;
        match DatabaseEngine::from_database_version(&version) {
            Some(DatabaseEngine::Postgres) | None => Ok(()),
            Some(_) => Err(Error::config(format!(
                "the instance runs {}, not PostgreSQL",
                foreign(&version)
            ))),
        }
    }

    /// Nobody gave a password, so IAM is the one login that needs none.
    fn mode(&self) -> AuthMode {
        let said = self.connector.chosen_auth_mode(&self.options);
        said.unwrap_or(match self.password {
            Some(_) => AuthMode::Password,
            None => AuthMode::Iam,
        })
    }
}

impl fmt::Debug for PostgresBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresBuilder")
            .field("instance", &self.instance)
            .field("user", &self.user)
            .field("password", &self.password)
            .field("dbname", &self.settings.get_dbname())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// Runs a pooled connection to its end, which whoever holds the client learns only as "closed".
#[cfg(any(feature = "bb8", feature = "deadpool-postgres"))]
pub(super) async fn drive(connection: Connection<Stream, NoTlsStream>) {
    use std::error::Error as _;
    if let Err(error) = connection.await {
        let cause = error.source().map(ToString::to_string);
        tracing::warn!(%error, cause, "a pooled connection ended");
    }
}

fn overdue(timeout: Duration) -> Error {
    Error::new(
        ErrorKind::Timeout,
        format!("connecting and logging in took longer than {timeout:?}"),
    )
}

/// How long a step that ran into the deadline may take to say so, on a busy machine.
const GRACE: Duration = Duration::from_secs(1);
