//! AlloyDB: where instances are, whose servers they are, and how long certificates last.

mod world;

use std::time::Duration;

use iamsql::{
    AuthMode, ConnectOptions, Connector, Detail, ErrorKind, IpType, ListenOptions, Product,
};
use iamsql_emulator::{
    AddressType, CertificateAlert, Effect, Endpoint, Fault, InstanceSpec, Principal, Role,
    SERVICE_ACCOUNT, ServerCertificate,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

use world::{
    added_alloydb, calls, certificates, connector, emulator, instance, own_emulator,
    unknown_alloydb,
};

use ServerCertificate::*;

async fn fresh() -> Connector {
    connector(emulator()).build().await.unwrap()
}

async fn echoes(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut back = [0; 5];
    stream.write_all(b"hello").await.unwrap();
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"hello");
}

#[tokio::test]
async fn both_ways_to_log_in_share_a_certificate_and_introduce_themselves() {
    let instance = added_alloydb(emulator(), |spec| spec).await;
    let connector = fresh().await;
    for (mode, kind) in [
        (AuthMode::Password, "DB_NATIVE"),
        (AuthMode::Iam, "AUTO_IAM"),
    ] {
        let options = ConnectOptions::new().auth_mode(mode);
        let stream = connector.connect_with(&instance, &options).await.unwrap();
        assert_eq!(stream.instance(), instance);
        assert_eq!(stream.peer_addr().port(), 5433);
        echoes(stream).await;
        let session = emulator().sessions().of(&instance).pop().unwrap();
        assert_eq!(session.auth_type.as_deref(), Some(kind));
        assert_eq!(session.principal.as_deref(), Some(SERVICE_ACCOUNT));
        let agent = session.user_agent.unwrap();
        assert!(agent.starts_with("iamsql/"), "{agent}");
    }
    assert_eq!(certificates(emulator(), &instance), 1);
    assert_eq!(calls(emulator(), Endpoint::ConnectionInfo, &instance), 1);
}

#[tokio::test]
async fn every_face_leads_to_the_database() {
    let instance = added_alloydb(emulator(), |spec| spec).await;
    let (connector, options) = (fresh().await, ConnectOptions::new());
    echoes(connector.connect(&instance).await.unwrap()).await;

    let connection = connector.connection(&instance, &options).await.unwrap();
    let socket = connection.into_blocking();
    let back = tokio::task::spawn_blocking(move || {
        let (mut back, mut filled) = ([0; 5], 0);
        socket.write_all(b"hello", &mut || Ok(())).unwrap();
        while filled < back.len() {
            filled += socket.read(&mut back[filled..], &mut || Ok(())).unwrap();
        }
        back
    });
    assert_eq!(&back.await.unwrap(), b"hello");

    let pair = connector.pair(&instance, &options).unwrap();
    let client = std::os::unix::net::UnixStream::from(pair.take_client_fd().unwrap());
    client.set_nonblocking(true).unwrap();
    pair.dial().await.unwrap();
    echoes(UnixStream::from_std(client).unwrap()).await;

    let listener = connector.listen(&instance, &ListenOptions::new()).unwrap();
    let path = listener.socket_path().unwrap();
    echoes(UnixStream::connect(path).await.unwrap()).await;
}

#[tokio::test]
async fn private_is_dialled_unless_another_address_is_asked_for() {
    let all = [AddressType::Primary, AddressType::Private, AddressType::Psc];
    let instance = added_alloydb(emulator(), |spec| spec.addresses(all)).await;
    let connector = fresh().await;
    let addresses = emulator().addresses(&instance).unwrap();
    for (asked, dialled) in [
        (None, AddressType::Private),
        (Some(IpType::Private), AddressType::Private),
        (Some(IpType::Public), AddressType::Primary),
        (Some(IpType::Auto), AddressType::Primary),
        (Some(IpType::Psc), AddressType::Psc),
    ] {
        let mut options = ConnectOptions::new();
        options.ip_type = asked;
        let stream = connector.connect_with(&instance, &options).await.unwrap();
        assert_eq!(stream.peer_addr(), addresses[&dialled], "{asked:?}");
        echoes(stream).await;
    }
    assert_eq!(certificates(emulator(), &instance), 1);
}

#[tokio::test]
async fn an_absent_address_is_not_found_and_says_what_there_is() {
    let instance = added_alloydb(emulator(), |spec| spec.addresses([AddressType::Private])).await;
    let connector = connector(emulator()).ip_type(IpType::Psc);
    let error = connector.build().await.unwrap().connect(&instance).await;
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(error.detail(), Some(&Detail::NoAddress(IpType::Psc)));
    assert!(error.to_string().ends_with("only PRIVATE"), "{error}");
    assert_eq!(error.instance(), Some(&*instance));
}

#[tokio::test]
async fn a_server_is_the_instance_only_by_the_address_or_name_that_is_dialled() {
    let connector = fresh().await;
    for (certificate, by_address, by_name) in [
        (Genuine, true, true),
        (OtherSpelling, true, true),
        (DnsNameOnly, false, true),
        (WrongAddress, false, true),
        (CommonNameOnly, false, false),
        (WrongName, false, false),
        (Wildcard, false, false),
        (DottedCommonName, false, false),
        (TwoCommonNames, false, false),
        (Expired, false, false),
        (NotYetValid, false, false),
        (ClientAuthOnly, false, false),
        (SignerNotCa, false, false),
        (ForeignCa, false, false),
    ] {
        for (ip_type, accepted) in [
            (IpType::Private, by_address),
            (IpType::Public, by_address),
            (IpType::Psc, by_name),
        ] {
            let case = format!("{certificate:?} by {ip_type:?}");
            let all = [AddressType::Primary, AddressType::Private, AddressType::Psc];
            let instance = added_alloydb(emulator(), |spec| {
                spec.certificate(certificate).addresses(all)
            })
            .await;
            let options = ConnectOptions::new().ip_type(ip_type);
            let outcome = connector.connect_with(&instance, &options).await;
            if accepted {
                echoes(outcome.unwrap_or_else(|error| panic!("{case}: {error:?}"))).await;
                continue;
            }
            let error = outcome.expect_err(&case);
            assert_eq!(error.kind(), ErrorKind::Tls, "{case}: {error:?}");
            assert!(!error.is_retryable(), "{case}: {error:?}");
            let sessions = emulator().sessions().of(&instance);
            assert!(!sessions.is_empty(), "{case}: nobody was dialled");
            for session in sessions {
                assert!(!session.certificate_seen, "{case}: certificate shown");
                assert_eq!(session.principal, None, "{case}: token sent");
                assert_eq!(session.received, 0, "{case}: data sent");
            }
        }
    }
}

#[tokio::test]
async fn a_certificate_lasts_to_its_own_end_whatever_the_token_does() {
    let emulator = iamsql_emulator::Emulator::builder()
        .token_lifetime(Duration::from_secs(400))
        .start()
        .await
        .unwrap();
    let long = added_alloydb(&emulator, |spec| spec).await;
    let short = added_alloydb(&emulator, |spec| {
        spec.certificate_lifetime(Duration::from_secs(3))
    })
    .await;
    let connector = connector(&emulator).iam_auth(true).build().await.unwrap();
    for _ in 0..2 {
        echoes(connector.connect(&long).await.unwrap()).await;
        echoes(connector.connect(&short).await.unwrap()).await;
        tokio::time::sleep(Duration::from_millis(4_100)).await;
    }
    // A certificate bounded by a token of 400 s would be close enough to its end to be renewed as well.
    assert_eq!(certificates(&emulator, &long), 1);
    assert!(certificates(&emulator, &short) >= 2);
}

#[tokio::test]
async fn a_certificate_that_the_server_refuses_is_replaced_within_the_connect() {
    let instance = added_alloydb(emulator(), |spec| spec).await;
    let connector = fresh().await;
    echoes(connector.connect(&instance).await.unwrap()).await;
    let alert = CertificateAlert::Revoked;
    let refusal = Fault::new(Endpoint::Tls, Effect::RefuseCertificate { alert });
    let refusal = refusal.instance(&instance).times(1);
    emulator().faults().inject(refusal);
    // The exchange reads, so that the refusal shows before any driver could meet it.
    echoes(connector.connect(&instance).await.unwrap()).await;
    assert_eq!(certificates(emulator(), &instance), 2);
    assert_eq!(calls(emulator(), Endpoint::ConnectionInfo, &instance), 2);
}

#[tokio::test]
async fn what_the_api_refuses_names_roles_and_instance() {
    let emulator = own_emulator().await;
    let nobody = "nobody@your-project-id.iam.gserviceaccount.com";
    let principal = Principal::service_account(nobody)
        .without_role(Role::AlloyDbClient)
        .without_role(Role::AlloyDbDatabaseUser);
    emulator.add_principal(principal).await.unwrap();
    let instance = added_alloydb(&emulator, |spec| spec).await;
    let key = emulator.service_account_key(nobody).await.unwrap();
    let connector_of_nobody = connector(&emulator)
        .credentials(iamsql::Credentials::json(key.into()))
        .build()
        .await
        .unwrap();
    let error = connector_of_nobody.connect(&instance).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission, "{error:?}");
    let advice = error.advice().unwrap();
    assert!(advice.contains("roles/alloydb.client"), "{advice}");

    let absent = unknown_alloydb();
    let ours = connector(&emulator).build().await.unwrap();
    let error = ours.connect(&absent).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    assert_eq!(error.instance(), Some(&*absent));
    let short = absent
        .replace("projects/", "")
        .replace("/locations/", ".")
        .replace("/clusters/", ".")
        .replace("/instances/", ".");
    assert!(error.to_string().starts_with(&short), "{error}");
}

#[tokio::test]
async fn one_connector_takes_both_products_and_a_read_pool() {
    let cloud_sql = instance(emulator()).await;
    let primary = added_alloydb(emulator(), |spec| spec).await;
    let read_pool = primary.replace("/primary", "/read-pool");
    emulator()
        .add_instance(InstanceSpec::echo(&read_pool))
        .await
        .unwrap();
    let connector = fresh().await;
    for instance in [&cloud_sql, &primary, &read_pool] {
        let stream = connector.connect(instance).await.unwrap();
        assert_eq!(stream.instance(), instance);
        echoes(stream).await;
        assert_eq!(
            connector.user(instance).await.unwrap(),
            "cloudsql-client@your-project-id.iam"
        );
    }
    let version = connector.database_version(&primary).await.unwrap();
    assert_eq!(version, "POSTGRES");
    assert_eq!(emulator().sessions().of(&read_pool).len(), 1);
}

#[tokio::test]
async fn a_login_token_is_narrow_and_has_an_end() {
    let emulator = own_emulator().await;
    let connector = connector(&emulator).build().await.unwrap();
    for (product, scope) in [
        (Product::CloudSql, "sqlservice.login"),
        (Product::AlloyDb, "alloydb.login"),
    ] {
        let token = connector.login_token(product).await.unwrap();
        assert!(token.expires().is_some());
        assert!(!token.is_broad());
        let asked = emulator.calls().to(Endpoint::MetadataToken).pop().unwrap();
        let detail = asked.detail.unwrap();
        assert!(detail.contains(scope), "{detail}");
        assert!(!format!("{token:?}").contains(token.secret().expose()));
    }
}
