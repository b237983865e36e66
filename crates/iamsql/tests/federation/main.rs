//! Credentials that speak for others: what is exchanged where, with which scope, and what is never sent.

#[path = "../google/mod.rs"]
mod google;

mod guards;
mod people;
mod sources;

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
