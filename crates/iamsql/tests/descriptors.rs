//! Descriptors and directories: none is left behind, whatever failed, and none reaches a child process.
//!
//! One test, because it counts what the whole process holds.

mod world;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use iamsql::{ConnectOptions, Connector, ListenOptions};
use iamsql_emulator::{Effect, Endpoint, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use world::{connector, emulator, instance};

#[tokio::test]
#[cfg(target_os = "linux")]
async fn nothing_is_left_behind_and_nothing_is_inherited() {
    let (good, bad) = (instance(emulator()).await, instance(emulator()).await);
    let connector = connector(emulator()).iam_auth(true).build().await.unwrap();
    for name in [&good, &bad] {
        connector.warm(name, &ConnectOptions::new()).await.unwrap();
    }
    emulator()
        .faults()
        .inject(Fault::new(Endpoint::Tls, Effect::Reset).instance(&bad));
    // Pools and caches fill once.
    use_every_face(&connector, &good, &bad).await;
    let before = settled(usize::MAX).await;
    for _ in 0..10 {
        use_every_face(&connector, &good, &bad).await;
    }
    let after = settled(before).await;
    assert!(after <= before, "{before} descriptors became {after}");

    let listeners: Vec<_> = (0..200)
        .map(|_| connector.listen(&good, &ListenOptions::new()).unwrap())
        .collect();
    let directories: BTreeSet<PathBuf> = listeners
        .iter()
        .map(|listener| listener.directory().unwrap())
        .collect();
    assert_eq!(directories.len(), 200);

    let stream = connector.connect(&good).await.unwrap();
    let pair = connector.pair(&good, &ConnectOptions::new()).unwrap();
    assert_eq!(
        inherited(),
        BTreeSet::new(),
        "of ours, an exec'd child sees none"
    );
    drop((stream, pair));

    drop(listeners);
    let left: Vec<_> = directories.iter().filter(|path| path.exists()).collect();
    assert!(left.is_empty(), "{left:?}");
    let after = settled(before).await;
    assert!(after <= before, "{before} descriptors became {after}");
}

async fn use_every_face(connector: &Connector, good: &str, bad: &str) {
    let options = ConnectOptions::new();
    let mut stream = connector.connect(good).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    stream.read_u8().await.unwrap();
    let connection = connector.connection(good, &options).await.unwrap();
    connection.into_blocking().close();
    let connection = connector.connection(good, &options).await.unwrap();
    drop(connection.into_nonblocking());

    let pair = connector.pair(good, &options).unwrap();
    pair.dial().await.unwrap();
    let listener = connector.listen(good, &ListenOptions::new()).unwrap();
    listener.park().await.unwrap();
    let path = listener.socket_path().unwrap();
    let mut client = UnixStream::connect(&path).await.unwrap();
    client.write_all(b"x").await.unwrap();
    client.read_u8().await.unwrap();
    listener.park().await.unwrap();

    connector.connect(bad).await.unwrap_err();
    let pair = connector.pair(bad, &options).unwrap();
    let client = pair.take_client_fd().unwrap();
    pair.dial().await.unwrap_err();
    drop(client);
    // Never adopted, never dialled.
    drop(connector.pair(good, &options).unwrap());
    let listener = connector.listen(bad, &ListenOptions::new()).unwrap();
    listener.park().await.unwrap_err();
}

/// How many descriptors the process holds, once they are no more than `wanted` or have stopped falling.
async fn settled(wanted: usize) -> usize {
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut last = (usize::MAX, Instant::now());
    loop {
        let count = std::fs::read_dir("/proc/self/fd").unwrap().count();
        if count < last.0 {
            last = (count, Instant::now());
        }
        let is_quiet = last.1.elapsed() > Duration::from_millis(1_500);
        if (count <= wanted && wanted != usize::MAX) || is_quiet || Instant::now() > deadline {
            return count;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Sockets that a child process holds beyond those that it was given.
fn inherited() -> BTreeSet<String> {
    let output = Command::new("ls")
        .args(["-l", "/proc/self/fd"])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .filter(|line| line.contains("socket:"))
        .map(str::to_owned)
        .collect()
}
