//! Whom we talk to is decided inside the handshake: a wrong server sees neither our certificate nor a byte of the driver's.

mod world;

use std::io;
use std::time::Duration;

use iamsql::{ConnectOptions, Connector, Detail, Error, ErrorKind, ListenOptions};
use iamsql_emulator::{CaMode, InstanceSpec, ServerCertificate, Wire};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use world::{added, connector, emulator};

use ServerCertificate::*;

const MODES: [CaMode; 4] = [
    CaMode::Internal,
    CaMode::Unspecified,
    CaMode::Cas,
    CaMode::CustomerCas,
];

async fn fresh() -> Connector {
    connector(emulator()).iam_auth(true).build().await.unwrap()
}

/// An instance whose settings and certificate are shaped as its mode has them.
fn shaped(spec: InstanceSpec, mode: CaMode, certificate: ServerCertificate) -> InstanceSpec {
    let spec = spec.ca_mode(mode).certificate(certificate);
    match mode {
        CaMode::Cas => spec.dns_name("A1b2c3.us-central1.sql.goog."),
        CaMode::CustomerCas => spec.dns_name("db.corp.example"),
        _ => spec,
    }
}

/// Whether rule and mode say that this certificate proves the instance.
fn proves(mode: CaMode, certificate: ServerCertificate) -> bool {
    let is_named = matches!(mode, CaMode::Cas | CaMode::CustomerCas);
    match certificate {
        Genuine => true,
        CommonNameOnly => mode != CaMode::CustomerCas,
        DnsNameOnly | OtherSpelling => is_named,
        _ => false,
    }
}

/// Nothing that names us, and nothing of the driver's, reached the server.
fn assert_unseen(instance: &str, case: &str) {
    let sessions = emulator().sessions().of(instance);
    assert!(!sessions.is_empty(), "{case}: nobody was dialled");
    for session in sessions {
        assert!(
            !session.certificate_seen,
            "{case}: the certificate was shown"
        );
        assert!(!session.authenticated, "{case}");
        assert_eq!(session.received, 0, "{case}: data was sent");
    }
}

#[tokio::test]
async fn a_server_is_the_instance_only_if_its_certificate_says_so_as_the_mode_demands() {
    let connector = fresh().await;
    for mode in MODES {
        for certificate in [
            Genuine,
            CommonNameOnly,
            DnsNameOnly,
            OtherSpelling,
            WrongName,
            Wildcard,
            DottedCommonName,
            TwoCommonNames,
            Expired,
            NotYetValid,
            ClientAuthOnly,
            SignerNotCa,
            ForeignCa,
        ] {
            let case = format!("{certificate:?} under {mode:?}");
            let instance = added(emulator(), |spec| shaped(spec, mode, certificate)).await;
            let outcome = connector.connect(&instance).await;
            if proves(mode, certificate) {
                let mut stream = outcome.unwrap_or_else(|error| panic!("{case}: {error:?}"));
                stream.write_all(b"x").await.unwrap();
                assert_eq!(stream.read_u8().await.unwrap(), b'x', "{case}");
                continue;
            }
            let error = outcome.expect_err(&case);
            assert_eq!(error.kind(), ErrorKind::Tls, "{case}: {error:?}");
            assert!(!error.is_retryable(), "{case}: {error:?}");
            assert_eq!(error.instance(), Some(&*instance), "{case}");
            assert_unseen(&instance, &case);
        }
    }
}

#[tokio::test]
async fn a_pinned_certificate_replaces_the_chain_and_nothing_else() {
    let connector = fresh().await;
    for mode in MODES {
        for (certificate, accepted) in [
            (Genuine, true),
            (WrongName, false),
            (Expired, false),
            (ClientAuthOnly, false),
        ] {
            let case = format!("pinned {certificate:?} under {mode:?}");
            let instance = added(emulator(), |spec| {
                shaped(spec, mode, certificate).pinned(true)
            })
            .await;
            let outcome = connector.connect(&instance).await;
            assert_eq!(outcome.is_ok(), accepted, "{case}: {outcome:?}");
            if !accepted {
                assert_unseen(&instance, &case);
            }
        }
    }
}

#[tokio::test]
async fn the_error_says_who_answered_and_who_should_have() {
    let instance = added(emulator(), |spec| spec.certificate(WrongName)).await;
    let error = fresh().await.connect(&instance).await.unwrap_err();
    let Some(Detail::WrongServer { expected, .. }) = error.detail() else {
        panic!("{error:?}");
    };
    let (project, name) = ("your-project-id", instance.rsplit(':').next().unwrap());
    assert_eq!(expected, &format!("{project}:{name}"));
    assert!(error.to_string().contains("server presented"), "{error}");
    assert!(error.advice().is_some());
}

#[tokio::test]
async fn anything_but_tls_1_3_is_refused() {
    let connector = fresh().await;
    let instance = added(emulator(), |spec| spec.wire(Wire::Tls12)).await;
    let error = connector.connect(&instance).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error:?}");
    assert_unseen(&instance, "TLS 1.2");

    let instance = added(emulator(), |spec| spec.wire(Wire::Plaintext)).await;
    let error = connector.connect(&instance).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error:?}");
    for session in emulator().sessions().of(&instance) {
        assert!(!session.certificate_seen);
        assert!(
            session.received <= MAX_HELLO,
            "more than a greeting: {}",
            session.received
        );
    }
}

#[tokio::test]
async fn every_door_refuses_a_wrong_server_before_anything_of_ours_leaves() {
    let connector = fresh().await;
    for mode in MODES {
        let instance = added(emulator(), |spec| shaped(spec, mode, WrongName)).await;
        let options = ConnectOptions::new();

        let mut errors = vec![connector.connect(&instance).await.unwrap_err()];
        errors.push(connector.connection(&instance, &options).await.unwrap_err());

        let pair = connector.pair(&instance, &options).unwrap();
        let client = pair.take_client_fd().unwrap();
        let mut client = unix_stream(client.into()).unwrap();
        client.write_all(b"login").await.unwrap();
        errors.push(pair.dial().await.unwrap_err());

        let listener = connector.listen(&instance, &ListenOptions::new()).unwrap();
        errors.push(listener.park().await.unwrap_err());
        let mut client = UnixStream::connect(listener.socket_path().unwrap())
            .await
            .unwrap();
        client.write_all(STARTUP).await.unwrap();
        let mut answer = Vec::new();
        let reading = client.read_to_end(&mut answer);
        tokio::time::timeout(Duration::from_secs(5), reading)
            .await
            .unwrap()
            .unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.contains("C08001\0"), "{answer:?}");

        assert!(
            errors
                .iter()
                .all(|error: &Error| error.kind() == ErrorKind::Tls),
            "{mode:?}: {errors:?}"
        );
        assert_unseen(&instance, &format!("{mode:?}"));
    }
}

fn unix_stream(client: std::os::unix::net::UnixStream) -> io::Result<UnixStream> {
    client.set_nonblocking(true)?;
    UnixStream::from_std(client)
}

/// A StartupMessage of protocol 3.0 for user `me`.
const STARTUP: &[u8] = b"\0\0\0\x11\0\x03\0\0user\0me\0\0";

/// Bytes of a ClientHello, and of an alert after it, at most.
const MAX_HELLO: u64 = 1_024;
