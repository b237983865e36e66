//! The OAuth endpoints.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use iamsql_emulator::{Emulator, HUMAN, Principal, SERVICE_ACCOUNT};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{ADMIN_SCOPE, Client, LOGIN_SCOPE};

#[tokio::test]
async fn a_service_account_key_buys_a_token() {
    let emulator = Emulator::builder().start().await.unwrap();
    let client = Client::new(&emulator);
    let key: Value =
        serde_json::from_str(&emulator.service_account_key(SERVICE_ACCOUNT).await.unwrap())
            .unwrap();
    assert_eq!(key["token_uri"], format!("{}/token", emulator.url()));
    let (status, answer) = redeem(&client, &assertion(&key, LOGIN_SCOPE)).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["expires_in"], 3600);
    assert_eq!(answer["token_type"], "Bearer");

    let told = tokeninfo(&client, answer["access_token"].as_str().unwrap()).await;
    assert_eq!(told["scope"], LOGIN_SCOPE);
    assert!(told["expires_in"].as_str().unwrap().parse::<u64>().unwrap() > 3590);
    assert_eq!(
        told.get("email"),
        None,
        "a token that may not read the address does not show it"
    );

    assert_eq!(emulator.revoke_principal(SERVICE_ACCOUNT), 0);
    let (status, answer) = redeem(&client, &assertion(&key, LOGIN_SCOPE)).await;
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_grant")));
}

#[tokio::test]
async fn a_refresh_token_buys_what_its_owner_consented_to() {
    let emulator = Emulator::builder().start().await.unwrap();
    let client = Client::new(&emulator);
    let file: Value = serde_json::from_str(&emulator.authorized_user(HUMAN).unwrap()).unwrap();
    let refresh = async |scope: Option<&str>, secret: Option<&str>| {
        let mut form = HashMap::from([("grant_type", "refresh_token")]);
        for name in ["refresh_token", "client_id", "client_secret"] {
            form.insert(name, file[name].as_str().unwrap());
        }
        form.extend(scope.map(|scope| ("scope", scope)));
        form.extend(secret.map(|secret| ("client_secret", secret)));
        send(&client, &form).await
    };
    let (status, all) = refresh(None, None).await;
    assert_eq!(status, 200);
    assert!(all["scope"].as_str().unwrap().contains("cloud-platform"));
    let told = tokeninfo(&client, all["access_token"].as_str().unwrap()).await;
    assert_eq!(told["email"], HUMAN);

    let (status, narrow) = refresh(Some(LOGIN_SCOPE), None).await;
    assert_eq!((status, &narrow["scope"]), (200, &json!(LOGIN_SCOPE)));
    let (status, error) = refresh(Some(ADMIN_SCOPE), None).await;
    assert_eq!((status, &error["error"]), (400, &json!("invalid_scope")));
    let (status, error) = refresh(None, Some("wrong")).await;
    assert_eq!((status, &error["error"]), (401, &json!("invalid_client")));
}

#[tokio::test]
async fn other_grants_are_refused_in_oauths_words() {
    let emulator = Emulator::builder().start().await.unwrap();
    let client = Client::new(&emulator);
    let cases = [
        (
            HashMap::from([("grant_type", "password")]),
            "unsupported_grant_type",
        ),
        (
            HashMap::from([("grant_type", "refresh_token")]),
            "invalid_request",
        ),
        (
            HashMap::from([
                ("grant_type", "refresh_token"),
                ("refresh_token", "1//real"),
            ]),
            "invalid_grant",
        ),
        (HashMap::new(), "invalid_request"),
    ];
    for (form, error) in cases {
        let (status, answer) = send(&client, &form).await;
        assert_eq!((status, &answer["error"]), (400, &json!(error)), "{form:?}");
    }
}

#[tokio::test]
async fn tokeninfo_knows_only_living_tokens_of_its_own() {
    let emulator = Emulator::builder().start().await.unwrap();
    let client = Client::new(&emulator);
    let brief = emulator
        .access_token(HUMAN, &[LOGIN_SCOPE], Duration::ZERO)
        .unwrap();
    for token in ["", "ya29.somebody-elses", &brief] {
        assert_eq!(tokeninfo(&client, token).await["error"], "invalid_token");
    }
    let living = emulator
        .access_token(HUMAN, &["email"], Duration::from_secs(60))
        .unwrap();
    assert_eq!(tokeninfo(&client, &living).await["email"], HUMAN);
    let path = format!("/tokeninfo?access_token={living}");
    let request = client.request(Method::GET, &path);
    assert_eq!(request.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn scopes_that_a_principal_may_not_have_are_refused() {
    let limited = "limited@your-project-id.iam.gserviceaccount.com";
    let principal = Principal::service_account(limited).with_scopes([LOGIN_SCOPE]);
    let emulator = Emulator::builder()
        .principal(principal)
        .start()
        .await
        .unwrap();
    let client = Client::new(&emulator);
    let key: Value =
        serde_json::from_str(&emulator.service_account_key(limited).await.unwrap()).unwrap();
    assert_eq!(redeem(&client, &assertion(&key, LOGIN_SCOPE)).await.0, 200);
    let (status, answer) = redeem(&client, &assertion(&key, ADMIN_SCOPE)).await;
    assert_eq!((status, &answer["error"]), (400, &json!("invalid_scope")));
}

async fn tokeninfo(client: &Client, token: &str) -> Value {
    let request = client
        .request(Method::POST, "/tokeninfo")
        .form(&[("access_token", token)]);
    request.send().await.unwrap().json().await.unwrap()
}

async fn redeem(client: &Client, assertion: &str) -> (u16, Value) {
    let grant = "urn:ietf:params:oauth:grant-type:jwt-bearer";
    send(
        client,
        &HashMap::from([("grant_type", grant), ("assertion", assertion)]),
    )
    .await
}

async fn send(client: &Client, form: &HashMap<&str, &str>) -> (u16, Value) {
    let response = client
        .request(Method::POST, "/token")
        .form(form)
        .send()
        .await
        .unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

fn assertion(key: &Value, scope: &str) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let header = json!({ "alg": "RS256", "typ": "JWT", "kid": key["private_key_id"] });
    let claims = json!({
        "iss": key["client_email"], "aud": key["token_uri"], "scope": scope, "iat": now, "exp": now + 3600,
    });
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", encode(&header), encode(&claims));
    let pem = key["private_key"].as_str().unwrap();
    let der: String = pem
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .collect();
    let pair = RsaKeyPair::from_pkcs8(&STANDARD.decode(der).unwrap()).unwrap();
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        message.as_bytes(),
        &mut signature,
    )
    .unwrap();
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}
