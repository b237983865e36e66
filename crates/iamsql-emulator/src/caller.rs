//! Whoever calls an API: the bearer token of a request, what it stands for, and what its owner may do.

use std::time::SystemTime;

use axum::http::{HeaderMap, header};

use crate::principal::Role;
use crate::sqladmin::error::ApiError;
use crate::token::{Token, jwt};
use crate::world::World;

/// Whoever sent a request, over HTTP or gRPC.
pub(crate) struct Caller {
    /// The bearer token as it came.
    pub(crate) text: Option<String>,
    token: Option<Token>,
}

impl Caller {
    /// Reads the bearer: an access token of this run, or an assertion that a service account signed itself.
    pub(crate) fn of(world: &World, headers: &HeaderMap) -> Self {
        let value = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok());
        let text = value
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let text = text
            .map(|(_, token)| token.trim().to_string())
            .filter(|token| !token.is_empty());
        let known = |text: &str| {
            world
                .tokens
                .find(text)
                .or_else(|| jwt::self_signed(text, &world.grants, SystemTime::now()))
        };
        let token = text.as_deref().and_then(known);
        Caller { text, token }
    }

    /// The e-mail address of the token's owner, valid or not.
    pub(crate) fn email(&self) -> Option<String> {
        self.token.as_ref().map(|token| token.principal.clone())
    }

    /// What the bearer stands for, valid or not.
    pub(crate) fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }

    /// Checks that the token is alive and has one of `scopes`, in the order and words of Google's APIs.
    pub(crate) fn authenticate(&self, world: &World, scopes: &[&str]) -> Result<&Token, ApiError> {
        if self.text.is_none() {
            return Err(ApiError::missing_credentials());
        }
        let Some(token) = &self.token else {
            return Err(ApiError::bad_credentials());
        };
        if token.expires <= SystemTime::now() || world.tokens.is_revoked(token) {
            return Err(ApiError::bad_credentials());
        }
        if !scopes.iter().any(|scope| token.scopes.contains(*scope)) {
            return Err(ApiError::insufficient_scope(scopes));
        }
        Ok(token)
    }

    /// Whether the token's owner holds a role.
    pub(crate) fn has_role(&self, world: &World, role: Role) -> bool {
        let owner = self
            .token
            .as_ref()
            .and_then(|token| world.principal(&token.principal));
        owner.is_some_and(|principal| principal.has_role(role))
    }
}
