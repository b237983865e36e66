//! What the proxy makes of its command line and its surroundings before it serves anybody.

use std::net::TcpListener;
use std::process::Command;

use crate::harness::{INSTANCE, Proxy, at, emulator, free_port, is_free};
use iamsql_emulator::{Effect, Emulator, Endpoint, Fault, InstanceSpec};
use rustix::process::Signal;

#[tokio::test(flavor = "multi_thread")]
async fn it_says_what_the_official_proxy_says() {
    let emulator = emulator(InstanceSpec::echo(INSTANCE)).await;
    let address = free_port(&emulator);
    let mut proxy = Proxy::ready(
        &emulator,
        &[
            &at(address)[0],
            &at(address)[1],
            "--auto-iam-authn",
            INSTANCE,
        ],
    );
    proxy.wait_for("Authorizing with Application Default Credentials");
    proxy.wait_for(&format!("[{INSTANCE}] Listening on {address}"));
    proxy.wait_for("The proxy has started successfully and is ready for new connections!");

    proxy.signal(Signal::TERM);
    proxy.wait_for("SIGTERM signal received. Shutting down...");
    let ended = proxy.end();
    assert_eq!(ended.status.code(), Some(143), "{}", ended.text);
    assert!(is_free(address.ip(), address.port()));
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_follow_the_engines() {
    let names = ["a", "b", "c"].map(|name| format!("your-project-id:us-central1:{name}"));
    let emulator = Emulator::builder()
        .instance(InstanceSpec::echo(&names[0]))
        .instance(InstanceSpec::echo(&names[1]).database_version("MYSQL_8_0"))
        .instance(InstanceSpec::echo(&names[2]))
        .start()
        .await
        .unwrap();
    let host = free_port(&emulator).ip();
    let address = format!("--address={host}");
    let mut proxy = Proxy::ready(&emulator, &[&address, &names[0], &names[1], &names[2]]);
    for (name, port) in names.iter().zip([5432, 3306, 5433]) {
        proxy.wait_for(&format!("[{name}] Listening on {host}:{port}"));
    }
    proxy.signal(Signal::INT);
    let ended = proxy.end();
    assert_eq!(ended.status.code(), Some(130), "{}", ended.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_leaves_nothing_listening() {
    let emulator = emulator(InstanceSpec::echo(INSTANCE)).await;
    let first = free_port(&emulator);
    let taken = TcpListener::bind((first.ip(), first.port() + 1)).unwrap();
    let second = "your-project-id:us-central1:other";
    let proxy = Proxy::start(&emulator, &[&at(first)[0], &at(first)[1], INSTANCE, second]);
    let ended = proxy.end();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.text);
    let terminal = "The proxy has encountered a terminal error: unable to start: ";
    let cause = format!(
        "{terminal}[{second}] Unable to mount socket: could not listen on {}",
        taken.local_addr().unwrap()
    );
    assert!(ended.text.contains(&cause), "{}", ended.text);
    assert!(!ended.text.contains("Listening on"), "{}", ended.text);
    assert!(is_free(first.ip(), first.port()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_cannot_be_found_out_is_said_with_its_cause() {
    let emulator = emulator(InstanceSpec::echo(INSTANCE)).await;
    let ended = Proxy::start(&emulator, &["your-project-id:us-central1:nowhere"]).end();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.text);
    assert!(
        ended
            .text
            .contains("[your-project-id:us-central1:nowhere] could not resolve instance version"),
        "{}",
        ended.text
    );
    assert!(ended.text.contains("IAMSQL_NOT_FOUND"), "{}", ended.text);
}

#[test]
fn a_bad_command_line_is_one_error_and_exit_code_1() {
    for (arguments, said) in [
        (
            &["your-project-id:demo-postgres"][..],
            "PROJECT:REGION:INSTANCE",
        ),
        (&[][..], "no instance given"),
        (&["--port=99999", INSTANCE][..], "99999"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_iamsql-proxy"));
        command.args(arguments);
        let ended = Proxy::run(command, &[]).end();
        assert_eq!(ended.status.code(), Some(1), "{}", ended.text);
        assert!(
            ended.text.starts_with("Error: ") && ended.text.contains(said),
            "{}",
            ended.text
        );
        assert_eq!(
            ended.text.to_lowercase().matches("error").count(),
            1,
            "{}",
            ended.text
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_credentials_it_does_not_start() {
    let nobody = Emulator::builder().attached(None).start().await.unwrap();
    let refused = free_port(&nobody).to_string();
    for (variable, value, said) in [
        (
            "IAMSQL_EMULATOR_HOST",
            nobody.host(),
            "attach a service account",
        ),
        (
            "GOOGLE_APPLICATION_CREDENTIALS",
            "/nonexistent/key.json",
            "/nonexistent/key.json",
        ),
        (
            "GCE_METADATA_HOST",
            &refused,
            "gcloud auth application-default login",
        ),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_iamsql-proxy"));
        command.args(["--port=1", INSTANCE]);
        let ended = Proxy::run(command, &[(variable, value)]).end();
        assert_eq!(ended.status.code(), Some(1), "{}", ended.text);
        assert!(ended.text.contains("unable to start: "), "{}", ended.text);
        assert!(
            ended.text.contains("IAMSQL_CREDENTIALS") && ended.text.contains(said),
            "{}",
            ended.text
        );
        assert!(!ended.text.contains("Listening on"), "{}", ended.text);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_metadata_server_that_is_busy_is_no_reason_not_to_start() {
    let emulator = emulator(InstanceSpec::echo(INSTANCE)).await;
    emulator
        .faults()
        .inject(Fault::new(Endpoint::Metadata, Effect::status(503)));
    let mut command = Command::new(env!("CARGO_BIN_EXE_iamsql-proxy"));
    let address = free_port(&emulator);
    command.args([&at(address)[0], &at(address)[1], INSTANCE]);
    let mut proxy = Proxy::run(command, &[("IAMSQL_EMULATOR_HOST", emulator.host())]);
    proxy.wait_for("no token yet: ");
    proxy.wait_for("ready for new connections");
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.end().status.code(), Some(143));
}
