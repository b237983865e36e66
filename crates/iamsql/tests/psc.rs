//! Private Service Connect: an endpoint known by its DNS name alone.

mod world;

use iamsql::{ConnectOptions, Connector, Detail, ErrorKind, IpType, Stream};
use iamsql_emulator::{AddressType, CaMode, DnsRecord};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use world::{added, connector, emulator, unknown_instance};

async fn fresh() -> Connector {
    connector(emulator()).iam_auth(true).build().await.unwrap()
}

fn psc() -> ConnectOptions {
    ConnectOptions::new().ip_type(IpType::Psc)
}

fn endpoint() -> String {
    let unique = unknown_instance().rsplit_once(':').unwrap().1.to_owned();
    format!("e5.{unique}.us-central1.sql-psc.goog")
}

async fn greet(stream: &mut Stream) {
    let mut answer = [0; 5];
    stream.write_all(b"hello").await.unwrap();
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"hello");
}

#[tokio::test]
async fn the_endpoint_is_found_by_its_name_and_called_by_it() {
    for legacy in [false, true] {
        let name = endpoint();
        let dotted = format!("{name}.");
        let instance = added(emulator(), |spec| {
            spec.ca_mode(CaMode::Cas)
                .addresses([AddressType::Psc])
                .psc_dns_name(dotted)
                .legacy_dns_name(legacy)
        })
        .await;
        let connector = fresh().await;
        let mut stream = connector.connect_with(&instance, &psc()).await.unwrap();
        greet(&mut stream).await;
        let there = emulator().addresses(&instance).unwrap()[&AddressType::Psc];
        assert_eq!(stream.peer_addr(), there);
        let sessions = emulator().sessions().of(&instance);
        assert_eq!(sessions[0].server_name.as_deref(), Some(name.as_str()));
        // The name alone says which kind of address it stands for.
        let mut stream = connector.connect(&name).await.unwrap();
        assert_eq!(stream.peer_addr(), there);
        greet(&mut stream).await;
    }
}

#[tokio::test]
async fn an_instance_without_an_endpoint_says_so_whatever_dns_names_it_has() {
    let instance = added(emulator(), |spec| {
        spec.ca_mode(CaMode::Cas)
            .dns_name("f6.g7.us-central1.sql.goog.")
    })
    .await;
    let error = fresh()
        .await
        .connect_with(&instance, &psc())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.detail(), Some(&Detail::NoAddress(IpType::Psc)));
    let auto = ConnectOptions::new().ip_type(IpType::Auto);
    let only = added(emulator(), |spec| {
        spec.addresses([AddressType::Psc]).psc_dns_name(endpoint())
    })
    .await;
    let error = fresh().await.connect_with(&only, &auto).await.unwrap_err();
    assert_eq!(error.advice(), Some("ask for ip_type PSC"));
}

#[tokio::test]
async fn an_endpoint_that_dns_does_not_know_is_a_matter_of_dns() {
    let name = endpoint();
    let dotted = format!("{name}.");
    let instance = added(emulator(), |spec| {
        spec.addresses([AddressType::Psc]).psc_dns_name(dotted)
    })
    .await;
    emulator()
        .dns()
        .set(&name, [DnsRecord::txt("nothing of the kind")]);
    let error = fresh()
        .await
        .connect_with(&instance, &psc())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Dns, "{error:?}");
    assert!(error.to_string().contains(&name), "{error}");
    // A name that leads to somebody else's endpoint leads to a server that is refused.
    let other = added(emulator(), |spec| {
        spec.addresses([AddressType::Psc]).psc_dns_name(endpoint())
    })
    .await;
    let there = emulator().addresses(&other).unwrap()[&AddressType::Psc];
    emulator()
        .dns()
        .set(&name, [DnsRecord::address(there.ip())]);
    let error = fresh()
        .await
        .connect_with(&instance, &psc())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Tls, "{error:?}");
}
