//! An access token with what is known about it.

use std::time::{Duration, SystemTime};

use crate::secret::Secret;

/// What a token is for.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Calls to the Cloud SQL Admin API.
    Api,
    /// The database login itself, on Cloud SQL.
    Login,
    /// Calls to the AlloyDB API, and speaking for another service account.
    CloudPlatform,
    /// The database login itself, on AlloyDB.
    AlloyDbLogin,
}

impl Scope {
    /// The OAuth scope's URL.
    pub fn url(self) -> &'static str {
        match self {
            Scope::Api => "https://www.googleapis.com/auth/sqlservice.admin",
            Scope::Login => "https://www.googleapis.com/auth/sqlservice.login",
            Scope::CloudPlatform => "https://www.googleapis.com/auth/cloud-platform",
            Scope::AlloyDbLogin => "https://www.googleapis.com/auth/alloydb.login",
        }
    }

    /// Whether a token of this scope is good for a database login and nothing else.
    pub fn is_login(self) -> bool {
        matches!(self, Scope::Login | Scope::AlloyDbLogin)
    }
}

/// An OAuth access token.
#[derive(Clone, Debug)]
pub struct Token {
    secret: Secret,
    expires: Option<SystemTime>,
    principal: Option<String>,
    broad: bool,
}

impl Token {
    /// A token of unknown expiry and principal. Without an expiry, Google is asked for it.
    pub fn new(secret: Secret) -> Self {
        Token {
            secret,
            expires: None,
            principal: None,
            broad: false,
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

    /// The same token, which may do more than the scope asked for: its credential cannot be narrowed.
    ///
    /// As a database login it draws a warning, and [`LoginScope::Strict`](crate::LoginScope::Strict) refuses it.
    pub fn broad(mut self) -> Self {
        self.broad = true;
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

    /// Whether it may do more than the scope asked for.
    pub fn is_broad(&self) -> bool {
        self.broad
    }

    /// The same token, now that Google has said what it may do.
    pub(crate) fn known_as(mut self, broad: bool) -> Self {
        self.broad = broad;
        self
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
