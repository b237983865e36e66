//! Access tokens: issued, remembered with principal, scopes and expiry, and looked up again.

pub(crate) mod credentials;
pub(crate) mod endpoint;
pub(crate) mod jwt;
pub(crate) mod tokeninfo;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use crate::issued::{IssuedLog, random_secret};

/// The scope that lets a token log in to a database.
pub(crate) const LOGIN_SCOPE: &str = "https://www.googleapis.com/auth/sqlservice.login";

/// The same for AlloyDB.
pub(crate) const ALLOYDB_LOGIN_SCOPE: &str = "https://www.googleapis.com/auth/alloydb.login";
/// The scope that most of Google's APIs take.
pub(crate) const CLOUD_PLATFORM_SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";

/// A token that the emulator issued, without its text.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    /// Number of the token, from 1.
    pub(crate) id: u64,
    /// The owner's e-mail address.
    pub(crate) principal: String,
    pub(crate) scopes: BTreeSet<String>,
    pub(crate) expires: SystemTime,
}

/// All tokens of one run.
pub(crate) struct Tokens {
    state: Mutex<State>,
    issued: IssuedLog,
}

#[derive(Default)]
struct State {
    last: u64,
    tokens: HashMap<String, Token>,
    revoked: HashSet<u64>,
    /// What the metadata server handed out last for a principal and its scopes.
    cached: HashMap<(String, BTreeSet<String>), String>,
}

impl Tokens {
    pub(crate) fn new(issued: IssuedLog) -> Self {
        Tokens {
            state: Mutex::default(),
            issued,
        }
    }

    /// A new token and its text.
    pub(crate) fn issue(
        &self,
        principal: &str,
        scopes: BTreeSet<String>,
        lifetime: Duration,
    ) -> (String, Token) {
        let text = random_secret("emulator-token-");
        self.issued.record("access token", &text);
        let mut state = self.lock();
        state.last += 1;
        let token = Token {
            id: state.last,
            principal: principal.to_string(),
            scopes,
            expires: SystemTime::now() + lifetime,
        };
        state.tokens.insert(text.clone(), token.clone());
        (text, token)
    }

    /// The token that the metadata server hands out: the same one until shortly before its end, as on Google Cloud.
    pub(crate) fn hand_out(
        &self,
        principal: &str,
        scopes: &BTreeSet<String>,
        lifetime: Duration,
    ) -> (String, Token) {
        let key = (principal.to_string(), scopes.clone());
        {
            let state = self.lock();
            if let Some((text, token)) = state
                .cached
                .get(&key)
                .and_then(|text| Some((text, state.tokens.get(text)?)))
                && !state.revoked.contains(&token.id)
                && token.expires > SystemTime::now() + renewal_margin(lifetime)
            {
                return (text.clone(), token.clone());
            }
        }
        let (text, token) = self.issue(principal, scopes.clone(), lifetime);
        self.lock().cached.insert(key, text.clone());
        (text, token)
    }

    /// The token with this text, valid or not.
    pub(crate) fn find(&self, text: &str) -> Option<Token> {
        self.lock().tokens.get(text).cloned()
    }

    /// The text of a token.
    pub(crate) fn text(&self, token: &Token) -> Option<String> {
        let state = self.lock();
        let found = state.tokens.iter().find(|(_, one)| one.id == token.id);
        found.map(|(text, _)| text.clone())
    }

    pub(crate) fn is_revoked(&self, token: &Token) -> bool {
        self.lock().revoked.contains(&token.id)
    }

    /// Revokes every token of a principal issued so far.
    pub(crate) fn revoke_principal(&self, principal: &str) {
        let mut state = self.lock();
        let owned: Vec<u64> = state
            .tokens
            .values()
            .filter(|token| token.principal == principal)
            .map(|token| token.id)
            .collect();
        state.revoked.extend(owned);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no panic under lock")
    }
}

/// How long before its end the metadata server replaces a token: five minutes of an hour, and in proportion for the
/// short lives that tests use.
fn renewal_margin(lifetime: Duration) -> Duration {
    (lifetime / 12).min(Duration::from_secs(300))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes() -> BTreeSet<String> {
        BTreeSet::from([LOGIN_SCOPE.to_string()])
    }

    #[test]
    fn the_metadata_server_repeats_a_token_until_shortly_before_its_end() {
        let tokens = Tokens::new(IssuedLog::nowhere());
        let (first, _) = tokens.hand_out("a@b", &scopes(), Duration::from_secs(3600));
        let (again, token) = tokens.hand_out("a@b", &scopes(), Duration::from_secs(3600));
        assert_eq!(first, again);
        assert_ne!(
            first,
            tokens
                .hand_out("c@d", &scopes(), Duration::from_secs(3600))
                .0
        );
        tokens.revoke_principal("a@b");
        assert!(tokens.is_revoked(&token));
        assert_ne!(
            first,
            tokens
                .hand_out("a@b", &scopes(), Duration::from_secs(3600))
                .0
        );
    }

    #[test]
    fn an_expired_token_is_not_repeated() {
        let tokens = Tokens::new(IssuedLog::nowhere());
        let (first, _) = tokens.hand_out("a@b", &scopes(), Duration::ZERO);
        assert_ne!(first, tokens.hand_out("a@b", &scopes(), Duration::ZERO).0);
    }

    #[test]
    fn the_margin_is_five_minutes_of_an_hour() {
        assert_eq!(
            renewal_margin(Duration::from_secs(3600)),
            Duration::from_secs(300)
        );
        assert_eq!(
            renewal_margin(Duration::from_secs(12)),
            Duration::from_secs(1)
        );
    }
}
