//! The Admin API.

use std::time::Duration;

use iamsql_emulator::{
    AddressType, CaMode, Emulator, Endpoint, HUMAN, InstanceSpec, Principal, Role, SERVICE_ACCOUNT,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{ADMIN, ADMIN_SCOPE, Client, ECHO, HOUR, LOGIN_SCOPE, api_path, signed};

#[tokio::test]
async fn settings_have_everything_that_connectors_read() {
    let emulator = Emulator::builder()
        .instance(InstanceSpec::echo(ECHO))
        .start()
        .await
        .unwrap();
    let client = Client::new(&emulator);
    let bearer = client.token(ADMIN_SCOPE).await;
    let settings: Value = client.settings(ECHO, &bearer).await.json().await.unwrap();
    let addresses = emulator.addresses(ECHO).unwrap();
    assert_eq!(settings["region"], "us-central1");
    assert_eq!(settings["backendType"], "SECOND_GEN");
    assert_eq!(settings["databaseVersion"], "POSTGRES_17");
    assert_eq!(settings["serverCaMode"], "GOOGLE_MANAGED_INTERNAL_CA");
    assert_eq!(
        settings["ipAddresses"],
        json!([
            { "type": "PRIMARY", "ipAddress": addresses[&AddressType::Primary].ip().to_string() },
            { "type": "PRIVATE", "ipAddress": addresses[&AddressType::Private].ip().to_string() },
        ])
    );
    let ca = &settings["serverCaCert"];
    assert!(
        ca["cert"]
            .as_str()
            .unwrap()
            .starts_with("-----BEGIN CERTIFICATE-----")
    );
    assert!(ca["expirationTime"].as_str().unwrap().ends_with('Z'));
    assert_eq!(ca["sha1Fingerprint"].as_str().unwrap().len(), 40);
    assert_eq!(settings.get("dnsName"), None);
}

#[tokio::test]
async fn a_cas_instance_has_dns_names_and_shares_its_ca() {
    let named = InstanceSpec::echo("p:us-central1:named").ca_mode(CaMode::Cas);
    let emulator = Emulator::builder()
        .instance(
            named
                .dns_name("a1.b2.us-central1.sql.goog.")
                .custom_name("db.corp.example"),
        )
        .instance(InstanceSpec::echo("p:us-central1:nameless").ca_mode(CaMode::Cas))
        .start()
        .await
        .unwrap();
    let client = Client::new(&emulator);
    let bearer = client.token(ADMIN_SCOPE).await;
    let settings: Value = client
        .settings("p:us-central1:named", &bearer)
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(settings["serverCaMode"], "GOOGLE_MANAGED_CAS_CA");
    assert_eq!(settings["dnsName"], "a1.b2.us-central1.sql.goog.");
    assert_eq!(settings["dnsNames"][1]["connectionType"], "CUSTOM_SAN");
    let other: Value = client
        .settings("p:us-central1:nameless", &bearer)
        .await
        .json()
        .await
        .unwrap();
    assert!(
        other["dnsName"]
            .as_str()
            .unwrap()
            .ends_with(".us-central1.sql.goog.")
    );
    assert_eq!(
        other["serverCaCert"]["cert"],
        settings["serverCaCert"]["cert"]
    );
}

#[tokio::test]
async fn a_domain_scoped_project_is_found_raw_and_encoded() {
    let name = "example.com:proj:us-central1:db";
    let emulator = Emulator::builder()
        .instance(InstanceSpec::echo(name))
        .start()
        .await
        .unwrap();
    let client = Client::new(&emulator);
    let bearer = client.token(ADMIN_SCOPE).await;
    for project in ["example.com:proj", "example.com%3Aproj"] {
        let path = format!("/sql/v1beta4/projects/{project}/instances/db/connectSettings?alt=json");
        let request = client.request(Method::GET, &path);
        assert_eq!(
            request.bearer_auth(&bearer).send().await.unwrap().status(),
            200
        );
    }
    assert_eq!(emulator.calls().count(Endpoint::ConnectSettings, name), 2);
}

#[tokio::test]
async fn a_certificate_is_signed_for_either_label_of_the_key() {
    let spec = InstanceSpec::echo(ECHO).certificate_lifetime(Duration::from_secs(600));
    let emulator = Emulator::builder().instance(spec).start().await.unwrap();
    let client = Client::new(&emulator);
    let bearer = client.token(ADMIN_SCOPE).await;
    let signed = signed(client.sign(ECHO, &bearer, None).await).await;
    assert_eq!(
        signed.answer["ephemeralCert"]["commonName"],
        "Google Cloud SQL Client"
    );
    assert!(
        signed.answer["ephemeralCert"]["expirationTime"]
            .as_str()
            .unwrap()
            .ends_with('Z')
    );

    let path = format!("{}:generateEphemeralCert", api_path(ECHO));
    let ask = async |body: Value| {
        let request = client
            .request(Method::POST, &path)
            .bearer_auth(&bearer)
            .json(&body);
        request.send().await.unwrap()
    };
    for body in [
        json!({}),
        json!({ "public_key": "text" }),
        json!({ "publicKey": "text" }),
        json!([]),
    ] {
        let response = ask(body.clone()).await;
        assert_eq!(response.status(), 400, "{body}");
        let error: Value = response.json().await.unwrap();
        assert_eq!(error["error"]["status"], "INVALID_ARGUMENT");
    }
}

#[tokio::test]
async fn callers_without_a_good_token_are_refused_in_googles_words() {
    let emulator = Emulator::builder()
        .instance(InstanceSpec::echo(ECHO))
        .start()
        .await
        .unwrap();
    let client = Client::new(&emulator);
    let path = format!("{}/connectSettings", api_path(ECHO));
    let bare = client.request(Method::GET, &path).send().await.unwrap();
    assert_eq!(bare.status(), 401);
    assert!(bare.headers().contains_key("www-authenticate"));
    let expired = emulator
        .access_token(SERVICE_ACCOUNT, ADMIN, Duration::ZERO)
        .unwrap();
    let narrow = emulator
        .access_token(SERVICE_ACCOUNT, &[LOGIN_SCOPE], HOUR)
        .unwrap();
    for (bearer, status, reason) in [
        ("ya29.foreign", 401, "authError"),
        (&expired, 401, "authError"),
        (&narrow, 403, "insufficientPermissions"),
    ] {
        let response = client.settings(ECHO, bearer).await;
        assert_eq!(response.status(), status);
        let error: Value = response.json().await.unwrap();
        assert_eq!(error["error"]["errors"][0]["reason"], reason);
    }
}

#[tokio::test]
async fn roles_are_checked_before_the_instance_is() {
    let emulator = Emulator::builder()
        .instance(InstanceSpec::echo(ECHO))
        .principal(Principal::human(HUMAN).without_role(Role::CloudSqlClient))
        .start()
        .await
        .unwrap();
    let client = Client::new(&emulator);
    let cloud_platform = "https://www.googleapis.com/auth/cloud-platform";
    let human = emulator
        .access_token(HUMAN, &[cloud_platform], HOUR)
        .unwrap();
    let account = emulator
        .access_token(SERVICE_ACCOUNT, &[cloud_platform], HOUR)
        .unwrap();
    let absent = "your-project-id:us-central1:absent";
    for (instance, bearer, status, reason) in [
        (ECHO, &human, 403, "notAuthorized"),
        (absent, &human, 403, "notAuthorized"),
        (absent, &account, 404, "instanceDoesNotExist"),
        (
            "other-project:us-central1:echo",
            &account,
            403,
            "notAuthorized",
        ),
    ] {
        for response in [
            client.settings(instance, bearer).await,
            client.sign(instance, bearer, None).await,
        ] {
            assert_eq!(response.status(), status, "{instance}");
            let error: Value = response.json().await.unwrap();
            assert_eq!(error["error"]["errors"][0]["reason"], reason);
        }
    }
    assert_eq!(
        client
            .request(Method::GET, "/sql/v1beta4/flags")
            .send()
            .await
            .unwrap()
            .status(),
        404
    );
}
