//! Where a subject token comes from: a file, a URL, a program, AWS.

use super::*;

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

pub(super) fn aws(google: &Google) -> Value {
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
