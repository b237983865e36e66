//! Unix sockets, ports of other hosts, and the limit: who gets in where.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use iamsql_emulator::InstanceSpec;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::harness::{INSTANCE, Proxy, at, client, emulator, free_port};

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_lies_where_libpq_looks_and_is_gone_after_a_stop() {
    let emulator = emulator(InstanceSpec::echo(INSTANCE)).await;
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join(INSTANCE).join(".s.PGSQL.5432");
    let argument = format!("--unix-socket={}", directory.path().display());
    let mut proxy = Proxy::ready(&emulator, &[&argument, INSTANCE]);
    proxy.wait_for(&format!("[{INSTANCE}] Listening on {}", socket.display()));
    assert_eq!(mode(&socket), 0o660);
    assert_eq!(echoed(&socket).await, b"ping");
    proxy.wait_for("Accepted connection from @");

    // Killed, it leaves the socket; the next start replaces it.
    proxy.signal(Signal::KILL);
    proxy.end();
    assert!(socket.exists());
    let proxy = Proxy::ready(&emulator, &[&argument, INSTANCE]);
    assert_eq!(echoed(&socket).await, b"ping");
    // A second proxy must not take it.
    let second = Proxy::start(&emulator, &[&argument, INSTANCE]).end();
    assert_eq!(second.status.code(), Some(1));
    assert!(
        second.text.contains("address already in use"),
        "{}",
        second.text
    );
    assert_eq!(echoed(&socket).await, b"ping");
    proxy.signal(Signal::TERM);
    proxy.end();
    assert!(!socket.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn under_an_official_name_sockets_keep_the_official_mode() {
    let emulator = emulator(InstanceSpec::echo(INSTANCE).database_version("MYSQL_8_0")).await;
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("cloud-sql-proxy");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_iamsql-proxy"), &program).unwrap();
    let mut command = Command::new(&program);
    command.args(["-u", directory.path().to_str().unwrap(), INSTANCE]);
    let mut proxy = Proxy::run(command, &[("IAMSQL_EMULATOR_HOST", emulator.host())]);
    proxy.wait_for("ready for new connections");
    assert_eq!(mode(&directory.path().join(INSTANCE)), 0o777);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_directory_is_said_and_nothing_listens() {
    let emulator = emulator(InstanceSpec::echo(INSTANCE)).await;
    let ended = Proxy::start(&emulator, &["--unix-socket=/nonexistent/dir", INSTANCE]).end();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.text);
    assert!(
        ended
            .text
            .contains("Unable to mount socket: stat /nonexistent/dir: no such file or directory"),
        "{}",
        ended.text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_fails_is_skipped_if_so_wished_but_not_all_of_them() {
    let emulator = emulator(InstanceSpec::echo(INSTANCE)).await;
    let directory = tempfile::tempdir().unwrap();
    let argument = format!("--unix-socket={}", directory.path().display());
    let missing = "your-project-id:us-central1:missing";
    let skip = "--skip-failed-instance-config";
    let mut proxy = Proxy::ready(&emulator, &[&argument, skip, missing, INSTANCE]);
    proxy.wait_for("(skipped due to skip-failed-instance-config flag)");
    drop(proxy);
    let ended = Proxy::start(&emulator, &[&argument, skip, missing]).end();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.text);
    assert!(
        ended
            .text
            .contains("none of the instances can be listened for"),
        "{}",
        ended.text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_other_machines_reach_serves_this_host() {
    let emulator = emulator(InstanceSpec::echo(INSTANCE)).await;
    let port = free_port(&emulator).port();
    let proxy = Proxy::ready(
        &emulator,
        &[
            "--address=0.0.0.0",
            &format!("--port={port}"),
            "--auto-iam-authn",
            INSTANCE,
        ],
    );
    let mut here = client(SocketAddr::from(([127, 0, 0, 1], port))).await;
    here.write_all(b"ping").await.unwrap();
    let mut answer = [0; 4];
    here.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"ping");
    drop(proxy);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_more_than_there_may_be_is_hung_up_on() {
    let emulator = emulator(InstanceSpec::echo(INSTANCE)).await;
    let address = free_port(&emulator);
    let mut proxy = Proxy::ready(
        &emulator,
        &[
            &at(address)[0],
            &at(address)[1],
            "--max-connections=1",
            INSTANCE,
        ],
    );
    let mut first = client(address).await;
    first.write_all(b"one").await.unwrap();
    let mut answer = [0; 3];
    first.read_exact(&mut answer).await.unwrap();
    let mut second = client(address).await;
    assert_eq!(second.read(&mut [0]).await.unwrap(), 0);
    proxy.wait_for("max connections (1) exceeded, refusing new connection");
    drop(first);
    proxy.wait_for("client closed the connection");
    let mut third = client(address).await;
    third.write_all(b"two").await.unwrap();
    third.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"two");
}

#[tokio::test(flavor = "multi_thread")]
async fn structured_logs_are_googles_objects_and_quiet_keeps_them() {
    let emulator = emulator(InstanceSpec::echo(INSTANCE)).await;
    let address = free_port(&emulator);
    let mut proxy = Proxy::ready(
        &emulator,
        &[&at(address)[0], &at(address)[1], "-l", INSTANCE],
    );
    let line = proxy.wait_for("Listening on");
    let entry: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(entry["severity"], "INFO");
    assert_eq!(
        entry["message"],
        format!("[{INSTANCE}] Listening on {address}")
    );
    assert!(line.starts_with("{\"timestamp\":\"2"), "{line}");
    drop(proxy);
    let quiet = Proxy::start(
        &emulator,
        &["--quiet", "-l", "-u", "/nonexistent", INSTANCE],
    )
    .end();
    let lines: Vec<serde_json::Value> = quiet
        .text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        lines.iter().all(|line| line["severity"] == "ERROR"),
        "{}",
        quiet.text
    );
    assert_eq!(quiet.status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_may_end_with_zero_even_if_sessions_were_cut() {
    let emulator = emulator(InstanceSpec::echo(INSTANCE)).await;
    for flag in ["--exit-zero-on-sigterm", "--exit-zero-sigterm"] {
        let address = free_port(&emulator);
        let mut proxy = Proxy::ready(
            &emulator,
            &[
                &at(address)[0],
                &at(address)[1],
                flag,
                "--max-sigterm-delay=100ms",
                INSTANCE,
            ],
        );
        let mut session = client(address).await;
        session.write_all(b"x").await.unwrap();
        session.read_exact(&mut [0]).await.unwrap();
        proxy.signal(Signal::TERM);
        proxy.wait_for("1 connection(s) still open after waiting 100ms");
        assert_eq!(proxy.end().status.code(), Some(0), "{flag}");
    }
}

async fn echoed(socket: &Path) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(b"ping").await.unwrap();
    let mut answer = vec![0; 4];
    stream.read_exact(&mut answer).await.unwrap();
    answer
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
