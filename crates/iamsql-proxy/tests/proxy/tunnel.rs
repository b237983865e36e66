//! `--sql-data`: clients of a proxy that reaches the instance through Cloud SQL's SqlData service.

use std::process::Command;

use crate::harness::{INSTANCE, Proxy, at, emulator, free_port};
use iamsql_emulator::{Edition, Emulator, Endpoint, InstanceSpec};
use tokio_postgres::NoTls;

/// The tunnels to the instance so far.
fn tunnels(emulator: &Emulator) -> usize {
    emulator.calls().to(Endpoint::SqlData).len()
}

/// Whom the database takes a client for that says no password.
async fn user_through(emulator: &Emulator, more: &[&str], environment: &[(&str, &str)]) -> String {
    let address = free_port(emulator);
    let mut command = Command::new(env!("CARGO_BIN_EXE_iamsql-proxy"));
    command
        .args(at(address))
        .args(["--auto-iam-authn", "--sql-data"])
        .args(more)
        .arg(INSTANCE);
    let mut proxy = Proxy::run(command, environment);
    proxy.wait_for("ready for new connections");
    let (session, connection) = tokio_postgres::Config::new()
        .host(address.ip().to_string())
        .port(address.port())
        .user("cloudsql-client@your-project-id.iam")
        .dbname("mydb")
        .connect(NoTls)
        .await
        .unwrap();
    let talking = tokio::spawn(connection);
    let row = session
        .query_one("SELECT current_user::text", &[])
        .await
        .unwrap();
    drop(session);
    talking.await.unwrap().unwrap();
    row.get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_logs_in_through_the_tunnel() {
    let emulator = emulator(InstanceSpec::postgres(INSTANCE).edition(Edition::Developer)).await;
    let environment = [("IAMSQL_EMULATOR_HOST", emulator.host())];
    let user = user_through(&emulator, &[], &environment).await;
    assert_eq!(user, "cloudsql-client@your-project-id.iam");
    assert_eq!(tunnels(&emulator), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_is_found_at_the_endpoint_given() {
    let emulator = emulator(InstanceSpec::postgres(INSTANCE).edition(Edition::Developer)).await;
    let directory = tempfile::tempdir().unwrap();
    let authority = directory.path().join("ca.pem");
    std::fs::write(&authority, emulator.ca()).unwrap();
    let environment = [
        ("IAMSQL_EMULATOR_HOST", emulator.host()),
        ("SSL_CERT_FILE", authority.to_str().unwrap()),
    ];
    for form in ["", "https://"] {
        let endpoint = format!("--sqldata-api-endpoint={form}{}", emulator.grpc());
        let user = user_through(&emulator, &[&endpoint], &environment).await;
        assert_eq!(user, "cloudsql-client@your-project-id.iam");
    }
    assert_eq!(tunnels(&emulator), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_without_encryption_on_another_machine_is_refused() {
    let emulator = emulator(InstanceSpec::echo(INSTANCE)).await;
    let endpoint = "--sqldata-api-endpoint=http://collector.example";
    let ended = Proxy::start(&emulator, &["--sql-data", endpoint, INSTANCE]).end();
    assert!(!ended.status.success(), "{}", ended.text);
    assert!(ended.text.contains("SqlData endpoint"), "{}", ended.text);
}
