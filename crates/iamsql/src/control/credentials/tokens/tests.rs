use std::collections::VecDeque;
use std::sync::Mutex as SyncMutex;

use async_trait::async_trait;
use tokio::time::Instant;

use super::*;
use crate::control::clock::testing::{TokioClock, at};
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
        clock,
        tokeninfo: None,
        api: Single::new(None),
        login: Single::new(None),
        principal: Single::new(None),
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
        tokens.api(&patience),
        tokens.api(&patience),
        tokens.login(&patience)
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
        tokens.api(&patience).await.unwrap();
        tokens.login(&patience).await.unwrap();
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
    let first = tokens.api(&patience).await.unwrap();
    tokens.forget_api(&first, &patience).await;
    let second = tokens.api(&patience).await.unwrap();
    tokens.forget_api(&first, &patience).await;
    let third = tokens.api(&patience).await.unwrap();
    assert_eq!(second.secret().expose(), third.secret().expose());
    assert_eq!(source.asked.lock().unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_an_expiry_a_login_token_is_taken_to_live_four_minutes() {
    let (_, tokens) = open(Constancy::Fixed, None, &[None]);
    let (token, expires) = tokens.login(&patience()).await.unwrap();
    assert!(expires <= at(241) && expires >= at(240));
    assert_eq!(token.expires(), Some(expires));
}

#[tokio::test(start_paused = true)]
async fn a_token_lives_twelve_hours_at_most_and_an_ended_one_is_refused() {
    let (_, tokens) = open(Constancy::Fixed, Some(1_000_000), &[None]);
    let (_, expires) = tokens.login(&patience()).await.unwrap();
    assert!(expires <= at(12 * 3600 + 1));
    let (_, ended) = open(Constancy::Fixed, Some(0), &[None]);
    assert_eq!(
        ended.api(&patience()).await.unwrap_err().kind(),
        ErrorKind::Credentials
    );
}

#[tokio::test(start_paused = true)]
async fn a_foreign_source_that_turns_into_somebody_else_is_refused() {
    let both = [Some("a@example.com"), Some("b@example.com")];
    let (_, tokens) = open(Constancy::Foreign, Some(600), &both);
    let patience = patience();
    tokens.login(&patience).await.unwrap();
    pass(400).await;
    let error = tokens.login(&patience).await.unwrap_err();
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
        &tokens.login(&patience).await.unwrap_err()
    ));
}

#[tokio::test(start_paused = true)]
async fn a_bound_source_is_looked_at_again_only_once_somebody_wanted_to_know() {
    let (source, tokens) = open(Constancy::Bound, Some(600), &[Some("a@example.com")]);
    let patience = patience();
    tokens.login(&patience).await.unwrap();
    assert_eq!(*source.asked.lock().unwrap(), ["login"]);
    tokens.principal(&patience).await.unwrap();
    pass(400).await;
    tokens.login(&patience).await.unwrap();
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
    tokens.login(&patience).await.unwrap();
    assert_eq!(*source.asked.lock().unwrap(), ["principal", "login"]);
}
