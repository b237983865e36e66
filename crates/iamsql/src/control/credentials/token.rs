//! An access token with what is known about it.

use std::time::{Duration, SystemTime};

use crate::secret::Secret;

/// What a token is for.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Calls to the Cloud SQL Admin API.
    Api,
    /// The database login itself.
    Login,
}

impl Scope {
    /// The OAuth scope's URL.
    pub fn url(self) -> &'static str {
        match self {
            Scope::Api => "https://www.googleapis.com/auth/sqlservice.admin",
            Scope::Login => "https://www.googleapis.com/auth/sqlservice.login",
        }
    }
}

/// An OAuth access token.
#[derive(Clone, Debug)]
pub struct Token {
    secret: Secret,
    expires: Option<SystemTime>,
    principal: Option<String>,
}

impl Token {
    /// A token of unknown expiry and principal. Without an expiry, Google is asked for it.
    pub fn new(secret: Secret) -> Self {
        Token {
            secret,
            expires: None,
            principal: None,
        }
    }

    /// The same token, with the moment at which it stops being valid.
    pub fn expires_at(mut self, expires: SystemTime) -> Self {
        self.expires = Some(expires);
        self
    }

    /// The same token, with the e-mail address that it speaks for.
    pub fn of_principal(mut self, principal: impl Into<String>) -> Self {
        self.principal = Some(principal.into());
        self
    }

    /// The token's text.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// When it stops being valid, if that is known.
    pub fn expires(&self) -> Option<SystemTime> {
        self.expires
    }

    /// The e-mail address that it speaks for, if that is known.
    pub fn principal(&self) -> Option<&str> {
        self.principal.as_deref()
    }

    pub(crate) fn is_unusable_at(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// How long a token may live, whatever its issuer says.
pub(crate) const MAX_TOKEN_LIFE: Duration = Duration::from_secs(12 * 3600);

/// The expiry of a token that is said to live for `seconds` more.
pub(crate) fn expiry(now: SystemTime, seconds: u64) -> SystemTime {
    now + Duration::from_secs(seconds).min(MAX_TOKEN_LIFE)
}
