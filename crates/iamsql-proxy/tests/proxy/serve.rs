//! Clients of a running proxy: who is dialled for, what they are told, how their sessions end.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{INSTANCE, Proxy, at, client, emulator, free_port};
use iamsql_emulator::{CertificateAlert, Effect, Endpoint, Fault, InstanceSpec};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_postgres::NoTls;
use tokio_postgres::error::SqlState;

#[tokio::test(flavor = "multi_thread")]
async fn a_client_logs_in_without_a_password() {
    let emulator = emulator(InstanceSpec::postgres(INSTANCE)).await;
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
    assert_eq!(row.get::<_, &str>(0), "cloudsql-client@your-project-id.iam");
    proxy.wait_for(&format!("[{INSTANCE}] Accepted connection from 127."));
    drop(session);
    talking.await.unwrap().unwrap();
    proxy.wait_for(&format!("[{INSTANCE}] client closed the connection"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_dial_reaches_the_client_as_a_database_error() {
    let emulator = emulator(InstanceSpec::echo(INSTANCE)).await;
    emulator
        .faults()
        .inject(Fault::new(Endpoint::Tcp, Effect::Refuse).instance(INSTANCE));
    let address = free_port(&emulator);
    let mut proxy = Proxy::ready(&emulator, &[&at(address)[0], &at(address)[1], INSTANCE]);
    let refused = tokio_postgres::Config::new()
        .host(address.ip().to_string())
        .port(address.port())
        .user("anybody")
        .connect(NoTls)
        .await
        .err()
        .unwrap();
    let refused = refused
        .as_db_error()
        .expect("the reason is a database error");
    assert_eq!(
        refused.code(),
        &SqlState::SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION
    );
    assert!(refused.message().contains("3307"), "{refused:?}");
    assert_eq!(refused.detail(), Some("IAMSQL_NETWORK"));
    assert!(
        refused
            .hint()
            .is_some_and(|hint| hint.contains("port 3307")),
        "{refused:?}"
    );
    proxy.wait_for(&format!("[{INSTANCE}] failed to connect to instance: "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_client_causes_no_dial() {
    let emulator = emulator(InstanceSpec::echo(INSTANCE)).await;
    let address = free_port(&emulator);
    let _proxy = Proxy::ready(&emulator, &[&at(address)[0], &at(address)[1], INSTANCE]);
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(client(address).await);
    }
    let mut speaking = client(address).await;
    speaking.write_all(b"hello").await.unwrap();
    speaking.read_exact(&mut [0; 5]).await.unwrap();
    assert_eq!(emulator.sessions().all().len(), 1);

    // Each is turned away once ten seconds have passed.
    for mut client in silent {
        assert_eq!(
            timeout(Duration::from_secs(15), client.read(&mut [0]))
                .await
                .unwrap()
                .unwrap(),
            0
        );
    }
    assert_eq!(emulator.sessions().all().len(), 1);
    speaking.write_all(b"again").await.unwrap();
    speaking.read_exact(&mut [0; 5]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_pass_unchanged_and_a_half_close_passes_too() {
    let emulator = emulator(InstanceSpec::echo(INSTANCE)).await;
    let address = free_port(&emulator);
    let _proxy = Proxy::ready(&emulator, &[&at(address)[0], &at(address)[1], INSTANCE]);
    let sent: Vec<u8> = (0..5_000_000_u32).flat_map(|n| n.to_le_bytes()).collect();
    let (mut from, mut to) = client(address).await.into_split();
    let writing = tokio::spawn({
        let sent = sent.clone();
        async move {
            to.write_all(&sent).await.unwrap();
            to.shutdown().await.unwrap();
            to
        }
    });
    let mut received = Vec::new();
    timeout(Duration::from_secs(60), from.read_to_end(&mut received))
        .await
        .unwrap()
        .unwrap();
    assert!(
        received == sent,
        "{} bytes sent, {} received",
        sent.len(),
        received.len()
    );
    writing.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_session_may_finish_within_the_delay() {
    let emulator = emulator(InstanceSpec::echo(INSTANCE)).await;
    let address = free_port(&emulator);
    let arguments = at(address);
    let mut proxy = Proxy::ready(
        &emulator,
        &[
            &arguments[0],
            &arguments[1],
            "--max-sigterm-delay=30s",
            INSTANCE,
        ],
    );
    let mut session = client(address).await;
    session.write_all(b"1").await.unwrap();
    session.read_exact(&mut [0]).await.unwrap();

    proxy.signal(Signal::TERM);
    proxy.wait_for("SIGTERM signal received. Shutting down...");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(
        tokio::net::TcpStream::connect(address).await.is_err(),
        "new clients are refused"
    );
    session.write_all(b"2").await.unwrap();
    session.read_exact(&mut [0]).await.unwrap();
    drop(session);
    let ended = proxy.end();
    assert_eq!(ended.status.code(), Some(143), "{}", ended.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_outlasts_the_delay_is_cut() {
    let emulator = emulator(InstanceSpec::echo(INSTANCE)).await;
    let address = free_port(&emulator);
    let arguments = at(address);
    let proxy = Proxy::ready(
        &emulator,
        &[
            &arguments[0],
            &arguments[1],
            "--max-sigterm-delay=300ms",
            INSTANCE,
        ],
    );
    let mut session = client(address).await;
    session.write_all(b"1").await.unwrap();
    session.read_exact(&mut [0]).await.unwrap();

    proxy.signal(Signal::TERM);
    let ended = proxy.end();
    assert_eq!(ended.status.code(), Some(143), "{}", ended.text);
    assert!(
        ended
            .text
            .contains("1 connection(s) still open after waiting 300ms"),
        "{}",
        ended.text
    );
    assert!(matches!(session.read(&mut [0]).await, Ok(0) | Err(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once() {
    let emulator = emulator(InstanceSpec::echo(INSTANCE)).await;
    let address = free_port(&emulator);
    let arguments = at(address);
    let mut proxy = Proxy::ready(
        &emulator,
        &[
            &arguments[0],
            &arguments[1],
            "--max-sigterm-delay=1h",
            INSTANCE,
        ],
    );
    let mut session = client(address).await;
    session.write_all(b"1").await.unwrap();
    session.read_exact(&mut [0]).await.unwrap();

    proxy.signal(Signal::INT);
    proxy.wait_for("SIGINT signal received. Shutting down...");
    proxy.signal(Signal::TERM);
    let ended = proxy.end();
    assert_eq!(ended.status.code(), Some(130), "{}", ended.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_survives_running_out_of_descriptors() {
    let emulator = emulator(InstanceSpec::echo(INSTANCE)).await;
    let address = free_port(&emulator);
    let arguments = at(address);
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "ulimit -n 64; exec \"$@\"",
        "sh",
        env!("CARGO_BIN_EXE_iamsql-proxy"),
    ]);
    command.args([&arguments[0], &arguments[1], INSTANCE]);
    let mut proxy = Proxy::run(
        command,
        &[
            ("IAMSQL_EMULATOR_HOST", emulator.host()),
            ("PATH", "/usr/bin:/bin"),
        ],
    );
    proxy.wait_for("ready for new connections");

    let mut crowd = Vec::new();
    for _ in 0..80 {
        crowd.push(client(address).await);
    }
    proxy.wait_for(&format!("[{INSTANCE}] Error accepting connection: "));
    drop(crowd);
    let patience = Instant::now() + Duration::from_secs(30);
    loop {
        let mut session = client(address).await;
        session.write_all(b"1").await.unwrap();
        if matches!(
            timeout(Duration::from_secs(5), session.read(&mut [0])).await,
            Ok(Ok(1))
        ) {
            break;
        }
        assert!(Instant::now() < patience, "it never recovered");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_refused_is_replaced_unnoticed() {
    let emulator = emulator(InstanceSpec::echo(INSTANCE)).await;
    let address = free_port(&emulator);
    let _proxy = Proxy::ready(&emulator, &[&at(address)[0], &at(address)[1], INSTANCE]);
    let alert = CertificateAlert::Revoked;
    let refusal = Fault::new(Endpoint::Tls, Effect::RefuseCertificate { alert });
    emulator
        .faults()
        .inject(refusal.instance(INSTANCE).times(1));

    let mut session = client(address).await;
    session.write_all(b"said once").await.unwrap();
    let mut heard = [0; 9];
    timeout(Duration::from_secs(20), session.read_exact(&mut heard))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&heard, b"said once");
    assert_eq!(emulator.sessions().all().len(), 2);
}
