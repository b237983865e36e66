use std::collections::VecDeque;
use std::sync::Mutex as SyncMutex;

use async_trait::async_trait;
use tokio::time::Instant;

use super::*;
use crate::control::clock::testing::{TokioClock, at};
use crate::control::credentials::authorized_user::invalid_scope;
use crate::secret::Secret;

/// Hands out numbered tokens, as scripted.
struct Scripted {
    constancy: Constancy,
    clock: Arc<dyn Clock>,
    life: Option<u64>,
    token_principal: Option<&'static str>,
    principals: SyncMutex<VecDeque<Option<&'static str>>>,
    asked: SyncMutex<Vec<&'static str>>,
}

#[async_trait]
impl Source for Arc<Scripted> {
    async fn token(&self, scope: Scope, _: &Patience) -> Result<Token> {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let number = {
            let mut asked = self.asked.lock().unwrap();
            asked.push(match scope {
                Scope::Api => "api",
                Scope::Login => "login",
                Scope::CloudPlatform => "platform",
                Scope::AlloyDbLogin => "alloydb login",
            });
            asked.len()
        };
        let token = Token::new(Secret::new(format!("scripted-token-{number}")));
        let token = match self.life {
            Some(life) => token.expires_at(self.clock.now() + Duration::from_secs(life)),
            None => token,
        };
        Ok(match self.token_principal {
            Some(principal) => token.of_principal(principal),
            None => token,
        })
    }

    async fn principal(&self, _: &Patience) -> Result<Option<String>> {
        self.asked.lock().unwrap().push("principal");
        let mut principals = self.principals.lock().unwrap();
        let next = match principals.len() {
            1 => principals[0],
            _ => principals.pop_front().flatten(),
        };
        Ok(next.map(str::to_owned))
    }

    fn constancy(&self) -> Constancy {
        self.constancy
    }
}

fn open(
    constancy: Constancy,
    life: Option<u64>,
    principals: &[Option<&'static str>],
) -> (Arc<Scripted>, Tokens) {
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::start());
    let source = Arc::new(Scripted {
        constancy,
        clock: clock.clone(),
        life,
        token_principal: None,
        principals: SyncMutex::new(principals.iter().copied().collect()),
        asked: SyncMutex::new(Vec::new()),
    });
    let tokens = Tokens {
        source: Box::new(source.clone()),
        login_source: None,
        login_scope: LoginScope::Narrow,
        clock,
        tokeninfo: None,
        held: Held::default(),
        principal: Single::default(),
        warned: AtomicBool::new(false),
    };
    (source, tokens)
}

fn patience() -> Patience {
    Patience::until(Instant::now() + Duration::from_secs(30))
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn many_who_need_a_token_share_one_request() {
    let (source, tokens) = open(Constancy::Fixed, Some(3600), &[None]);
    let patience = patience();
    let (a, b, c) = tokio::join!(
        tokens.api(Scope::Api, &patience),
        tokens.api(Scope::Api, &patience),
        tokens.login(Login::Certificate, &patience)
    );
    assert_eq!(a.unwrap().secret().expose(), b.unwrap().secret().expose());
    assert!(c.is_ok());
    assert_eq!(source.asked.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_api_token_is_used_until_shortly_before_its_end_and_a_login_token_while_young() {
    let (source, tokens) = open(Constancy::Fixed, Some(3600), &[None]);
    let patience = patience();
    for (wait, api, login) in [(0, 1, 1), (1700, 1, 1), (200, 1, 2), (1500, 2, 2)] {
        pass(wait).await;
        tokens.api(Scope::Api, &patience).await.unwrap();
        tokens.login(Login::Certificate, &patience).await.unwrap();
        let asked = source.asked.lock().unwrap();
        let count = |scope| asked.iter().filter(|asked| **asked == scope).count();
        assert_eq!(
            (count("api"), count("login")),
            (api, login),
            "after {wait} s more"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_dropped_unless_it_was_replaced_already() {
    let (source, tokens) = open(Constancy::Fixed, None, &[None]);
    let patience = patience();
    let first = tokens.api(Scope::Api, &patience).await.unwrap();
    tokens.forget(Scope::Api, &first, &patience).await;
    let second = tokens.api(Scope::Api, &patience).await.unwrap();
    tokens.forget(Scope::Api, &first, &patience).await;
    let third = tokens.api(Scope::Api, &patience).await.unwrap();
    assert_eq!(second.secret().expose(), third.secret().expose());
    assert_eq!(source.asked.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_an_expiry_a_login_token_is_taken_to_live_four_minutes() {
    let (_, tokens) = open(Constancy::Fixed, None, &[None]);
    let (token, expires) = tokens.login(Login::Certificate, &patience()).await.unwrap();
    assert!(expires <= at(241) && expires >= at(240));
    assert_eq!(token.expires(), Some(expires));
}

#[tokio::test(start_paused = true)]
async fn a_token_lives_twelve_hours_at_most_and_an_ended_one_is_refused() {
    let (_, tokens) = open(Constancy::Fixed, Some(1_000_000), &[None]);
    let (_, expires) = tokens.login(Login::Certificate, &patience()).await.unwrap();
    assert!(expires <= at(12 * 3600 + 1));
    let (_, ended) = open(Constancy::Fixed, Some(0), &[None]);
    assert_eq!(
        ended.api(Scope::Api, &patience()).await.unwrap_err().kind(),
        ErrorKind::Credentials
    );
}

#[tokio::test(start_paused = true)]
async fn a_foreign_source_that_turns_into_somebody_else_is_refused() {
    let both = [Some("a@example.com"), Some("b@example.com")];
    let (_, tokens) = open(Constancy::Foreign, Some(600), &both);
    let patience = patience();
    tokens.login(Login::Certificate, &patience).await.unwrap();
    pass(400).await;
    let error = tokens
        .login(Login::Certificate, &patience)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials);
    assert!(is_principal_switch(&error));
    assert_eq!(
        error.to_string(),
        "the credentials were those of a@example.com, and are now those of b@example.com"
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_that_names_somebody_else_is_refused() {
    let (_, mut tokens) = open(Constancy::Fixed, Some(600), &[Some("a@example.com")]);
    let patience = patience();
    assert_eq!(
        tokens.principal(&patience).await.unwrap().as_deref(),
        Some("a@example.com")
    );
    let (source, _) = open(Constancy::Fixed, Some(600), &[None]);
    let source = Arc::into_inner(source).map(|source| Scripted {
        token_principal: Some("b@example.com"),
        ..source
    });
    tokens.source = Box::new(Arc::new(source.unwrap()));
    assert!(is_principal_switch(
        &tokens
            .login(Login::Certificate, &patience)
            .await
            .unwrap_err()
    ));
}

#[tokio::test(start_paused = true)]
async fn a_bound_source_is_looked_at_again_only_once_somebody_wanted_to_know() {
    let (source, tokens) = open(Constancy::Bound, Some(600), &[Some("a@example.com")]);
    let patience = patience();
    tokens.login(Login::Certificate, &patience).await.unwrap();
    assert_eq!(*source.asked.lock().unwrap(), ["login"]);
    tokens.principal(&patience).await.unwrap();
    pass(400).await;
    tokens.login(Login::Certificate, &patience).await.unwrap();
    assert_eq!(
        *source.asked.lock().unwrap(),
        ["login", "principal", "login", "principal"]
    );
}

#[tokio::test(start_paused = true)]
async fn a_first_login_asks_for_the_principal_once() {
    let (source, tokens) = open(Constancy::Bound, Some(600), &[Some("a@example.com")]);
    let patience = patience();
    tokens.principal(&patience).await.unwrap();
    tokens.login(Login::Certificate, &patience).await.unwrap();
    assert_eq!(*source.asked.lock().unwrap(), ["principal", "login"]);
}

/// Grants whatever is asked for but the login scopes, as to a human who never consented to them.
struct Unconsented {
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Source for Unconsented {
    async fn token(&self, scope: Scope, _: &Patience) -> Result<Token> {
        match scope.is_login() {
            true => Err(invalid_scope()),
            false => {
                let token = Token::new(Secret::new("a-token-of-the-whole-grant"));
                Ok(token.expires_at(self.clock.now() + Duration::from_secs(3600)))
            }
        }
    }

    async fn principal(&self, _: &Patience) -> Result<Option<String>> {
        Ok(None)
    }
}

fn unconsented(login_scope: LoginScope) -> Tokens {
    let (_, mut tokens) = open(Constancy::Fixed, None, &[None]);
    tokens.source = Box::new(Unconsented {
        clock: tokens.clock.clone(),
    });
    tokens.login_scope = login_scope;
    tokens
}

#[tokio::test(start_paused = true)]
async fn a_grant_without_the_login_scope_serves_a_metadata_exchange_and_nothing_else() {
    let tokens = unconsented(LoginScope::Narrow);
    let patience = patience();
    let (token, _) = tokens.login(Login::Exchange, &patience).await.unwrap();
    assert!(token.is_broad());
    assert!(tokens.exchange_at_hand().is_some());
    for refused in [
        Login::Certificate,
        Login::Password(Scope::Login),
        Login::Password(Scope::AlloyDbLogin),
    ] {
        let error = tokens.login(refused, &patience).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Credentials, "{refused:?}");
        assert!(is_invalid_scope(&error), "{refused:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn strictly_no_grant_without_the_login_scope_logs_in() {
    let tokens = unconsented(LoginScope::Strict);
    let patience = patience();
    let error = tokens.login(Login::Exchange, &patience).await.unwrap_err();
    assert!(is_invalid_scope(&error));
}

/// What a caller's object hands out that knows one scope alone.
struct Unnarrowed;

#[async_trait]
impl Source for Unnarrowed {
    async fn token(&self, _: Scope, _: &Patience) -> Result<Token> {
        Ok(Token::new(Secret::new("a-token-for-everything")).broad())
    }

    async fn principal(&self, _: &Patience) -> Result<Option<String>> {
        Ok(None)
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_narrowed_logs_in_unless_that_is_forbidden_and_is_never_a_password() {
    for (login_scope, purpose, works) in [
        (LoginScope::Narrow, Login::Certificate, true),
        (LoginScope::Narrow, Login::Exchange, true),
        (LoginScope::Narrow, Login::Password(Scope::Login), false),
        (LoginScope::Strict, Login::Certificate, false),
        (LoginScope::Strict, Login::Exchange, false),
    ] {
        let (_, mut tokens) = open(Constancy::Fixed, None, &[None]);
        tokens.source = Box::new(Unnarrowed);
        tokens.login_scope = login_scope;
        let outcome = tokens.login(purpose, &patience()).await;
        assert_eq!(outcome.is_ok(), works, "{login_scope:?} {purpose:?}");
        if let Err(error) = outcome {
            assert_eq!(error.kind(), ErrorKind::Credentials);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_logs_in_may_be_another_than_calls_the_api() {
    let (caller, mut tokens) = open(Constancy::Fixed, Some(3600), &[Some("a@example.com")]);
    let (login, _) = open(Constancy::Fixed, Some(3600), &[Some("b@example.com")]);
    tokens.login_source = Some(Box::new(login.clone()));
    let patience = patience();
    tokens.api(Scope::Api, &patience).await.unwrap();
    tokens.login(Login::Certificate, &patience).await.unwrap();
    assert_eq!(
        tokens.principal(&patience).await.unwrap().as_deref(),
        Some("b@example.com")
    );
    assert_eq!(*caller.asked.lock().unwrap(), ["api"]);
    assert_eq!(*login.asked.lock().unwrap(), ["login", "principal"]);
}
