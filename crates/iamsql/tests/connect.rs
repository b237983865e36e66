//! From a connection name to an authenticated stream: which address, how long, and what is said when it fails.

mod world;

use std::io;
use std::time::{Duration, Instant};

use iamsql::{AuthMode, ConnectOptions, Connector, Detail, Error, ErrorKind, IpType, Stream};
use iamsql_emulator::{AddressType, CertificateAlert, Effect, Endpoint, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use world::{added, calls, connector, emulator, instance};

/// Any connector whose engine no other test uses.
async fn fresh() -> Connector {
    connector(emulator()).iam_auth(true).build().await.unwrap()
}

async fn greet(stream: &mut Stream) -> io::Result<()> {
    stream.write_all(b"hello").await?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).await?;
    assert_eq!(&answer, b"hello");
    Ok(())
}

fn fault(instance: &str, endpoint: Endpoint, effect: Effect) -> Fault {
    Fault::new(endpoint, effect).instance(instance)
}

fn within(limit: Duration) -> ConnectOptions {
    ConnectOptions::new().timeout(limit)
}

#[tokio::test]
async fn each_address_type_is_dialled_where_it_is() {
    let instance = instance(emulator()).await;
    let addresses = emulator().addresses(&instance).unwrap();
    let connector = fresh().await;
    for (ip_type, wanted) in [
        (IpType::Public, AddressType::Primary),
        (IpType::Private, AddressType::Private),
        (IpType::Auto, AddressType::Primary),
    ] {
        let options = ConnectOptions::new().ip_type(ip_type);
        let mut stream = connector.connect_with(&instance, &options).await.unwrap();
        assert_eq!(stream.peer_addr(), addresses[&wanted], "{ip_type:?}");
        assert_eq!(stream.instance(), instance);
        greet(&mut stream).await.unwrap();
    }
}

#[tokio::test]
async fn an_absent_address_type_says_which_there_is() {
    let private = added(emulator(), |spec| spec.addresses([AddressType::Private])).await;
    let connector = fresh().await;
    let error = connector.connect(&private).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.detail(), Some(&Detail::NoAddress(IpType::Public)));
    assert_eq!(
        error.to_string(),
        format!("{private}: the instance has no PUBLIC address, only PRIVATE")
    );
    assert_eq!(error.advice(), Some("ask for ip_type PRIVATE (or AUTO)"));
    let options = ConnectOptions::new().ip_type(IpType::Auto);
    connector.connect_with(&private, &options).await.unwrap();
}

#[tokio::test]
async fn a_refused_port_is_a_network_error_with_address_and_cause() {
    let instance = instance(emulator()).await;
    let address = emulator().addresses(&instance).unwrap()[&AddressType::Primary];
    emulator()
        .faults()
        .inject(fault(&instance, Endpoint::Tcp, Effect::Refuse));
    let connector = fresh().await;
    let error = connector.connect(&instance).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network);
    assert!(error.is_retryable());
    assert_eq!(error.io_kind(), Some(io::ErrorKind::ConnectionRefused));
    assert!(error.chain().contains(&address.to_string()), "{error:?}");

    emulator().faults().clear_instance(&instance);
    let settings = calls(emulator(), Endpoint::ConnectSettings, &instance);
    let mut stream = connector.connect(&instance).await.unwrap();
    greet(&mut stream).await.unwrap();
    assert_eq!(
        calls(emulator(), Endpoint::ConnectSettings, &instance),
        settings + 1,
        "the address might have changed, so it was asked for again"
    );
}

#[tokio::test]
async fn silence_ends_at_the_deadline_and_names_the_step() {
    let connector = fresh().await;
    for (endpoint, effect, step) in [
        (Endpoint::Tcp, Effect::BlackHole, "no TCP connection to"),
        (Endpoint::Tls, Effect::Hang, "the TLS handshake with"),
    ] {
        let instance = instance(emulator()).await;
        connector
            .warm(&instance, &ConnectOptions::new())
            .await
            .unwrap();
        emulator()
            .faults()
            .inject(fault(&instance, endpoint, effect));
        let started = Instant::now();
        let limit = Duration::from_millis(400);
        let error = connector
            .connect_with(&instance, &within(limit))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout, "{error:?}");
        assert!(error.to_string().contains(step), "{error}");
        let took = started.elapsed();
        assert!((limit..limit * 5).contains(&took), "{took:?}");
    }
}

#[tokio::test]
async fn a_reset_during_the_handshake_is_a_network_error() {
    let instance = instance(emulator()).await;
    emulator()
        .faults()
        .inject(fault(&instance, Endpoint::Tls, Effect::Reset));
    let error = fresh().await.connect(&instance).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network, "{error:?}");
    assert!(error.is_retryable());
}

#[tokio::test]
async fn connects_do_not_queue_behind_one_another() {
    let instance = instance(emulator()).await;
    let connector = fresh().await;
    connector
        .warm(&instance, &ConnectOptions::new())
        .await
        .unwrap();
    let slow = Effect::delay(Duration::from_millis(500));
    emulator()
        .faults()
        .inject(fault(&instance, Endpoint::Tls, slow));
    let started = Instant::now();
    let connects = (0..16).map(|_| async { connector.connect(&instance).await.map(drop) });
    for outcome in futures_util::future::join_all(connects).await {
        outcome.unwrap();
    }
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_late_refusal_is_retryable_and_the_next_connect_brings_another_certificate() {
    let instance = instance(emulator()).await;
    let connector = fresh().await;
    for alert in [CertificateAlert::Bad, CertificateAlert::Revoked] {
        let refusal = Effect::RefuseCertificate { alert };
        emulator()
            .faults()
            .inject(fault(&instance, Endpoint::Tls, refusal).times(1));
        let mut stream = connector.connect(&instance).await.unwrap();
        let error = greet(&mut stream).await.unwrap_err();
        let ours = error.get_ref().unwrap().downcast_ref::<Error>().unwrap();
        assert_eq!(ours.kind(), ErrorKind::Tls);
        assert!(ours.is_retryable(), "{ours:?}");
        assert_eq!(ours.instance(), Some(&*instance));
        greet(&mut connector.connect(&instance).await.unwrap())
            .await
            .unwrap();
    }
    let used: Vec<_> = emulator()
        .sessions()
        .of(&instance)
        .into_iter()
        .map(|session| session.certificate)
        .collect();
    let [first, second, third, fourth] = &used[..] else {
        panic!("{} sessions", used.len());
    };
    assert!(
        first != second && second == third && third != fourth,
        "{used:?}"
    );
}

#[tokio::test]
async fn a_server_ca_that_was_rotated_is_fetched_within_the_same_connect() {
    let instance = instance(emulator()).await;
    let connector = fresh().await;
    greet(&mut connector.connect(&instance).await.unwrap())
        .await
        .unwrap();
    emulator().rotate_server_ca(&instance).await.unwrap();
    greet(&mut connector.connect(&instance).await.unwrap())
        .await
        .unwrap();
}

#[tokio::test]
async fn revoked_certificates_cost_one_failed_stream() {
    let instance = instance(emulator()).await;
    let connector = fresh().await;
    let mut open = connector.connect(&instance).await.unwrap();
    greet(&mut open).await.unwrap();
    emulator().revoke_certificates(&instance);
    let mut stream = connector.connect(&instance).await.unwrap();
    greet(&mut stream).await.unwrap_err();
    greet(&mut connector.connect(&instance).await.unwrap())
        .await
        .unwrap();
}

#[tokio::test]
async fn close_ends_a_dial_and_leaves_open_streams_alone() {
    let (quick, slow) = (instance(emulator()).await, instance(emulator()).await);
    let connector = fresh().await;
    let mut open = connector.connect(&quick).await.unwrap();
    connector.warm(&slow, &ConnectOptions::new()).await.unwrap();
    emulator()
        .faults()
        .inject(fault(&slow, Endpoint::Tls, Effect::Hang));
    let dialling = tokio::spawn({
        let (connector, slow) = (connector.clone(), slow.clone());
        async move { connector.connect(&slow).await }
    });
    let arrived = |sessions: &[iamsql_emulator::Session]| !sessions.is_empty();
    let limit = Duration::from_secs(5);
    assert!(emulator().sessions().wait(&slow, limit, arrived).await);
    connector.close();
    let error = dialling.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    greet(&mut open).await.unwrap();
    let error = connector.connect(&quick).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn only_an_iam_login_puts_a_token_into_the_certificate() {
    let instance = instance(emulator()).await;
    let connector = connector(emulator()).build().await.unwrap();
    for (mode, principal) in [
        (None, None),
        (Some(AuthMode::Password), None),
        (Some(AuthMode::Iam), Some(iamsql_emulator::SERVICE_ACCOUNT)),
    ] {
        let mut options = ConnectOptions::new();
        options.auth_mode = mode;
        let mut stream = connector.connect_with(&instance, &options).await.unwrap();
        greet(&mut stream).await.unwrap();
        let sessions = emulator().sessions().of(&instance);
        assert_eq!(
            sessions.last().unwrap().principal.as_deref(),
            principal,
            "{mode:?}"
        );
    }
}

#[tokio::test]
async fn what_a_stream_prints_names_the_instance_and_nothing_secret() {
    let instance = instance(emulator()).await;
    let stream = fresh().await.connect(&instance).await.unwrap();
    let shown = format!("{stream:?}");
    assert_eq!(
        shown,
        format!(
            "Stream {{ instance: {instance:?}, peer_addr: {}, .. }}",
            stream.peer_addr()
        )
    );
}
