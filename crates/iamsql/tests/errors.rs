//! What can go wrong between here and a certificate: of which kind it is, what it says, and how soon.

mod world;

use std::io::Read;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use iamsql::{AuthMode, ConnectOptions, Connector, Detail, Error, ErrorKind};
use iamsql_emulator::{Effect, Emulator, Endpoint, Fault, Principal, Role, SERVICE_ACCOUNT};

use world::{added, calls, connector, emulator, instance, own_emulator, unknown_instance};

fn iam() -> ConnectOptions {
    ConnectOptions::new().auth_mode(AuthMode::Iam)
}

fn within(limit: Duration) -> ConnectOptions {
    iam().timeout(limit)
}

fn break_settings(instance: &str, effect: Effect) -> Fault {
    Fault::new(Endpoint::ConnectSettings, effect).instance(instance)
}

async fn failure(connector: &Connector, instance: &str) -> Error {
    connector.warm(instance, &iam()).await.unwrap_err()
}

#[tokio::test]
async fn a_malformed_name_is_refused_before_anything_is_sent() {
    let emulator = own_emulator().await;
    let connector = connector(&emulator).build().await.unwrap();
    for name in ["", "p:i", "p:r:i:x:y", "p:r:i ", "p:r:../i", "p:r:i?x=1"] {
        for error in [
            failure(&connector, name).await,
            connector.user(name).await.unwrap_err(),
            connector.database_version(name).await.unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Config, "{name:?}");
            assert_eq!(error.detail(), Some(&Detail::MalformedName));
        }
    }
    assert!(emulator.calls().all().is_empty());
}

#[tokio::test]
async fn an_unknown_instance_names_the_command_that_lists_the_known_ones() {
    let connector = connector(emulator()).build().await.unwrap();
    let name = unknown_instance();
    let error = failure(&connector, &name).await;
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    assert_eq!(error.instance(), Some(&*name));
    assert!(
        error.to_string().starts_with(&format!("{name}: HTTP 404")),
        "{error}"
    );
    assert!(
        error
            .advice()
            .unwrap()
            .contains("gcloud sql instances list --project=your-project-id")
    );
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn a_wrong_region_names_the_right_one_and_is_not_asked_about_again_at_once() {
    let instance = added(emulator(), |spec| spec.reported_region("europe-west4")).await;
    let connector = connector(emulator()).build().await.unwrap();
    for _ in 0..5 {
        let error = failure(&connector, &instance).await;
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(
            error.detail(),
            Some(&Detail::WrongRegion {
                named: "us-central1".to_owned(),
                actual: "europe-west4".to_owned()
            })
        );
        assert!(
            error.advice().unwrap().contains(":europe-west4:"),
            "{error}"
        );
    }
    assert_eq!(calls(emulator(), Endpoint::ConnectSettings, &instance), 1);
}

#[tokio::test]
async fn a_missing_role_is_named() {
    let emulator = own_emulator().await;
    let instance = instance(&emulator).await;
    let poor = Principal::service_account(SERVICE_ACCOUNT).without_role(Role::CloudSqlClient);
    emulator.add_principal(poor).await.unwrap();
    let connector = connector(&emulator).build().await.unwrap();
    let error = failure(&connector, &instance).await;
    assert_eq!(error.kind(), ErrorKind::Permission);
    assert_eq!(error.http_status(), Some(403));
    assert!(
        error.to_string().contains(": HTTP 403 PERMISSION_DENIED: "),
        "{error}"
    );
    assert!(error.advice().unwrap().contains("roles/cloudsql.client"));
}

#[tokio::test]
async fn an_engine_without_iam_logins_is_refused_for_them_only() {
    let instance = added(emulator(), |spec| {
        spec.database_version("SQLSERVER_2022_STANDARD")
    })
    .await;
    let connector = connector(emulator()).build().await.unwrap();
    let error = failure(&connector, &instance).await;
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(
        error
            .to_string()
            .contains("SQLSERVER_2022_STANDARD has no IAM login"),
        "{error}"
    );
    assert_eq!(
        connector.user(&instance).await.unwrap_err().kind(),
        ErrorKind::Config
    );
    connector
        .warm(&instance, &ConnectOptions::new())
        .await
        .unwrap();
    assert_eq!(
        connector.user_for(&instance, Some("sa")).await.unwrap(),
        "sa"
    );
}

#[tokio::test]
async fn trouble_that_passes_is_not_noticed() {
    for effect in [
        Effect::status(503),
        Effect::status(429),
        Effect::status(408),
        Effect::Reset,
        Effect::ResetMidBody,
    ] {
        for endpoint in [Endpoint::ConnectSettings, Endpoint::GenerateEphemeralCert] {
            let instance = instance(emulator()).await;
            let fault = Fault::new(endpoint, effect.clone())
                .instance(&instance)
                .times(2);
            emulator().faults().inject(fault);
            let connector = connector(emulator()).build().await.unwrap();
            let warmed = connector.warm(&instance, &iam()).await;
            assert!(warmed.is_ok(), "{effect:?} at {endpoint:?}: {warmed:?}");
            assert_eq!(
                calls(emulator(), endpoint, &instance),
                3,
                "{effect:?} at {endpoint:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_quota_that_stays_used_up_ends_after_six_tries_in_googles_words() {
    let instance = instance(emulator()).await;
    emulator()
        .faults()
        .inject(break_settings(&instance, Effect::status(429)));
    let connector = connector(emulator()).build().await.unwrap();
    let started = Instant::now();
    let error = failure(&connector, &instance).await;
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error
            .to_string()
            .starts_with(&format!("{instance}: HTTP 429 ")),
        "{error}"
    );
    assert!(error.is_retryable() && started.elapsed() < Duration::from_secs(25));
    assert_eq!(calls(emulator(), Endpoint::ConnectSettings, &instance), 6);
}

#[tokio::test]
async fn a_deadline_ends_the_tries_with_the_trouble_and_not_just_a_timeout() {
    let instance = instance(emulator()).await;
    emulator()
        .faults()
        .inject(break_settings(&instance, Effect::status(429)));
    let connector = connector(emulator()).build().await.unwrap();
    let started = Instant::now();
    let options = within(Duration::from_secs(1));
    let error = connector.warm(&instance, &options).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}

#[tokio::test]
async fn a_wish_to_come_back_later_is_granted_or_reported() {
    let soon = instance(emulator()).await;
    let busy = |seconds: &str| Effect::status(429).retry_after(seconds);
    emulator()
        .faults()
        .inject(break_settings(&soon, busy("1")).times(1));
    let connector = connector(emulator()).build().await.unwrap();
    let started = Instant::now();
    connector.warm(&soon, &iam()).await.unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert_eq!(calls(emulator(), Endpoint::ConnectSettings, &soon), 2);

    let late = instance(emulator()).await;
    emulator()
        .faults()
        .inject(break_settings(&late, busy("45")).times(1));
    let started = Instant::now();
    let error = failure(&connector, &late).await;
    assert!(started.elapsed() < Duration::from_secs(10));
    let wait = error
        .retry_at()
        .unwrap()
        .duration_since(SystemTime::now())
        .unwrap();
    assert!((30..=45).contains(&wait.as_secs()), "{wait:?}");
    // Nobody is bothered again before then.
    assert_eq!(
        failure(&connector, &late).await.retry_at(),
        error.retry_at()
    );
    assert_eq!(calls(emulator(), Endpoint::ConnectSettings, &late), 1);
}

#[tokio::test]
async fn an_admin_api_that_does_not_answer_ends_at_the_deadline() {
    let instance = instance(emulator()).await;
    emulator()
        .faults()
        .inject(break_settings(&instance, Effect::Hang));
    let connector = connector(emulator()).build().await.unwrap();
    let started = Instant::now();
    let options = within(Duration::from_millis(500));
    let error = connector.warm(&instance, &options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn answers_that_make_no_sense_are_not_repeated() {
    let connector = connector(emulator()).build().await.unwrap();
    for effect in [Effect::Malformed, Effect::Huge { bytes: 2 << 20 }] {
        for endpoint in [Endpoint::ConnectSettings, Endpoint::GenerateEphemeralCert] {
            let instance = instance(emulator()).await;
            emulator()
                .faults()
                .inject(Fault::new(endpoint, effect.clone()).instance(&instance));
            let error = connector
                .warm(&instance, &within(Duration::from_secs(5)))
                .await
                .unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{effect:?}: {error}");
            assert!(error.chain().len() < 400, "{}", error.chain());
        }
    }
}

/// A listener that notes whether anybody came.
fn recorder() -> (String, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let visited = Arc::new(AtomicBool::new(false));
    let seen = visited.clone();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            seen.store(true, Ordering::SeqCst);
            let _ = stream.read(&mut [0; 1024]);
        }
    });
    (url, visited)
}

#[tokio::test]
async fn redirects_are_not_followed_anywhere() {
    let emulator = own_emulator().await;
    let (elsewhere, visited) = recorder();
    for status in [301, 302, 303, 307, 308] {
        for endpoint in [
            Endpoint::ConnectSettings,
            Endpoint::GenerateEphemeralCert,
            Endpoint::MetadataToken,
            Endpoint::Metadata,
        ] {
            let instance = instance(&emulator).await;
            let fault = emulator.faults().inject(Fault::new(
                endpoint,
                Effect::Redirect {
                    status,
                    location: format!("{elsewhere}/stolen"),
                },
            ));
            let connector = connector(&emulator).build().await.unwrap();
            let error = match endpoint {
                Endpoint::Metadata => connector.user(&instance).await.unwrap_err(),
                _ => failure(&connector, &instance).await,
            };
            assert!(
                error.to_string().contains(&format!("HTTP {status}")),
                "{error}"
            );
            emulator.faults().clear(fault);
        }
    }
    assert!(!visited.load(Ordering::SeqCst));
}

#[tokio::test]
async fn no_proxy_comes_between_us_and_this_machine() {
    let (proxy, visited) = recorder();
    let instance = instance(emulator()).await;
    let connector = Connector::builder()
        .environment(
            world::environment(emulator())
                .with("HTTP_PROXY", &proxy)
                .with("HTTPS_PROXY", &proxy)
                .with("ALL_PROXY", &proxy),
        )
        .build()
        .await
        .unwrap();
    connector.warm(&instance, &iam()).await.unwrap();
    assert!(!visited.load(Ordering::SeqCst));
}

/// Everything that an error can show.
fn shown(error: &Error) -> String {
    format!(
        "{error} {error:?} {} {}",
        error.chain(),
        error.advice().unwrap_or_default()
    )
}

#[tokio::test]
async fn a_server_that_repeats_our_secrets_does_not_get_them_into_errors() {
    let emulator = own_emulator().await;
    let key = emulator.service_account_key(SERVICE_ACCOUNT).await.unwrap();
    let user = emulator.authorized_user(SERVICE_ACCOUNT).unwrap();
    let json = |text: &str| iamsql::Credentials::json(text.to_owned().into());
    for endpoint in [
        Endpoint::ConnectSettings,
        Endpoint::GenerateEphemeralCert,
        Endpoint::Token,
        Endpoint::TokenInfo,
    ] {
        for status in [400, 403] {
            let fault = emulator
                .faults()
                .inject(Fault::new(endpoint, Effect::EchoSecrets { status }));
            for credentials in [Some(json(&key)), Some(json(&user)), None] {
                let instance = instance(&emulator).await;
                let builder = connector(&emulator);
                let connector = match credentials {
                    Some(credentials) => builder.credentials(credentials),
                    None => builder,
                };
                let connector = connector.build().await.unwrap();
                let warmed = connector.warm(&instance, &iam()).await;
                let derived = connector.user(&instance).await.map(drop);
                for error in [warmed, derived].into_iter().filter_map(Result::err) {
                    let shown = shown(&error);
                    assert!(!shown.contains("emulator-"), "{shown}");
                    assert!(!shown.contains("eyJ"), "{shown}");
                    assert!(
                        shown.chars().all(|c| !c.is_control() && c != '\u{202e}'),
                        "{shown:?}"
                    );
                }
            }
            emulator.faults().clear(fault);
        }
    }
}

async fn metadata_failure(emulator: &Emulator, effect: Effect) -> Error {
    let instance = instance(emulator).await;
    let fault = emulator
        .faults()
        .inject(Fault::new(Endpoint::MetadataToken, effect));
    let connector = connector(emulator).build().await.unwrap();
    let error = connector
        .warm(&instance, &within(Duration::from_secs(20)))
        .await
        .unwrap_err();
    emulator.faults().clear(fault);
    error
}

#[tokio::test]
async fn a_metadata_server_in_trouble_is_unavailable_and_one_that_refuses_is_a_matter_of_credentials()
 {
    let emulator = own_emulator().await;
    for (effect, kind) in [
        (Effect::status(403), ErrorKind::Credentials),
        (Effect::status(404), ErrorKind::Credentials),
        (Effect::status(500), ErrorKind::Unavailable),
        (Effect::Malformed, ErrorKind::Unavailable),
    ] {
        let error = metadata_failure(&emulator, effect.clone()).await;
        assert_eq!(error.kind(), kind, "{effect:?}: {error}");
        assert!(error.to_string().contains("the metadata server"), "{error}");
    }
}

#[tokio::test]
async fn a_metadata_server_that_comes_up_late_is_waited_for() {
    let emulator = own_emulator().await;
    let instance = instance(&emulator).await;
    emulator
        .faults()
        .inject(Fault::new(Endpoint::MetadataToken, Effect::status(503)).times(16));
    let connector = connector(&emulator).build().await.unwrap();
    connector.warm(&instance, &iam()).await.unwrap();
}

#[tokio::test]
async fn a_metadata_server_that_is_not_there_ends_at_the_deadline_with_its_address() {
    // Nobody but root listens on port 1; one that was free a moment ago may be taken by another test.
    let absent = "127.0.0.1:1";
    let connector = Connector::builder()
        .environment(iamsql::Environment::empty().with("GCE_METADATA_HOST", absent))
        .timeout(Duration::from_secs(2))
        .build()
        .await
        .unwrap();
    let started = Instant::now();
    let error = connector.principal().await.unwrap_err();
    // It may end sooner than at the deadline: a pause that would reach past it is not begun.
    assert!(started.elapsed() < Duration::from_secs(12));
    assert_eq!(error.kind(), ErrorKind::Credentials);
    assert!(error.is_retryable());
    assert!(error.to_string().contains(absent), "{error}");
    assert!(
        error
            .advice()
            .unwrap()
            .contains("gcloud auth application-default login")
    );
    // Also whoever waits for somebody else's tries hears what the trouble is.
    let options = iam();
    let (one, other) = tokio::join!(connector.warm("p:r:i", &options), connector.user("p:r:i"));
    assert_eq!(one.unwrap_err().kind(), ErrorKind::Credentials);
    assert_eq!(other.unwrap_err().kind(), ErrorKind::Credentials);
}

#[tokio::test]
async fn a_token_that_google_no_longer_accepts_is_replaced_once() {
    let emulator = own_emulator().await;
    let (first, second) = (instance(&emulator).await, instance(&emulator).await);
    let connector = connector(&emulator).build().await.unwrap();
    connector
        .warm(&first, &ConnectOptions::new())
        .await
        .unwrap();
    emulator.revoke_principal(SERVICE_ACCOUNT);
    connector
        .warm(&second, &ConnectOptions::new())
        .await
        .unwrap();
    assert_eq!(emulator.calls().to(Endpoint::MetadataToken).len(), 2);
}

#[tokio::test]
async fn options_out_of_range_are_refused() {
    let connector = connector(emulator()).build().await.unwrap();
    for timeout in [Duration::ZERO, Duration::from_secs(3601)] {
        let options = ConnectOptions::new().timeout(timeout);
        let error = connector.warm("p:r:i", &options).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let refused = world::connector(emulator()).timeout(timeout).build().await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Config);
    }
    for (what, builder) in [
        (
            "endpoint",
            world::connector(emulator()).dangerous_admin_endpoint("http://sqladmin.googleapis.com"),
        ),
        (
            "user agent",
            world::connector(emulator()).user_agent("two\r\nlines"),
        ),
        (
            "quota project",
            world::connector(emulator()).quota_project("a b"),
        ),
        (
            "universe",
            world::connector(emulator()).universe_domain("no domain"),
        ),
        (
            "emulator",
            world::connector(emulator()).emulator_host("198.51.100.1:80"),
        ),
    ] {
        assert_eq!(
            builder.build().await.unwrap_err().kind(),
            ErrorKind::Config,
            "{what}"
        );
    }
}
