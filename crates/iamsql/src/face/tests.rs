use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::blocking::BlockingSocket;
use super::listener::{ListenOptions, PrivateListener};
use super::pair::Pair;
use crate::data::testing::{Published, Server, bind, noise, route, target_at};
use crate::error::{Error, ErrorKind};
use crate::options::IpType;

mod moved;

type Io<T> = io::Result<T>;

fn go_on() -> Io<()> {
    Ok(())
}

async fn blocking(server: &Server) -> Arc<BlockingSocket> {
    Arc::new(server.route().connect().await.unwrap().into_blocking())
}

fn read_exact(socket: &BlockingSocket, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        match socket.read(&mut bytes[filled..], &mut go_on).unwrap() {
            0 => panic!("ended after {filled} bytes"),
            count => filled += count,
        }
    }
    bytes
}

/// Runs what blocks beside the server's runtime.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test]
async fn the_blocking_socket_reads_and_writes_on_two_threads_at_once() {
    let server = Server::start().await;
    let socket = blocking(&server).await;
    let sent = noise(10_000_000);
    let (writer, expected) = (socket.clone(), sent.clone());
    let writing = std::thread::spawn(move || {
        writer.write_all(&sent, &mut go_on).unwrap();
        writer.shutdown_write(&mut go_on).unwrap();
    });
    aside(move || {
        assert!(read_exact(&socket, expected.len()) == expected);
        assert_eq!(socket.read(&mut [0], &mut go_on).unwrap(), 0, "half-closed");
        writing.join().unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_blocking_socket_knows_what_is_pending_and_when_time_is_up() {
    let server = Server::start().await;
    let socket = blocking(&server).await;
    aside(move || {
        socket.write_all(b"hello", &mut go_on).unwrap();
        assert_eq!(read_exact(&socket, 1), b"h");
        assert_eq!(socket.pending(), 4);
        assert_eq!(read_exact(&socket, 4), b"ello");
        assert_eq!(socket.pending(), 0);

        socket.set_timeout(Some(Duration::from_millis(50)));
        let started = Instant::now();
        let error = socket.read(&mut [0], &mut go_on).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() >= Duration::from_millis(50));
        socket.set_timeout(Some(Duration::ZERO));
        let error = socket.read(&mut [0], &mut go_on).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        socket.set_timeout(None);
        socket.write_all(b"x", &mut go_on).unwrap();
        assert_eq!(read_exact(&socket, 1), b"x", "a timeout breaks nothing");
    })
    .await;
}

#[tokio::test]
async fn a_half_close_says_goodbye_after_a_write_that_ran_out_of_time() {
    let server = Server::start().await;
    let socket = blocking(&server).await;
    aside(move || {
        socket.set_timeout(Some(Duration::ZERO));
        let error = socket
            .write_all(&noise(50_000_000), &mut go_on)
            .unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        socket.set_timeout(None);
        let reader = socket.clone();
        let reading = std::thread::spawn(move || {
            let mut bytes = vec![0; 100_000];
            while reader.read(&mut bytes, &mut go_on).unwrap() > 0 {}
        });
        socket.shutdown_write(&mut go_on).unwrap();
        let error = socket.write_all(b"x", &mut go_on).unwrap_err();
        assert_eq!(error.to_string(), "the stream was shut down for writing");
        reading.join().unwrap();
    })
    .await;
}

#[tokio::test]
async fn close_wakes_a_blocked_reader_and_later_calls_say_so() {
    let server = Server::start().await;
    let socket = blocking(&server).await;
    let reader = socket.clone();
    let reading = std::thread::spawn(move || reader.read(&mut [0], &mut go_on));
    aside(move || {
        std::thread::sleep(Duration::from_millis(50));
        socket.close();
        let error = reading.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
        for error in [
            socket.read(&mut [0], &mut go_on).unwrap_err(),
            socket.write_all(b"x", &mut go_on).unwrap_err(),
            socket.shutdown_write(&mut go_on).unwrap_err(),
        ] {
            assert_eq!(error.to_string(), "the socket is closed");
        }
        assert_eq!(socket.raw_fd(), -1);
        socket.close();
    })
    .await;
}

#[tokio::test]
async fn an_abandoned_socket_sends_nothing() {
    let server = Server::start().await;
    let connection = server.route().connect().await.unwrap();
    // As in a fork, somebody else holds the same socket.
    let kept = connection.tcp.try_clone().unwrap();
    let socket = connection.into_blocking();
    socket.abandon();
    assert_eq!(socket.raw_fd(), -1);
    drop(socket);
    kept.set_nonblocking(false).unwrap();
    kept.set_read_timeout(Some(Duration::from_millis(200)))
        .unwrap();
    let ended = aside(move || {
        loop {
            // Past the session tickets, only the end could come: the echo of nothing.
            match io::Read::read(&mut &kept, &mut [0; 1024]) {
                Ok(0) => break true,
                Ok(_) => {}
                Err(_) => break false,
            }
        }
    })
    .await;
    assert!(!ended, "the server was told something");
}

#[tokio::test]
async fn the_nonblocking_socket_carries_any_amount_by_readiness() {
    let server = Server::start().await;
    let socket = server.route().connect().await.unwrap().into_nonblocking();
    aside(move || {
        let sent = noise(10_000_000);
        let (mut written, mut received) = (0, Vec::new());
        let mut bytes = vec![0; 100_000];
        while received.len() < sent.len() {
            let mut idle = true;
            if written < sent.len() {
                match socket.write(&sent[written..]) {
                    Ok(count) => (written, idle) = (written + count, false),
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
                }
            } else {
                socket.flush().unwrap();
            }
            match socket.read(&mut bytes) {
                Ok(count) => {
                    assert!(count > 0);
                    received.extend_from_slice(&bytes[..count]);
                    idle = false;
                }
                Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            if idle {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        assert!(received == sent);
        assert!(socket.flush().unwrap() && !socket.wants_write());
        assert!(socket.shutdown_write().unwrap());
        socket.close();
        assert_eq!(socket.raw_fd(), -1);
        let error = socket.read(&mut bytes).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotConnected);
    })
    .await;
}

fn client_of(pair: &Pair) -> UnixStream {
    let client = std::os::unix::net::UnixStream::from(pair.take_client_fd().unwrap());
    client.set_nonblocking(true).unwrap();
    UnixStream::from_std(client).unwrap()
}

/// Sends ten megabytes through `client`, and expects them back and then the end.
async fn echoes(client: UnixStream) {
    let sent = noise(10_000_000);
    let (mut reader, mut writer) = client.into_split();
    let expected = sent.clone();
    let writing = tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    reader.read_to_end(&mut received).await.unwrap();
    writing.await.unwrap();
    assert!(received == expected, "{} bytes came back", received.len());
}

#[tokio::test]
async fn a_pair_dials_when_asked_and_half_closes() {
    let server = Server::start().await;
    let pair = Pair::new(server.route()).unwrap();
    let mut client = client_of(&pair);
    client.write_all(b"early").await.unwrap();
    assert_eq!(
        server.sessions.load(Ordering::SeqCst),
        0,
        "nothing is dialled yet"
    );
    pair.dial().await.unwrap();
    let mut word = [0; 5];
    client.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"early");
    drop(pair);
    echoes(client).await;
}

#[tokio::test]
async fn a_pair_whose_dial_failed_stays_open_until_the_client_closes() {
    let address = bind().await.local_addr().unwrap().ip().to_string();
    let target = Arc::new(target_at(&[(IpType::Public, &address)]));
    let pair = Pair::new(route(Published::new(vec![target]))).unwrap();
    let mut client = client_of(&pair);
    assert_eq!(pair.dial().await.unwrap_err().kind(), ErrorKind::Network);
    assert_eq!(pair.dial().await.unwrap_err().kind(), ErrorKind::Config);
    client.write_all(b"still there").await.unwrap();
    let read = tokio::time::timeout(Duration::from_millis(50), client.read_u8()).await;
    assert!(read.is_err(), "no end of file yet: {read:?}");
    pair.abort();
    assert!(client.read_u8().await.is_err());
}

#[tokio::test]
async fn an_aborted_pair_stops_dialling() {
    let listener = bind().await;
    let address = listener.local_addr().unwrap().ip().to_string();
    let target = Arc::new(target_at(&[(IpType::Public, &address)]));
    let pair = Arc::new(Pair::new(route(Published::new(vec![target]))).unwrap());
    let dialling = tokio::spawn({
        let pair = pair.clone();
        async move { pair.dial().await }
    });
    let _held = listener.accept().await.unwrap();
    pair.abort();
    assert_eq!(
        dialling.await.unwrap().unwrap_err().kind(),
        ErrorKind::Closed
    );
}

#[tokio::test]
async fn what_the_client_said_is_said_again_after_a_late_refusal() {
    let server = Server::start().await;
    let published = Published::new(vec![server.target(1, false), server.target(2, true)]);
    let pair = Pair::new(route(published.clone())).unwrap();
    let mut client = client_of(&pair);
    pair.dial().await.unwrap();
    client.write_all(b"login").await.unwrap();
    let mut word = [0; 5];
    client.read_exact(&mut word).await.unwrap();
    assert_eq!(&word, b"login");
    echoes(client).await;
    assert_eq!(*published.refused.lock().unwrap(), [1]);
}

fn listen(server: &Server) -> PrivateListener {
    PrivateListener::new(server.route(), &ListenOptions::default()).unwrap()
}

#[tokio::test]
async fn a_listener_serves_its_own_process_and_leaves_nothing_behind() {
    let server = Server::start().await;
    let listener = listen(&server);
    let (directory, path) = (
        listener.directory().unwrap(),
        listener.socket_path().unwrap(),
    );
    assert_eq!(path, directory.join(".s.PGSQL.5432"));
    let client = UnixStream::connect(&path).await.unwrap();
    let second = UnixStream::connect(&path).await.unwrap();
    tokio::join!(echoes(client), echoes(second));
    let mut open = UnixStream::connect(&path).await.unwrap();
    open.write_all(b"a").await.unwrap();
    assert_eq!(open.read_u8().await.unwrap(), b'a');
    listener.close();
    assert!(!directory.exists());
    assert_eq!(listener.directory().unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(listener.park().await.unwrap_err().kind(), ErrorKind::Closed);
    assert!(UnixStream::connect(&path).await.is_err());
    open.write_all(b"b").await.unwrap();
    assert_eq!(open.read_u8().await.unwrap(), b'b', "open sessions live on");
}

#[tokio::test]
async fn a_parked_stream_is_taken_before_another_is_dialled() {
    let server = Server::start().await;
    let listener = listen(&server);
    listener.park().await.unwrap();
    while server.sessions.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    let mut client = UnixStream::connect(listener.socket_path().unwrap())
        .await
        .unwrap();
    client.write_all(b"x").await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'x');
    assert_eq!(server.sessions.load(Ordering::SeqCst), 1);
    let mut another = UnixStream::connect(listener.socket_path().unwrap())
        .await
        .unwrap();
    another.write_all(b"y").await.unwrap();
    assert_eq!(another.read_u8().await.unwrap(), b'y');
    assert_eq!(server.sessions.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn parking_raises_the_dial_error_and_a_client_reads_it() {
    let address = bind().await.local_addr().unwrap().ip().to_string();
    let target = Arc::new(target_at(&[(IpType::Public, &address)]));
    let route = route(Published::new(vec![target]));
    let listener = PrivateListener::new(route, &ListenOptions::default()).unwrap();
    let error: Error = listener.park().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    let mut client = UnixStream::connect(listener.socket_path().unwrap())
        .await
        .unwrap();
    let startup = [
        &15_u32.to_be_bytes()[..],
        &196_608_u32.to_be_bytes(),
        b"user\0\0\0",
    ]
    .concat();
    client.write_all(&startup).await.unwrap();
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.contains("C08001\0Mp:r:i: could not connect to"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn a_socket_that_was_removed_comes_back_where_it_was() {
    let server = Server::start().await;
    let listener = listen(&server);
    let path = listener.socket_path().unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(listener.socket_path().unwrap(), path);
    echoes(UnixStream::connect(&path).await.unwrap()).await;
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
    assert_eq!(listener.socket_path().unwrap(), path);
    echoes(UnixStream::connect(&path).await.unwrap()).await;
}

#[tokio::test]
async fn a_listener_that_could_not_come_back_tries_again() {
    let server = Server::start().await;
    let listener = listen(&server);
    let path = listener.socket_path().unwrap();
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, b"in the way").unwrap();
    let error = listener.socket_path().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    echoes(
        UnixStream::connect(listener.socket_path().unwrap())
            .await
            .unwrap(),
    )
    .await;
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[tokio::test]
async fn closing_the_connector_closes_its_listeners() {
    let server = Server::start().await;
    let published = Published::new(vec![server.target(1, true)]);
    let listener =
        PrivateListener::new(route(published.clone()), &ListenOptions::default()).unwrap();
    let directory = listener.directory().unwrap();
    published.closed.cancel();
    while directory.exists() {
        tokio::task::yield_now().await;
    }
    assert_eq!(listener.directory().unwrap_err().kind(), ErrorKind::Closed);
}
