//! Domain names: which records lead to an instance, to whose, over which address, and whom the server must then be.

mod world;

use std::time::Duration;

use iamsql::{ConnectOptions, Connector, Detail, Error, ErrorKind, IpType, Stream};
use iamsql_emulator::{AddressType, CaMode, DnsCode, DnsRecord, Effect, Endpoint, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use world::{added, calls, connector, emulator, unknown_instance};

async fn fresh() -> Connector {
    connector(emulator()).iam_auth(true).build().await.unwrap()
}

/// A name that no other test uses.
fn domain() -> String {
    let number = unknown_instance().rsplit_once('-').unwrap().1.to_owned();
    format!("db{number}.example.com")
}

fn leads_to(domain: &str, instance: &str) {
    emulator().dns().set(domain, [DnsRecord::txt(instance)]);
}

/// An instance that answers to `name` too; its connection name.
async fn named(name: &str) -> String {
    let name = name.to_owned();
    added(emulator(), |spec| {
        spec.ca_mode(CaMode::Cas)
            .dns_name(format!("a1.{}.us-central1.sql.goog.", unique()))
            .custom_name(name)
    })
    .await
}

fn unique() -> String {
    unknown_instance().rsplit_once(':').unwrap().1.to_owned()
}

async fn greet(stream: &mut Stream) {
    let mut answer = [0; 5];
    stream.write_all(b"hello").await.unwrap();
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"hello");
}

async fn refused(connector: &Connector, name: &str) -> Error {
    connector.connect(name).await.map(drop).unwrap_err()
}

#[tokio::test]
async fn a_text_record_leads_to_its_instance_whatever_the_spelling() {
    let domain = domain();
    let instance = named(&domain).await;
    let records = ["v=spf1 -all", "zzz", &instance].map(DnsRecord::txt);
    emulator().dns().set(&domain, records);
    let connector = fresh().await;
    for spelling in [&domain, &format!("{}.", domain.to_uppercase())] {
        let mut stream = connector.connect(spelling).await.unwrap();
        assert_eq!(stream.instance(), format!("{domain} -> {instance}"));
        greet(&mut stream).await;
    }
    assert_eq!(calls(emulator(), Endpoint::ConnectSettings, &instance), 1);
    let sessions = emulator().sessions().of(&instance);
    assert_eq!(sessions[0].server_name.as_deref(), Some(domain.as_str()));
    assert_eq!(
        connector.database_version(&domain).await.unwrap(),
        connector.database_version(&instance).await.unwrap()
    );
}

#[tokio::test]
async fn aliases_and_the_instances_own_names_lead_there_too() {
    let (alias, own) = (domain(), format!("b2.{}.us-central1.sql.goog", unique()));
    let dotted = format!("{own}.");
    let target = alias.clone();
    let instance = added(emulator(), |spec| {
        spec.ca_mode(CaMode::Cas)
            .dns_name(dotted)
            .custom_name(target)
    })
    .await;
    let connector = fresh().await;
    let mut stream = connector.connect(&own).await.unwrap();
    assert_eq!(stream.instance(), format!("{own} -> {instance}"));
    greet(&mut stream).await;
    emulator()
        .dns()
        .set(&alias, [DnsRecord::Cname(own.clone())]);
    greet(&mut connector.connect(&alias).await.unwrap()).await;
    let error = refused(&connector, "b2.nobody.us-central1.sql.goog").await;
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    assert_eq!(error.http_status(), Some(404));
}

#[tokio::test]
async fn a_name_that_leads_nowhere_says_which_record_is_missing() {
    let (connector, domain) = (fresh().await, domain());
    let error = refused(&connector, &domain).await;
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::Dns, false)
    );
    assert_eq!(error.instance(), Some(domain.as_str()));
    let advice = error.advice().unwrap();
    assert!(advice.contains("PROJECT:REGION:INSTANCE"), "{advice}");
    emulator()
        .dns()
        .set(&domain, [DnsRecord::txt("not\u{202e} one\n")]);
    let error = refused(&connector, &domain).await;
    assert!(error.to_string().contains("names no instance"), "{error}");
    assert!(!error.to_string().contains(['\n', '\u{202e}']), "{error}");
    emulator()
        .dns()
        .set(&domain, [DnsRecord::Cname(format!("x.{domain}"))]);
    emulator()
        .dns()
        .set(&format!("x.{domain}"), [DnsRecord::Cname(domain.clone())]);
    assert_eq!(refused(&connector, &domain).await.kind(), ErrorKind::Dns);
}

#[tokio::test]
async fn a_dns_server_in_trouble_is_worth_another_try() {
    let (connector, domain) = (fresh().await, domain());
    let fault = Fault::new(
        Endpoint::Dns,
        Effect::DnsError {
            code: DnsCode::ServerFailure,
        },
    );
    let fault = emulator().faults().inject(fault.dns_name(&domain));
    let error = refused(&connector, &domain).await;
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Dns, true));
    emulator().faults().clear(fault);
    emulator()
        .faults()
        .inject(Fault::new(Endpoint::Dns, Effect::Hang).dns_name(&domain));
    let options = ConnectOptions::new().timeout(Duration::from_millis(500));
    let error = connector.connect_with(&domain, &options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert!(error.to_string().contains("domain name"), "{error}");
}

#[tokio::test]
async fn the_servers_of_the_callers_choice_are_asked() {
    let domain = domain();
    let instance = named(&domain).await;
    leads_to(&domain, &instance);
    let nobody = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let at = |server| connector(emulator()).iam_auth(true).dns_servers([server]);
    let reached = at(emulator().dns().address()).build().await.unwrap();
    greet(&mut reached.connect(&domain).await.unwrap()).await;
    let lost = at(nobody.local_addr().unwrap()).build().await.unwrap();
    let options = ConnectOptions::new().timeout(Duration::from_secs(1));
    let error = lost.connect_with(&domain, &options).await.unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Dns),
        "{error:?}"
    );
}

#[tokio::test]
async fn the_domains_address_record_is_dialled_and_changes_nothing_about_who_must_answer() {
    let domain = domain();
    // Both certified by the same authority: only the name tells them apart.
    let (right, wrong) = (named(&domain).await, named("other.example.com").await);
    leads_to(&domain, &right);
    let address = |instance: &str, kind| emulator().addresses(instance).unwrap()[&kind];
    let set = |record| {
        let records = [DnsRecord::txt(&right), record];
        emulator().dns().set(&domain, records);
    };
    // The private address by the record, although the public type is asked for.
    let private = address(&right, AddressType::Private);
    set(DnsRecord::address(private.ip()));
    let mut stream = fresh().await.connect(&domain).await.unwrap();
    assert_eq!(stream.peer_addr(), private);
    greet(&mut stream).await;
    // Another instance's server.
    let elsewhere = address(&wrong, AddressType::Primary);
    set(DnsRecord::address(elsewhere.ip()));
    let error = refused(&fresh().await, &domain).await;
    assert_eq!(error.kind(), ErrorKind::Tls, "{error:?}");
    assert!(matches!(error.detail(), Some(Detail::WrongServer { .. })));
    for session in emulator().sessions().of(&wrong) {
        assert!(!session.certificate_seen);
        assert_eq!(session.received, 0);
    }
    // The type asked for must be there although it is not dialled.
    let options = ConnectOptions::new().ip_type(IpType::Psc);
    let error = fresh()
        .await
        .connect_with(&domain, &options)
        .await
        .unwrap_err();
    assert_eq!(error.detail(), Some(&Detail::NoAddress(IpType::Psc)));
}

#[tokio::test]
async fn under_a_customers_authority_the_domain_is_the_only_name() {
    let (mine, theirs) = (domain(), domain());
    let certified = mine.clone();
    let instance = added(emulator(), |spec| {
        spec.ca_mode(CaMode::CustomerCas)
            .dns_name("c3.d4.us-central1.sql.goog.")
            .custom_name(certified)
    })
    .await;
    leads_to(&mine, &instance);
    leads_to(&theirs, &instance);
    let connector = fresh().await;
    greet(&mut connector.connect(&mine).await.unwrap()).await;
    // The certificate bears the name of the settings too, which counts only for those who came by the connection name.
    greet(&mut connector.connect(&instance).await.unwrap()).await;
    let error = refused(&connector, &theirs).await;
    assert_eq!(error.kind(), ErrorKind::Tls, "{error:?}");
    let Some(Detail::WrongServer { expected, .. }) = error.detail() else {
        panic!("{error:?}")
    };
    assert_eq!(*expected, theirs);
}

#[tokio::test]
async fn only_the_projects_named_or_the_first_one_found_may_answer() {
    let domain = domain();
    let instance = named(&domain).await;
    leads_to(&domain, "your-other-project:us-central1:db");
    let named = |project: &str| {
        connector(emulator())
            .iam_auth(true)
            .domain_projects([project])
    };
    let strict = named("your-project-id").build().await.unwrap();
    let error = refused(&strict, &domain).await;
    assert_eq!(error.kind(), ErrorKind::Dns);
    assert!(error.to_string().contains("domain_projects"), "{error}");
    leads_to(&domain, &instance);
    greet(&mut strict.connect(&domain).await.unwrap()).await;
    let misled = named("your-other-project").build().await.unwrap();
    assert_eq!(refused(&misled, &domain).await.kind(), ErrorKind::Dns);
    assert_eq!(emulator().sessions().of(&instance).len(), 1);
}
