//! Scripted failures.

use std::time::{Duration, Instant};

use iamsql_emulator::{
    AddressType, CertificateAlert, Effect, Emulator, Endpoint, Fault, InstanceSpec,
};
use reqwest::Method;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::{ADMIN_SCOPE, Client, ECHO, LOGIN_SCOPE, dial};
use crate::server::echo;

#[tokio::test]
async fn a_status_with_retry_after_comes_as_often_as_asked() {
    let emulator = Emulator::builder()
        .instance(InstanceSpec::echo(ECHO))
        .start()
        .await
        .unwrap();
    let client = Client::new(&emulator);
    let bearer = client.token(ADMIN_SCOPE).await;
    let effect = Effect::status(429).retry_after("2");
    emulator.faults().inject(
        Fault::new(Endpoint::ConnectSettings, effect)
            .instance(ECHO)
            .times(1),
    );
    let response = client.settings(ECHO, &bearer).await;
    assert_eq!(
        (
            response.status().as_u16(),
            &response.headers()["retry-after"]
        ),
        (429, &"2".parse().unwrap())
    );
    let error: Value = response.json().await.unwrap();
    assert_eq!(error["error"]["status"], "RESOURCE_EXHAUSTED");
    assert_eq!(client.settings(ECHO, &bearer).await.status(), 200);
    let statuses: Vec<_> = emulator
        .calls()
        .to(Endpoint::ConnectSettings)
        .iter()
        .map(|call| call.status)
        .collect();
    assert_eq!(statuses, [Some(429), Some(200)]);
}

#[tokio::test]
async fn http_endpoints_break_in_every_way() {
    let emulator = Emulator::builder().start().await.unwrap();
    let client = Client::new(&emulator);
    let ask = async || {
        let path = "/computeMetadata/v1/instance/service-accounts/default/token";
        let request = client.request(Method::GET, path);
        request.header("Metadata-Flavor", "Google").send().await
    };
    let once = |effect| {
        emulator
            .faults()
            .inject(Fault::new(Endpoint::MetadataToken, effect).times(1));
    };
    once(Effect::Hang);
    assert!(timeout(Duration::from_millis(300), ask()).await.is_err());
    once(Effect::Reset);
    assert!(ask().await.unwrap_err().is_request());
    once(Effect::ResetMidBody);
    assert!(ask().await.unwrap().bytes().await.is_err());
    once(Effect::Malformed);
    assert!(ask().await.unwrap().json::<Value>().await.is_err());
    once(Effect::Huge { bytes: 3_000_000 });
    let body = ask().await.unwrap().bytes().await.unwrap();
    assert!(body.len() > 3_000_000 && serde_json::from_slice::<Value>(&body).is_ok());
    once(Effect::Redirect {
        status: 307,
        location: "http://127.0.0.1:1/".to_string(),
    });
    assert_eq!(
        ask().await.unwrap().headers()["location"],
        "http://127.0.0.1:1/"
    );
    once(Effect::delay(Duration::from_millis(100)));
    let start = Instant::now();
    assert_eq!(ask().await.unwrap().status(), 200);
    assert!(start.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn secrets_come_back_in_an_error_when_asked() {
    let emulator = Emulator::builder()
        .instance(InstanceSpec::echo(ECHO))
        .start()
        .await
        .unwrap();
    let client = Client::new(&emulator);
    let (bearer, login) = (
        client.token(ADMIN_SCOPE).await,
        client.token(LOGIN_SCOPE).await,
    );
    emulator.faults().inject(Fault::new(
        Endpoint::GenerateEphemeralCert,
        Effect::EchoSecrets { status: 400 },
    ));
    let error: Value = client
        .sign(ECHO, &bearer, Some(&login))
        .await
        .json()
        .await
        .unwrap();
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains(&bearer) && message.contains(&login) && message.contains('\n'));
}

#[tokio::test]
async fn a_port_closes_goes_dark_and_opens_again() {
    let emulator = Emulator::builder()
        .instance(InstanceSpec::echo(ECHO))
        .start()
        .await
        .unwrap();
    let address = emulator.addresses(ECHO).unwrap()[&AddressType::Primary];
    let id = emulator
        .faults()
        .inject(Fault::new(Endpoint::Tcp, Effect::Refuse).instance(ECHO));
    let refused = TcpStream::connect(address).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    emulator.faults().clear(id);
    TcpStream::connect(address).await.unwrap();

    if cfg!(target_os = "linux") {
        emulator
            .faults()
            .inject(Fault::new(Endpoint::Tcp, Effect::BlackHole).instance(ECHO));
        let dark = timeout(Duration::from_millis(300), TcpStream::connect(address)).await;
        assert!(dark.is_err(), "{dark:?}");
    }
    emulator.faults().clear_instance(ECHO);
    TcpStream::connect(address).await.unwrap();
}

#[tokio::test]
async fn a_connection_breaks_at_every_step() {
    let emulator = Emulator::builder()
        .instance(InstanceSpec::echo(ECHO))
        .start()
        .await
        .unwrap();
    let client = Client::new(&emulator);
    let signed = client.certificate(ECHO).await;
    let address = emulator.addresses(ECHO).unwrap()[&AddressType::Primary];
    let once = |endpoint, effect| {
        emulator
            .faults()
            .inject(Fault::new(endpoint, effect).instance(ECHO).times(1));
    };
    let brief = Duration::from_millis(200);
    for endpoint in [Endpoint::Tcp, Endpoint::Tls] {
        once(endpoint, Effect::Hang);
        assert!(timeout(brief, dial(address, Some(&signed))).await.is_err());
        once(endpoint, Effect::Reset);
        let error = dial(address, Some(&signed)).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    once(Endpoint::Tls, Effect::Stall);
    let mut stream = dial(address, Some(&signed)).await.unwrap();
    assert!(timeout(brief, echo(&mut stream, b"x")).await.is_err());

    once(Endpoint::Tls, Effect::ResetAfter { bytes: 3 });
    let mut stream = dial(address, Some(&signed)).await.unwrap();
    echo(&mut stream, b"abc").await.unwrap();
    let error = stream.read(&mut [0]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);

    once(
        Endpoint::Tls,
        Effect::Fatal {
            code: "28000".to_string(),
            message: None,
        },
    );
    let mut stream = dial(address, Some(&signed)).await.unwrap();
    let startup = [
        &[0, 0, 0, 8, 4, 210, 22, 47][..],
        &[0, 0, 0, 9, 0, 3, 0, 0, 0][..],
    ]
    .concat();
    stream.write_all(&startup).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("NE") && answer.contains("C28000\0"));
    assert!(answer.contains(&client.token(LOGIN_SCOPE).await));

    for (alert, word) in [
        (CertificateAlert::Bad, "BadCertificate"),
        (CertificateAlert::Revoked, "CertificateRevoked"),
        (CertificateAlert::Expired, "CertificateExpired"),
        (CertificateAlert::UnknownCa, "UnknownCA"),
        (CertificateAlert::AccessDenied, "AccessDenied"),
    ] {
        once(Endpoint::Tls, Effect::RefuseCertificate { alert });
        let mut stream = dial(address, Some(&signed)).await.unwrap();
        let error = stream.read(&mut [0]).await.unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    let mut stream = dial(address, Some(&signed)).await.unwrap();
    echo(&mut stream, b"all faults were counted").await.unwrap();
}
