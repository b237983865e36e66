//! The socket at a path of the caller's: whom it serves, what it refuses, and what stays behind.

mod world;

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use iamsql::{AuthMode, ConnectOptions, Connector, ErrorKind, LocalProxyOptions};
use iamsql_emulator::{Effect, Endpoint, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use world::{connector, emulator, instance};

const LIMIT: Duration = Duration::from_secs(10);
const STRANGER: u32 = 54_321;

async fn fresh() -> Connector {
    connector(emulator()).build().await.unwrap()
}

async fn says_back(path: &Path) {
    let mut client = UnixStream::connect(path).await.unwrap();
    client.write_all(b"hello").await.unwrap();
    let mut answer = [0; 5];
    let read = client.read_exact(&mut answer);
    tokio::time::timeout(LIMIT, read).await.unwrap().unwrap();
    assert_eq!(&answer, b"hello");
}

#[tokio::test]
async fn it_serves_each_client_a_session_and_goes_with_its_connector() {
    let instance = instance(emulator()).await;
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("db.sock");
    let connector = fresh().await;
    let proxy = connector
        .local_proxy(&instance, &path, &LocalProxyOptions::new())
        .unwrap();
    assert_eq!(proxy.path(), path);
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    says_back(&path).await;
    let mut open = UnixStream::connect(&path).await.unwrap();
    open.write_all(b"x").await.unwrap();
    assert_eq!(open.read_u8().await.unwrap(), b'x');

    connector.close();
    for _ in 0..200 {
        if !path.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!path.exists());
    open.write_all(b"y").await.unwrap();
    assert_eq!(open.read_u8().await.unwrap(), b'y', "open sessions live on");
    drop(proxy);
    let again = connector.local_proxy(&instance, &path, &LocalProxyOptions::new());
    assert_eq!(again.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_path_that_is_taken_is_refused_and_left_alone() {
    let instance = instance(emulator()).await;
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("db.sock");
    let connector = fresh().await;
    let options = LocalProxyOptions::new();
    let first = connector.local_proxy(&instance, &path, &options).unwrap();
    let error = connector
        .local_proxy(&instance, &path, &options)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.advice().unwrap().contains("remove the file"));
    says_back(&path).await;

    // What came to stand in its place is not ours to remove.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    drop(first);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    let long = home.path().join("x".repeat(120));
    let error = connector
        .local_proxy(&instance, long, &options)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

#[tokio::test]
async fn a_socket_for_everybody_never_logs_in_by_iam() {
    let instance = instance(emulator()).await;
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("db.sock");
    let everybody = LocalProxyOptions::new().writable_all(true);
    let iam = ConnectOptions::new().auth_mode(AuthMode::Iam);
    for (connector, options) in [
        (fresh().await, everybody.clone().connect(iam)),
        (
            world::connector(emulator())
                .iam_auth(true)
                .build()
                .await
                .unwrap(),
            everybody.clone(),
        ),
    ] {
        let error = connector
            .local_proxy(&instance, &path, &options)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(!path.exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_user_enters_only_where_everybody_may() {
    let instance = instance(emulator()).await;
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let connector = fresh().await;
    let own = home.path().join("own.sock");
    let everybody = home.path().join("all.sock");
    let options = LocalProxyOptions::new().readable_all(true);
    let _own = connector.local_proxy(&instance, &own, &options).unwrap();
    let options = options.writable_all(true);
    let _everybody = connector
        .local_proxy(&instance, &everybody, &options)
        .unwrap();
    assert_eq!(visit(&own, None).await, "served");
    assert_eq!(visit(&everybody, None).await, "served");
    if !rustix::process::geteuid().is_root() {
        println!("not root: another user's visit was not tried");
        return;
    }
    assert_eq!(visit(&own, Some(STRANGER)).await, "no way in");
    assert_eq!(visit(&everybody, Some(STRANGER)).await, "served");
    // Even with the file's door open.
    std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(visit(&own, Some(STRANGER)).await, "refused");
}

#[tokio::test]
async fn a_postgresql_client_is_told_why_there_is_no_server() {
    let instance = instance(emulator()).await;
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join(".s.PGSQL.5432");
    let connector = fresh().await;
    let _proxy = connector
        .local_proxy(&instance, &path, &LocalProxyOptions::new())
        .unwrap();
    let refusal = Fault::new(Endpoint::Tcp, Effect::Refuse);
    emulator().faults().inject(refusal.instance(&instance));
    let mut client = UnixStream::connect(&path).await.unwrap();
    client
        .write_all(b"\0\0\0\x10\0\x03\0\0user\0me\0\0")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let read = client.read_to_end(&mut answer);
    tokio::time::timeout(LIMIT, read).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&answer);
    assert!(text.contains("FATAL") && text.contains("08001"), "{text}");
    assert!(text.contains("IAMSQL_NETWORK"), "{text}");
}

/// What another process meets at a socket. The process is this test program, running [`the_visitor`] alone.
async fn visit(path: &Path, uid: Option<u32>) -> String {
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let copy = home.path().join("visitor");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let mut command = Command::new(&copy);
    command
        .args(["--ignored", "--exact", "the_visitor", "--nocapture"])
        .env("VISITED_SOCKET", path)
        .current_dir("/")
        .stdin(Stdio::null());
    if let Some(uid) = uid {
        command.uid(uid).gid(uid);
    }
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let verdict = text
        .split_once("<<")
        .and_then(|(_, rest)| rest.split_once(">>"));
    verdict.unwrap_or_else(|| panic!("{text:?}")).0.to_owned()
}

#[test]
#[ignore = "runs in a process of its own, started by another test"]
fn the_visitor() {
    use std::io::{Read, Write};
    let Some(path) = std::env::var_os("VISITED_SOCKET") else {
        return;
    };
    let verdict = match std::os::unix::net::UnixStream::connect(path) {
        Err(_) => "no way in",
        Ok(mut stream) => {
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            let said = stream.write_all(b"x");
            match said.and_then(|()| stream.read_exact(&mut [0; 1])) {
                Ok(()) => "served",
                Err(_) => "refused",
            }
        }
    };
    println!("<<{verdict}>>");
}
