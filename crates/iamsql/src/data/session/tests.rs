use std::io::{Read, Write};

use super::*;
use crate::data::connection::Connection;
use crate::data::testing::{Server, noise};

/// Reads and writes by hand, one small piece of ciphertext at a time.
fn exchange(connection: &mut Connection, sent: &[u8], piece: usize) -> Vec<u8> {
    connection.tcp.set_nonblocking(false).unwrap();
    let (session, tcp) = (&mut connection.session, &mut connection.tcp);
    assert_eq!(session.write(sent).unwrap(), sent.len());
    while session.has_outgoing() {
        let count = tcp.write(session.outgoing()).unwrap();
        session.sent(count);
    }
    let mut received = vec![0; sent.len()];
    let mut filled = 0;
    while filled < received.len() {
        match session.read(&mut received[filled..]).unwrap() {
            Received::Bytes(count) => filled += count,
            Received::Starved => {
                let space = session.space();
                let limit = piece.min(space.len());
                let count = tcp.read(&mut space[..limit]).unwrap();
                session.arrived(count);
            }
            Received::End(end) => panic!("ended {end:?} after {filled} bytes"),
        }
    }
    received
}

#[tokio::test]
async fn records_may_arrive_in_pieces_of_any_size() {
    let server = Server::start().await;
    let mut connection = server.route().connect().await.unwrap();
    tokio::task::spawn_blocking(move || {
        for (length, piece) in [
            (1, 1),
            (100, 3),
            (16_384, 7),
            (40_000, 16_000),
            (65_536, 70_000),
        ] {
            let sent = noise(length);
            assert!(
                exchange(&mut connection, &sent, piece) == sent,
                "{length} in {piece}"
            );
        }
    })
    .await
    .unwrap();
    drop(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_came_before_a_write_is_kept_for_the_reader() {
    let server = Server::start().await;
    let mut connection = server.route().connect().await.unwrap();
    tokio::task::spawn_blocking(move || {
        connection.tcp.set_nonblocking(false).unwrap();
        let (session, tcp) = (&mut connection.session, &mut connection.tcp);
        for word in [b"one", b"two"] {
            session.write(word).unwrap();
            tcp.write_all(session.outgoing()).unwrap();
            session.sent(session.outgoing().len());
            let count = tcp.read(session.space()).unwrap();
            session.arrived(count);
        }
        // The second word may come in a segment of its own, after the tickets.
        while session.pending() == 0 {
            let count = tcp.read(session.space()).unwrap();
            session.arrived(count);
        }
        session.write(b"three").unwrap();
        assert!(session.pending() >= 3);
        let mut word = [0; 3];
        assert_eq!(session.read(&mut word).unwrap(), Received::Bytes(3));
        assert_eq!(&word, b"one");
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_write_takes_no_more_than_fits_and_none_after_the_goodbye() {
    let server = Server::start().await;
    let mut connection = server.route().connect().await.unwrap();
    let session = &mut connection.session;
    let data = noise(1_000_000);
    let taken = session.write(&data).unwrap();
    assert_eq!(taken, MAX_CHUNK);
    assert_eq!(session.write(&data[taken..]).unwrap(), 0, "full until sent");
    session.sent(session.outgoing().len());
    session.close_notify().unwrap();
    session.close_notify().unwrap();
    assert_eq!(session.write(&data).unwrap_err().kind(), ErrorKind::Closed);
}
