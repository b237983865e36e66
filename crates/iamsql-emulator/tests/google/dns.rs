//! The DNS server, asked over UDP and TCP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use iamsql_emulator::{
    AddressType, DnsCode, DnsRecord, Effect, Emulator, Endpoint, Fault, InstanceSpec,
};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::client::{Client, ECHO};

#[tokio::test]
async fn records_are_set_followed_and_removed() {
    let emulator = Emulator::builder()
        .dns("first.example.com", [DnsRecord::txt("p:r:first")])
        .start()
        .await
        .unwrap();
    let dns = emulator.dns();
    let (one, two) = (DnsRecord::txt("p:r:b"), DnsRecord::txt("p:r:a"));
    dns.set("db.example.com", [one, two, a([127, 1, 2, 3])]);
    dns.set(
        "alias.example.com",
        [DnsRecord::Cname("db.example.com".into())],
    );
    let server = dns.address();

    assert_eq!(
        texts(server, "FIRST.example.com").await,
        [vec!["p:r:first"]]
    );
    assert_eq!(
        texts(server, "db.example.com").await,
        [["p:r:b"], ["p:r:a"]]
    );
    assert_eq!(
        addresses(server, "alias.example.com").await,
        [Ipv4Addr::new(127, 1, 2, 3)]
    );
    let alias = ask(server, "alias.example.com", RecordType::CNAME).await;
    assert!(matches!(&alias.answers[..], [one] if one.record_type() == RecordType::CNAME));
    let none = ask(server, "db.example.com", RecordType::AAAA).await;
    assert_eq!(
        (none.metadata.response_code, none.answers.len()),
        (ResponseCode::NoError, 0)
    );

    dns.remove("db.example.com");
    let gone = ask(server, "db.example.com", RecordType::TXT).await;
    assert_eq!(gone.metadata.response_code, ResponseCode::NXDomain);
    let asked = dns.queries();
    let last = asked.last().unwrap();
    assert_eq!(
        (
            last.name.as_str(),
            last.record_type.as_str(),
            last.answer.as_deref()
        ),
        ("db.example.com", "TXT", Some("NXDOMAIN"))
    );
}

#[tokio::test]
async fn strings_stay_apart_and_a_long_answer_takes_tcp() {
    let emulator = Emulator::builder().start().await.unwrap();
    let (dns, server) = (emulator.dns(), emulator.dns().address());
    dns.set(
        "parts.example.com",
        [DnsRecord::Txt(vec!["p:r:".into(), "i".into()])],
    );
    assert_eq!(
        texts(server, "parts.example.com").await,
        [vec!["p:r:", "i"]]
    );

    dns.set("long.example.com", [DnsRecord::txt("x".repeat(2000))]);
    let cut = ask(server, "long.example.com", RecordType::TXT).await;
    assert!(cut.metadata.truncation && cut.answers.is_empty());
    let whole = ask_tcp(server, "long.example.com", RecordType::TXT).await;
    assert_eq!(texts_of(&whole).concat().concat().len(), 2000);
    assert_eq!(dns.queries().last().unwrap().transport, "tcp");
}

#[tokio::test]
async fn an_instances_own_names_lead_to_it() {
    let private = "a.b.us-central1.sql-psa.goog.";
    let spec = InstanceSpec::echo(ECHO)
        .dns_name("c.d.us-central1.sql.goog.")
        .dns_name(private);
    let emulator = Emulator::builder().instance(spec).start().await.unwrap();
    let server = emulator.dns().address();
    let wanted = emulator.addresses(ECHO).unwrap();
    let found = addresses(server, "c.d.us-central1.sql.goog").await;
    assert_eq!(found, vec![wanted[&AddressType::Primary].ip()]);
    let found = addresses(server, private).await;
    assert_eq!(found, vec![wanted[&AddressType::Private].ip()]);
    // A record of one's own takes its place.
    emulator.dns().set(private, [a([127, 9, 9, 9])]);
    assert_eq!(
        addresses(server, private).await,
        [Ipv4Addr::new(127, 9, 9, 9)]
    );
    emulator.dns().remove(private);
    emulator.remove_instance(ECHO).await;
    let gone = ask(server, private, RecordType::A).await;
    assert_eq!(gone.metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test]
async fn faults_fail_a_name_in_every_way() {
    let emulator = Emulator::builder().start().await.unwrap();
    let (dns, server) = (emulator.dns(), emulator.dns().address());
    dns.set("db.example.com", [DnsRecord::txt("p:r:i")]);
    dns.set("other.example.com", [DnsRecord::txt("p:r:o")]);
    let codes = [
        (DnsCode::ServerFailure, ResponseCode::ServFail),
        (DnsCode::NoSuchName, ResponseCode::NXDomain),
        (DnsCode::Refused, ResponseCode::Refused),
        (DnsCode::NoData, ResponseCode::NoError),
    ];
    for (code, expected) in codes {
        let fault = Fault::new(Endpoint::Dns, Effect::DnsError { code });
        emulator
            .faults()
            .inject(fault.dns_name("DB.example.com.").times(1));
        let other = ask(server, "other.example.com", RecordType::TXT).await;
        assert_eq!(other.answers.len(), 1, "{code:?} is another name's");
        let answer = ask(server, "db.example.com", RecordType::TXT).await;
        assert_eq!(
            (answer.metadata.response_code, answer.answers.len()),
            (expected, 0)
        );
        assert_eq!(texts(server, "db.example.com").await, [["p:r:i"]]);
    }
    emulator
        .faults()
        .inject(Fault::new(Endpoint::Dns, Effect::Hang).times(1));
    let silent = timeout(
        Duration::from_millis(200),
        ask(server, "db.example.com", RecordType::TXT),
    );
    assert!(silent.await.is_err());
    assert_eq!(dns.queries().last().unwrap().answer, None);
    emulator
        .faults()
        .inject(Fault::new(Endpoint::Dns, Effect::Truncate).times(1));
    let cut = ask(server, "db.example.com", RecordType::TXT).await;
    assert!(cut.metadata.truncation);
    let wrong = Fault::new(Endpoint::Dns, Effect::Reset);
    assert!(
        std::panic::catch_unwind(AssertUnwindSafe(|| emulator.faults().inject(wrong))).is_err()
    );
}

#[tokio::test]
async fn the_zone_is_managed_over_http() {
    let emulator = Emulator::builder().start().await.unwrap();
    let client = Client::new(&emulator);
    let description: Value = client
        .request(Method::GET, "/emulator")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let server: SocketAddr = description["dns"].as_str().unwrap().parse().unwrap();
    assert_eq!(server, emulator.dns().address());
    assert_eq!(description["http"], emulator.host());

    let path = "/emulator/control/dns/names/db.example.com";
    let put = |records: Value| {
        client
            .request(Method::PUT, path)
            .bearer_auth(emulator.control_bearer())
            .json(&records)
            .send()
    };
    let set = put(json!([{ "type": "TXT", "value": ["p:r:i"] }]));
    assert_eq!(set.await.unwrap().status(), 204);
    assert_eq!(texts(server, "db.example.com").await, [["p:r:i"]]);
    let wrong = put(json!([{ "type": "CNAME", "value": "" }]))
        .await
        .unwrap();
    assert_eq!(wrong.status(), 400);
    let get = |path: &'static str| {
        client
            .request(Method::GET, path)
            .bearer_auth(emulator.control_bearer())
            .send()
    };
    let asked: Value = get("/emulator/control/dns/queries")
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(asked[0]["name"], "db.example.com");
    let removed = client
        .request(Method::DELETE, path)
        .bearer_auth(emulator.control_bearer());
    assert_eq!(removed.send().await.unwrap().status(), 204);
    let all: Value = get("/emulator/control/dns")
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(all, json!({}));
    let without = client.request(Method::GET, "/emulator/control/dns");
    assert_eq!(without.send().await.unwrap().status(), 401);
}

fn a(octets: [u8; 4]) -> DnsRecord {
    DnsRecord::A(octets.into())
}

fn question(name: &str, wanted: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    let name = Name::from_ascii(format!("{}.", name.trim_end_matches('.'))).unwrap();
    message.add_query(Query::query(name, wanted));
    message.set_edns(Edns::new());
    message.to_vec().unwrap()
}

async fn ask(server: SocketAddr, name: &str, wanted: RecordType) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server).await.unwrap();
    let question = question(name, wanted);
    socket.send(&question).await.unwrap();
    let mut buffer = [0; 4096];
    let answered = timeout(Duration::from_secs(5), socket.recv(&mut buffer));
    let length = answered.await.expect("an answer in time").unwrap();
    let message = Message::from_vec(&buffer[..length]).unwrap();
    assert_eq!(message.metadata.id.to_be_bytes(), question[..2]);
    message
}

async fn ask_tcp(server: SocketAddr, name: &str, wanted: RecordType) -> Message {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let question = question(name, wanted);
    stream.write_u16(question.len() as u16).await.unwrap();
    stream.write_all(&question).await.unwrap();
    let length = stream.read_u16().await.unwrap();
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await.unwrap();
    Message::from_vec(&answer).unwrap()
}

async fn texts(server: SocketAddr, name: &str) -> Vec<Vec<String>> {
    texts_of(&ask(server, name, RecordType::TXT).await)
}

fn texts_of(message: &Message) -> Vec<Vec<String>> {
    let strings = |data: &RData| match data {
        RData::TXT(txt) => Some(
            txt.txt_data
                .iter()
                .map(|one| String::from_utf8(one.to_vec()).unwrap())
                .collect(),
        ),
        _ => None,
    };
    let answers = message.answers.iter();
    answers.filter_map(|record| strings(&record.data)).collect()
}

async fn addresses(server: SocketAddr, name: &str) -> Vec<IpAddr> {
    let answer = ask(server, name, RecordType::A).await;
    let address = |data: &RData| match data {
        RData::A(address) => Some(address.0.into()),
        _ => None,
    };
    let answers = answer.answers.iter();
    answers.filter_map(|record| address(&record.data)).collect()
}
