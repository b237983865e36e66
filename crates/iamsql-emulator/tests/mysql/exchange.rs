//! Cloud SQL's metadata exchange: before the greeting it is answered, behind it not, and where it is not offered it is
//! nothing.

use std::time::Duration;

use iamsql_emulator::{
    AddressType, ClientProtocol, Effect, Emulator, Endpoint, Fault, InstanceSpec, MYSQL_INSTANCE,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::client::{ADMIN_SCOPE, Client, ECHO, dial};
use crate::emulator;
use crate::tunnel::certificate;

const TLS: &[u8] = b"CSQLMDEX\0\0\0\x02\x10\x02";
const OK: &[u8] = b"CSQLMDEX\0\0\0\x02\x08\x01";

async fn connect(emulator: &Emulator, instance: &str) -> TlsStream<TcpStream> {
    let certificate = certificate(emulator, instance, None).await;
    let address = emulator.addresses(instance).unwrap()[&AddressType::Primary];
    dial(address, Some(&certificate)).await.unwrap()
}

async fn read(stream: &mut TlsStream<TcpStream>, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    let read = tokio::time::timeout(Duration::from_secs(5), stream.read_exact(&mut bytes));
    read.await.expect("an answer").unwrap();
    bytes
}

/// What is left until the server ends.
async fn rest(mut stream: TlsStream<TcpStream>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut bytes)).await;
    bytes
}

#[tokio::test]
async fn a_client_that_speaks_first_is_answered_first() {
    let spec = InstanceSpec::echo(ECHO).client_protocol_exchange(true);
    let emulator = Emulator::builder().instance(spec).start().await.unwrap();
    let client = Client::new(&emulator);
    let settings = client
        .settings(ECHO, &client.token(ADMIN_SCOPE).await)
        .await;
    let settings: serde_json::Value = settings.json().await.unwrap();
    assert_eq!(
        settings["mdxProtocolSupport"],
        serde_json::json!(["CLIENT_PROTOCOL_TYPE"])
    );

    // In one piece, and byte by byte.
    for step in [TLS.len(), 1] {
        let mut stream = connect(&emulator, ECHO).await;
        for piece in TLS.chunks(step) {
            stream.write_all(piece).await.unwrap();
            stream.flush().await.unwrap();
        }
        stream.write_all(b"hello").await.unwrap();
        assert_eq!(read(&mut stream, OK.len()).await, OK);
        assert_eq!(read(&mut stream, 5).await, b"hello");
        let session = emulator.sessions().of(ECHO).pop().unwrap();
        assert_eq!(session.client_protocol, Some(ClientProtocol::Tls));
    }
    // Without a request everything is the database's, what begins like one too.
    let mut stream = connect(&emulator, ECHO).await;
    stream.write_all(b"CSQLMDEC").await.unwrap();
    assert_eq!(read(&mut stream, 8).await, b"CSQLMDEC");

    let refuse = Fault::new(
        Endpoint::MetadataExchange,
        Effect::refuse_exchange("not today"),
    );
    emulator.faults().inject(refuse.instance(ECHO).times(1));
    let mut stream = connect(&emulator, ECHO).await;
    stream.write_all(TLS).await.unwrap();
    assert_eq!(
        rest(stream).await,
        b"CSQLMDEX\0\0\0\x0e\x08\x02\x12\x89\0not today"
    );

    let mut stream = connect(&emulator, ECHO).await;
    stream.write_all(b"CSQLMDEX\xff\xff\xff\xff").await.unwrap();
    let refused = rest(stream).await;
    assert!(refused.ends_with(b"longer than 16 KiB"), "{refused:?}");
    emulator.shutdown().await;
}

#[tokio::test]
async fn where_it_is_not_offered_it_is_nothing() {
    let emulator = Emulator::builder()
        .instance(InstanceSpec::echo(ECHO))
        .start()
        .await
        .unwrap();
    let client = Client::new(&emulator);
    let settings = client
        .settings(ECHO, &client.token(ADMIN_SCOPE).await)
        .await;
    let settings: serde_json::Value = settings.json().await.unwrap();
    assert_eq!(settings.get("mdxProtocolSupport"), None);
    let mut stream = connect(&emulator, ECHO).await;
    stream.write_all(TLS).await.unwrap();
    assert_eq!(read(&mut stream, TLS.len()).await, TLS);
    emulator.shutdown().await;
}

/// The greeting's packet.
async fn greeting(stream: &mut TlsStream<TcpStream>) -> Vec<u8> {
    let header = read(stream, 4).await;
    read(stream, header[0].into()).await
}

#[tokio::test]
async fn mysql_answers_only_what_comes_before_its_greeting() {
    let Some(emulator) = emulator().await else {
        return;
    };
    let mut stream = connect(&emulator, MYSQL_INSTANCE).await;
    let first = greeting(&mut stream).await;
    assert_eq!((first[0], first.last()), (10, Some(&0)));
    assert!(first.ends_with(b"caching_sha2_password\0"));
    stream.write_all(TLS).await.unwrap();
    // No answer but MySQL's own, to a packet that is no login.
    stream.write_all(b"\x01\0\0\x01\0").await.unwrap();
    let answer = rest(stream).await;
    assert!(
        answer.ends_with(b"\xff\x13\x04#08S01Bad handshake"),
        "{answer:?}"
    );
    assert_eq!(answer[3], 2);

    let refuse = Fault::new(
        Endpoint::MetadataExchange,
        Effect::refuse_exchange("not today"),
    );
    emulator.faults().inject(refuse.times(1));
    let mut stream = connect(&emulator, MYSQL_INSTANCE).await;
    greeting(&mut stream).await;
    stream.write_all(TLS).await.unwrap();
    let answer = rest(stream).await;
    assert!(answer.ends_with(b"#HY000not today"), "{answer:?}");

    let fatal = Fault::new(Endpoint::Tls, Effect::fatal("28000", "scripted"));
    emulator.faults().inject(fatal.times(1));
    let mut stream = connect(&emulator, MYSQL_INSTANCE).await;
    greeting(&mut stream).await;
    stream.write_all(b"\x01\0\0\x01\0").await.unwrap();
    assert_eq!(
        rest(stream).await,
        b"\x11\0\0\x02\xff\x15\x04#28000scripted"
    );
    emulator.shutdown().await;
}
