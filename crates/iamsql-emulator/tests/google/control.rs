//! The control endpoints.

use std::time::Duration;

use iamsql_emulator::{Emulator, HUMAN, InstanceSpec, SERVICE_ACCOUNT};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{ADMIN_SCOPE, Client, ECHO, LOGIN_SCOPE};

struct Control<'a> {
    client: Client,
    emulator: &'a Emulator,
}

impl Control<'_> {
    async fn call(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let request = self
            .client
            .request(method, &format!("/emulator/control{path}"));
        let request = request
            .bearer_auth(self.emulator.control_bearer())
            .json(&body);
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or_default())
    }
}

#[tokio::test]
async fn faults_calls_and_sessions_are_reached_over_http() {
    let emulator = Emulator::builder()
        .instance(InstanceSpec::echo(ECHO))
        .start()
        .await
        .unwrap();
    let control = Control {
        client: Client::new(&emulator),
        emulator: &emulator,
    };
    let fault = json!({ "endpoint": "connectSettings", "effect": { "kind": "status", "status": 503 }, "instance": ECHO });
    let (status, injected) = control.call(Method::POST, "/faults", fault).await;
    assert_eq!(status, 200);
    let bearer = control.client.token(ADMIN_SCOPE).await;
    assert_eq!(control.client.settings(ECHO, &bearer).await.status(), 503);
    let (_, listed) = control.call(Method::GET, "/faults", json!(null)).await;
    assert_eq!(listed[0]["id"], injected["id"]);
    let path = format!("/faults/{}", injected["id"]);
    assert_eq!(
        control.call(Method::DELETE, &path, json!(null)).await.0,
        204
    );
    assert_eq!(control.client.settings(ECHO, &bearer).await.status(), 200);
    let nonsense = json!({ "endpoint": "token", "effect": { "kind": "refuse" } });
    assert_eq!(control.call(Method::POST, "/faults", nonsense).await.0, 400);
    let closed = json!({ "endpoint": "tcp", "effect": { "kind": "refuse" } });
    assert_eq!(control.call(Method::POST, "/faults", closed).await.0, 200);
    assert_eq!(
        control.call(Method::DELETE, "/faults", json!(null)).await.0,
        204
    );
    assert!(emulator.faults().active().is_empty());

    let (_, calls) = control.call(Method::GET, "/calls", json!(null)).await;
    let statuses: Vec<&Value> = calls
        .as_array()
        .unwrap()
        .iter()
        .map(|call| &call["status"])
        .collect();
    assert_eq!(statuses, [&json!(200), &json!(503), &json!(200)]);
    assert_eq!(calls[1]["endpoint"], "connectSettings");
    assert!(!calls.to_string().contains(&bearer));
    assert_eq!(
        control.call(Method::DELETE, "/calls", json!(null)).await.0,
        204
    );
    assert!(emulator.calls().all().is_empty());
    assert_eq!(
        control.call(Method::GET, "/sessions", json!(null)).await,
        (200, json!([]))
    );
}

#[tokio::test]
async fn instances_are_added_changed_and_removed_over_http() {
    let emulator = Emulator::builder().start().await.unwrap();
    let control = Control {
        client: Client::new(&emulator),
        emulator: &emulator,
    };
    let spec =
        json!({ "name": ECHO, "ca_mode": "GOOGLE_MANAGED_CAS_CA", "addresses": ["PRIVATE"] });
    let (status, described) = control.call(Method::POST, "/instances", spec.clone()).await;
    assert_eq!(status, 200, "{described}");
    assert_eq!(described["addresses"].as_object().unwrap().len(), 1);
    assert_eq!(control.call(Method::POST, "/instances", spec).await.0, 400);
    let path = format!("/instances/{ECHO}");
    let change = json!({ "iam": false, "certificate": "expired", "certificate_lifetime_ms": 2000 });
    let (status, changed) = control.call(Method::PATCH, &path, change).await;
    assert_eq!(
        (status, &changed["iam"], &changed["certificate"]),
        (200, &json!(false), &json!("expired"))
    );
    assert_eq!(
        control
            .call(Method::PATCH, &path, json!({ "certificate": "blue" }))
            .await
            .0,
        400
    );
    for act in ["rotate-server-ca", "rotate-client-ca", "disconnect"] {
        assert_eq!(
            control
                .call(Method::POST, &format!("{path}/{act}"), json!(null))
                .await
                .0,
            204
        );
    }
    assert_eq!(
        control.call(Method::DELETE, &path, json!(null)).await.0,
        204
    );
    assert_eq!(
        control.call(Method::DELETE, &path, json!(null)).await.0,
        404
    );
}

#[tokio::test]
async fn credentials_are_handed_out_and_taken_back_over_http() {
    let emulator = Emulator::builder()
        .instance(InstanceSpec::echo(ECHO))
        .start()
        .await
        .unwrap();
    let control = Control {
        client: Client::new(&emulator),
        emulator: &emulator,
    };
    let of = |principal: &str| json!({ "principal": principal });
    let (status, key) = control
        .call(Method::POST, "/service-account-key", of(SERVICE_ACCOUNT))
        .await;
    assert_eq!((status, &key["type"]), (200, &json!("service_account")));
    let (status, file) = control
        .call(Method::POST, "/authorized-user", of(HUMAN))
        .await;
    assert_eq!((status, &file["type"]), (200, &json!("authorized_user")));
    assert_eq!(
        control
            .call(Method::POST, "/service-account-key", of(HUMAN))
            .await
            .0,
        400
    );
    assert_eq!(
        control
            .call(Method::POST, "/authorized-user", of("nobody@example.com"))
            .await
            .0,
        400
    );

    let wanted =
        json!({ "principal": SERVICE_ACCOUNT, "scopes": [ADMIN_SCOPE], "lifetime_ms": 60000 });
    let (_, token) = control.call(Method::POST, "/token", wanted).await;
    let token = token["access_token"].as_str().unwrap();
    let login = control.client.token(LOGIN_SCOPE).await;
    assert_eq!(
        control
            .client
            .sign(ECHO, token, Some(&login))
            .await
            .status(),
        200
    );
    let (_, revoked) = control
        .call(Method::POST, "/revoke", of(SERVICE_ACCOUNT))
        .await;
    assert_eq!(revoked["certificates"], 1);
    assert_eq!(control.client.settings(ECHO, token).await.status(), 401);

    let added = json!({ "email": "new@your-project-id.iam.gserviceaccount.com", "roles": ["roles/cloudsql.client"] });
    assert_eq!(
        control.call(Method::POST, "/principals", added).await.0,
        204
    );
    let host = control
        .call(Method::POST, "/hosts", of(SERVICE_ACCOUNT))
        .await
        .1;
    let other = Client::at(host["host"].as_str().unwrap());
    assert_eq!(
        other
            .metadata("instance/service-accounts/default/email")
            .await
            .status(),
        200
    );
    assert_eq!(
        control
            .call(Method::POST, "/hosts", of("nobody@example.com"))
            .await
            .0,
        400
    );
    let (_, principals) = control.call(Method::GET, "/principals", json!(null)).await;
    assert_eq!(principals.as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn it_can_be_asked_to_end() {
    let emulator = Emulator::builder().start().await.unwrap();
    let control = Control {
        client: Client::new(&emulator),
        emulator: &emulator,
    };
    assert_eq!(
        control.call(Method::POST, "/shutdown", json!(null)).await.0,
        202
    );
    tokio::time::timeout(Duration::from_secs(5), emulator.shutdown_asked())
        .await
        .unwrap();
}
