//! AlloyDB's API over HTTP, and port 5433 with the metadata exchange.

use std::net::SocketAddr;
use std::time::Duration;

use iamsql_emulator::{
    AddressType, Effect, Emulator, Endpoint, Fault, InstanceSpec, Principal, Role, SERVICE_ACCOUNT,
};
use prost::Message;
use reqwest::{Method, Response};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::client::{Client, HOUR, Signed, dial, key};

const PRIMARY: &str = "projects/p/locations/r/clusters/c/instances/primary";
const POOL: &str = "projects/p/locations/r/clusters/c/instances/pool";
const ELSEWHERE: &str = "projects/p/locations/r/clusters/d/instances/primary";
const CLUSTER: &str = "projects/p/locations/r/clusters/c";
const API: &str = "https://www.googleapis.com/auth/cloud-platform";
const LOGIN: &str = "https://www.googleapis.com/auth/alloydb.login";

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, tag = "1")]
    user_agent: String,
    #[prost(int32, tag = "2")]
    auth_type: i32,
    #[prost(string, tag = "3")]
    token: String,
}

#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    error: String,
}

async fn start() -> (Emulator, Client) {
    let all = [AddressType::Primary, AddressType::Private, AddressType::Psc];
    let emulator = Emulator::builder()
        .instance(InstanceSpec::echo(PRIMARY).addresses(all))
        .instance(InstanceSpec::echo(POOL).addresses([AddressType::Private]))
        .instance(InstanceSpec::echo(ELSEWHERE))
        .start()
        .await
        .unwrap();
    let client = Client::new(&emulator);
    (emulator, client)
}

fn token(emulator: &Emulator, scope: &str) -> String {
    emulator
        .access_token(SERVICE_ACCOUNT, &[scope], HOUR)
        .unwrap()
}

async fn sign(client: &Client, bearer: &str, cluster: &str, body: &Value) -> Response {
    let path = format!("/v1alpha/{cluster}:generateClientCertificate");
    let request = client.request(Method::POST, &path).bearer_auth(bearer);
    request.json(body).send().await.unwrap()
}

async fn certificate(emulator: &Emulator, client: &Client, exchange: bool) -> Signed {
    let body = json!({ "publicKey": key().public_key_pem(), "useMetadataExchange": exchange });
    let response = sign(client, &token(emulator, API), CLUSTER, &body).await;
    assert_eq!(response.status(), 200);
    let answer: Value = response.json().await.unwrap();
    let chain = answer["pemCertificateChain"].as_array().unwrap().iter();
    let pem = chain.map(|one| one.as_str().unwrap()).collect();
    Signed { pem, answer }
}

async fn exchange(stream: &mut TlsStream<TcpStream>, kind: i32, token: &str) -> Answer {
    let request = Request {
        user_agent: "test/1".to_string(),
        auth_type: kind,
        token: token.to_string(),
    };
    let bytes = request.encode_to_vec();
    stream.write_u32(bytes.len() as u32).await.unwrap();
    stream.write_all(&bytes).await.unwrap();
    let mut answer = vec![0; stream.read_u32().await.unwrap() as usize];
    stream.read_exact(&mut answer).await.unwrap();
    Answer::decode(&answer[..]).unwrap()
}

async fn echo(stream: &mut TlsStream<TcpStream>) {
    stream.write_all(b"hello").await.unwrap();
    let mut back = [0; 5];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"hello");
}

fn address(emulator: &Emulator, instance: &str) -> SocketAddr {
    emulator.addresses(instance).unwrap()[&AddressType::Private]
}

#[tokio::test]
async fn every_version_tells_where_an_instance_is() {
    let (emulator, client) = start().await;
    let addresses = emulator.addresses(PRIMARY).unwrap();
    for version in ["v1alpha", "v1beta", "v1"] {
        let path = format!("/{version}/{PRIMARY}/connectionInfo?$alt=json;enum-encoding=int");
        let request = client.request(Method::GET, &path);
        let request = request.bearer_auth(token(&emulator, API));
        let info: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(info["name"], format!("{PRIMARY}/connectionInfo"));
        let ip = |kind| addresses[&kind].ip().to_string();
        assert_eq!(info["ipAddress"], ip(AddressType::Private));
        assert_eq!(info["publicIpAddress"], ip(AddressType::Primary));
        let psc = info["pscDnsName"].as_str().unwrap();
        assert!(psc.ends_with(".r.alloydb-psc.goog."), "{psc}");
    }
    assert_eq!(addresses[&AddressType::Private].port(), 5433);
    let path = format!("/v1/{POOL}/connectionInfo");
    let request = client
        .request(Method::GET, &path)
        .bearer_auth(token(&emulator, API));
    let info: Value = request.send().await.unwrap().json().await.unwrap();
    assert!(info.get("publicIpAddress").is_none() && info.get("pscDnsName").is_none());
    assert_eq!(emulator.calls().count(Endpoint::ConnectionInfo, PRIMARY), 3);
}

#[tokio::test]
async fn the_api_refuses_in_the_words_of_google() {
    let (emulator, client) = start().await;
    let stranger = "stranger@p.iam.gserviceaccount.com";
    let principal = Principal::service_account(stranger).without_role(Role::AlloyDbClient);
    emulator.add_principal(principal).await.unwrap();
    let stranger = emulator.access_token(stranger, &[API], HOUR).unwrap();
    let absent = PRIMARY.replace("primary", "absent");
    let cases = [
        (
            PRIMARY,
            "emulator-token-x".to_string(),
            401,
            "UNAUTHENTICATED",
        ),
        (PRIMARY, token(&emulator, LOGIN), 403, "PERMISSION_DENIED"),
        (PRIMARY, stranger, 403, "PERMISSION_DENIED"),
        (&absent, token(&emulator, API), 404, "NOT_FOUND"),
    ];
    for (instance, bearer, status, word) in cases {
        let path = format!("/v1beta/{instance}/connectionInfo");
        let request = client.request(Method::GET, &path).bearer_auth(bearer);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status);
        let error: Value = response.json().await.unwrap();
        assert_eq!(error["error"]["status"], word);
        assert!(error["error"].get("errors").is_none());
    }
    let pem = key().public_key_pem();
    let bodies = [
        json!({}),
        json!({ "publicKey": "junk" }),
        json!({ "publicKey": pem, "certDuration": "-5s" }),
        json!({ "publicKey": pem, "unknown": 1 }),
        json!({ "publicKey": pem, "parent": "projects/p/locations/r/clusters/d" }),
    ];
    for body in bodies {
        let response = sign(&client, &token(&emulator, API), CLUSTER, &body).await;
        assert_eq!(response.status(), 400, "{body}");
    }
}

#[tokio::test]
async fn certificates_live_as_asked_from_an_hour_to_a_day() {
    let (emulator, client) = start().await;
    for (asked, hours) in [("60s", 1), ("7200s", 2), ("864000s", 24)] {
        let body = json!({ "public_key": key().public_key_pem(), "cert_duration": asked });
        let response = sign(&client, &token(&emulator, API), CLUSTER, &body).await;
        let answer: Value = response.json().await.unwrap();
        let chain = answer["pemCertificateChain"].as_array().unwrap();
        assert_eq!((chain.len(), &chain[0]), (3, &answer["pemCertificate"]));
        assert_eq!(chain[2], answer["caCert"]);
        let der = CertificateDer::from_pem_slice(chain[0].as_str().unwrap().as_bytes()).unwrap();
        let (_, leaf) = x509_parser::parse_x509_certificate(&der).unwrap();
        let left = leaf.validity().time_to_expiration().unwrap();
        let difference = left.whole_seconds() - hours * 3600;
        assert!(difference.abs() < 10, "{asked}: {left}");
    }
}

#[tokio::test]
async fn a_certificate_is_good_for_its_cluster_and_no_other() {
    let (emulator, client) = start().await;
    let signed = certificate(&emulator, &client, false).await;
    for instance in [PRIMARY, POOL] {
        echo(
            &mut dial(address(&emulator, instance), Some(&signed))
                .await
                .unwrap(),
        )
        .await;
    }
    let refused = async |instance: &str| {
        let mut stream = dial(address(&emulator, instance), Some(&signed))
            .await
            .unwrap();
        stream.read_u8().await.unwrap_err().to_string()
    };
    assert!(refused(ELSEWHERE).await.contains("UnknownCA"));
    assert_eq!(emulator.revoke_certificates(POOL), 1);
    assert!(refused(PRIMARY).await.contains("Revoked"));
    let again = certificate(&emulator, &client, false).await;
    emulator.rotate_client_ca(POOL).await.unwrap();
    let mut stream = dial(address(&emulator, PRIMARY), Some(&again))
        .await
        .unwrap();
    let error = stream.read_u8().await.unwrap_err().to_string();
    assert!(error.contains("UnknownCA"), "{error}");
    let before = again.answer["caCert"].clone();
    emulator.rotate_server_ca(POOL).await.unwrap();
    let after = certificate(&emulator, &client, false).await;
    assert_ne!(before, after.answer["caCert"]);
    echo(
        &mut dial(address(&emulator, PRIMARY), Some(&after))
            .await
            .unwrap(),
    )
    .await;
}

#[tokio::test]
async fn the_exchange_comes_first_and_needs_a_token_that_may() {
    let (emulator, client) = start().await;
    let signed = certificate(&emulator, &client, true).await;
    let place = address(&emulator, POOL);
    for (kind, scope, name) in [(1, LOGIN, "DB_NATIVE"), (2, API, "AUTO_IAM")] {
        let mut stream = dial(place, Some(&signed)).await.unwrap();
        let answer = exchange(&mut stream, kind, &token(&emulator, scope)).await;
        assert_eq!((answer.code, answer.error.as_str()), (1, ""));
        echo(&mut stream).await;
        let session = emulator.sessions().of(POOL).pop().unwrap();
        assert_eq!(session.auth_type.as_deref(), Some(name));
        assert_eq!(session.principal.as_deref(), Some(SERVICE_ACCOUNT));
        assert_eq!(session.user_agent.as_deref(), Some("test/1"));
    }
    let brief = emulator
        .access_token(SERVICE_ACCOUNT, &[LOGIN], Duration::ZERO)
        .unwrap();
    let cases = [
        (2, String::new(), "missing"),
        (2, "emulator-token-x".to_string(), "invalid"),
        (1, brief, "invalid"),
        (
            2,
            token(
                &emulator,
                "https://www.googleapis.com/auth/sqlservice.login",
            ),
            "scopes",
        ),
        (0, token(&emulator, LOGIN), "auth type"),
        (7, token(&emulator, LOGIN), "auth type"),
    ];
    for (kind, token, word) in cases {
        let mut stream = dial(place, Some(&signed)).await.unwrap();
        let answer = exchange(&mut stream, kind, &token).await;
        assert_eq!(answer.code, 2);
        assert!(answer.error.contains(word), "{}", answer.error);
        assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
    }
    let mut stream = dial(place, Some(&signed)).await.unwrap();
    stream.write_u32(16 * 1024 + 1).await.unwrap();
    let length = stream.read_u32().await.unwrap();
    assert!((1..200).contains(&length), "{length}");
}

#[tokio::test]
async fn the_exchange_breaks_in_every_way() {
    let (emulator, client) = start().await;
    let signed = certificate(&emulator, &client, true).await;
    let login = token(&emulator, LOGIN);
    let request = Request {
        user_agent: String::new(),
        auth_type: 2,
        token: login.clone(),
    };
    let request = request.encode_to_vec();
    let answered = async |effect: Effect| {
        let fault = Fault::new(Endpoint::MetadataExchange, effect);
        emulator
            .faults()
            .inject(fault.instance(POOL).principal(SERVICE_ACCOUNT).times(1));
        let mut stream = dial(address(&emulator, POOL), Some(&signed)).await.unwrap();
        stream.write_u32(request.len() as u32).await.unwrap();
        stream.write_all(&request).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.map(|_| answer)
    };
    let refused = answered(Effect::refuse_exchange("not today"))
        .await
        .unwrap();
    assert_eq!(Answer::decode(&refused[4..]).unwrap().error, "not today");
    let echoed = answered(Effect::RefuseExchange { message: None })
        .await
        .unwrap();
    assert!(Answer::decode(&echoed[4..]).unwrap().error.contains(&login));
    let huge = answered(Effect::Huge { bytes: 20_000 }).await.unwrap();
    assert_eq!(
        (huge.len(), &huge[..4]),
        (20_004, &20_000_u32.to_be_bytes()[..])
    );
    let cut = answered(Effect::ResetMidBody).await.unwrap();
    assert_eq!(
        cut.len() as u32 + 1,
        4 + u32::from_be_bytes(cut[..4].try_into().unwrap())
    );
    let malformed = answered(Effect::Malformed).await.unwrap();
    assert!(Answer::decode(&malformed[4..]).is_err());
    assert!(answered(Effect::Reset).await.is_err());
}
