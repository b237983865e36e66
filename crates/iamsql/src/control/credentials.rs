//! Where tokens come from: what a caller may choose, and the one shape that every source has inside.

mod answer;
mod application_default;
mod authorized_user;
mod caller;
mod external_account;
mod file;
mod fixed;
mod gcloud;
#[cfg(feature = "google-cloud-auth")]
mod google;
mod impersonated;
mod metadata;
mod program;
mod resolve;
mod service_account;
mod token;
mod tokeninfo;
mod tokens;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;

use crate::control::http::patience::Patience;
use crate::error::Result;
use crate::secret::Secret;

pub(crate) use resolve::{Resolved, resolve};
pub use token::{Scope, Token};
pub(crate) use tokens::{Login, Tokens, is_principal_switch};

/// Which Google identity a [`Connector`](crate::Connector) acts as.
///
/// Default: [`application_default`](Self::application_default). Whatever is chosen is read when the connector is built,
/// and is one principal for the connector's life.
#[derive(Clone)]
pub struct Credentials(pub(crate) Choice);

#[derive(Clone)]
pub(crate) enum Choice {
    ApplicationDefault,
    File(PathBuf),
    Json(Secret),
    Fixed {
        api: Secret,
        login: Option<Secret>,
    },
    Gcloud,
    Caller(Arc<dyn TokenSource>),
    Impersonated {
        base: Box<Choice>,
        target: String,
        delegates: Vec<String>,
    },
}

impl Credentials {
    /// Application Default Credentials: the file that `GOOGLE_APPLICATION_CREDENTIALS` names, else the one that
    /// `gcloud auth application-default login` wrote, else the metadata server.
    pub fn application_default() -> Self {
        Credentials(Choice::ApplicationDefault)
    }

    /// A credential file: service-account key, authorized user (also of a workforce pool), external account or
    /// impersonated service account.
    ///
    /// An external account's own token may come from a file, a URL, a program or AWS; it is read anew for each exchange. A
    /// program runs only with `GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1`, without a shell, from an absolute path.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Credentials(Choice::File(path.into()))
    }

    /// The JSON text of a credential file.
    pub fn json(text: Secret) -> Self {
        Credentials(Choice::Json(text))
    }

    /// Tokens that you made: one for the Admin API and, for IAM login, another with the login scope.
    ///
    /// They are used until Google refuses them; nothing renews them.
    pub fn token(api: Secret, login: Option<Secret>) -> Self {
        Credentials(Choice::Fixed { api, login })
    }

    /// Whoever is logged in to gcloud, by `gcloud config config-helper`: to call the APIs, or as the base of
    /// [`impersonate`](Self::impersonate).
    ///
    /// Its token cannot be narrowed, so it never logs in to a database itself. The program is looked for in the absolute
    /// directories of `PATH`, and run only if nobody but root and you could have put it there; it gets 30 s and 64 KiB.
    pub fn gcloud() -> Self {
        Credentials(Choice::Gcloud)
    }

    /// The service account `target`, for which these credentials may speak.
    ///
    /// With `delegates`, in the order from these credentials to the target: each may speak for the next, and the last for the
    /// target. Everybody needs `roles/iam.serviceAccountTokenCreator` on the next. API and login tokens are asked for
    /// separately, each with its own scope; the principal is the target.
    ///
    /// ```
    /// use iamsql::Credentials;
    ///
    /// let credentials = Credentials::application_default()
    ///     .impersonate("app@your-project-id.iam.gserviceaccount.com", ["deployer@your-project-id.iam.gserviceaccount.com"]);
    /// # drop(credentials);
    /// ```
    pub fn impersonate(
        self,
        target: impl Into<String>,
        delegates: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Credentials(Choice::Impersonated {
            base: Box::new(self.0),
            target: target.into(),
            delegates: delegates.into_iter().map(Into::into).collect(),
        })
    }

    /// A credential of the crate `google-cloud-auth`, with the scopes that it was built with.
    ///
    /// It cannot be narrowed. So that a database login carries less, give another one, built with the login scope, to
    /// [`login_credentials`](crate::ConnectorBuilder::login_credentials). Connectors share it only if they were made with
    /// clones of the same `Credentials`. It asks Google in its own way: deadline and retries are ours, but neither are
    /// proxies, redirects nor the check of its addresses.
    #[cfg(feature = "google-cloud-auth")]
    pub fn google(credential: google_cloud_auth::credentials::AccessTokenCredentials) -> Self {
        Credentials::source(Arc::new(google::GoogleCredential(credential)))
    }

    /// Tokens from code of yours. Connectors share a source only if it is the same `Arc`.
    pub fn source(source: Arc<dyn TokenSource>) -> Self {
        Credentials(Choice::Caller(source))
    }
}

impl Default for Credentials {
    fn default() -> Self {
        Credentials::application_default()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Choice::ApplicationDefault => "Credentials(application default)",
            Choice::File(_) => "Credentials(file)",
            Choice::Json(_) => "Credentials(json)",
            Choice::Fixed { .. } => "Credentials(token)",
            Choice::Gcloud => "Credentials(gcloud)",
            Choice::Caller(_) => "Credentials(source)",
            Choice::Impersonated { .. } => "Credentials(impersonated)",
        })
    }
}

/// Hands out tokens of one principal: a credential kind of your own.
///
/// Called on the engine's thread, never at the same time for the same scope; a call that takes longer than 30 s is given up.
///
/// ```
/// use iamsql::{Result, Scope, Secret, Token, TokenSource};
///
/// struct Vault;
///
/// #[async_trait::async_trait]
/// impl TokenSource for Vault {
///     async fn token(&self, scope: Scope) -> Result<Token> {
///         let (text, expires) = ask_vault(scope.url()).await?;
///         Ok(Token::new(Secret::new(text)).expires_at(expires))
///     }
///
///     async fn principal(&self) -> Result<Option<String>> {
///         Ok(Some("app@your-project-id.iam.gserviceaccount.com".to_owned()))
///     }
/// }
/// # async fn ask_vault(_: &str) -> Result<(String, std::time::SystemTime)> { unimplemented!() }
/// ```
#[async_trait]
pub trait TokenSource: Send + Sync + 'static {
    /// A token with this scope and, if that can be had, no other.
    ///
    /// # Errors
    /// Best an [`Error`](crate::Error) of kind [`Credentials`](crate::ErrorKind::Credentials), or
    /// [`Unavailable`](crate::ErrorKind::Unavailable) if trying again may help.
    async fn token(&self, scope: Scope) -> Result<Token>;

    /// The e-mail address that the tokens speak for, if that is known. It never changes.
    async fn principal(&self) -> Result<Option<String>>;
}

/// A source inside the engine: a [`TokenSource`] that knows how long it may take.
#[async_trait]
pub(crate) trait Source: Send + Sync {
    async fn token(&self, scope: Scope, patience: &Patience) -> Result<Token>;

    async fn principal(&self, patience: &Patience) -> Result<Option<String>>;

    /// How sure it is that the source stays one principal.
    fn constancy(&self) -> Constancy {
        Constancy::Fixed
    }
}

/// How often a source's principal is looked at.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Constancy {
    /// The credential itself says who it is, for good.
    Fixed,
    /// Can be bound to another principal behind our back: looked at with each login token, once it was asked for at all.
    Bound,
    /// Code that may do anything: looked at with each login token.
    Foreign,
}
