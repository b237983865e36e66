//! The metadata server.

use iamsql_emulator::{Emulator, Endpoint, Principal, SERVICE_ACCOUNT};
use reqwest::Method;
use serde_json::Value;

use crate::client::{Client, LOGIN_SCOPE};

#[tokio::test]
async fn it_tells_project_account_and_scopes() {
    let emulator = Emulator::builder().start().await.unwrap();
    let client = Client::new(&emulator);
    let text = async |path: &str| client.metadata(path).await.text().await.unwrap();
    assert_eq!(text("project/project-id").await, "your-project-id");
    assert_eq!(
        text("instance/service-accounts/default/email").await,
        SERVICE_ACCOUNT
    );
    assert!(
        text("instance/service-accounts/default/scopes")
            .await
            .contains("cloud-platform\n")
    );
    assert!(
        text("instance/service-accounts/")
            .await
            .starts_with("default/\n")
    );
    let path = "instance/service-accounts/default/?recursive=true";
    let account: Value = client.metadata(path).await.json().await.unwrap();
    assert_eq!(account["email"], SERVICE_ACCOUNT);
    assert_eq!(
        client.metadata("universe/universe-domain").await.status(),
        404
    );
    assert_eq!(
        client.metadata("instance/attributes/none").await.status(),
        404
    );
}

#[tokio::test]
async fn it_answers_only_who_knows_what_it_is() {
    let emulator = Emulator::builder().start().await.unwrap();
    let client = Client::new(&emulator);
    let path = "/computeMetadata/v1/project/project-id";
    let plain = client.request(Method::GET, path).send().await.unwrap();
    assert_eq!(plain.status(), 403);
    assert_eq!(plain.headers()["metadata-flavor"], "Google");
    let request = client
        .request(Method::GET, path)
        .header("Metadata-Flavor", "Google");
    let forwarded = request
        .header("X-Forwarded-For", "10.0.0.1")
        .send()
        .await
        .unwrap();
    assert_eq!(forwarded.status(), 403);
    let ping = client.request(Method::GET, "/").send().await.unwrap();
    assert_eq!(
        (ping.status().as_u16(), &ping.headers()["metadata-flavor"]),
        (200, &"Google".parse().unwrap())
    );
}

#[tokio::test]
async fn a_token_repeats_per_scope_and_is_remembered() {
    let emulator = Emulator::builder().start().await.unwrap();
    let client = Client::new(&emulator);
    let token = client.token(LOGIN_SCOPE).await;
    assert!(token.starts_with("emulator-"));
    assert_eq!(client.token(LOGIN_SCOPE).await, token);
    assert_ne!(
        client
            .token("https://www.googleapis.com/auth/userinfo.email")
            .await,
        token
    );
    assert_eq!(emulator.calls().to(Endpoint::MetadataToken).len(), 3);
    assert_eq!(
        emulator.calls().to(Endpoint::MetadataToken)[0]
            .principal
            .as_deref(),
        Some(SERVICE_ACCOUNT)
    );
}

#[tokio::test]
async fn another_host_stands_for_another_principal() {
    let other = "reader@your-project-id.iam.gserviceaccount.com";
    let emulator = Emulator::builder()
        .principal(Principal::service_account(other))
        .start()
        .await
        .unwrap();
    let client = Client::at(&emulator.host_as(other).await.unwrap());
    let answer = client
        .metadata("instance/service-accounts/default/email")
        .await;
    assert_eq!(answer.text().await.unwrap(), other);
    assert!(emulator.host_as("nobody@example.com").await.is_err());
}

#[tokio::test]
async fn a_machine_may_have_no_account_and_another_universe() {
    let emulator = Emulator::builder()
        .attached(None)
        .universe_domain("example.cloud");
    let emulator = emulator.start().await.unwrap();
    let client = Client::new(&emulator);
    assert_eq!(
        client
            .metadata("instance/service-accounts/default/email")
            .await
            .status(),
        404
    );
    assert_eq!(
        client
            .metadata("instance/service-accounts/default/token")
            .await
            .status(),
        404
    );
    let universe = client.metadata("universe/universe-domain").await;
    assert_eq!(universe.text().await.unwrap(), "example.cloud");
}
