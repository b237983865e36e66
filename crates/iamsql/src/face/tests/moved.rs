//! A domain name that comes to lead elsewhere: each face ends, and says why.

use super::*;
use crate::data::connection::Connection;
use crate::data::testing::route_by_domain;

struct World {
    /// Held for its address.
    _server: Server,
    published: Arc<Published>,
}

impl World {
    async fn start() -> Self {
        let server = Server::start().await;
        let published = Published::new(vec![server.target(1, true)]);
        World {
            _server: server,
            published,
        }
    }

    async fn connect(&self) -> Connection {
        let route = route_by_domain(self.published.clone());
        let connection = route.connect().await.unwrap();
        assert_eq!(connection.instance(), "server.test -> p:r:i");
        connection
    }

    fn move_away(&self) {
        self.published.move_to("p:r:other");
    }
}

fn assert_moved(error: &io::Error) {
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted, "{error:?}");
    let ours = error.get_ref().unwrap().downcast_ref::<Error>().unwrap();
    assert_eq!(ours.kind(), ErrorKind::Closed);
    assert!(ours.is_retryable());
}

#[tokio::test]
async fn the_stream_wakes_whoever_reads_and_refuses_whoever_writes() {
    let world = World::start().await;
    let mut stream = world.connect().await.into_stream().unwrap();
    let (sent, mut back) = (b"hello", [0; 5]);
    stream.write_all(sent).await.unwrap();
    stream.read_exact(&mut back).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let reading = tokio::spawn(async move { reader.read_u8().await.unwrap_err() });
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.move_away();
    assert_moved(&reading.await.unwrap());
    assert_moved(&writer.write_all(sent).await.unwrap_err());
    assert_moved(&writer.flush().await.unwrap_err());
}

#[tokio::test]
async fn a_writer_that_waits_for_room_is_woken_too() {
    let world = World::start().await;
    let stream = world.connect().await.into_stream().unwrap();
    let (_reader, mut writer) = tokio::io::split(stream);
    // Nobody reads the echo, so both directions fill up.
    let writing = tokio::spawn(async move {
        let block = noise(1 << 20);
        loop {
            if let Err(error) = writer.write_all(&block).await {
                return error;
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!writing.is_finished());
    world.move_away();
    assert_moved(&writing.await.unwrap());
}

#[tokio::test]
async fn the_blocking_socket_wakes_the_thread_that_reads() {
    let world = World::start().await;
    let socket = Arc::new(world.connect().await.into_blocking());
    let reader = socket.clone();
    let reading = std::thread::spawn(move || reader.read(&mut [0], &mut go_on).unwrap_err());
    tokio::time::sleep(Duration::from_millis(50)).await;
    world.move_away();
    aside(move || {
        assert_moved(&reading.join().unwrap());
        assert_moved(&socket.write_all(b"x", &mut go_on).unwrap_err());
    })
    .await;
}

#[tokio::test]
async fn the_nonblocking_sockets_descriptor_becomes_readable() {
    let world = World::start().await;
    let socket = world.connect().await.into_nonblocking();
    assert_eq!(
        socket.read(&mut [0]).unwrap_err().kind(),
        io::ErrorKind::WouldBlock
    );
    world.move_away();
    assert_moved(&socket.read(&mut [0]).unwrap_err());
    assert_moved(&socket.write(b"x").unwrap_err());
    assert_moved(&socket.flush().unwrap_err());
    socket.close();
}

#[tokio::test]
async fn a_pair_hangs_up_and_keeps_the_reason() {
    let world = World::start().await;
    let pair = Pair::new(route_by_domain(world.published.clone())).unwrap();
    pair.dial().await.unwrap();
    let client = std::os::unix::net::UnixStream::from(pair.take_client_fd().unwrap());
    client.set_nonblocking(true).unwrap();
    let mut client = UnixStream::from_std(client).unwrap();
    let mut back = [0; 5];
    client.write_all(b"hello").await.unwrap();
    client.read_exact(&mut back).await.unwrap();
    assert!(pair.failure().is_none());
    world.move_away();
    assert_eq!(client.read(&mut back).await.unwrap(), 0);
    let reason = pair.failure().expect("a reason");
    assert_eq!(reason.kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_private_listener_hangs_up_and_dials_the_new_instance() {
    let world = World::start().await;
    let route = route_by_domain(world.published.clone());
    let listener = PrivateListener::new(route, &ListenOptions::new()).unwrap();
    let path = listener.socket_path().unwrap();
    let mut client = UnixStream::connect(&path).await.unwrap();
    let mut back = [0; 5];
    client.write_all(b"hello").await.unwrap();
    client.read_exact(&mut back).await.unwrap();
    listener.park().await.unwrap();
    world.move_away();
    assert_eq!(client.read(&mut back).await.unwrap(), 0);
    // What was parked leads to where nobody wants to go any more, so this dials.
    let mut client = UnixStream::connect(&path).await.unwrap();
    client.write_all(b"hello").await.unwrap();
    client.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"hello");
}

#[tokio::test]
async fn a_connection_by_the_instances_own_name_stays() {
    let world = World::start().await;
    let connection = route(world.published.clone()).connect().await.unwrap();
    let mut stream = connection.into_stream().unwrap();
    world.move_away();
    let mut back = [0; 5];
    stream.write_all(b"hello").await.unwrap();
    stream.read_exact(&mut back).await.unwrap();
}
