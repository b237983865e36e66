//! Connections through Cloud SQL's SqlData service: every face carries every byte, and each refusal is said in its kind.

#![cfg(feature = "sql-data")]

mod world;

use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use iamsql::{ConnectOptions, Connector, Error, ErrorKind, IpType, ListenOptions};
use iamsql_emulator::{Edition, Effect, Emulator, Endpoint, Fault, InstanceSpec};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

use world::{added, calls, connector, emulator, instance, unknown_instance};

const SIZE: usize = 3_000_000;
const LIMIT: Duration = Duration::from_secs(60);

async fn developer(emulator: &Emulator) -> String {
    added(emulator, |spec| spec.edition(Edition::Developer)).await
}

async fn tunnelling() -> Connector {
    connector(emulator())
        .ip_type(IpType::SqlData)
        .build()
        .await
        .unwrap()
}

fn pattern() -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..SIZE).map(|_| next()).collect()
}

/// Sends everything while reading it back, then closes its half and expects the end.
async fn echoes(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
    let echoed = tokio::time::timeout(LIMIT, echo(stream)).await;
    echoed.expect("every byte and the end came back in time");
}

async fn echo(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
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

/// The error that a stream ends with, once something was said.
async fn failure(connector: &Connector, instance: &str) -> Error {
    let mut stream = match connector.connect(instance).await {
        Ok(stream) => stream,
        Err(error) => return error,
    };
    let _ = stream.write_all(b"hello").await;
    let error = stream.read_to_end(&mut Vec::new()).await.unwrap_err();
    let error = error.into_inner().expect("an error of ours");
    *error.downcast::<Error>().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_face_carries_every_byte_both_ways_and_half_closes() {
    let instance = developer(emulator()).await;
    let (connector, options) = (tunnelling().await, ConnectOptions::new());
    connector.warm(&instance, &options).await.unwrap();
    echoes(connector.connect(&instance).await.unwrap()).await;

    let pair = connector.pair(&instance, &options).unwrap();
    let client = StdUnixStream::from(pair.take_client_fd().unwrap());
    client.set_nonblocking(true).unwrap();
    pair.dial().await.unwrap();
    echoes(UnixStream::from_std(client).unwrap()).await;

    let listener = connector.listen(&instance, &ListenOptions::new()).unwrap();
    let path = listener.directory().unwrap().join(".s.PGSQL.5432");
    echoes(UnixStream::connect(path).await.unwrap()).await;

    let socket = connector
        .connection(&instance, &options)
        .await
        .unwrap()
        .into_blocking();
    let socket = Arc::new(socket);
    tokio::task::spawn_blocking(move || {
        let sent = Arc::new(pattern());
        let (writer, data) = (socket.clone(), sent.clone());
        let writing = std::thread::spawn(move || {
            writer.write_all(&data, &mut || Ok(())).unwrap();
            writer.shutdown_write(&mut || Ok(())).unwrap();
        });
        let (mut received, mut bytes) = (Vec::new(), vec![0; 50_000]);
        loop {
            match socket.read(&mut bytes, &mut || Ok(())).unwrap() {
                0 => break,
                count => received.extend_from_slice(&bytes[..count]),
            }
        }
        writing.join().unwrap();
        assert!(received == *sent, "{} bytes came back", received.len());
    })
    .await
    .unwrap();

    let socket = connector
        .connection(&instance, &options)
        .await
        .unwrap()
        .into_nonblocking();
    let sent = b"through an event loop of the caller's";
    assert_eq!(socket.write(sent).unwrap(), sent.len());
    let (mut received, started) = (Vec::new(), Instant::now());
    while received.len() < sent.len() && started.elapsed() < Duration::from_secs(10) {
        let mut bytes = [0; 100];
        match socket.read(&mut bytes) {
            Ok(count) => received.extend_from_slice(&bytes[..count]),
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
    assert_eq!(received, sent);
    assert_eq!(calls(emulator(), Endpoint::SqlData, &instance), 5);
    assert_eq!(
        calls(emulator(), Endpoint::GenerateEphemeralCert, &instance),
        0,
        "no certificate is asked for"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_call_bears_the_token_and_says_whom_to_charge() {
    let instance = developer(emulator()).await;
    let connector = connector(emulator())
        .ip_type(IpType::SqlData)
        .quota_project("billing")
        .build()
        .await
        .unwrap();
    let mut stream = connector.connect(&instance).await.unwrap();
    stream.write_all(b"x").await.unwrap();
    stream.read_u8().await.unwrap();
    let all = emulator().calls().to(Endpoint::SqlData);
    let call = all
        .iter()
        .find(|call| call.instance.as_deref() == Some(&instance))
        .unwrap();
    assert_eq!(call.quota_project.as_deref(), Some("billing"));
    assert_eq!(
        call.principal.as_deref(),
        Some(iamsql_emulator::SERVICE_ACCOUNT)
    );
    assert!(call.user_agent.as_deref().unwrap().starts_with("iamsql/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_without_the_service_is_reached_by_address_and_that_is_remembered() {
    let instance = instance(emulator()).await;
    let connector = tunnelling().await;
    for tunnels in [1, 1] {
        connector
            .warm(&instance, &ConnectOptions::new())
            .await
            .unwrap();
        let mut stream = connector.connect(&instance).await.unwrap();
        stream
            .write_all(b"said before anybody answered")
            .await
            .unwrap();
        let mut received = [0; 28];
        stream.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"said before anybody answered");
        echoes(stream).await;
        assert_eq!(calls(emulator(), Endpoint::SqlData, &instance), tunnels);
    }
    let other = tunnelling().await;
    echoes(other.connect(&instance).await.unwrap()).await;
    assert_eq!(
        calls(emulator(), Endpoint::SqlData, &instance),
        2,
        "another identity asks for itself"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_is_of_its_kind() {
    let connector = tunnelling().await;
    let refused = failure(&connector, &unknown_instance()).await;
    assert!(
        matches!(refused.kind(), ErrorKind::NotFound | ErrorKind::Permission),
        "{refused:?}"
    );
    for (status, kind) in [
        (401, ErrorKind::Permission),
        (403, ErrorKind::Permission),
        (503, ErrorKind::Unavailable),
    ] {
        let instance = developer(emulator()).await;
        let effect = Effect::Status {
            status,
            body: Some("no\nforged".to_owned()),
            retry_after: None,
        };
        emulator()
            .faults()
            .inject(Fault::new(Endpoint::SqlData, effect).instance(&instance));
        let error = failure(&connector, &instance).await;
        assert_eq!(error.kind(), kind, "{status}: {error:?}");
        assert_eq!(error.instance(), Some(&*instance));
        assert!(error.to_string().contains("no\\u{a}forged"), "{error}");
    }
    let instance = developer(emulator()).await;
    let echo = Effect::EchoSecrets { status: 403 };
    emulator()
        .faults()
        .inject(Fault::new(Endpoint::SqlData, echo).instance(&instance));
    let error = failure(&connector, &instance).await;
    assert!(error.to_string().contains("[redacted]"), "{error}");
    assert!(!error.chain().contains("emulator-"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tunnel_that_breaks_ends_with_a_retryable_error_after_what_came_before() {
    let instance = developer(emulator()).await;
    let reset = Effect::ResetAfter { bytes: 100_000 };
    emulator().faults().inject(
        Fault::new(Endpoint::SqlData, reset)
            .instance(&instance)
            .times(1),
    );
    let connector = tunnelling().await;
    let stream = connector.connect(&instance).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let writing = tokio::spawn(async move {
        let _ = writer.write_all(&pattern()).await;
        writer
    });
    let mut received = Vec::new();
    let error = reader.read_to_end(&mut received).await.unwrap_err();
    assert_eq!(received, pattern()[..100_000]);
    let error = error.into_inner().unwrap().downcast::<Error>().unwrap();
    assert_eq!(error.kind(), ErrorKind::Network, "{error:?}");
    assert!(error.is_retryable());
    drop(reader);
    drop(writing.await.unwrap());
    echoes(connector.connect(&instance).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_tunnel_outlives_its_connector_and_a_closed_one_opens_no_more() {
    let instance = developer(emulator()).await;
    let connector = tunnelling().await;
    let mut stream = connector.connect(&instance).await.unwrap();
    stream.write_all(b"a").await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'a');
    connector.close();
    let refused = connector.connect(&instance).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Closed);
    drop(connector);
    echoes(stream).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn opening_ends_at_the_deadline_and_dropping_a_stream_ends_its_session() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let connector = connector(emulator())
        .ip_type(IpType::SqlData)
        .dangerous_sql_data_endpoint(format!("https://{}", silent.local_addr().unwrap()))
        .timeout(Duration::from_millis(600))
        .build()
        .await
        .unwrap();
    let instance = developer(emulator()).await;
    let started = Instant::now();
    let error = connector.connect(&instance).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
    assert!(started.elapsed() < Duration::from_secs(5));

    let mut stream = tunnelling().await.connect(&instance).await.unwrap();
    stream.write_all(b"a").await.unwrap();
    stream.read_u8().await.unwrap();
    let open = || emulator().sessions().open(&instance);
    assert_eq!(open(), 1);
    drop(stream);
    let started = Instant::now();
    while open() > 0 && started.elapsed() < Duration::from_secs(10) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(open(), 0);
}

#[tokio::test]
async fn plain_http_to_another_machine_is_refused() {
    for endpoint in [
        "http://collector.example",
        "ftp://127.0.0.1",
        "http://10.0.0.1:1",
    ] {
        let refused = connector(emulator())
            .dangerous_sql_data_endpoint(endpoint)
            .build()
            .await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Config, "{endpoint}");
    }
}

#[tokio::test]
async fn an_engine_that_the_service_does_not_carry_is_refused() {
    let name = unknown_instance();
    let spec = InstanceSpec::sql_server(&name).edition(Edition::Developer);
    emulator().add_instance(spec).await.unwrap();
    let error = failure(&tunnelling().await, &name).await;
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
}
