use std::io;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::connection::is_certificate_refusal;
use super::testing::{Published, REKEY, Server, bind, noise, route, route_within, target_at};
use super::*;
use crate::control::{Address, Exchange};

#[tokio::test]
async fn what_is_written_comes_back_unchanged_in_any_chunking() {
    let server = Server::start().await;
    let stream = server
        .route()
        .connect()
        .await
        .unwrap()
        .into_stream()
        .unwrap();
    assert_eq!(stream.instance(), "p:r:i");
    let sent = noise(3_000_001);
    let (mut reader, mut writer) = tokio::io::split(stream);
    let expected = sent.clone();
    let writing = tokio::spawn(async move {
        for chunk in sent.chunks(70_001) {
            writer.write_all(chunk).await.unwrap();
        }
        writer.shutdown().await.unwrap();
    });
    let mut received = Vec::new();
    reader.read_to_end(&mut received).await.unwrap();
    writing.await.unwrap();
    assert!(received == expected, "{} bytes came back", received.len());
}

#[tokio::test]
async fn keys_may_change_at_any_time() {
    let server = Server::start().await;
    let connection = server.route().connect().await.unwrap();
    let mut stream = connection.into_stream().unwrap();
    for _ in 0..5 {
        for sent in [REKEY, &noise(100_000)] {
            let mut received = vec![0; sent.len()];
            stream.write_all(sent).await.unwrap();
            stream.read_exact(&mut received).await.unwrap();
            assert!(received == sent);
        }
    }
}

#[tokio::test]
async fn a_certificate_refused_late_is_a_retryable_error_and_fetches_a_new_one() {
    let server = Server::start().await;
    let published = Published::new(vec![server.target(7, false), server.target(8, true)]);
    let route = route(published.clone());
    let mut stream = route.connect().await.unwrap().into_stream().unwrap();
    // The write may succeed or meet the reset; the reason must be the same.
    let error = match stream.write_all(b"hello").await {
        Ok(()) => stream.read_u8().await.unwrap_err(),
        Err(error) => error,
    };
    let ours = error.get_ref().unwrap().downcast_ref::<Error>().unwrap();
    assert!(is_certificate_refusal(ours), "{ours:?}");
    assert_eq!(ours.instance(), Some("p:r:i"));
    stream.read_u8().await.unwrap_err();
    assert_eq!(*published.refused.lock().unwrap(), [7], "told once");

    let mut stream = route.connect().await.unwrap().into_stream().unwrap();
    stream.write_all(b"hello").await.unwrap();
    let mut back = [0; 5];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(server.sessions.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_wrong_server_is_refused_then_tried_once_more_with_fresh_settings() {
    let (server, other) = (Server::start().await, Server::start().await);
    let misled = Target {
        addresses: vec![(IpType::Public, Address::Ip(other.address))],
        tls: server.target(1, true).tls.clone(),
        ..target_at(&[])
    };
    let published = Published::new(vec![Arc::new(misled), server.target(2, true)]);
    route(published.clone()).connect().await.unwrap();
    assert_eq!(*published.refused.lock().unwrap(), [1]);
    assert_eq!(other.sessions.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_server_that_stays_wrong_is_a_tls_error_that_no_retry_cures() {
    let (server, other) = (Server::start().await, Server::start().await);
    let misled = Target {
        addresses: vec![(IpType::Public, Address::Ip(other.address))],
        tls: server.target(1, true).tls.clone(),
        ..target_at(&[])
    };
    let error = route(Published::new(vec![Arc::new(misled)]))
        .connect()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls);
    assert!(!error.is_retryable());
    assert_eq!(error.instance(), Some("p:r:i"));
}

#[tokio::test]
async fn a_refused_port_is_a_network_error_and_fetches_anew() {
    let address = bind().await.local_addr().unwrap().ip().to_string();
    let published = Published::new(vec![Arc::new(target_at(&[(IpType::Public, &address)]))]);
    let error = route(published.clone()).connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert_eq!(error.io_kind(), Some(io::ErrorKind::ConnectionRefused));
    assert_eq!(*published.refused.lock().unwrap(), [1]);
}

#[tokio::test]
async fn silence_during_the_handshake_ends_at_the_deadline_and_names_the_step() {
    let listener = bind().await;
    let address = listener.local_addr().unwrap().ip().to_string();
    let published = Published::new(vec![Arc::new(target_at(&[(IpType::Public, &address)]))]);
    let route = route_within(published, Duration::from_millis(200));
    let error = route.connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(
        error.to_string().contains("the TLS handshake with"),
        "{error}"
    );
}

#[tokio::test]
async fn what_does_not_speak_tls_or_hangs_up_is_said_so() {
    for (answer, kind, text) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
            ErrorKind::Tls,
            "does not speak TLS",
        ),
        (
            b"",
            ErrorKind::Network,
            "closed the connection during the TLS handshake",
        ),
    ] {
        let listener = bind().await;
        let address = listener.local_addr().unwrap().ip().to_string();
        let serving = tokio::spawn(async move {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut hello = vec![0; 1024];
            let count = tcp.read(&mut hello).await.unwrap();
            assert!(count > 0);
            tcp.write_all(answer).await.unwrap();
        });
        let target = Arc::new(target_at(&[(IpType::Public, &address)]));
        let error = route(Published::new(vec![target]))
            .connect()
            .await
            .unwrap_err();
        serving.await.unwrap();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert!(error.chain().contains(text), "{error:?}");
    }
}

#[tokio::test]
async fn closing_the_connector_ends_a_dial_and_refuses_the_next() {
    let listener = bind().await;
    let address = listener.local_addr().unwrap().ip().to_string();
    let published = Published::new(vec![Arc::new(target_at(&[(IpType::Public, &address)]))]);
    let route = route(published.clone());
    let dialling = tokio::spawn({
        let route = route.clone();
        async move { route.connect().await }
    });
    let _held = listener.accept().await.unwrap();
    published.closed.cancel();
    assert_eq!(
        dialling.await.unwrap().unwrap_err().kind(),
        ErrorKind::Closed
    );
    assert_eq!(route.connect().await.unwrap_err().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn a_dropped_connect_leaves_no_connection_behind() {
    let listener = bind().await;
    let address = listener.local_addr().unwrap().ip().to_string();
    let target = Arc::new(target_at(&[(IpType::Public, &address)]));
    let route = route(Published::new(vec![target]));
    let dialling = tokio::spawn(async move { route.connect().await });
    let (mut tcp, _) = listener.accept().await.unwrap();
    tcp.read_u8().await.unwrap();
    dialling.abort();
    let mut rest = Vec::new();
    let reading = tcp.read_to_end(&mut rest);
    let limit = Duration::from_secs(5);
    tokio::time::timeout(limit, reading).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_server_that_asks_is_told_how_the_driver_connects_and_its_reply_is_kept_from_the_driver()
{
    let server = Server::start().await;
    let asking = Target {
        exchange: Some(Exchange::CloudSql),
        ..Arc::into_inner(server.target(1, true)).unwrap()
    };
    let published = Published::new(vec![Arc::new(asking)]);
    let connection = route(published.clone()).connect().await.unwrap();
    let mut stream = connection.into_stream().unwrap();
    // The server echoes, and an echoed request reads as a reply that accepts.
    let mut back = [0; 5];
    stream.write_all(b"hello").await.unwrap();
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"hello");
    // Nothing is expected any more: this is the database's own.
    stream.write_all(b"CSQLM").await.unwrap();
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"CSQLM");
    assert_eq!(server.sessions.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_driver_for_another_engine_is_refused_before_anything_is_dialled() {
    let target = Target {
        database_version: Some("MYSQL_8_4".to_owned()),
        ..target_at(&[(IpType::Public, "127.0.0.1")])
    };
    let published = Published::new(vec![Arc::new(target)]);
    let route = route(published).for_driver(Some(DatabaseEngine::Postgres), ClientProtocol::Tls);
    let error = route.connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(
        error.to_string(),
        "p:r:i: the instance runs MySQL (MYSQL_8_4), and this driver speaks PostgreSQL"
    );
    assert!(
        error.advice().unwrap().contains("mysql_async"),
        "{:?}",
        error.advice()
    );
}

#[tokio::test]
async fn a_domains_address_record_is_dialled_instead_of_the_address_in_the_settings() {
    let server = Server::start().await;
    let elsewhere = Target {
        addresses: vec![(IpType::Public, Address::Ip("192.0.2.1".parse().unwrap()))],
        ..Arc::into_inner(server.target(1, true)).unwrap()
    };
    let published = Published::new(vec![Arc::new(elsewhere)]);
    published
        .names
        .lock()
        .unwrap()
        .insert("server.test".to_owned(), server.address);
    let route = super::testing::route_by_domain(published.clone());
    let connection = route.connect().await.unwrap();
    assert_eq!(connection.peer_addr().ip(), server.address);
    // The type asked for must be there all the same.
    let none = Target {
        addresses: vec![(IpType::Psc, Address::Name("server.test".to_owned()))],
        ..Arc::into_inner(server.target(2, true)).unwrap()
    };
    let published = Published::new(vec![Arc::new(none)]);
    let error = super::testing::route_by_domain(published)
        .connect()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}
