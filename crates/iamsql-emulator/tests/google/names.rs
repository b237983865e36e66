//! Private Service Connect, and instances found by their DNS names.

use std::time::Duration;

use iamsql_emulator::{
    AddressType, CaMode, Effect, Emulator, Endpoint, Fault, HUMAN, InstanceSpec, Principal,
};
use reqwest::{Method, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::client::{ADMIN, ADMIN_SCOPE, Client, ECHO, HOUR, dial};

const PSC: &str = "a1.b2.us-central1.sql-psc.goog.";

#[tokio::test]
async fn a_psc_instance_is_known_by_its_name_alone() {
    let spec = InstanceSpec::echo(ECHO)
        .addresses([AddressType::Psc])
        .psc_dns_name(PSC)
        .custom_name("db.corp.example");
    let emulator = Emulator::builder().instance(spec).start().await.unwrap();
    let client = Client::new(&emulator);
    let bearer = client.token(ADMIN_SCOPE).await;
    let settings: Value = client.settings(ECHO, &bearer).await.json().await.unwrap();
    assert_eq!(settings["pscEnabled"], true);
    assert_eq!(settings["ipAddresses"], json!([]));
    assert_eq!(settings["dnsName"], PSC);
    assert_eq!(
        settings["dnsNames"],
        json!([
            { "name": PSC, "connectionType": "PRIVATE_SERVICE_CONNECT", "dnsScope": "INSTANCE", "recordManager": "CLOUD_SQL_AUTOMATION" },
            { "name": "db.corp.example", "connectionType": "CUSTOM_SAN", "dnsScope": "INSTANCE" },
        ])
    );

    let address = emulator.addresses(ECHO).unwrap()[&AddressType::Psc];
    let certificate = client.certificate(ECHO).await;
    let mut stream = dial(address, Some(&certificate)).await.unwrap();
    stream.write_all(b"ping").await.unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"ping");
    let (_, connection) = stream.get_ref();
    let leaf = &connection.peer_certificates().unwrap()[0];
    let (_, leaf) = X509Certificate::from_der(leaf).unwrap();
    let names = leaf.subject_alternative_name().unwrap().unwrap();
    for wanted in [PSC, "db.corp.example"] {
        assert!(
            names
                .value
                .general_names
                .contains(&GeneralName::DNSName(wanted)),
            "{wanted}"
        );
    }
}

#[tokio::test]
async fn the_flag_and_the_list_of_names_are_separate() {
    let spec = InstanceSpec::echo(ECHO)
        .addresses([AddressType::Primary, AddressType::Psc])
        .ca_mode(CaMode::Cas)
        .legacy_dns_name(true);
    let emulator = Emulator::builder().instance(spec).start().await.unwrap();
    let client = Client::new(&emulator);
    let bearer = client.token(ADMIN_SCOPE).await;
    let settings = async || -> Value { client.settings(ECHO, &bearer).await.json().await.unwrap() };
    let legacy = settings().await;
    let name = legacy["dnsName"].as_str().unwrap();
    assert!(name.ends_with(".us-central1.sql-psc.goog."), "{name}");
    assert_eq!(legacy.get("dnsNames"), None);
    let flagless = |spec: &mut InstanceSpec| {
        (spec.psc_enabled, spec.legacy_dns_name) = (Some(false), false);
    };
    emulator.change_instance(ECHO, flagless).await.unwrap();
    let listed = settings().await;
    assert_eq!(listed.get("pscEnabled"), None);
    assert_eq!(listed["dnsNames"].as_array().unwrap().len(), 2);
    // A CAS instance's own name comes first, as without Private Service Connect.
    assert!(
        listed["dnsName"]
            .as_str()
            .unwrap()
            .ends_with("us-central1.sql.goog.")
    );
}

#[tokio::test]
async fn a_name_of_the_service_resolves_to_its_instance() {
    let spec = InstanceSpec::echo(ECHO)
        .addresses([AddressType::Primary, AddressType::Psc])
        .psc_dns_name(PSC)
        .dns_name("a1.b2.us-central1.sql.goog.")
        .dns_name("a1.b2.us-central1.sql-psa.goog.")
        .custom_name("db.corp.example");
    let nobody = Principal::service_account("nobody@your-project-id.iam.gserviceaccount.com")
        .without_role(iamsql_emulator::Role::CloudSqlClient);
    let emulator = Emulator::builder()
        .instance(spec)
        .principal(nobody)
        .start()
        .await
        .unwrap();
    let client = Client::new(&emulator);
    let bearer = client.token(ADMIN_SCOPE).await;
    for name in [
        "a1.b2.us-central1.sql-psc.goog.",
        "a1.b2.us-central1.sql-psc.goog",
        "A1.b2.us-central1.sql.goog.",
        "a1.b2.us-central1.sql-psa.goog.",
    ] {
        let answer = resolve(&client, "us-central1", name, Some(&bearer)).await;
        assert_eq!(answer.status(), 200, "{name}");
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["connectionName"], ECHO);
        assert_eq!(answer["region"], "us-central1");
    }
    assert_eq!(
        emulator
            .calls()
            .count(Endpoint::ResolveConnectSettings, ECHO),
        4
    );

    let token =
        |principal: &str, scopes: &[&str]| emulator.access_token(principal, scopes, HOUR).unwrap();
    let roleless = token("nobody@your-project-id.iam.gserviceaccount.com", ADMIN);
    let scopeless = token(HUMAN, &["openid"]);
    let cases = [
        ("us-central1", PSC, None, 401),
        ("us-central1", PSC, Some("emulator-token-unknown"), 401),
        ("us-central1", PSC, Some(roleless.as_str()), 403),
        ("us-central1", PSC, Some(scopeless.as_str()), 403),
        ("europe-west1", PSC, Some(bearer.as_str()), 400),
        ("us-central1", "db.corp.example", Some(&bearer), 400),
        ("global", "a1.b2.global.sql.goog.", Some(&bearer), 400),
        (
            "us-central1",
            "x.y.us-central1.sql.goog.",
            Some(&bearer),
            404,
        ),
    ];
    for (region, name, bearer, status) in cases {
        let answer = resolve(&client, region, name, bearer).await;
        assert_eq!(answer.status(), status, "{region} {name}");
        let error: Value = answer.json().await.unwrap();
        assert_eq!(error["error"]["code"], status);
    }
    for status in [403, 404] {
        let fault = Fault::new(Endpoint::ResolveConnectSettings, Effect::status(status));
        emulator.faults().inject(fault.instance(ECHO).times(1));
        let answer = resolve(&client, "us-central1", PSC, Some(&bearer)).await;
        assert_eq!(answer.status(), status);
    }
    let odd = client.request(
        Method::GET,
        &format!("/sql/v1beta4/locations/us-central1/dns/{PSC}:somethingElse"),
    );
    assert_eq!(odd.send().await.unwrap().status(), 404);
}

async fn resolve(client: &Client, region: &str, name: &str, bearer: Option<&str>) -> Response {
    let path = format!("/sql/v1beta4/locations/{region}/dns/{name}:resolveConnectSettings");
    let mut request = client
        .request(Method::GET, &path)
        .timeout(Duration::from_secs(5));
    if let Some(bearer) = bearer {
        request = request.bearer_auth(bearer);
    }
    request.send().await.unwrap()
}
