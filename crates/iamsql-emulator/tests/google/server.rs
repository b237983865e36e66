//! The server-side proxy on port 3307.

use std::time::Duration;

use iamsql_emulator::{
    AddressType, Emulator, InstanceSpec, SERVICE_ACCOUNT, ServerCertificate, Wire,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use x509_parser::parse_x509_certificate;

use crate::client::{ADMIN_SCOPE, Client, ECHO, dial, signed};

#[tokio::test]
async fn bytes_come_back_and_the_session_is_recorded() {
    let emulator = Emulator::builder()
        .instance(InstanceSpec::echo(ECHO))
        .start()
        .await
        .unwrap();
    let client = Client::new(&emulator);
    let signed = client.certificate(ECHO).await;
    let address = emulator.addresses(ECHO).unwrap()[&AddressType::Private];
    let mut stream = dial(address, Some(&signed)).await.unwrap();
    echo(&mut stream, b"hello").await.unwrap();
    assert_eq!(emulator.sessions().open(ECHO), 1);
    stream.shutdown().await.unwrap();
    drop(stream);
    let sessions = emulator.sessions();
    assert!(
        sessions
            .wait(ECHO, LIMIT, |all| all.iter().all(|one| !one.open))
            .await
    );
    let session = &sessions.of(ECHO)[0];
    assert_eq!(
        (session.server, session.received, session.sent),
        (address, 5, 5)
    );
    assert_eq!(session.principal.as_deref(), Some(SERVICE_ACCOUNT));
    assert!(session.certificate_seen && session.authenticated && session.error.is_none());
    let serial = signed.answer["ephemeralCert"]["certSerialNumber"].as_str();
    assert_eq!(session.certificate.as_deref(), serial);
}

#[tokio::test]
async fn only_living_certificates_of_this_instance_get_in() {
    let other = "your-project-id:us-central1:other";
    let brief = "your-project-id:us-central1:brief";
    let emulator = Emulator::builder()
        .instance(InstanceSpec::echo(ECHO))
        .instance(InstanceSpec::echo(other))
        .instance(InstanceSpec::echo(brief).certificate_lifetime(Duration::from_millis(1)))
        .start()
        .await
        .unwrap();
    let client = Client::new(&emulator);
    let foreign = client.certificate(other).await;
    assert_eq!(refusal(&emulator, ECHO, None).await, "CertificateRequired");
    assert_eq!(refusal(&emulator, ECHO, Some(&foreign)).await, "UnknownCA");

    let good = client.certificate(ECHO).await;
    assert_eq!(emulator.revoke_certificates(ECHO), 1);
    assert_eq!(
        refusal(&emulator, ECHO, Some(&good)).await,
        "CertificateRevoked"
    );
    let good = client.certificate(ECHO).await;
    emulator.rotate_client_ca(ECHO).await.unwrap();
    assert_eq!(refusal(&emulator, ECHO, Some(&good)).await, "UnknownCA");

    let old = client.certificate(brief).await;
    // Validity counts whole seconds.
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(
        refusal(&emulator, brief, Some(&old)).await,
        "CertificateExpired"
    );

    let sessions = emulator.sessions().of(ECHO);
    assert!(
        sessions
            .iter()
            .all(|session| !session.authenticated && session.received == 0)
    );
    assert_eq!(
        sessions
            .iter()
            .filter(|session| session.certificate_seen)
            .count(),
        3
    );
}

#[tokio::test]
async fn a_certificate_without_a_login_token_gets_in_too() {
    let emulator = Emulator::builder()
        .instance(InstanceSpec::echo(ECHO))
        .start()
        .await
        .unwrap();
    let client = Client::new(&emulator);
    let bearer = client.token(ADMIN_SCOPE).await;
    let signed = signed(client.sign(ECHO, &bearer, None).await).await;
    let address = emulator.addresses(ECHO).unwrap()[&AddressType::Primary];
    let mut stream = dial(address, Some(&signed)).await.unwrap();
    echo(&mut stream, b"x").await.unwrap();
    assert_eq!(emulator.sessions().of(ECHO)[0].principal, None);
}

#[tokio::test]
async fn the_certificate_of_a_running_instance_can_be_changed_and_rotated() {
    let emulator = Emulator::builder()
        .instance(InstanceSpec::echo(ECHO))
        .start()
        .await
        .unwrap();
    let client = Client::new(&emulator);
    let signed = client.certificate(ECHO).await;
    let address = emulator.addresses(ECHO).unwrap()[&AddressType::Primary];
    let presented = async || {
        let stream = dial(address, Some(&signed)).await.unwrap();
        let der = stream.get_ref().1.peer_certificates().unwrap()[0].to_vec();
        let (_, certificate) = parse_x509_certificate(&der).unwrap();
        let name = certificate.subject().iter_common_name().next().unwrap();
        (name.as_str().unwrap().to_string(), der)
    };
    let (name, before) = presented().await;
    assert_eq!(name, "your-project-id:echo");
    let wrong = |spec: &mut InstanceSpec| spec.certificate = ServerCertificate::WrongName;
    emulator.change_instance(ECHO, wrong).await.unwrap();
    assert_eq!(presented().await.0, "other-project:other-instance");
    let right = |spec: &mut InstanceSpec| spec.certificate = ServerCertificate::Genuine;
    emulator.change_instance(ECHO, right).await.unwrap();
    emulator.rotate_server_ca(ECHO).await.unwrap();
    let (name, after) = presented().await;
    assert_eq!(name, "your-project-id:echo");
    assert_ne!(before, after);
    let renamed = |spec: &mut InstanceSpec| spec.name = "a:b:c".to_string();
    assert!(emulator.change_instance(ECHO, renamed).await.is_err());
}

#[tokio::test]
async fn a_removed_instance_is_gone_and_a_disconnected_one_is_not() {
    let emulator = Emulator::builder()
        .instance(InstanceSpec::echo(ECHO))
        .start()
        .await
        .unwrap();
    let client = Client::new(&emulator);
    let signed = client.certificate(ECHO).await;
    let address = emulator.addresses(ECHO).unwrap()[&AddressType::Primary];
    let mut stream = dial(address, Some(&signed)).await.unwrap();
    echo(&mut stream, b"x").await.unwrap();
    emulator.disconnect(ECHO).unwrap();
    until_cut(&mut stream).await;
    let mut stream = dial(address, Some(&signed)).await.unwrap();
    echo(&mut stream, b"x").await.unwrap();
    emulator.remove_instance(ECHO).await;
    until_cut(&mut stream).await;
    let refused = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    emulator
        .add_instance(InstanceSpec::echo(ECHO))
        .await
        .unwrap();
    assert!(
        emulator
            .add_instance(InstanceSpec::echo(ECHO))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn servers_that_do_not_speak_tls_13_can_be_had() {
    let old = "p:r:old";
    let plain = "p:r:plain";
    let emulator = Emulator::builder()
        .instance(InstanceSpec::echo(old).wire(Wire::Tls12))
        .instance(InstanceSpec::echo(plain).wire(Wire::Plaintext))
        .start()
        .await
        .unwrap();
    for instance in [old, plain] {
        let address = emulator.addresses(instance).unwrap()[&AddressType::Primary];
        assert!(dial(address, None).await.is_err());
    }
    let sessions = emulator.sessions();
    assert!(
        sessions
            .wait(plain, LIMIT, |all| all.iter().all(|one| !one.open))
            .await
    );
    assert!(
        sessions.of(plain)[0].received > 0,
        "the ClientHello arrived"
    );
    assert!(!sessions.of(old)[0].certificate_seen);
}

#[tokio::test]
async fn emulators_run_side_by_side_and_end_completely() {
    let start = async || {
        Emulator::builder()
            .instance(InstanceSpec::echo(ECHO))
            .start()
            .await
            .unwrap()
    };
    let (one, two) = (start().await, start().await);
    let addresses = (one.addresses(ECHO).unwrap(), two.addresses(ECHO).unwrap());
    assert_ne!(addresses.0, addresses.1);
    let host = one.host().to_string();
    one.shutdown().await;
    assert!(
        TcpStream::connect(addresses.0[&AddressType::Primary])
            .await
            .is_err()
    );
    assert!(TcpStream::connect(&host).await.is_err());
    assert!(
        TcpStream::connect(addresses.1[&AddressType::Primary])
            .await
            .is_ok()
    );
}

/// Sends and waits for the same bytes.
pub(crate) async fn echo(
    stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin),
    bytes: &[u8],
) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await?;
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).await?;
    assert_eq!(back, bytes);
    Ok(())
}

/// Waits until the server has cut the connection, which it need not have done by the time that it was told to.
async fn until_cut(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) {
    let cut = async { while echo(stream, b"x").await.is_ok() {} };
    let limit = std::time::Duration::from_secs(10);
    tokio::time::timeout(limit, cut).await.unwrap();
}

/// The alert with which the server refuses; in TLS 1.3 it comes after the client's handshake.
async fn refusal(
    emulator: &Emulator,
    instance: &str,
    certificate: Option<&crate::client::Signed>,
) -> String {
    let address = emulator.addresses(instance).unwrap()[&AddressType::Primary];
    let mut stream = dial(address, certificate)
        .await
        .expect("TLS 1.3 refuses late");
    let error = stream.read(&mut [0]).await.unwrap_err().to_string();
    error.rsplit(' ').next().unwrap().to_string()
}

const LIMIT: Duration = Duration::from_secs(5);
