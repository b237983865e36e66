//! What is never followed, never sent, and never waited for.

use super::sources::aws;
use super::*;

/// Every door through which a secret could leave: a credential file whose exchange ends at the given place.
fn doors(google: &Google, directory: &Path) -> Vec<(&'static str, Value)> {
    let subject = directory.join("subject");
    fs::write(&subject, "the-subject-token").unwrap();
    let federated = external(google, json!({"file": subject}));
    let mut impersonating = federated.clone();
    impersonating["service_account_impersonation_url"] = json!(google.impersonation(TARGET));
    let url = json!({"url": google.at("/subject"), "headers": {"Authorization": "Bearer secret"},
        "format": {"type": "json", "subject_token_field_name": "value"}});
    vec![
        ("/v1/token", federated),
        (":generateAccessToken", impersonating),
        ("/subject", external(google, url)),
        ("/latest/api/token", aws(google)),
        ("/latest/meta-data/iam", aws(google)),
        (
            "/token",
            json!({"type": "impersonated_service_account",
            "service_account_impersonation_url": google.impersonation(TARGET),
            "source_credentials": user(google)}),
        ),
        (
            "/v1/oauthtoken",
            json!({"type": "external_account_authorized_user", "client_id": "client",
            "client_secret": "client-secret", "refresh_token": "refresh-token",
            "token_url": google.at("/v1/oauthtoken")}),
        ),
    ]
}

#[tokio::test]
async fn no_redirect_is_followed_at_any_door() {
    let directory = tempfile::tempdir().unwrap();
    let (elsewhere, recorded) = recorder();
    for status in [302, 307, 308] {
        let google = Google::start();
        for (door, file) in doors(&google, directory.path()) {
            let location = format!("{elsewhere}/stolen");
            google.script(move |request| {
                request
                    .path
                    .contains(door)
                    .then(|| Reply::to(location.clone(), status))
            });
            let connector = builder(&google, json_credentials(&file), custom())
                .user_agent(door.trim_start_matches([':', '/']))
                .build()
                .await
                .unwrap();
            let error = connector.database_version(INSTANCE).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Credentials, "{door}: {error}");
            assert!(
                error.to_string().contains(&status.to_string()),
                "{door}: {error}"
            );
        }
    }
    assert!(recorded.try_recv().is_err(), "a redirect was followed");
}

#[tokio::test]
async fn no_proxy_comes_between_this_machine_and_itself() {
    let directory = tempfile::tempdir().unwrap();
    let google = Google::start();
    let (proxy, recorded) = recorder();
    for (door, file) in doors(&google, directory.path()) {
        let environment = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"]
            .into_iter()
            .fold(custom(), |environment, name| environment.with(name, &proxy));
        let connector = builder(&google, json_credentials(&file), environment)
            .build()
            .await
            .unwrap();
        connector
            .database_version(INSTANCE)
            .await
            .unwrap_or_else(|error| panic!("{door}: {error}"));
    }
    assert!(recorded.try_recv().is_err(), "a proxy saw a request");
}

#[tokio::test]
async fn plain_http_to_another_machine_is_refused_at_every_door() {
    let directory = tempfile::tempdir().unwrap();
    let google = Google::start();
    for (door, file) in doors(&google, directory.path()) {
        let elsewhere = file
            .to_string()
            .replace(&google.url, "http://collector.example");
        let refused = builder(&google, Credentials::json(Secret::new(elsewhere)), custom())
            .build()
            .await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Config, "{door}");
    }
}

#[tokio::test]
async fn outside_the_universe_nothing_is_sent_unless_that_was_allowed() {
    let directory = tempfile::tempdir().unwrap();
    let google = Google::start();
    for (door, file) in doors(&google, directory.path()) {
        // A subject token may be asked for anywhere; this one is then to be exchanged outside.
        let refused = builder(&google, json_credentials(&file), Environment::empty())
            .build()
            .await;
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{door}: {error}");
    }
    assert!(google.requests().is_empty());
}

#[tokio::test]
async fn with_the_emulators_variable_set_other_federation_is_refused_unsent() {
    let directory = tempfile::tempdir().unwrap();
    let (google, emulator) = (Google::start(), Google::start());
    let host = emulator.url.trim_start_matches("http://");
    let environment = || {
        custom()
            .with("IAMSQL_EMULATOR_HOST", host)
            .with("PATH", "/usr/bin:/bin")
    };
    for (door, file) in doors(&google, directory.path()) {
        let real = file
            .to_string()
            .replace(&google.url, "https://sts.googleapis.com");
        for (what, text) in [("loopback", file.to_string()), ("real", real)] {
            let refused = builder(
                &emulator,
                Credentials::json(Secret::new(text)),
                environment(),
            );
            let error = refused.build().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{what} {door}: {error}");
        }
    }
    // Only the last step would be the emulator's.
    let mixed = external(&emulator, json!({"url": google.at("/subject")}));
    for credentials in [json_credentials(&mixed), Credentials::gcloud()] {
        let refused = builder(&emulator, credentials, environment()).build().await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Config);
    }
    assert!(google.requests().is_empty() && emulator.requests().is_empty());
}

#[tokio::test]
async fn an_exchange_that_hangs_ends_at_the_deadline_and_one_that_is_busy_is_tried_again() {
    let google = Google::start();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "the-subject-token").unwrap();
    let account = external(&google, json!({"file": file.path()}));
    let mut tries = 0;
    google.script(move |request| {
        let busy = request.path == "/v1/token" && {
            tries += 1;
            tries < 3
        };
        busy.then(|| Reply {
            headers: vec![("retry-after", "1".to_owned())],
            ..Reply::of(503, "")
        })
    });
    let started = std::time::Instant::now();
    let connector = builder(&google, json_credentials(&account), custom())
        .build()
        .await
        .unwrap();
    connector.database_version(INSTANCE).await.unwrap();
    assert!(
        started.elapsed() >= Duration::from_secs(2),
        "Retry-After is honoured"
    );

    google.script(|request| {
        if request.path == "/v1/token" {
            std::thread::sleep(Duration::from_secs(4));
        }
        None
    });
    let connector = builder(&google, json_credentials(&account), custom())
        .user_agent("apart")
        .timeout(Duration::from_secs(1))
        .build()
        .await
        .unwrap();
    let started = std::time::Instant::now();
    let error = connector.database_version(INSTANCE).await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(3));
}
