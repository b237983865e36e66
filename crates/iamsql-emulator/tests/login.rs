//! Logins over the emulator's own TLS, with a client that shares nothing with the engine.

use std::sync::Arc;
use std::time::Duration;

use iamsql_emulator::{
    AddressType, Emulator, HUMAN, INSTANCE, InstanceSpec, Principal, Role, SERVICE_ACCOUNT,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Error, NoTls};
use tokio_rustls::TlsConnector;

use iamsql_emulator::backend::{BackendOptions, Installation};

const API: &str = "https://www.googleapis.com/auth/sqlservice.admin";
const LOGIN: &str = "https://www.googleapis.com/auth/sqlservice.login";
const HOUR: Duration = Duration::from_secs(3600);
const SERVICE_USER: &str = "cloudsql-client@your-project-id.iam";
const BUILT_IN: (&str, &str) = ("app-user", "its own");

/// An emulator with one PostgreSQL instance, unless this machine has no PostgreSQL: a failure in CI, a skip elsewhere.
async fn emulator(spec: InstanceSpec) -> Option<Emulator> {
    if let Err(missing) = Installation::find(&BackendOptions::from_environment()).await {
        assert!(std::env::var_os("CI").is_none(), "{missing:#}");
        eprintln!("skipped, no PostgreSQL: {missing:#}");
        return None;
    }
    let builder = Emulator::builder()
        .instance(spec)
        .user(BUILT_IN.0, BUILT_IN.1)
        .rsa_keys(false);
    Some(builder.start().await.unwrap())
}

/// A token for the Admin API goes with every certificate; `login` is what the certificate shall carry.
async fn certificate(
    emulator: &Emulator,
    instance: &str,
    login: Option<&str>,
) -> Arc<ClientConfig> {
    let key = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048)
        .unwrap();
    let api = emulator
        .access_token(SERVICE_ACCOUNT, &[API], HOUR)
        .unwrap();
    let [project, _, name] = instance.split(':').collect::<Vec<_>>()[..] else {
        panic!("{instance}")
    };
    let mut request = json!({ "public_key": key.public_key_pem() });
    if let Some(token) = login {
        request["access_token"] = token.into();
    }
    let url = format!(
        "{}/sql/v1beta4/projects/{project}/instances/{name}:generateEphemeralCert",
        emulator.url()
    );
    let answer = reqwest::Client::builder()
        .no_proxy()
        .build()
        .unwrap()
        .post(url)
        .bearer_auth(api)
        .json(&request)
        .send();
    let answer: Value = answer
        .await
        .unwrap()
        .error_for_status()
        .unwrap()
        .json()
        .await
        .unwrap();
    let certificate = CertificateDer::from_pem_slice(
        answer["ephemeralCert"]["cert"].as_str().unwrap().as_bytes(),
    );
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_protocol_versions(&[&rustls::version::TLS13])
    .unwrap()
    .dangerous()
    .with_custom_certificate_verifier(Arc::new(AnyServer))
    .with_client_auth_cert(vec![certificate.unwrap()], key);
    Arc::new(config.unwrap())
}

async fn log_in(
    emulator: &Emulator,
    instance: &str,
    certificate: &Arc<ClientConfig>,
    user: &str,
    password: Option<&str>,
) -> Result<Client, Error> {
    let address = emulator.addresses(instance).unwrap()[&AddressType::Primary];
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("instance.example").unwrap();
    let stream = TlsConnector::from(certificate.clone())
        .connect(name, stream)
        .await
        .unwrap();
    let mut config = Config::new();
    config.user(user).dbname("mydb");
    if let Some(password) = password {
        config.password(password);
    }
    let (client, connection) = config.connect_raw(stream, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn with_token(
    emulator: &Emulator,
    instance: &str,
    token: &str,
    user: &str,
) -> Result<Client, Error> {
    let certificate = certificate(emulator, instance, Some(token)).await;
    log_in(emulator, instance, &certificate, user, None).await
}

fn fatal(outcome: Result<Client, Error>) -> (SqlState, String) {
    let error = outcome.expect_err("a refusal");
    let error = error
        .as_db_error()
        .unwrap_or_else(|| panic!("a message of the server, not {error:?}"));
    (error.code().clone(), error.message().to_owned())
}

fn refused(user: &str) -> (SqlState, String) {
    let kind = if user.contains(".iam") {
        "service account"
    } else {
        "user"
    };
    let message = format!("Cloud SQL IAM {kind} authentication failed for user \"{user}\"");
    (SqlState::INVALID_AUTHORIZATION_SPECIFICATION, message)
}

#[tokio::test]
async fn each_principal_logs_in_as_itself_only() {
    let Some(emulator) = emulator(InstanceSpec::postgres(INSTANCE)).await else {
        return;
    };
    for (principal, user, other) in [
        (SERVICE_ACCOUNT, SERVICE_USER, HUMAN),
        (HUMAN, HUMAN, SERVICE_USER),
    ] {
        let token = emulator.access_token(principal, &[LOGIN], HOUR).unwrap();
        let client = with_token(&emulator, INSTANCE, &token, user).await.unwrap();
        let row = client
            .query_one("SELECT current_user::text, current_database()::text", &[])
            .await
            .unwrap();
        assert_eq!((row.get(0), row.get(1)), (user, "mydb"));
        assert_eq!(
            fatal(with_token(&emulator, INSTANCE, &token, other).await),
            refused(other)
        );
    }
    let sessions = emulator.sessions().of(INSTANCE);
    let first = &sessions[0];
    assert_eq!(
        (first.user.as_deref(), first.database.as_deref()),
        (Some(SERVICE_USER), Some("mydb"))
    );
    assert_eq!(first.principal.as_deref(), Some(SERVICE_ACCOUNT));
    assert!(first.received > 0 && first.sent > 0);
    assert_eq!(sessions[1].user, None);
    assert!(
        sessions[1]
            .error
            .as_deref()
            .unwrap()
            .contains("not jane@example.com"),
        "{:?}",
        sessions[1]
    );
    emulator.shutdown().await;
}

#[tokio::test]
async fn what_has_become_of_the_token_counts_at_the_login() {
    let Some(emulator) = emulator(InstanceSpec::postgres(INSTANCE)).await else {
        return;
    };
    let good = emulator
        .access_token(SERVICE_ACCOUNT, &[LOGIN], HOUR)
        .unwrap();
    let good = certificate(&emulator, INSTANCE, Some(&good)).await;
    log_in(&emulator, INSTANCE, &good, SERVICE_USER, None)
        .await
        .unwrap();

    emulator
        .change_instance(INSTANCE, |spec| spec.iam = false)
        .await
        .unwrap();
    assert_eq!(
        fatal(log_in(&emulator, INSTANCE, &good, SERVICE_USER, None).await),
        refused(SERVICE_USER)
    );
    emulator
        .change_instance(INSTANCE, |spec| spec.iam = true)
        .await
        .unwrap();
    log_in(&emulator, INSTANCE, &good, SERVICE_USER, None)
        .await
        .unwrap();

    let without =
        Principal::service_account(SERVICE_ACCOUNT).without_role(Role::CloudSqlInstanceUser);
    emulator.add_principal(without).await.unwrap();
    assert_eq!(
        fatal(log_in(&emulator, INSTANCE, &good, SERVICE_USER, None).await),
        refused(SERVICE_USER)
    );
    emulator
        .add_principal(Principal::service_account(SERVICE_ACCOUNT))
        .await
        .unwrap();
    log_in(&emulator, INSTANCE, &good, SERVICE_USER, None)
        .await
        .unwrap();

    let tokens = [
        (
            emulator
                .access_token(SERVICE_ACCOUNT, &[LOGIN], Duration::ZERO)
                .unwrap(),
            "expired",
        ),
        (
            emulator
                .access_token(SERVICE_ACCOUNT, &[API], HOUR)
                .unwrap(),
            "scope",
        ),
        (
            "emulator-token-of-another-run".to_owned(),
            "not the emulator's",
        ),
    ];
    for (token, why) in tokens {
        assert_eq!(
            fatal(with_token(&emulator, INSTANCE, &token, SERVICE_USER).await),
            refused(SERVICE_USER)
        );
        let last = emulator.sessions().of(INSTANCE).pop().unwrap();
        assert!(last.error.as_deref().unwrap().contains(why), "{last:?}");
    }
    emulator.shutdown().await;
}

#[tokio::test]
async fn a_built_in_user_and_a_token_as_password_need_no_login_in_the_certificate() {
    let Some(emulator) = emulator(InstanceSpec::postgres(INSTANCE)).await else {
        return;
    };
    let plain = certificate(&emulator, INSTANCE, None).await;
    let token = emulator.access_token(HUMAN, &[LOGIN], HOUR).unwrap();
    for (user, password) in [BUILT_IN, (HUMAN, token.as_str())] {
        let client = log_in(&emulator, INSTANCE, &plain, user, Some(password))
            .await
            .unwrap();
        let row = client
            .query_one("SELECT current_user::text", &[])
            .await
            .unwrap();
        assert_eq!(row.get::<_, &str>(0), user);
    }
    assert_eq!(
        fatal(log_in(&emulator, INSTANCE, &plain, HUMAN, Some("wrong")).await),
        refused(HUMAN)
    );
    let (code, _) = fatal(log_in(&emulator, INSTANCE, &plain, BUILT_IN.0, Some("wrong")).await);
    assert_eq!(code, SqlState::INVALID_PASSWORD);
    emulator.shutdown().await;
}

#[tokio::test]
async fn users_are_added_and_their_sessions_ended() {
    let Some(emulator) = emulator(InstanceSpec::postgres(INSTANCE)).await else {
        return;
    };
    let plain = certificate(&emulator, INSTANCE, None).await;
    emulator.add_user("later", "first").await.unwrap();
    emulator.add_user("later", "second").await.unwrap();
    let (code, _) = fatal(log_in(&emulator, INSTANCE, &plain, "later", Some("first")).await);
    assert_eq!(code, SqlState::INVALID_PASSWORD);
    let client = log_in(&emulator, INSTANCE, &plain, "later", Some("second"))
        .await
        .unwrap();
    assert_eq!(emulator.terminate_sessions("later").await.unwrap(), 1);
    assert!(client.batch_execute("SELECT 1").await.is_err());
    let control = |path: &str, body: Value| {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}/emulator/control/{path}", emulator.url());
        http.post(url)
            .bearer_auth(emulator.control_bearer())
            .json(&body)
            .send()
    };
    let added = control("users", json!({ "name": "last", "password": "third" }))
        .await
        .unwrap();
    assert!(added.status().is_success());
    let _last = log_in(&emulator, INSTANCE, &plain, "last", Some("third"))
        .await
        .unwrap();
    let ended = control("users/terminate", json!({ "name": "last" }))
        .await
        .unwrap();
    assert_eq!(
        ended.json::<Value>().await.unwrap(),
        json!({ "sessions": 1 })
    );
    let reserved = control("users", json!({ "name": "cloudsqladmin", "password": "x" }))
        .await
        .unwrap();
    assert_eq!(reserved.status(), 400);
    emulator.shutdown().await;
}

#[tokio::test]
async fn principals_and_instances_come_later_too() {
    let Some(emulator) = emulator(InstanceSpec::echo("p:r:echo")).await else {
        return;
    };
    let email = "late@your-project-id.iam.gserviceaccount.com";
    emulator
        .add_principal(Principal::service_account(email))
        .await
        .unwrap();
    let later = "your-project-id:us-central1:later";
    emulator
        .add_instance(InstanceSpec::postgres(later))
        .await
        .unwrap();
    emulator
        .add_principal(Principal::human("last@example.com"))
        .await
        .unwrap();
    for (principal, user) in [
        (email, "late@your-project-id.iam"),
        ("last@example.com", "last@example.com"),
    ] {
        let token = emulator.access_token(principal, &[LOGIN], HOUR).unwrap();
        with_token(&emulator, later, &token, user).await.unwrap();
    }
    emulator.shutdown().await;
}

/// Server identity is not what these tests are about.
#[derive(Debug)]
struct AnyServer;

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
