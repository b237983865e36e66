use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::*;
use crate::control::endpoint::EndpointOptions;

fn read(json: Value, environment: &Environment) -> Result<GoogleFile> {
    let endpoints = Endpoints::resolve(&EndpointOptions::default(), environment)?;
    GoogleFile::external_account(&json, &endpoints, environment)
}

#[test]
fn the_impersonated_account_is_the_principal() {
    let file = read(
        json!({"service_account_impersonation_url":
            "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/app@p.iam.gserviceaccount.com:generateAccessToken"}),
        &Environment::empty(),
    );
    assert_eq!(
        file.unwrap().impersonated.as_deref(),
        Some("app@p.iam.gserviceaccount.com")
    );
}

#[test]
fn a_program_runs_only_where_the_switch_is_on() {
    let json = json!({"token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": {"executable": {"command": "/bin/true"}}});
    let refused = read(json.clone(), &Environment::empty()).err().unwrap();
    assert_eq!(refused.kind(), ErrorKind::Config);
    let allowed = Environment::empty().with(environment::ALLOW_EXECUTABLES, "1");
    assert!(read(json, &allowed).is_ok());
}

#[test]
fn a_file_that_sends_tokens_elsewhere_is_refused_also_when_nested() {
    for json in [
        json!({"token_url": "https://sts.evil.example/v1/token"}),
        json!({"service_account_impersonation_url": "https://evil.example/serviceAccounts/a@b:x"}),
        json!({"source_credentials": {"token_uri": "https://evil.example/token"}}),
    ] {
        let error = read(json, &Environment::empty()).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config);
    }
}

/// A token service that answers every request with `body`, and notes what was sent.
async fn token_service(status: &'static str, body: &'static str) -> (String, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/token", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(String::new()));
    let noted = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 16 << 10];
            let length = stream.read(&mut request).await.unwrap_or(0);
            noted
                .lock()
                .unwrap()
                .push_str(&String::from_utf8_lossy(&request[..length]));
            let answer = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (url, seen)
}

/// An external account whose subject token is in a file.
fn external_account(token_url: &str, subject: &str) -> (GoogleFile, tempfile::NamedTempFile) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(subject.as_bytes()).unwrap();
    let custom = Environment::empty().with(environment::ALLOW_CUSTOM_TOKEN_URLS, "1");
    let json = json!({
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/a/providers/b",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": token_url,
        "credential_source": {"file": file.path()},
    });
    (read(json, &custom).unwrap(), file)
}

fn patience(seconds: u64) -> Patience {
    Patience::until(Instant::now() + Duration::from_secs(seconds))
}

#[tokio::test]
async fn an_external_account_exchanges_its_subject_token_for_each_scope() {
    let granted = r#"{"access_token": "sts-token-text", "issued_token_type": "urn:ietf:params:oauth:token-type:access_token", "token_type": "Bearer", "expires_in": 3600}"#;
    let (url, seen) = token_service("200 OK", granted).await;
    let (account, _file) = external_account(&url, "the-subject-token");
    for scope in [Scope::Api, Scope::Login] {
        let token = account.token(scope, &patience(20)).await.unwrap();
        assert_eq!(token.secret().expose(), "sts-token-text");
    }
    let seen = seen.lock().unwrap();
    assert!(seen.contains("the-subject-token"), "{seen}");
    assert!(
        seen.contains("sqlservice.admin") && seen.contains("sqlservice.login"),
        "{seen}"
    );
}

#[tokio::test]
async fn an_exchange_that_is_refused_or_hangs_is_an_error_in_time() {
    let (url, _) = token_service("400 Bad Request", r#"{"error": "invalid_grant"}"#).await;
    let (account, _file) = external_account(&url, "the-subject-token");
    let error = account.token(Scope::Api, &patience(20)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials, "{error}");

    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/token", silent.local_addr().unwrap());
    let (account, _file) = external_account(&url, "the-subject-token");
    let error = account.token(Scope::Api, &patience(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
}
