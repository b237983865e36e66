//! Credentials that speak for others: what is exchanged where, with which scope, and what is never sent.

mod google;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use iamsql::{
    AuthMode, ConnectOptions, Connector, ConnectorBuilder, Credentials, Environment, Error,
    ErrorKind, Secret,
};
use serde_json::{Value, json};

use google::{Google, Reply, Request, recorder};

const TARGET: &str = "app@your-project-id.iam.gserviceaccount.com";
const ONE: &str = "one@your-project-id.iam.gserviceaccount.com";
const TWO: &str = "two@your-project-id.iam.gserviceaccount.com";
const AUDIENCE: &str =
    "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q";
const INSTANCE: &str = "p:r:i";

/// Variables under which the scripted services may have credentials.
fn custom() -> Environment {
    Environment::empty().with("IAMSQL_ALLOW_CUSTOM_TOKEN_URLS", "1")
}

fn builder(
    google: &Google,
    credentials: Credentials,
    environment: Environment,
) -> ConnectorBuilder {
    Connector::builder()
        .environment(environment)
        .dangerous_admin_endpoint(&google.url)
        .credentials(credentials)
        .timeout(Duration::from_secs(20))
}

fn json_credentials(value: &Value) -> Credentials {
    Credentials::json(Secret::new(value.to_string()))
}

fn external(google: &Google, source: Value) -> Value {
    json!({
        "type": "external_account",
        "audience": AUDIENCE,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": google.at("/v1/token"),
        "credential_source": source,
    })
}

fn user(google: &Google) -> Value {
    json!({"type": "authorized_user", "client_id": "client", "client_secret": "client-secret",
        "refresh_token": "refresh-token", "token_uri": google.at("/token")})
}

/// The tokens that reached the Admin API: of the caller, and in the certificate request.
async fn tokens(google: &Google, connector: &Connector) -> Result<(String, String), Error> {
    connector.database_version(INSTANCE).await?;
    let iam = ConnectOptions::new().auth_mode(AuthMode::Iam);
    let refused = connector.warm(INSTANCE, &iam).await.unwrap_err();
    if google.to(":generateEphemeralCert").is_empty() {
        return Err(refused);
    }
    let settings = google.to("/connectSettings").pop().unwrap();
    let certificate = google.to(":generateEphemeralCert").pop().unwrap();
    let api = settings.header("authorization").unwrap();
    let login = certificate.json()["access_token"]
        .as_str()
        .unwrap_or("none")
        .to_owned();
    Ok((api.trim_start_matches("Bearer ").to_owned(), login))
}

fn script(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn jwt(subject: &str) -> String {
    let claims = json!({"sub": subject, "iss": "https://issuer.example"}).to_string();
    format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims))
}

#[tokio::test]
async fn a_subject_token_in_a_file_is_exchanged_for_a_token_of_each_scope() {
    let google = Google::start();
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "the-subject-token\n").unwrap();
    let account = external(&google, json!({"file": file.path()}));
    let connector = builder(&google, json_credentials(&account), custom())
        .build()
        .await
        .unwrap();
    let (api, login) = tokens(&google, &connector).await.unwrap();
    assert_eq!(api, "federated-sqlservice.admin");
    assert_eq!(login, "federated-sqlservice.login");
    let exchange = google.to("/v1/token").remove(0);
    for (field, value) in [
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        (
            "requested_token_type",
            "urn:ietf:params:oauth:token-type:access_token",
        ),
        ("subject_token", "the-subject-token"),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
        ("audience", AUDIENCE),
    ] {
        assert_eq!(exchange.field(field).as_deref(), Some(value));
    }
    assert_eq!(connector.principal().await.unwrap(), None);
    assert_eq!(
        connector.user(INSTANCE).await.unwrap_err().kind(),
        ErrorKind::Config
    );
}

#[tokio::test]
async fn a_subject_token_behind_a_url_is_asked_for_with_the_files_headers() {
    let google = Google::start();
    let source = json!({"url": google.at("/subject?resource=r&x=1"), "headers": {"Metadata": "True"},
        "format": {"type": "json", "subject_token_field_name": "value"}});
    let account = external(&google, source);
    let connector = builder(&google, json_credentials(&account), custom())
        .build()
        .await
        .unwrap();
    tokens(&google, &connector).await.unwrap();
    let asked = google.to("/subject").remove(0);
    assert_eq!(asked.path, "/subject?resource=r&x=1");
    assert_eq!(asked.header("metadata"), Some("True"));
    let exchange = google.to("/v1/token").remove(0);
    assert_eq!(
        exchange.field("subject_token").as_deref(),
        Some("subject-by-url")
    );
}

#[tokio::test]
async fn a_program_prints_the_subject_token_and_what_it_keeps_is_used_until_it_ends() {
    let google = Google::start();
    let directory = tempfile::tempdir().unwrap();
    let kept = directory.path().join("kept.json");
    let soon = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
        + 600;
    let answer = format!(
        r#"{{"version":1,"success":true,"token_type":"urn:ietf:params:oauth:token-type:jwt","id_token":"printed-token","expiration_time":{soon}}}"#
    );
    let text = format!(
        r#"echo run >>"{}/runs"
[ "$GOOGLE_EXTERNAL_ACCOUNT_AUDIENCE" = '{AUDIENCE}' ] || exit 3
[ "$GOOGLE_EXTERNAL_ACCOUNT_INTERACTIVE" = 0 ] || exit 4
[ "$1" = --flag ] || exit 5
echo '{answer}' | tee "$GOOGLE_EXTERNAL_ACCOUNT_OUTPUT_FILE""#,
        directory.path().display()
    );
    let command = format!("{} --flag", script(directory.path(), "program", &text));
    let account = external(
        &google,
        json!({"executable": {"command": command, "output_file": kept}}),
    );
    let off = builder(&google, json_credentials(&account), custom())
        .build()
        .await;
    assert_eq!(off.unwrap_err().kind(), ErrorKind::Config);
    let environment = custom()
        .with("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", "1")
        .with("PATH", "/usr/bin:/bin");
    let connector = builder(&google, json_credentials(&account), environment)
        .build()
        .await
        .unwrap();
    let (api, login) = tokens(&google, &connector).await.unwrap();
    assert_eq!(
        (api.as_str(), login.as_str()),
        ("federated-sqlservice.admin", "federated-sqlservice.login")
    );
    for exchange in google.to("/v1/token") {
        assert_eq!(
            exchange.field("subject_token").as_deref(),
            Some("printed-token")
        );
    }
    let runs = fs::read_to_string(directory.path().join("runs")).unwrap();
    assert_eq!(runs, "run\n", "what was kept served the second time");
}

#[tokio::test]
async fn a_program_that_refuses_expires_or_prints_another_kind_is_an_error() {
    let google = Google::start();
    let directory = tempfile::tempdir().unwrap();
    let environment = || {
        custom()
            .with("GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES", "1")
            .with("PATH", "/usr/bin:/bin")
    };
    for (number, (answer, text)) in [
        (r#"{"version":1,"success":false,"code":"401","message":"no\u000aforged"}"#, "refused: 401 no\\u{a}forged"),
        (r#"{"version":1,"success":true,"token_type":"urn:ietf:params:oauth:token-type:jwt","id_token":"x","expiration_time":1}"#, "has expired"),
        (r#"{"version":1,"success":true,"token_type":"urn:ietf:params:oauth:token-type:saml2","saml_response":"x"}"#, "token of type"),
        (r#"{"version":2,"success":true}"#, "version"),
        ("secret-text-that-is-no-json", "something else"),
    ]
    .into_iter()
    .enumerate()
    {
        let text_of = format!("cat <<'END'\n{answer}\nEND");
        let command = script(directory.path(), &format!("program-{number}"), &text_of);
        let account = external(&google, json!({"executable": {"command": command}}));
        let connector =
            builder(&google, json_credentials(&account), environment()).build().await.unwrap();
        let error = connector.database_version(INSTANCE).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Credentials, "{error}");
        assert!(error.to_string().contains(text), "{error}");
        assert!(!error.chain().contains("secret-text"), "{error}");
    }
    assert!(google.requests().is_empty());
}

fn aws(google: &Google) -> Value {
    let mut account = external(
        google,
        json!({"environment_id": "aws1",
            "region_url": google.at("/latest/meta-data/placement/availability-zone"),
            "url": google.at("/latest/meta-data/iam/security-credentials"),
            "imdsv2_session_token_url": google.at("/latest/api/token"),
            "regional_cred_verification_url":
                "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15"}),
    );
    account["subject_token_type"] = json!("urn:ietf:params:aws:token-type:aws4_request");
    account
}

/// The signed request that reached STS.
fn signed(exchange: &Request) -> Value {
    let subject = exchange.field("subject_token").unwrap();
    let text = percent_encoding::percent_decode_str(&subject)
        .decode_utf8()
        .unwrap();
    serde_json::from_str(&text).unwrap()
}

fn signed_header(signed: &Value, name: &str) -> Option<String> {
    let headers = signed["headers"].as_array().unwrap();
    let found = headers.iter().find(|header| header["key"] == name);
    found.map(|header| header["value"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn an_aws_machine_signs_with_the_role_that_its_metadata_server_tells_in_a_session() {
    let google = Google::start();
    let connector = builder(&google, json_credentials(&aws(&google)), custom())
        .build()
        .await
        .unwrap();
    tokens(&google, &connector).await.unwrap();
    let session = google.to("/latest/api/token").remove(0);
    assert_eq!(session.method, "PUT");
    assert_eq!(
        session.header("x-aws-ec2-metadata-token-ttl-seconds"),
        Some("300")
    );
    for asked in google.to("/latest/meta-data") {
        assert_eq!(
            asked.header("x-aws-ec2-metadata-token"),
            Some("the-imds-session")
        );
    }
    let signed = signed(&google.to("/v1/token")[0]);
    assert_eq!(
        signed["url"],
        "https://sts.eu-west-3.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15"
    );
    let authorization = signed_header(&signed, "Authorization").unwrap();
    assert!(
        authorization.contains("Credential=ASIAFROMROLE/"),
        "{authorization}"
    );
    assert!(
        authorization.contains("/eu-west-3/sts/aws4_request"),
        "{authorization}"
    );
    assert_eq!(
        signed_header(&signed, "x-amz-security-token").as_deref(),
        Some("session-of-the-role")
    );
    assert_eq!(
        signed_header(&signed, "x-goog-cloud-target-resource").as_deref(),
        Some(AUDIENCE)
    );
    assert!(
        !google.to("/v1/token")[0]
            .body
            .contains("secret-of-the-role")
    );
}

#[tokio::test]
async fn aws_keys_in_variables_ask_no_metadata_server_and_are_part_of_the_identity() {
    let google = Google::start();
    let mut open = Vec::new();
    for id in ["AKIAONE", "AKIAONE", "AKIATWO"] {
        let environment = custom()
            .with("AWS_DEFAULT_REGION", "us-gov-west-1")
            .with("AWS_ACCESS_KEY_ID", id)
            .with("AWS_SECRET_ACCESS_KEY", "secret-of-the-variable");
        let connector = builder(&google, json_credentials(&aws(&google)), environment)
            .build()
            .await
            .unwrap();
        connector.database_version(INSTANCE).await.unwrap();
        open.push(connector);
    }
    assert!(google.to("/latest").is_empty());
    let ids: Vec<_> = google
        .to("/v1/token")
        .iter()
        .map(|exchange| signed_header(&signed(exchange), "Authorization").unwrap())
        .map(|authorization| authorization.split(['=', '/']).nth(1).unwrap().to_owned())
        .collect();
    assert_eq!(
        ids,
        ["AKIAONE", "AKIATWO"],
        "shared where equal, and only there"
    );
}

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
