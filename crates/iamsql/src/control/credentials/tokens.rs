//! The tokens of one engine: fetched once for all who wait, kept while fresh, always of one principal.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::control::clock::Clock;
use crate::control::credentials::token::{MAX_TOKEN_LIFE, Scope, Token};
use crate::control::credentials::tokeninfo::Tokeninfo;
use crate::control::credentials::{Constancy, Resolved, Source};
use crate::control::endpoint::Endpoints;
use crate::control::http::Http;
use crate::control::http::patience::{Patience, Single};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::foreign;

pub(crate) struct Tokens {
    source: Box<dyn Source>,
    clock: Arc<dyn Clock>,
    tokeninfo: Option<Tokeninfo>,
    // Held across a fetch, so that everybody else waits for its token instead of asking for another.
    api: Single<Option<Token>>,
    login: Single<Option<Token>>,
    principal: Single<Option<Pinned>>,
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
        Ok(Tokens {
            source: resolved.open(http, clock, endpoints, tokeninfo.clone())?,
            clock: clock.clone(),
            tokeninfo,
            api: Single::new(None),
            login: Single::new(None),
            principal: Single::new(None),
        })
    }

    /// A token for the Admin API.
    pub(crate) async fn api(&self, patience: &Patience) -> Result<Token> {
        let (mut held, patience) = self.api.lock(patience).await;
        if let Some(token) = held.as_ref().filter(|token| self.lasts(token, API_MARGIN)) {
            return Ok(token.clone());
        }
        *held = None;
        let token = self.fetch(Scope::Api, &patience).await?;
        Ok(held.insert(token).clone())
    }

    /// Drops an API token that Google refused.
    pub(crate) async fn forget_api(&self, refused: &Token, patience: &Patience) {
        let (mut held, _) = self.api.lock(patience).await;
        if held
            .as_ref()
            .is_some_and(|token| token.secret().expose() == refused.secret().expose())
        {
            *held = None;
        }
    }

    /// A token that becomes a database login; its expiry is always known.
    pub(crate) async fn login(&self, patience: &Patience) -> Result<(Token, SystemTime)> {
        let (mut held, patience) = self.login.lock(patience).await;
        if let Some(token) = held
            .as_ref()
            .filter(|token| self.lasts(token, LOGIN_MARGIN))
            && let Some(expires) = token.expires()
        {
            return Ok((token.clone(), expires));
        }
        *held = None;
        let token = self.fetch(Scope::Login, &patience).await?;
        self.check_principal(&token, &patience).await?;
        let (token, expires) = match token.expires() {
            Some(expires) => (token, expires),
            None => self.with_expiry(token, &patience).await?,
        };
        *held = Some(token.clone());
        Ok((token, expires))
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
        let principal = self.source.principal(&patience).await?;
        self.pin(&mut pinned, principal.as_deref())?;
        Ok(principal)
    }

    async fn fetch(&self, scope: Scope, patience: &Patience) -> Result<Token> {
        let token = self.source.token(scope, patience).await?;
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
        let needed = match self.source.constancy() {
            Constancy::Fixed => false,
            Constancy::Bound => checked.is_some() && !fresh,
            Constancy::Foreign => true,
        };
        if !needed {
            return Ok(());
        }
        let principal = self.source.principal(&patience).await?;
        self.pin(&mut pinned, principal.as_deref())
    }

    fn pin(&self, pinned: &mut Option<Pinned>, principal: Option<&str>) -> Result<()> {
        let Some(principal) = principal else {
            return Ok(());
        };
        match pinned {
            Some(pinned) if pinned.principal != principal => Err(Error::new(
                ErrorKind::Credentials,
                format!(
                    "the credentials were those of {}, and are now those of {}",
                    foreign(&pinned.principal),
                    foreign(principal)
                ),
            )
            .with_advice("make a new connector for the other principal")
            .with_source(PrincipalSwitched)),
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
                Ok((token.expires_at(expires), expires))
            }
            Err(error) => {
                tracing::debug!(error = %error.chain(), "no expiry to be had: assuming four minutes");
                Ok((token.expires_at(assumed), assumed))
            }
        }
    }
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
/// A login token bounds a certificate's life, so another instance gets a used one only while it is young.
const LOGIN_MARGIN: Duration = Duration::from_secs(30 * 60);
const ASSUMED_LIFE: Duration = Duration::from_secs(4 * 60);
/// How old the last look at a principal that is bound from outside may be.
const CHECK_AGE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
