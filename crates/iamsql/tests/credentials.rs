//! Every kind of credentials against the emulator: whose tokens are used, and what is refused before anything is sent.

mod world;

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use iamsql::{
    AuthMode, ConnectOptions, Connector, Credentials, Environment, Error, ErrorKind, Result, Scope,
    Secret, Token, TokenSource,
};
use iamsql_emulator::{Emulator, Endpoint, HUMAN, Principal, SERVICE_ACCOUNT};
use serde_json::json;

use world::{added, connector, emulator, environment, instance, own_emulator};

const API: &str = "https://www.googleapis.com/auth/sqlservice.admin";
const LOGIN: &str = "https://www.googleapis.com/auth/sqlservice.login";
const EMAIL: &str = "https://www.googleapis.com/auth/userinfo.email";
const HOUR: Duration = Duration::from_secs(3600);

fn iam() -> ConnectOptions {
    ConnectOptions::new().auth_mode(AuthMode::Iam)
}

/// Whose token asked for the instance's certificates, and whether a login token came along.
fn certificates(emulator: &Emulator, instance: &str) -> Vec<(Option<String>, bool)> {
    emulator
        .calls()
        .to(Endpoint::GenerateEphemeralCert)
        .into_iter()
        .filter(|call| call.instance.as_deref() == Some(instance))
        .map(|call| (call.principal, call.detail.is_some()))
        .collect()
}

#[tokio::test]
async fn the_attached_service_account_is_found_without_any_setting() {
    let instance = instance(emulator()).await;
    let connector = connector(emulator()).build().await.unwrap();
    connector.warm(&instance, &iam()).await.unwrap();
    assert_eq!(
        certificates(emulator(), &instance),
        [(Some(SERVICE_ACCOUNT.to_owned()), true)]
    );
    assert_eq!(
        connector.principal().await.unwrap().as_deref(),
        Some(SERVICE_ACCOUNT)
    );
    assert_eq!(
        connector.user(&instance).await.unwrap(),
        "cloudsql-client@your-project-id.iam"
    );
}

#[tokio::test]
async fn a_first_login_takes_two_admin_and_two_metadata_calls_and_one_more_to_derive_the_user() {
    let emulator = own_emulator().await;
    let instance = instance(&emulator).await;
    let count = |endpoint| emulator.calls().to(endpoint).len();
    let connector = connector(&emulator).build().await.unwrap();
    connector.warm(&instance, &iam()).await.unwrap();
    assert_eq!(count(Endpoint::ConnectSettings), 1);
    assert_eq!(count(Endpoint::GenerateEphemeralCert), 1);
    assert_eq!(count(Endpoint::MetadataToken), 2);
    assert_eq!(count(Endpoint::Metadata), 0);

    connector.user(&instance).await.unwrap();
    connector.user(&instance).await.unwrap();
    connector.database_version(&instance).await.unwrap();
    assert_eq!(count(Endpoint::Metadata), 1);
    assert_eq!(emulator.calls().all().len(), 5);
}

#[tokio::test]
async fn a_service_account_key_is_exchanged_at_its_own_endpoint() {
    let instance = instance(emulator()).await;
    let key = emulator()
        .service_account_key(SERVICE_ACCOUNT)
        .await
        .unwrap();
    let connector = connector(emulator())
        .credentials(Credentials::json(Secret::new(key)))
        .build()
        .await
        .unwrap();
    connector.warm(&instance, &iam()).await.unwrap();
    assert_eq!(
        certificates(emulator(), &instance),
        [(Some(SERVICE_ACCOUNT.to_owned()), true)]
    );
    assert_eq!(
        connector.user(&instance).await.unwrap(),
        "cloudsql-client@your-project-id.iam"
    );
}

#[tokio::test]
async fn a_humans_login_is_narrowed_and_its_principal_asked_for_by_post() {
    let emulator = own_emulator().await;
    let instance = instance(&emulator).await;
    let file = emulator.authorized_user(HUMAN).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("adc.json");
    std::fs::write(&path, file).unwrap();
    let connector = Connector::builder()
        .environment(environment(&emulator).with("GOOGLE_APPLICATION_CREDENTIALS", &path))
        .build()
        .await
        .unwrap();
    connector.warm(&instance, &iam()).await.unwrap();
    assert_eq!(connector.user(&instance).await.unwrap(), HUMAN);
    assert_eq!(
        certificates(&emulator, &instance),
        [(Some(HUMAN.to_owned()), true)]
    );
    let scopes: Vec<_> = emulator
        .calls()
        .to(Endpoint::Token)
        .into_iter()
        .filter_map(|call| call.detail)
        .collect();
    assert!(scopes.contains(&LOGIN.to_owned()), "{scopes:?}");
    let asked = emulator.calls().to(Endpoint::TokenInfo);
    assert!(asked.iter().all(|call| call.path == "/tokeninfo") && asked.len() == 1);
}

#[tokio::test]
async fn given_tokens_are_used_as_they_are() {
    let instance = instance(emulator()).await;
    let token =
        |scopes: &[&str]| Secret::new(emulator().access_token(HUMAN, scopes, HOUR).unwrap());
    let connector = connector(emulator())
        .credentials(Credentials::token(
            token(&[API]),
            Some(token(&[LOGIN, EMAIL])),
        ))
        .iam_auth(true)
        .build()
        .await
        .unwrap();
    connector
        .warm(&instance, &ConnectOptions::new())
        .await
        .unwrap();
    assert_eq!(
        certificates(emulator(), &instance),
        [(Some(HUMAN.to_owned()), true)]
    );
    assert_eq!(connector.user(&instance).await.unwrap(), HUMAN);
}

#[tokio::test]
async fn an_api_token_is_never_used_as_a_login() {
    let instance = instance(emulator()).await;
    let token = Secret::new(emulator().access_token(HUMAN, &[API, LOGIN], HOUR).unwrap());
    let builder = connector(emulator()).credentials(Credentials::token(token, None));
    let refused = builder.clone().iam_auth(true).build().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config);

    let connector = builder.build().await.unwrap();
    let refused = connector.warm(&instance, &iam()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config);
    assert!(certificates(emulator(), &instance).is_empty());
    connector
        .warm(&instance, &ConnectOptions::new())
        .await
        .unwrap();
    assert_eq!(
        certificates(emulator(), &instance),
        [(Some(HUMAN.to_owned()), false)]
    );
}

/// Hands out the emulator's tokens, for whoever `switched` says; counts its calls.
struct Source {
    emulator: &'static Emulator,
    switched: AtomicBool,
    asked: Mutex<Vec<Scope>>,
    life: Duration,
}

impl Source {
    fn new(life: Duration) -> Arc<Self> {
        Arc::new(Source {
            emulator: emulator(),
            switched: AtomicBool::new(false),
            asked: Mutex::new(Vec::new()),
            life,
        })
    }

    fn who(&self) -> &'static str {
        match self.switched.load(Ordering::SeqCst) {
            true => HUMAN,
            false => SERVICE_ACCOUNT,
        }
    }
}

#[async_trait::async_trait]
impl TokenSource for Source {
    async fn token(&self, scope: Scope) -> Result<Token> {
        self.asked.lock().unwrap().push(scope);
        let text = self
            .emulator
            .access_token(self.who(), &[scope.url()], self.life)
            .map_err(|error| Error::new(ErrorKind::Credentials, error.to_string()))?;
        Ok(Token::new(Secret::new(text)).expires_at(SystemTime::now() + self.life))
    }

    async fn principal(&self) -> Result<Option<String>> {
        Ok(Some(self.who().to_owned()))
    }
}

/// The emulator without its variable, for credentials that are not its own.
fn endpoint_only(emulator: &Emulator) -> iamsql::ConnectorBuilder {
    Connector::builder()
        .environment(Environment::empty().with("GCE_METADATA_HOST", emulator.host()))
        .dangerous_admin_endpoint(emulator.url())
}

#[tokio::test]
async fn a_source_that_turns_into_somebody_else_is_refused_and_its_certificate_dropped() {
    let source = Source::new(Duration::from_secs(6));
    let instance = instance(emulator()).await;
    let connector = endpoint_only(emulator())
        .credentials(Credentials::source(source.clone()))
        .build()
        .await
        .unwrap();
    connector.warm(&instance, &iam()).await.unwrap();
    source.switched.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(7)).await;
    let refused = connector.warm(&instance, &iam()).await.unwrap_err();
    assert_eq!(
        refused.kind(),
        ErrorKind::Credentials,
        "{}",
        refused.chain()
    );
    assert!(
        refused.to_string().contains("are now those of"),
        "{refused}"
    );
    assert!(
        certificates(emulator(), &instance)
            .iter()
            .all(|(who, _)| who.as_deref() == Some(SERVICE_ACCOUNT)),
        "nothing was asked for as somebody else"
    );
}

#[tokio::test]
async fn connectors_share_a_source_only_if_it_is_the_same_object() {
    let (one, other) = (Source::new(HOUR), Source::new(HOUR));
    let instance = instance(emulator()).await;
    for source in [&one, &one, &other] {
        let connector = endpoint_only(emulator())
            .credentials(Credentials::source(source.clone()))
            .build()
            .await
            .unwrap();
        connector.warm(&instance, &iam()).await.unwrap();
    }
    assert_eq!(one.asked.lock().unwrap().len(), 2);
    assert_eq!(other.asked.lock().unwrap().len(), 2);
    assert_eq!(certificates(emulator(), &instance).len(), 2);
}

#[tokio::test]
async fn a_source_that_panics_hangs_or_talks_too_much_becomes_an_error() {
    struct Odd(u8);
    #[async_trait::async_trait]
    impl TokenSource for Odd {
        async fn token(&self, _: Scope) -> Result<Token> {
            match self.0 {
                0 => panic!("odd"),
                1 => std::future::pending().await,
                _ => Err(Error::new(ErrorKind::Login, "no\nERROR forged")),
            }
        }
        async fn principal(&self) -> Result<Option<String>> {
            Ok(None)
        }
    }
    let instance = instance(emulator()).await;
    for (odd, kind, text) in [
        (0, ErrorKind::Credentials, "panicked"),
        (1, ErrorKind::Timeout, "deadline"),
        (2, ErrorKind::Credentials, "no\\u{a}ERROR forged"),
    ] {
        let connector = endpoint_only(emulator())
            .credentials(Credentials::source(Arc::new(Odd(odd))))
            .timeout(Duration::from_secs(3))
            .build()
            .await
            .unwrap();
        let error = connector.warm(&instance, &iam()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(text), "{error}");
    }
}

#[tokio::test]
async fn a_file_replaced_in_place_is_another_identity_for_new_connectors_only() {
    let instance = instance(emulator()).await;
    let second = "second@your-project-id.iam.gserviceaccount.com";
    emulator()
        .add_principal(Principal::service_account(second))
        .await
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key.json");
    let build = || connector_of_file(&path);
    std::fs::write(
        &path,
        emulator()
            .service_account_key(SERVICE_ACCOUNT)
            .await
            .unwrap(),
    )
    .unwrap();
    let before = build().await.unwrap();
    std::fs::write(&path, emulator().service_account_key(second).await.unwrap()).unwrap();
    let after = build().await.unwrap();
    assert_eq!(
        before.user(&instance).await.unwrap(),
        "cloudsql-client@your-project-id.iam"
    );
    assert_eq!(
        after.user(&instance).await.unwrap(),
        "second@your-project-id.iam"
    );
    after.warm(&instance, &iam()).await.unwrap();
    before.warm(&instance, &iam()).await.unwrap();
    let who: Vec<_> = certificates(emulator(), &instance)
        .into_iter()
        .filter_map(|(who, _)| who)
        .collect();
    assert_eq!(who, [second, SERVICE_ACCOUNT]);
}

async fn connector_of_file(path: &std::path::Path) -> Result<Connector> {
    Connector::builder()
        .environment(environment(emulator()))
        .credentials(Credentials::file(path))
        .build()
        .await
}

#[tokio::test]
async fn a_file_that_cannot_be_used_says_so_without_repeating_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("key.json");
    let missing = connector_of_file(&path).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Credentials);
    assert!(missing.to_string().contains("key.json"), "{missing}");
    for content in [
        "",
        "hunter2",
        r#"{"type": "hunter2\u202e"}"#,
        r#"{"type": "service_account", "private_key": "hunter2", "client_email": "a@b"}"#,
        r#"{"type": "authorized_user", "refresh_token": "hunter2"}"#,
        r#"{"client_secret": "hunter2"}"#,
    ] {
        std::fs::write(&path, content).unwrap();
        let error = connector_of_file(&path).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Credentials, "{content}: {error}");
        assert!(error.advice().is_some());
        let shown = format!("{error} {error:?} {}", error.chain());
        assert!(
            !shown.contains("hunter2") || content.contains("type\": \"hunter2"),
            "{shown}"
        );
        assert!(!shown.contains('\u{202e}'));
    }
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    // Root reads everything; then the content is what is wrong.
    assert_eq!(
        connector_of_file(&path).await.unwrap_err().kind(),
        ErrorKind::Credentials
    );
}

#[tokio::test]
async fn no_credentials_at_all_is_said_so() {
    let nobody = Environment::empty().with("HOME", "/nonexistent");
    let connector = Connector::builder()
        .environment(nobody)
        .timeout(Duration::from_secs(8))
        .build()
        .await
        .unwrap();
    let started = std::time::Instant::now();
    let error = connector.principal().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials, "{}", error.chain());
    assert!(
        error
            .to_string()
            .starts_with("no credential file was found"),
        "{error}"
    );
    assert!(
        error
            .advice()
            .unwrap()
            .contains("gcloud auth application-default login")
    );
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn a_machine_without_a_service_account_is_told_to_attach_one() {
    let emulator = Emulator::builder().attached(None).start().await.unwrap();
    let instance = instance(&emulator).await;
    let connector = connector(&emulator).build().await.unwrap();
    let error = connector.warm(&instance, &iam()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials, "{error}");
    assert!(
        error.advice().unwrap().contains("attach a service account"),
        "{error}"
    );
}

#[tokio::test]
async fn with_the_emulators_variable_set_other_credentials_are_refused_unsent() {
    let emulator = own_emulator().await;
    let key = world::emulator()
        .service_account_key(SERVICE_ACCOUNT)
        .await
        .unwrap();
    let mut real: serde_json::Value = serde_json::from_str(&key).unwrap();
    real["token_uri"] = json!("https://oauth2.googleapis.com/token");
    let user = json!({"type": "authorized_user", "client_id": "c", "client_secret": "secret-text", "refresh_token": "refresh-text"});
    let json = |value: serde_json::Value| Credentials::json(Secret::new(value.to_string()));
    for (what, credentials) in [
        ("a key", json(real)),
        (
            "another emulator's key",
            Credentials::json(Secret::new(key)),
        ),
        ("a user", json(user)),
        (
            "a token",
            Credentials::token(Secret::new("ya29.a-real-token"), None),
        ),
        ("a source", Credentials::source(Source::new(HOUR))),
    ] {
        let refused = connector(&emulator).credentials(credentials).build().await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Config, "{what}");
    }
    assert!(emulator.calls().all().is_empty());
}

#[tokio::test]
async fn with_the_emulators_variable_set_a_developers_own_login_stays_where_it_is() {
    let home = tempfile::tempdir().unwrap();
    let gcloud = home.path().join(".config/gcloud");
    std::fs::create_dir_all(&gcloud).unwrap();
    std::fs::write(gcloud.join("application_default_credentials.json"), "{}").unwrap();
    let connector = Connector::builder()
        .environment(environment(emulator()).with("HOME", home.path()))
        .build()
        .await
        .unwrap();
    assert_eq!(
        connector.principal().await.unwrap().as_deref(),
        Some(SERVICE_ACCOUNT)
    );
}

#[tokio::test]
async fn credentials_of_another_universe_are_refused_before_the_first_byte() {
    let key = emulator()
        .service_account_key(SERVICE_ACCOUNT)
        .await
        .unwrap();
    let mut other: serde_json::Value = serde_json::from_str(&key).unwrap();
    other["universe_domain"] = json!("example-cloud.goog");
    let refused = connector(emulator())
        .credentials(Credentials::json(Secret::new(other.to_string())))
        .build()
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config);
    assert!(
        refused.to_string().contains("example-cloud.goog"),
        "{refused}"
    );
}

#[tokio::test]
async fn a_machine_of_another_universe_is_refused_before_it_gives_a_token() {
    const OTHER: &str = "example-cloud.goog";
    let own = own_emulator().await;
    let other = Emulator::builder()
        .universe_domain(OTHER)
        .start()
        .await
        .unwrap();
    for (emulator, universe, fits) in [(&own, OTHER, false), (&other, OTHER, true)] {
        let instance = instance(emulator).await;
        let connector = connector(emulator)
            .universe_domain(universe)
            .build()
            .await
            .unwrap();
        let warmed = connector.warm(&instance, &iam()).await;
        assert_eq!(warmed.is_ok(), fits, "{warmed:?}");
        if let Err(error) = warmed {
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(emulator.calls().to(Endpoint::MetadataToken).is_empty());
        }
    }
}

#[tokio::test]
async fn the_quota_project_and_user_agent_reach_the_admin_api() {
    let instance = added(emulator(), |spec| spec.iam(false)).await;
    let connector = Connector::builder()
        .environment(environment(emulator()).with("GOOGLE_CLOUD_QUOTA_PROJECT", "from-variable"))
        .user_agent("my-app/1.2")
        .quota_project("billing")
        .build()
        .await
        .unwrap();
    connector
        .warm(&instance, &ConnectOptions::new())
        .await
        .unwrap();
    for endpoint in [Endpoint::ConnectSettings, Endpoint::GenerateEphemeralCert] {
        let calls = emulator().calls().to(endpoint);
        let call = calls
            .iter()
            .find(|call| call.instance.as_deref() == Some(&instance))
            .unwrap();
        assert_eq!(call.quota_project.as_deref(), Some("billing"));
        let agent = call.user_agent.as_deref().unwrap();
        assert!(
            agent.starts_with("iamsql/") && agent.ends_with(" my-app/1.2"),
            "{agent}"
        );
    }
}
