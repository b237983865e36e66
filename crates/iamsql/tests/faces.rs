//! What a driver is handed: every face carries every byte, ends when it should, and lets nobody else in.

mod world;

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use iamsql::{BlockingSocket, ConnectOptions, Connector, ErrorKind, ListenOptions};
use iamsql_emulator::{CertificateAlert, Effect, Endpoint, Fault, Session};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

use world::{connector, emulator, instance};

const LIMIT: Duration = Duration::from_secs(10);

async fn fresh() -> Connector {
    connector(emulator()).iam_auth(true).build().await.unwrap()
}

/// Ten megabytes that repeat in step with no buffer.
fn pattern() -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    (0..10_000_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

/// Sends everything while reading it back, then closes its half and expects the end.
async fn echoes(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
    let sent = Arc::new(pattern());
    let (mut reader, mut writer) = tokio::io::split(stream);
    let expected = sent.clone();
    let writing = tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let mut received = Vec::with_capacity(expected.len());
    reader.read_to_end(&mut received).await.unwrap();
    writing.await.unwrap();
    assert!(received == *expected, "{} bytes came back", received.len());
}

fn echoes_blocking(socket: &Arc<BlockingSocket>) {
    let sent = Arc::new(pattern());
    let (writer, data) = (socket.clone(), sent.clone());
    let writing = std::thread::spawn(move || {
        writer.write_all(&data, &mut || Ok(())).unwrap();
        writer.shutdown_write(&mut || Ok(())).unwrap();
    });
    let (mut received, mut bytes) = (Vec::with_capacity(sent.len()), vec![0; 50_000]);
    loop {
        match socket.read(&mut bytes, &mut || Ok(())).unwrap() {
            0 => break,
            count => received.extend_from_slice(&bytes[..count]),
        }
    }
    writing.join().unwrap();
    assert!(received == *sent, "{} bytes came back", received.len());
}

fn client_of(pair: &iamsql::Pair) -> UnixStream {
    let client = StdUnixStream::from(pair.take_client_fd().unwrap());
    client.set_nonblocking(true).unwrap();
    UnixStream::from_std(client).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_face_carries_ten_megabytes_both_ways_and_half_closes() {
    let instance = instance(emulator()).await;
    let (connector, options) = (fresh().await, ConnectOptions::new());
    echoes(connector.connect(&instance).await.unwrap()).await;

    let connection = connector.connection(&instance, &options).await.unwrap();
    let socket = Arc::new(connection.into_blocking());
    tokio::task::spawn_blocking(move || echoes_blocking(&socket))
        .await
        .unwrap();

    let pair = connector.pair(&instance, &options).unwrap();
    let client = client_of(&pair);
    pair.dial().await.unwrap();
    echoes(client).await;

    let listener = connector.listen(&instance, &ListenOptions::new()).unwrap();
    echoes(
        UnixStream::connect(listener.socket_path().unwrap())
            .await
            .unwrap(),
    )
    .await;
    let closed = |sessions: &[Session]| sessions.iter().all(|session| !session.open);
    assert!(emulator().sessions().wait(&instance, LIMIT, closed).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_sessions_at_once_do_not_mix() {
    let instance = instance(emulator()).await;
    let connector = fresh().await;
    let listener = Arc::new(connector.listen(&instance, &ListenOptions::new()).unwrap());
    let sessions = (0..16_u8).map(|number| {
        let listener = listener.clone();
        tokio::spawn(async move {
            let path = listener.socket_path().unwrap();
            let mut client = UnixStream::connect(path).await.unwrap();
            let (word, mut answer) = ([number; 3_000], [0; 3_000]);
            for _ in 0..50 {
                client.write_all(&word).await.unwrap();
                client.read_exact(&mut answer).await.unwrap();
                assert_eq!(answer, word);
            }
        })
    });
    for session in futures_util::future::join_all(sessions).await {
        session.unwrap();
    }
    assert_eq!(emulator().sessions().of(&instance).len(), 16);
}

#[tokio::test]
async fn pumped_faces_repeat_what_was_said_after_a_late_refusal() {
    let instance = instance(emulator()).await;
    let connector = fresh().await;
    let refuse_once = || {
        let alert = CertificateAlert::Revoked;
        let refusal = Fault::new(Endpoint::Tls, Effect::RefuseCertificate { alert });
        emulator()
            .faults()
            .inject(refusal.instance(&instance).times(1));
    };
    let greet = |mut client: UnixStream| async move {
        client.write_all(b"startup").await?;
        let mut answer = [0; 7];
        client.read_exact(&mut answer).await?;
        assert_eq!(&answer, b"startup");
        io::Result::Ok(())
    };
    refuse_once();
    let pair = connector.pair(&instance, &ConnectOptions::new()).unwrap();
    let client = client_of(&pair);
    pair.dial().await.unwrap();
    greet(client).await.unwrap();

    refuse_once();
    let listener = connector.listen(&instance, &ListenOptions::new()).unwrap();
    let path = listener.socket_path().unwrap();
    greet(UnixStream::connect(&path).await.unwrap())
        .await
        .unwrap();

    let certificates: Vec<_> = emulator()
        .sessions()
        .of(&instance)
        .into_iter()
        .map(|session| session.certificate)
        .collect();
    assert_eq!(certificates.len(), 4);
    assert!(certificates[0] != certificates[1] && certificates[2] != certificates[3]);
}

#[tokio::test]
async fn a_refusal_that_stays_reaches_the_client_as_a_fatal_with_the_reason() {
    let instance = instance(emulator()).await;
    let alert = CertificateAlert::AccessDenied;
    let refusal = Fault::new(Endpoint::Tls, Effect::RefuseCertificate { alert });
    emulator().faults().inject(refusal.instance(&instance));
    let connector = fresh().await;
    let listener = connector.listen(&instance, &ListenOptions::new()).unwrap();
    let mut client = UnixStream::connect(listener.socket_path().unwrap())
        .await
        .unwrap();
    client
        .write_all(b"\0\0\0\x11\0\x03\0\0user\0me\0\0")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let reading = client.read_to_end(&mut answer);
    tokio::time::timeout(LIMIT, reading).await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.contains("SFATAL\0VFATAL\0C08001\0M"), "{answer:?}");
    assert!(
        answer.contains("the server refused the client certificate"),
        "{answer:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_refusal_reaches_the_socket_faces_as_a_retryable_error() {
    let instance = instance(emulator()).await;
    let connector = fresh().await;
    let alert = CertificateAlert::Expired;
    let refusal = Fault::new(Endpoint::Tls, Effect::RefuseCertificate { alert });
    emulator()
        .faults()
        .inject(refusal.instance(&instance).times(2));
    let options = ConnectOptions::new();
    let check = |error: io::Error| {
        let ours = error
            .get_ref()
            .unwrap()
            .downcast_ref::<iamsql::Error>()
            .unwrap();
        assert_eq!(
            (ours.kind(), ours.is_retryable()),
            (ErrorKind::Tls, true),
            "{ours:?}"
        );
    };
    let blocking = connector
        .connection(&instance, &options)
        .await
        .unwrap()
        .into_blocking();
    let error = tokio::task::spawn_blocking(move || {
        blocking
            .write_all(b"startup", &mut || Ok(()))
            .and_then(|()| blocking.read(&mut [0; 10], &mut || Ok(())))
            .unwrap_err()
    })
    .await
    .unwrap();
    check(error);

    let socket = connector
        .connection(&instance, &options)
        .await
        .unwrap()
        .into_nonblocking();
    let error = loop {
        match socket.read(&mut [0; 10]) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Err(error) => break error,
            Ok(count) => panic!("{count} bytes"),
        }
    };
    check(error);
}

#[tokio::test]
async fn a_server_that_dies_midway_is_an_end_or_an_error_never_a_hang() {
    let instance = instance(emulator()).await;
    let connector = fresh().await;
    let listener = connector.listen(&instance, &ListenOptions::new()).unwrap();
    let mut stream = connector.connect(&instance).await.unwrap();
    let mut client = UnixStream::connect(listener.socket_path().unwrap())
        .await
        .unwrap();
    for word in [&mut stream as &mut dyn Both, &mut client] {
        word.write_all(b"x").await.unwrap();
        assert_eq!(word.read_u8().await.unwrap(), b'x');
    }
    emulator().disconnect(&instance).unwrap();
    for word in [&mut stream as &mut dyn Both, &mut client] {
        let read = tokio::time::timeout(LIMIT, word.read_u8()).await.unwrap();
        assert!(read.is_err(), "{read:?}");
    }
}

trait Both: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Both for T {}

#[tokio::test(flavor = "multi_thread")]
async fn another_process_enters_only_where_it_may() {
    let instance = instance(emulator()).await;
    let connector = fresh().await;
    let own = connector.listen(&instance, &ListenOptions::new()).unwrap();
    assert_eq!(visit(&own.socket_path().unwrap(), None).await, "refused");
    let shared = ListenOptions::new().require_same_pid(false);
    let shared = connector.listen(&instance, &shared).unwrap();
    let path = shared.socket_path().unwrap();
    assert_eq!(visit(&path, None).await, "served");
    if !is_root() {
        println!("not root: another user's visit was not tried");
        return;
    }
    assert_eq!(visit(&path, Some(STRANGER)).await, "no way in");
    // Even with the doors of the file system open.
    let directory = path.parent().unwrap();
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(visit(&path, Some(STRANGER)).await, "refused");
    assert_ne!(
        shared.socket_path().unwrap(),
        path,
        "an opened directory is not used again"
    );
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// What another process meets at a socket. The process is this test program, running [`the_visitor`] alone.
async fn visit(path: &Path, uid: Option<u32>) -> String {
    let program = std::env::current_exe().unwrap();
    let home = tempfile::tempdir().unwrap();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let copy = home.path().join("visitor");
    std::fs::copy(program, &copy).unwrap();
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
    let verdict = match StdUnixStream::connect(path) {
        Err(_) => "no way in",
        Ok(mut stream) => {
            let mut answer = [0; 1];
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            match stream
                .write_all(b"x")
                .and_then(|()| stream.read_exact(&mut answer))
            {
                Ok(()) => "served",
                Err(_) => "refused",
            }
        }
    };
    println!("<<{verdict}>>");
}

/// `nobody`, on most systems; never the user of a test.
const STRANGER: u32 = 65_534;
