use std::sync::atomic::{AtomicBool, Ordering};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::control::clock::SystemClock;

#[test]
fn retry_after_is_read_as_seconds_or_as_a_date() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    for (text, seconds) in [
        ("120", Some(120)),
        (" 0 ", Some(0)),
        ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
        ("Sun, 06 Nov 1994 08:49:07 GMT", Some(0)),
        ("soon", None),
        ("-5", None),
    ] {
        assert_eq!(
            read_retry_after(text, now),
            seconds.map(Duration::from_secs),
            "{text}"
        );
    }
}

#[test]
fn without_a_system_ca_store_the_bundled_roots_serve() {
    assert!(with_bundled_roots(reqwest::Client::builder()).is_ok());
    assert!(with_roots(reqwest::Client::builder).is_ok());
}

#[test]
fn a_malformed_proxy_is_refused_without_repeating_it() {
    let environment = Environment::empty().with("HTTPS_PROXY", "http://user:hunter2@:bad");
    let error = proxy(&environment).unwrap_err();
    assert_eq!(error.to_string(), "HTTPS_PROXY is not a proxy's URL");
    assert!(!error.chain().contains("hunter2"));
}

#[test]
fn a_bearer_header_is_sensitive() {
    let value = bearer(&Secret::new("ya29.something-secret")).unwrap();
    assert!(value.is_sensitive());
    assert_eq!(format!("{value:?}"), "Sensitive");
    assert!(bearer(&Secret::new("two\nlines")).is_err());
}

/// A server whose certificate nobody signed; whether anybody spoke to it all the same.
async fn impostor() -> (String, Arc<AtomicBool>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], der)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let trusted = Arc::new(AtomicBool::new(false));
    let noted = trusted.clone();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            if let Ok(mut tls) = acceptor.accept(tcp).await
                && tls.read(&mut [0; 1024]).await.is_ok_and(|count| count > 0)
            {
                noted.store(true, Ordering::SeqCst);
            }
        }
    });
    (url, trusted)
}

#[tokio::test]
async fn a_token_is_not_sent_to_a_server_that_cannot_prove_its_name() {
    let (url, trusted) = impostor().await;
    let http = Http::new(
        &Environment::empty(),
        user_agent(None).unwrap(),
        Arc::new(SystemClock),
    );
    let endpoint = Endpoint::parse("x", &url).unwrap();
    let call = Call::post_form(
        "the service",
        endpoint,
        Duration::from_secs(5),
        &[("token", "t")],
    );
    let patience = Patience::until(Instant::now() + Duration::from_millis(900));
    let describe = |_: &Answer| Error::new(ErrorKind::Config, "answered");
    let outcome = http.unwrap().call(&call, &patience, &describe).await;
    let error = outcome.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.chain().contains("certificate"), "{}", error.chain());
    assert!(!trusted.load(Ordering::SeqCst));
}
