//! Whom credentials may speak for: service accounts, and humans of a workforce pool.

use super::*;

#[tokio::test]
async fn an_external_account_may_speak_for_a_service_account() {
    let google = Google::start();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "the-subject-token").unwrap();
    let mut account = external(&google, json!({"file": file.path()}));
    account["service_account_impersonation_url"] = json!(google.impersonation(TARGET));
    account["service_account_impersonation"] = json!({"token_lifetime_seconds": 1800});
    let connector = builder(&google, json_credentials(&account), custom())
        .build()
        .await
        .unwrap();
    let (api, login) = tokens(&google, &connector).await.unwrap();
    assert_eq!(api, "impersonated-sqlservice.admin");
    assert_eq!(login, "impersonated-sqlservice.login");
    let exchanges = google.to("/v1/token");
    assert_eq!(exchanges.len(), 1, "one token serves both");
    assert_eq!(exchanges[0].scope(), "cloud-platform");
    for generated in google.to(":generateAccessToken") {
        assert_eq!(
            generated.header("authorization"),
            Some("Bearer federated-cloud-platform")
        );
        assert_eq!(generated.json()["lifetime"], "1800s");
    }
    assert_eq!(
        connector.principal().await.unwrap().as_deref(),
        Some(TARGET)
    );
    assert_eq!(
        connector.user(INSTANCE).await.unwrap(),
        "app@your-project-id.iam"
    );
}

#[tokio::test]
async fn an_impersonating_file_and_the_call_ask_alike_with_the_delegates_in_their_order() {
    for of_file in [true, false] {
        let google = Google::start();
        let credentials = match of_file {
            true => json_credentials(&json!({"type": "impersonated_service_account",
                "service_account_impersonation_url": google.impersonation(TARGET),
                "delegates": [ONE, TWO], "source_credentials": user(&google)})),
            // The universe's own IAM is asked, so that this has to be the emulator's.
            false => Credentials::application_default().impersonate(TARGET, [ONE, TWO]),
        };
        let environment = match of_file {
            true => custom(),
            false => Environment::empty().with(
                "IAMSQL_EMULATOR_HOST",
                google.url.trim_start_matches("http://"),
            ),
        };
        google.script(|request| {
            request.path.contains("/computeMetadata").then(|| {
                Reply::of(
                    200,
                    json!({"access_token": "user-cloud-platform", "expires_in": 3600}),
                )
            })
        });
        let connector = builder(&google, credentials, environment)
            .build()
            .await
            .unwrap();
        let (api, login) = tokens(&google, &connector).await.unwrap();
        assert_eq!(api, "impersonated-sqlservice.admin");
        assert_eq!(login, "impersonated-sqlservice.login");
        for generated in google.to(":generateAccessToken") {
            assert!(
                generated
                    .path
                    .contains(&format!("/serviceAccounts/{TARGET}:"))
            );
            assert_eq!(
                generated.json()["delegates"],
                json!([
                    format!("projects/-/serviceAccounts/{ONE}"),
                    format!("projects/-/serviceAccounts/{TWO}")
                ])
            );
            assert_eq!(
                generated.header("authorization"),
                Some("Bearer user-cloud-platform")
            );
        }
        assert_eq!(
            connector.user(INSTANCE).await.unwrap(),
            "app@your-project-id.iam"
        );
    }
}

#[tokio::test]
async fn whoever_may_not_speak_for_the_target_is_told_what_to_grant() {
    let google = Google::start();
    google.script(|request| {
        request.path.contains(":generateAccessToken").then(|| {
            Reply::of(
                403,
                r#"{"error":{"code":403,"status":"PERMISSION_DENIED","message":"no"}}"#,
            )
        })
    });
    let file = json!({"type": "impersonated_service_account",
        "service_account_impersonation_url": google.impersonation(TARGET),
        "source_credentials": user(&google)});
    let connector = builder(&google, json_credentials(&file), custom())
        .build()
        .await
        .unwrap();
    let error = connector.database_version(INSTANCE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials);
    assert!(
        error
            .to_string()
            .contains("HTTP 403: PERMISSION_DENIED: no"),
        "{error}"
    );
    let advice = error.advice().unwrap();
    assert!(
        advice.contains("roles/iam.serviceAccountTokenCreator") && advice.contains(TARGET),
        "{advice}"
    );
}

#[tokio::test]
async fn a_base_token_that_iam_refuses_is_replaced_once() {
    let google = Google::start();
    google.script({
        let mut tries = 0;
        let mut tokens = 0;
        move |request| match request.path.as_str() {
            "/token" => {
                tokens += 1;
                Some(Reply::of(
                    200,
                    json!({"access_token": format!("base-{tokens}"), "expires_in": 3600}),
                ))
            }
            path if path.contains(":generateAccessToken") => {
                tries += 1;
                (tries == 1).then(|| Reply::of(401, ""))
            }
            _ => None,
        }
    });
    let file = json!({"type": "impersonated_service_account",
        "service_account_impersonation_url": google.impersonation(TARGET),
        "source_credentials": user(&google)});
    let connector = builder(&google, json_credentials(&file), custom())
        .build()
        .await
        .unwrap();
    connector.database_version(INSTANCE).await.unwrap();
    let bearers: Vec<_> = google
        .to(":generateAccessToken")
        .iter()
        .map(|request| request.header("authorization").unwrap().to_owned())
        .collect();
    assert_eq!(bearers, ["Bearer base-1", "Bearer base-2"]);
}

#[tokio::test]
async fn a_human_of_a_workforce_pool_is_asked_for_with_the_client_in_a_header() {
    let google = Google::start();
    let file = json!({"type": "external_account_authorized_user", "audience": AUDIENCE,
        "client_id": "client", "client_secret": "client-secret", "refresh_token": "refresh-token",
        "token_url": google.at("/v1/oauthtoken")});
    let connector = builder(&google, json_credentials(&file), custom())
        .build()
        .await
        .unwrap();
    let (api, login) = tokens(&google, &connector).await.unwrap();
    assert_eq!(
        (api.as_str(), login.as_str()),
        ("user-sqlservice.admin", "user-sqlservice.login")
    );
    for asked in google.to("/v1/oauthtoken") {
        // client:client-secret
        assert_eq!(
            asked.header("authorization"),
            Some("Basic Y2xpZW50OmNsaWVudC1zZWNyZXQ=")
        );
        assert!(!asked.body.contains("client-secret"), "{}", asked.body);
        assert_eq!(
            asked.field("refresh_token").as_deref(),
            Some("refresh-token")
        );
    }
    assert_eq!(connector.principal().await.unwrap(), None);
}

#[tokio::test]
async fn a_human_of_a_workforce_pool_is_never_asked_for_with_the_whole_grant() {
    let google = Google::start();
    google.script(|request| {
        let refused = json!({"error": "invalid_scope", "error_description": "not granted"});
        (request.path == "/v1/oauthtoken").then(|| Reply::of(400, refused))
    });
    let file = json!({"type": "external_account_authorized_user", "audience": AUDIENCE,
        "client_id": "client", "client_secret": "client-secret", "refresh_token": "refresh-token",
        "token_url": google.at("/v1/oauthtoken")});
    let connector = builder(&google, json_credentials(&file), custom())
        .build()
        .await
        .unwrap();
    let error = tokens(&google, &connector).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials, "{error}");
    let asked = google.to("/v1/oauthtoken");
    assert!(!asked.is_empty());
    for asked in asked {
        assert!(asked.scope().starts_with("sqlservice."), "{}", asked.body);
    }
}

#[tokio::test]
async fn a_workforce_pools_calls_are_charged_to_the_project_that_the_file_names() {
    let google = Google::start();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "the-subject-token").unwrap();
    let mut account = external(&google, json!({"file": file.path()}));
    account["workforce_pool_user_project"] = json!("billing");
    let connector = builder(&google, json_credentials(&account), custom())
        .build()
        .await
        .unwrap();
    connector.database_version(INSTANCE).await.unwrap();
    let options = google.to("/v1/token")[0].field("options");
    assert_eq!(options.as_deref(), Some(r#"{"userProject":"billing"}"#));

    account["client_id"] = json!("client");
    account["client_secret"] = json!("client-secret");
    let connector = builder(&google, json_credentials(&account), custom())
        .build()
        .await
        .unwrap();
    connector.database_version(INSTANCE).await.unwrap();
    let exchange = google.to("/v1/token").pop().unwrap();
    assert_eq!(
        exchange.field("options"),
        None,
        "the client says whom to charge"
    );
    assert!(
        exchange
            .header("authorization")
            .unwrap()
            .starts_with("Basic ")
    );
}

#[tokio::test]
async fn a_subject_token_is_read_anew_and_may_not_turn_into_somebody_elses() {
    let google = Google::start();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), jwt("ada")).unwrap();
    let account = external(&google, json!({"file": file.path()}));
    let connector = builder(&google, json_credentials(&account), custom())
        .build()
        .await
        .unwrap();
    connector.database_version(INSTANCE).await.unwrap();

    let renewed = format!("{}-renewed", jwt("ada"));
    fs::write(file.path(), &renewed).unwrap();
    let iam = ConnectOptions::new().auth_mode(AuthMode::Iam);
    let _ = connector.warm(INSTANCE, &iam).await;
    let exchanges = google.to("/v1/token");
    assert_eq!(exchanges.len(), 2);
    assert_eq!(
        exchanges[1].field("subject_token").as_deref(),
        Some(renewed.as_str())
    );

    let other = builder(&google, json_credentials(&account), custom()).user_agent("apart");
    let other = other.build().await.unwrap();
    other.database_version(INSTANCE).await.unwrap();
    fs::write(file.path(), jwt("eve")).unwrap();
    let error = other.warm(INSTANCE, &iam).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials, "{error}");
    assert!(
        error.to_string().contains("were those of ada")
            && error.to_string().contains("those of eve"),
        "{error}"
    );
    assert_eq!(google.to("/v1/token").len(), 3, "eve's token was not sent");
}
