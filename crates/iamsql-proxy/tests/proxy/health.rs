//! Health checks, the admin port, and the sub-commands that talk to them.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use iamsql_emulator::{Effect, Emulator, Endpoint, Fault, InstanceSpec};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Ended, INSTANCE, Proxy, at, client, emulator, free_port};

/// A proxy with health checks and admin port on the emulator's own address, where no other test listens.
struct Served {
    proxy: Proxy,
    address: SocketAddr,
    http: SocketAddr,
    admin: u16,
}

fn serve(emulator: &Emulator, more: &[&str]) -> Served {
    let (address, http) = (free_port(emulator), free_port(emulator));
    // The admin port is on localhost always.
    let admin = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mine = [
        at(address)[0].clone(),
        at(address)[1].clone(),
        "--health-check".to_owned(),
        format!("--http-address={}", http.ip()),
        format!("--http-port={}", http.port()),
        "--quitquitquit".to_owned(),
        format!("--admin-port={admin}"),
    ];
    let arguments: Vec<&str> = mine
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .chain([INSTANCE])
        .collect();
    Served {
        proxy: Proxy::ready(emulator, &arguments),
        address,
        http,
        admin,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_answer_as_the_official_ones_do() {
    let emulator = emulator(InstanceSpec::echo(INSTANCE)).await;
    let mut served = serve(
        &emulator,
        &["--max-connections=1", "--max-sigterm-delay=30s"],
    );
    for probe in ["/startup", "/readiness", "/liveness"] {
        assert_eq!(
            get(served.http, probe).await,
            (200, "ok".to_owned()),
            "{probe}"
        );
    }
    assert_eq!(get(served.http, "/nothing").await.0, 404);
    let mut session = client(served.address).await;
    session.write_all(b"x").await.unwrap();
    session.read_exact(&mut [0]).await.unwrap();
    assert_eq!(
        get(served.http, "/readiness").await,
        (
            503,
            "max connections reached (open = 1, max = 1)".to_owned()
        )
    );
    served
        .proxy
        .wait_for("[Health Check] Readiness failed: max connections reached");

    served.proxy.signal(Signal::TERM);
    served.proxy.wait_for("Shutting down");
    // Draining: no longer ready, and alive.
    eventually(served.http, "/readiness", 503, "proxy has stopped").await;
    assert_eq!(get(served.http, "/liveness").await.0, 200);
    drop(session);
    assert_eq!(served.proxy.end().status.code(), Some(143));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_check_and_min_ready_dial_the_instances() {
    let emulator = emulator(InstanceSpec::echo(INSTANCE)).await;
    let served = serve(&emulator, &["--with-backend-check"]);
    assert_eq!(get(served.http, "/startup").await.0, 200);
    assert_eq!(get(served.http, "/readiness?min-ready=1").await.0, 200);
    assert_eq!(get(served.http, "/readiness?min-ready=none").await.0, 503);
    emulator
        .faults()
        .inject(Fault::new(Endpoint::Tcp, Effect::Refuse).instance(INSTANCE));
    // A look is kept for a second.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let (status, why) = get(served.http, "/startup").await;
    assert!(
        status == 503 && why.contains("IAMSQL_NETWORK"),
        "{status} {why}"
    );
    let (status, why) = get(served.http, "/readiness?min-ready=1").await;
    assert!(
        status == 503 && why.contains("0 of 1 instances ready"),
        "{status} {why}"
    );
    assert_eq!(get(served.http, "/liveness").await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_and_shutdown_are_two_sides_of_a_job() {
    let emulator = emulator(InstanceSpec::echo(INSTANCE)).await;
    let mut served = serve(&emulator, &[]);
    let wait = run(&[
        "wait",
        "--max=20s",
        "--http-address",
        &served.http.ip().to_string(),
        "--http-port",
        &served.http.port().to_string(),
    ]);
    assert_eq!((wait.status.code(), wait.text.as_str()), (Some(0), ""));
    // A web page in a browser on this machine may not.
    let foreign = format!(
        "POST /quitquitquit HTTP/1.0\r\nHost: localhost:{}\r\nOrigin: https://example.com\r\n\r\n",
        served.admin
    );
    let admin = SocketAddr::from(([127, 0, 0, 1], served.admin));
    assert_eq!(ask(admin, &foreign).await.0, 403);
    assert_eq!(
        ask(
            admin,
            &format!(
                "HEAD /quitquitquit HTTP/1.0\r\nHost: localhost:{}\r\n\r\n",
                served.admin
            )
        )
        .await
        .0,
        400
    );
    let shutdown = run(&["shutdown", "--admin-port", &served.admin.to_string()]);
    assert_eq!(
        (shutdown.status.code(), shutdown.text.as_str()),
        (Some(0), "")
    );
    served
        .proxy
        .wait_for("/quitquitquit received request. Shutting down...");
    assert_eq!(served.proxy.end().status.code(), Some(0));

    let late = run(&["shutdown", "--admin-port", &served.admin.to_string()]);
    assert_eq!(late.status.code(), Some(1));
    assert!(
        late.text
            .starts_with("Error: failed to send shutdown request"),
        "{}",
        late.text
    );
    let nobody = run(&[
        "wait",
        "--max",
        "1s",
        "--http-port",
        &served.http.port().to_string(),
    ]);
    assert_eq!(nobody.status.code(), Some(1));
    assert!(
        nobody
            .text
            .starts_with("Error: command failed to complete successfully"),
        "{}",
        nobody.text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_test_that_fails_ends_the_start() {
    let emulator = emulator(InstanceSpec::echo(INSTANCE)).await;
    let address = free_port(&emulator);
    let arguments = [
        &at(address)[0],
        &at(address)[1],
        "--run-connection-test",
        INSTANCE,
    ];
    let mut proxy = Proxy::ready(&emulator, &arguments);
    proxy.wait_for("Connection test passed");
    drop(proxy);
    emulator
        .faults()
        .inject(Fault::new(Endpoint::Tcp, Effect::Refuse).instance(INSTANCE));
    let ended = Proxy::start(&emulator, &arguments).end();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.text);
    assert!(
        ended.text.contains("Connection test failed"),
        "{}",
        ended.text
    );
    assert!(
        ended.text.contains("terminal error: unable to start: ")
            && ended.text.contains("IAMSQL_NETWORK"),
        "{}",
        ended.text
    );
    assert!(
        !ended.text.contains("ready for new connections"),
        "{}",
        ended.text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_ends_the_start() {
    let emulator = emulator(InstanceSpec::echo(INSTANCE)).await;
    let (address, http) = (free_port(&emulator), free_port(&emulator));
    let _taken = std::net::TcpListener::bind(http).unwrap();
    let http = [
        format!("--http-address={}", http.ip()),
        format!("--http-port={}", http.port()),
    ];
    let ended = Proxy::start(
        &emulator,
        &[
            &at(address)[0],
            &at(address)[1],
            "--health-check",
            &http[0],
            &http[1],
            INSTANCE,
        ],
    )
    .end();
    assert_eq!(ended.status.code(), Some(1), "{}", ended.text);
    assert!(
        ended.text.contains("failed to start HTTP server: listen"),
        "{}",
        ended.text
    );
}

#[test]
fn what_nothing_acts_on_yet_is_refused_and_completion_is_printed() {
    let refused = run(&["--prometheus", INSTANCE]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(
        refused.text,
        "Error: --prometheus is not served by this version yet"
    );
    let completion = run(&["completion", "bash"]);
    assert_eq!(completion.status.code(), Some(0));
    assert!(
        completion.text.contains("--auto-iam-authn"),
        "{}",
        completion.text
    );
}

fn run(arguments: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_iamsql-proxy"));
    command.args(arguments);
    Proxy::run(command, &[]).end()
}

async fn eventually(address: SocketAddr, path: &str, status: u16, text: &str) {
    let wanted = (status, text.to_owned());
    for _ in 0..200 {
        if get(address, path).await == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{path} never answered {wanted:?}");
}

async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    ask(
        address,
        &format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n"),
    )
    .await
}

async fn ask(address: SocketAddr, request: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer[9..12].parse().unwrap();
    (
        status,
        answer
            .split("\r\n\r\n")
            .nth(1)
            .unwrap_or_default()
            .to_owned(),
    )
}
