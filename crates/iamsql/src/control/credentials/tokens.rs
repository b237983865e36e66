//! The tokens of one engine: fetched once for all who wait, kept while fresh, always of one principal.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use crate::control::clock::Clock;
use crate::control::credentials::authorized_user::is_invalid_scope;
use crate::control::credentials::resolve::Maker;
use crate::control::credentials::token::{MAX_TOKEN_LIFE, Scope, Token};
use crate::control::credentials::tokeninfo::Tokeninfo;
use crate::control::credentials::{Constancy, Resolved, Source};
use crate::control::endpoint::Endpoints;
use crate::control::http::Http;
use crate::control::http::patience::{Patience, Single};
use crate::error::{Error, ErrorKind, Result};
use crate::options::LoginScope;
use crate::secret::foreign;

pub(crate) struct Tokens {
    source: Box<dyn Source>,
    /// Who logs in, where that is not whoever calls the API.
    login_source: Option<Box<dyn Source>>,
    login_scope: LoginScope,
    clock: Arc<dyn Clock>,
    tokeninfo: Option<Tokeninfo>,
    held: Held,
    principal: Single<Option<Pinned>>,
    warned: AtomicBool,
}

/// One token of each scope. Locked across a fetch, so that everybody else waits for its token instead of asking for another.
#[derive(Default)]
struct Held {
    api: Single<Option<Token>>,
    login: Single<Option<Token>>,
    platform: Single<Option<Token>>,
    alloydb_login: Single<Option<Token>>,
}

/// What a login token is wanted for, which decides whether one that can do more than log in will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Login {
    /// Embedded in a Cloud SQL certificate.
    Certificate,
    /// Sent in an AlloyDB metadata exchange, to a server that has proved its identity.
    Exchange,
    /// Handed out, to be sent as a password: of this scope and no other, whatever the settings.
    Password(Scope),
}

/// Who the source is, once that is known.
struct Pinned {
    principal: String,
    checked: SystemTime,
}

impl Tokens {
    pub(crate) fn open(
        resolved: &Resolved,
        http: &Arc<Http>,
        clock: &Arc<dyn Clock>,
        endpoints: &Endpoints,
    ) -> Result<Self> {
        let tokeninfo = endpoints.tokeninfo.clone().map(|endpoint| Tokeninfo {
            http: http.clone(),
            clock: clock.clone(),
            endpoint,
        });
        let maker = Maker {
            http,
            clock,
            endpoints,
            tokeninfo: tokeninfo.as_ref(),
        };
        Ok(Tokens {
            source: resolved.open(&maker)?,
            login_source: resolved.open_login(&maker)?,
            login_scope: resolved.login_scope,
            clock: clock.clone(),
            tokeninfo,
            held: Held::default(),
            principal: Single::default(),
            warned: AtomicBool::new(false),
        })
    }

    /// A token for calls to an API: [`Scope::Api`] for Cloud SQL's, [`Scope::CloudPlatform`] for AlloyDB's.
    pub(crate) async fn api(&self, scope: Scope, patience: &Patience) -> Result<Token> {
        let (mut held, patience) = self.held.of(scope).lock(patience).await;
        if let Some(token) = held.as_ref().filter(|token| self.lasts(token, API_MARGIN)) {
            return Ok(token.clone());
        }
        *held = None;
        let token = self.fetch(&*self.source, scope, &patience).await?;
        if self.login_source.is_none()
            && let Some(principal) = token.principal()
        {
            let (mut pinned, _) = self.principal.lock(&patience).await;
            self.pin(&mut pinned, Some(principal))?;
        }
        Ok(held.insert(token).clone())
    }

    /// Drops an API token that Google refused.
    pub(crate) async fn forget(&self, scope: Scope, refused: &Token, patience: &Patience) {
        let (mut held, _) = self.held.of(scope).lock(patience).await;
        if held
            .as_ref()
            .is_some_and(|token| token.secret().expose() == refused.secret().expose())
        {
            *held = None;
        }
    }

    /// A token that becomes a database login; its expiry is always known.
    ///
    /// # Errors
    /// [`ErrorKind::Credentials`] if the credentials give no token for it, or one that may do more than log in where that
    /// is not allowed.
    pub(crate) async fn login(
        &self,
        purpose: Login,
        patience: &Patience,
    ) -> Result<(Token, SystemTime)> {
        let (mut held, patience) = self.held.of(purpose.scope()).lock(patience).await;
        if let Some(token) = held.as_ref().filter(|token| self.lasts(token, purpose.margin()))
            && let Some(expires) = token.expires()
            // What one purpose may fall back to is no good for another, which asks for its own.
            && self.permit(purpose, token).is_ok()
        {
            return Ok((token.clone(), expires));
        }
        *held = None;
        let token = self.fetch_login(purpose, &patience).await?;
        self.check_principal(&token, &patience).await?;
        let (token, expires) = match token.expires() {
            Some(expires) => (token, expires),
            None => self.with_expiry(token, &patience).await?,
        };
        self.permit(purpose, &token)?;
        *held = Some(token.clone());
        Ok((token, expires))
    }

    /// The login token of the metadata exchange, if one is at hand: costs a lock, and needs no other thread.
    pub(crate) fn exchange_at_hand(&self) -> Option<Token> {
        let held = self.held.of(Login::Exchange.scope()).try_lock()?;
        held.as_ref()
            .filter(|token| self.lasts(token, Login::Exchange.margin()))
            .filter(|token| self.permit(Login::Exchange, token).is_ok())
            .cloned()
    }

    async fn fetch_login(&self, purpose: Login, patience: &Patience) -> Result<Token> {
        let source = self.login_source();
        let error = match self.fetch(source, purpose.scope(), patience).await {
            Err(error) if is_invalid_scope(&error) => error,
            fetched => return fetched,
        };
        match (purpose, self.login_scope) {
            (Login::Exchange, LoginScope::Narrow) => {
                let token = self.fetch(source, Scope::CloudPlatform, patience).await?;
                Ok(token.broad())
            }
            _ => Err(error),
        }
    }

    /// Whether `token` may serve `purpose`, though it may do more than log in.
    fn permit(&self, purpose: Login, token: &Token) -> Result<()> {
        if !token.is_broad() {
            return Ok(());
        }
        let refused = |why| {
            Err(Error::new(
                ErrorKind::Credentials,
                format!("the credentials give no token that can only log in, and {why}"),
            )
            .with_advice(NARROW_ADVICE))
        };
        if self.login_scope == LoginScope::Strict {
            return refused("login_scope STRICT allows no other");
        }
        if let Login::Password(_) = purpose {
            return refused("no other is handed out");
        }
        if !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!("the token that logs in may do more than log in: {NARROW_ADVICE}");
        }
        Ok(())
    }

    fn login_source(&self) -> &dyn Source {
        self.login_source.as_deref().unwrap_or(&*self.source)
    }

    /// Who the tokens speak for, if the source can tell.
    ///
    /// # Errors
    /// [`ErrorKind::Credentials`] if it is somebody else than before.
    pub(crate) async fn principal(&self, patience: &Patience) -> Result<Option<String>> {
        let (mut pinned, patience) = self.principal.lock(patience).await;
        if let Some(pinned) = &*pinned {
            return Ok(Some(pinned.principal.clone()));
        }
        let principal = self.login_source().principal(&patience).await?;
        self.pin(&mut pinned, principal.as_deref())?;
        Ok(principal)
    }

    async fn fetch(&self, source: &dyn Source, scope: Scope, patience: &Patience) -> Result<Token> {
        let token = source.token(scope, patience).await?;
        if token.is_unusable_at(self.clock.now()) {
            return Err(Error::new(
                ErrorKind::Credentials,
                "the credentials gave a token that has already expired",
            )
            .with_advice("renew the token; if it is fresh, check this machine's clock"));
        }
        let latest = self.clock.now() + MAX_TOKEN_LIFE;
        Ok(match token.expires() {
            Some(expires) if expires > latest => token.expires_at(latest),
            _ => token,
        })
    }

    fn lasts(&self, token: &Token, margin: Duration) -> bool {
        token
            .expires()
            .is_none_or(|expires| expires > self.clock.now() + margin)
    }

    /// A token that names its principal is taken at its word; otherwise the source is asked, as often as its kind needs.
    async fn check_principal(&self, token: &Token, patience: &Patience) -> Result<()> {
        let (mut pinned, patience) = self.principal.lock(patience).await;
        if let Some(principal) = token.principal() {
            return self.pin(&mut pinned, Some(principal));
        }
        let checked = pinned.as_ref().map(|pinned| pinned.checked);
        let fresh = checked.is_some_and(|checked| {
            self.clock
                .now()
                .duration_since(checked)
                .is_ok_and(|age| age < CHECK_AGE)
        });
        let needed = match self.login_source().constancy() {
            Constancy::Fixed => false,
            Constancy::Bound => checked.is_some() && !fresh,
            Constancy::Foreign => true,
        };
        if !needed {
            return Ok(());
        }
        let principal = self.login_source().principal(&patience).await?;
        self.pin(&mut pinned, principal.as_deref())
    }

    fn pin(&self, pinned: &mut Option<Pinned>, principal: Option<&str>) -> Result<()> {
        let Some(principal) = principal else {
            return Ok(());
        };
        match pinned {
            Some(pinned) if pinned.principal != principal => {
                Err(principal_switched(&pinned.principal, principal))
            }
            Some(pinned) => {
                pinned.checked = self.clock.now();
                Ok(())
            }
            None => {
                *pinned = Some(Pinned {
                    principal: principal.to_owned(),
                    checked: self.clock.now(),
                });
                Ok(())
            }
        }
    }

    /// Asks Google once how long a token lives; where that cannot be had, four minutes are assumed.
    async fn with_expiry(&self, token: Token, patience: &Patience) -> Result<(Token, SystemTime)> {
        let assumed = self.clock.now() + ASSUMED_LIFE;
        let Some(tokeninfo) = &self.tokeninfo else {
            return Ok((token.expires_at(assumed), assumed));
        };
        match tokeninfo.ask(token.secret(), patience).await {
            Ok(known) => {
                if let Some(email) = &known.email {
                    let (mut pinned, _) = self.principal.lock(patience).await;
                    self.pin(&mut pinned, Some(email))?;
                }
                let expires = known.expires.unwrap_or(assumed);
                let token = match known.is_broad {
                    Some(broad) => token.known_as(broad),
                    None => token,
                };
                Ok((token.expires_at(expires), expires))
            }
            Err(error) => {
                tracing::debug!(error = %error.chain(), "no expiry to be had: assuming four minutes");
                Ok((token.expires_at(assumed), assumed))
            }
        }
    }
}

impl Held {
    fn of(&self, scope: Scope) -> &Single<Option<Token>> {
        match scope {
            Scope::Api => &self.api,
            Scope::Login => &self.login,
            Scope::CloudPlatform => &self.platform,
            Scope::AlloyDbLogin => &self.alloydb_login,
        }
    }
}

impl Login {
    fn scope(self) -> Scope {
        match self {
            Login::Certificate => Scope::Login,
            Login::Exchange => Scope::AlloyDbLogin,
            Login::Password(scope) => scope,
        }
    }

    /// How much of its life a token must have left.
    fn margin(self) -> Duration {
        match self {
            // It bounds a certificate's life, so another instance gets a used one only while it is young.
            Login::Certificate => LOGIN_MARGIN,
            Login::Exchange => API_MARGIN,
            Login::Password(_) => PASSWORD_MARGIN,
        }
    }
}

/// A source is one principal for life: the error where it becomes another.
pub(super) fn principal_switched(before: &str, now: &str) -> Error {
    Error::new(
        ErrorKind::Credentials,
        format!(
            "the credentials were those of {}, and are now those of {}",
            foreign(before),
            foreign(now)
        ),
    )
    .with_advice("make a new connector for the other principal")
    .with_source(PrincipalSwitched)
}

/// Why a certificate of this source must not be used any more.
#[derive(Debug)]
struct PrincipalSwitched;

impl fmt::Display for PrincipalSwitched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a connector is one principal for life")
    }
}

impl std::error::Error for PrincipalSwitched {}

/// Whether an error says that the source now speaks for somebody else.
pub(crate) fn is_principal_switch(error: &Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.is::<PrincipalSwitched>())
}

/// An API token is used until this close to its end.
const API_MARGIN: Duration = Duration::from_secs(4 * 60);
const LOGIN_MARGIN: Duration = Duration::from_secs(30 * 60);
/// Whoever gets a token as a password may use it a while later.
const PASSWORD_MARGIN: Duration = Duration::from_secs(15 * 60);
const ASSUMED_LIFE: Duration = Duration::from_secs(4 * 60);
/// How old the last look at a principal that is bound from outside may be.
const CHECK_AGE: Duration = Duration::from_secs(60);

const NARROW_ADVICE: &str = "run `gcloud auth application-default login` anew, which asks for the login scopes, or use credentials that can be narrowed, such as an attached or impersonated service account";

#[cfg(test)]
mod tests;
