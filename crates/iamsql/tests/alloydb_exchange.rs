//! AlloyDB's metadata exchange gone wrong, and connection info from a file instead of the API.

mod world;

use std::time::{Duration, Instant};

use iamsql::{AuthMode, ConnectOptions, Connector, Credentials, ErrorKind, LoginScope};
use iamsql_emulator::{Effect, Emulator, Endpoint, Fault, HUMAN, SERVICE_ACCOUNT};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use world::{added_alloydb, certificates, connector, emulator, own_emulator, unknown_alloydb};

async fn fresh() -> Connector {
    connector(emulator()).iam_auth(true).build().await.unwrap()
}

fn disturb(emulator: &Emulator, instance: &str, effect: Effect) {
    let fault = Fault::new(Endpoint::MetadataExchange, effect);
    emulator.faults().inject(fault.instance(instance));
}

/// Nobody but the exchange was heard.
fn assert_no_database_bytes(instance: &str) {
    for session in emulator().sessions().of(instance) {
        assert_eq!(session.user, None);
        assert_eq!(session.database, None);
    }
}

#[tokio::test]
async fn a_refusal_is_a_handshake_error_in_the_servers_words() {
    let instance = added_alloydb(emulator(), |spec| spec).await;
    disturb(
        emulator(),
        &instance,
        Effect::refuse_exchange("no advanced check for you"),
    );
    let connector = fresh().await;
    for (mode, role) in [
        (AuthMode::Iam, "roles/alloydb.databaseUser"),
        (AuthMode::Password, "roles/alloydb.client"),
    ] {
        let options = ConnectOptions::new().auth_mode(mode);
        let error = connector.connect_with(&instance, &options).await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Handshake);
        assert!(!error.is_retryable());
        assert!(
            error
                .to_string()
                .ends_with("the server refused the metadata exchange: no advanced check for you"),
            "{error}"
        );
        assert!(error.advice().unwrap().contains(role), "{error:?}");
        assert_eq!(error.instance(), Some(&*instance));
    }
    // A refusal is no reason to doubt where the instance is.
    assert_eq!(certificates(emulator(), &instance), 1);
    assert_no_database_bytes(&instance);
}

#[tokio::test]
async fn a_refusal_that_repeats_our_token_does_not_show_it() {
    let emulator = own_emulator().await;
    let instance = added_alloydb(&emulator, |spec| spec).await;
    let echo = Effect::RefuseExchange { message: None };
    disturb(&emulator, &instance, echo);
    let connector = connector(&emulator).iam_auth(true).build().await.unwrap();
    let error = connector.connect(&instance).await.unwrap_err();
    let shown = format!("{error:?} {}", error.chain());
    assert!(shown.contains("[redacted]"), "{shown}");
    assert!(!shown.contains("emulator-"), "{shown}");
    assert!(!shown.contains(['\n', '\u{1b}', '\u{202e}']), "{shown:?}");
}

#[tokio::test]
async fn an_answer_that_is_none_is_refused() {
    for (effect, kind, text) in [
        (
            Effect::Malformed,
            ErrorKind::Handshake,
            "answer to the metadata exchange cannot be read",
        ),
        (
            Effect::Huge { bytes: 16_385 },
            ErrorKind::Handshake,
            "an answer of 16385 bytes",
        ),
        (
            Effect::ResetMidBody,
            ErrorKind::Network,
            "closed the connection during the metadata exchange",
        ),
        (
            Effect::Reset,
            ErrorKind::Network,
            "closed the connection during the metadata exchange",
        ),
    ] {
        let instance = added_alloydb(emulator(), |spec| spec).await;
        disturb(emulator(), &instance, effect.clone());
        let error = fresh().await.connect(&instance).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{effect:?}: {error:?}");
        assert!(error.to_string().contains(text), "{effect:?}: {error}");
        assert_no_database_bytes(&instance);
    }
}

#[tokio::test]
async fn silence_ends_at_the_deadline_and_names_the_step() {
    let instance = added_alloydb(emulator(), |spec| spec).await;
    let connector = fresh().await;
    connector
        .warm(&instance, &ConnectOptions::new())
        .await
        .unwrap();
    disturb(emulator(), &instance, Effect::Hang);
    let options = ConnectOptions::new().timeout(Duration::from_millis(700));
    let began = Instant::now();
    let error = connector.connect_with(&instance, &options).await;
    let error = error.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(
        error.to_string().ends_with("the metadata exchange"),
        "{error}"
    );
}

#[tokio::test]
async fn a_slow_exchange_is_waited_for() {
    let instance = added_alloydb(emulator(), |spec| spec).await;
    disturb(
        emulator(),
        &instance,
        Effect::delay(Duration::from_millis(500)),
    );
    let mut stream = fresh().await.connect(&instance).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn a_humans_broad_token_is_sent_only_where_that_is_allowed() {
    let emulator = own_emulator().await;
    let instance = added_alloydb(&emulator, |spec| spec).await;
    let json: iamsql::Secret = emulator.authorized_user(HUMAN).unwrap().into();
    for (scope, connects) in [(LoginScope::Strict, false), (LoginScope::Narrow, true)] {
        let connector = connector(&emulator)
            .credentials(Credentials::json(json.clone()))
            .login_scope(scope)
            .iam_auth(true)
            .build()
            .await
            .unwrap();
        let outcome = connector.connect(&instance).await;
        match connects {
            true => drop(outcome.unwrap()),
            false => {
                let error = outcome.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Credentials, "{error:?}");
            }
        }
        let as_password = connector.login_token(iamsql::Product::AlloyDb).await;
        assert_eq!(as_password.unwrap_err().kind(), ErrorKind::Credentials);
    }
}

/// What a file for development holds about `instance`, made by the API.
async fn static_info(emulator: &Emulator, instance: &str) -> Value {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let scopes = ["https://www.googleapis.com/auth/cloud-platform"];
    let life = Duration::from_secs(600);
    let token = emulator.access_token(SERVICE_ACCOUNT, &scopes, life);
    let token = token.unwrap();
    let (cluster, _) = instance.split_once("/instances/").unwrap();
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let issued = http
        .post(format!(
            "{}/v1beta/{cluster}:generateClientCertificate",
            emulator.url()
        ))
        .bearer_auth(&token)
        .header("content-type", "application/json")
        .body(
            json!({"publicKey": key.public_key_pem(), "certDuration": "3600s",
                "useMetadataExchange": true})
            .to_string(),
        )
        .send();
    let issued = issued.await.unwrap().text().await.unwrap();
    let issued: Value = serde_json::from_str(&issued).unwrap();
    let address = emulator.addresses(instance).unwrap();
    let private = address[&iamsql_emulator::AddressType::Private].ip();
    json!({
        "publicKey": key.public_key_pem(),
        "privateKey": key.serialize_pem(),
        instance: {
            "ipAddress": private.to_string(),
            "publicIpAddress": "",
            "pscInstanceConfig": {"pscDnsName": ""},
            "pemCertificateChain": issued["pemCertificateChain"],
            "caCert": issued["caCert"],
        },
    })
}

#[tokio::test]
async fn connection_info_from_a_file_asks_the_api_nothing() {
    let emulator = own_emulator().await;
    let instance = added_alloydb(&emulator, |spec| spec).await;
    let info = static_info(&emulator, &instance).await;
    let issued = certificates(&emulator, &instance);
    let build = |info: &Value| {
        connector(&emulator)
            .static_connection_info(info.to_string())
            .build_blocking()
    };
    let connector = build(&info).unwrap();
    let mut stream = connector.connect(&instance).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'x');
    assert_eq!(certificates(&emulator, &instance), issued);
    let asked = emulator.calls().to(Endpoint::ConnectionInfo);
    assert!(asked.is_empty());

    let other = connector.connect(&unknown_alloydb()).await.unwrap_err();
    assert_eq!(other.kind(), ErrorKind::Config);
    assert!(other.to_string().contains("does not name"), "{other}");
    // Another file is another engine, which does not know what the first one did.
    let mut moved = info.clone();
    moved[&instance]["ipAddress"] = json!("127.0.0.2");
    let error = build(&moved).unwrap().connect(&instance).await;
    assert_ne!(error.unwrap_err().kind(), ErrorKind::Config);
}
