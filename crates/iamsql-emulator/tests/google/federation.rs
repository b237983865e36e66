//! Borrowed identities: token exchange, workforce logins, impersonation.

use std::collections::HashMap;
use std::time::Duration;

use iamsql_emulator::{
    Effect, Emulator, Endpoint, ExternalAccount, Fault, HUMAN, Principal, Role, SERVICE_ACCOUNT,
};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::client::{ADMIN_SCOPE, Client, ECHO, HOUR, LOGIN_SCOPE};

const READER: &str = "reader@your-project-id.iam.gserviceaccount.com";
const DELEGATE: &str = "delegate@your-project-id.iam.gserviceaccount.com";
const CLOUD_PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";

async fn emulator() -> Emulator {
    Emulator::builder()
        .principal(Principal::service_account(READER).with_token_creator(HUMAN))
        .principal(Principal::service_account(DELEGATE))
        .start()
        .await
        .unwrap()
}

/// A good exchange, to be spoilt.
fn exchange(emulator: &Emulator) -> HashMap<String, String> {
    let text = emulator
        .external_account(&ExternalAccount::url("robot"))
        .unwrap();
    let configuration: Value = serde_json::from_str(&text).unwrap();
    let field = |name: &str| configuration[name].as_str().unwrap().to_string();
    let pairs = [
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange".to_string(),
        ),
        (
            "requested_token_type",
            "urn:ietf:params:oauth:token-type:access_token".to_string(),
        ),
        ("audience", field("audience")),
        ("subject_token_type", field("subject_token_type")),
        ("subject_token", emulator.subject_token("robot", HOUR)),
        ("scope", ADMIN_SCOPE.to_string()),
    ];
    pairs
        .into_iter()
        .map(|(name, value)| (name.to_string(), value))
        .collect()
}

async fn post(client: &Client, path: &str, form: &HashMap<String, String>) -> Response {
    client
        .request(Method::POST, path)
        .form(form)
        .send()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_subject_token_buys_a_federated_token() {
    let emulator = emulator().await;
    let client = Client::new(&emulator);
    let answer = post(&client, "/v1/token", &exchange(&emulator)).await;
    assert_eq!(answer.status(), 200);
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(
        answer["issued_token_type"],
        "urn:ietf:params:oauth:token-type:access_token"
    );
    assert_eq!(
        (&answer["token_type"], &answer["expires_in"]),
        (&json!("Bearer"), &json!(3600))
    );
    let token = answer["access_token"].as_str().unwrap();

    // It is nobody's until the identity has a role.
    let status = async || client.settings(ECHO, token).await.status().as_u16();
    assert_eq!(status().await, 403);
    let principal = emulator.federated_principal(&ExternalAccount::url("robot"));
    assert!(principal.ends_with("/subject/robot"), "{principal}");
    let robot = Principal::federated(&principal).with_role(Role::CloudSqlClient);
    emulator.add_principal(robot).await.unwrap();
    let echo = iamsql_emulator::InstanceSpec::echo(ECHO);
    emulator.add_instance(echo).await.unwrap();
    assert_eq!(status().await, 200);
    let call = emulator.calls().to(Endpoint::StsToken).remove(0);
    assert_eq!(call.principal.as_deref(), Some(principal.as_str()));
    // STS's tokens are not OAuth's.
    let form = HashMap::from([("access_token".to_string(), token.to_string())]);
    assert_eq!(post(&client, "/tokeninfo", &form).await.status(), 400);
}

#[tokio::test]
async fn bad_exchanges_are_refused_in_googles_words() {
    let emulator = emulator().await;
    let client = Client::new(&emulator);
    let good = exchange(&emulator);
    let absent = good["audience"].replace("/oidc", "/absent");
    let aws = good["audience"].replace("/oidc", "/aws");
    let stale = emulator.subject_token("robot", Duration::ZERO);
    let foreign = self::emulator().await.subject_token("robot", HOUR);
    let cases = [
        ("grant_type", "authorization_code", "unsupported_grant_type"),
        ("grant_type", "", "invalid_request"),
        ("requested_token_type", "urn:x", "invalid_request"),
        ("audience", "https://example.com", "invalid_request"),
        ("audience", absent.as_str(), "invalid_target"),
        ("audience", aws.as_str(), "invalid_request"),
        (
            "subject_token_type",
            "urn:ietf:params:oauth:token-type:saml2",
            "invalid_request",
        ),
        ("subject_token", "not.a.token", "invalid_grant"),
        ("subject_token", stale.as_str(), "invalid_grant"),
        ("subject_token", foreign.as_str(), "invalid_grant"),
        ("scope", "", "invalid_request"),
        ("scope", "everything", "invalid_scope"),
    ];
    for (name, value, error) in cases {
        let mut form = good.clone();
        form.insert(name.to_string(), value.to_string());
        let answer = post(&client, "/v1/token", &form).await;
        assert_eq!(answer.status(), 400, "{name}={value}");
        let answer: Value = answer.json().await.unwrap();
        assert_eq!(answer["error"], error, "{name}={value}: {answer}");
        assert!(answer["error_description"].is_string());
    }
    assert_eq!(post(&client, "/v1/token", &good).await.status(), 200);
    emulator
        .faults()
        .inject(Fault::new(Endpoint::StsToken, Effect::status(503)).times(1));
    assert_eq!(post(&client, "/v1/token", &good).await.status(), 503);
}

#[tokio::test]
async fn the_url_of_a_subject_token_wants_its_secret() {
    let emulator = emulator().await;
    let client = Client::new(&emulator);
    for json in [false, true] {
        let account = ExternalAccount::url("robot").json(json);
        let configuration: Value =
            serde_json::from_str(&emulator.external_account(&account).unwrap()).unwrap();
        let source = &configuration["credential_source"];
        let path = source["url"]
            .as_str()
            .unwrap()
            .strip_prefix(&emulator.url())
            .unwrap();
        let without = client.request(Method::GET, path).send().await.unwrap();
        assert_eq!(without.status(), 401);
        let secret = source["headers"]["Authorization"].as_str().unwrap();
        let with = client
            .request(Method::GET, path)
            .header("Authorization", secret);
        let text = with.send().await.unwrap().text().await.unwrap();
        let token = match json {
            true => serde_json::from_str::<Value>(&text).unwrap()["id_token"]
                .as_str()
                .unwrap()
                .to_string(),
            false => text,
        };
        let mut form = exchange(&emulator);
        form.insert("subject_token".to_string(), token);
        assert_eq!(post(&client, "/v1/token", &form).await.status(), 200);
    }
}

#[tokio::test]
async fn an_aws_machine_wants_a_session_for_everything() {
    let emulator = emulator().await;
    let client = Client::new(&emulator);
    let machine = "/emulator/aws/robot/latest";
    let get = async |path: &str, session: Option<&str>| {
        let mut request = client.request(Method::GET, &format!("{machine}/{path}"));
        if let Some(session) = session {
            request = request.header("X-aws-ec2-metadata-token", session);
        }
        request.send().await.unwrap()
    };
    let zone = "meta-data/placement/availability-zone";
    assert_eq!(get(zone, None).await.status(), 401);
    assert_eq!(get(zone, Some("emulator-imds-x")).await.status(), 401);
    assert_eq!(get("api/token", None).await.status(), 405);
    let open = |seconds: &'static str| {
        client
            .request(Method::PUT, &format!("{machine}/api/token"))
            .header("X-aws-ec2-metadata-token-ttl-seconds", seconds)
            .send()
    };
    assert_eq!(open("0").await.unwrap().status(), 400);
    let session = open("300").await.unwrap().text().await.unwrap();
    let text = async |path: &str| get(path, Some(&session)).await.text().await.unwrap();
    assert_eq!(text(zone).await, "us-east-2b");
    assert_eq!(text("meta-data/iam/security-credentials").await, "robot");
    let keys: Value =
        serde_json::from_str(&text("meta-data/iam/security-credentials/robot").await).unwrap();
    assert!(
        keys["SecretAccessKey"]
            .as_str()
            .unwrap()
            .starts_with("emulator-aws-")
    );
    // Another role's machine is another machine.
    let other = client
        .request(Method::GET, &format!("/emulator/aws/other/latest/{zone}"))
        .header("X-aws-ec2-metadata-token", &session);
    assert_eq!(other.send().await.unwrap().status(), 401);
    assert_eq!(
        get("meta-data/iam/security-credentials/other", Some(&session))
            .await
            .status(),
        404
    );
    let odd = ExternalAccount::aws("a/b");
    assert!(emulator.external_account(&odd).is_err());
}

#[tokio::test]
async fn a_workforce_login_buys_tokens_until_it_is_revoked() {
    let emulator = emulator().await;
    let client = Client::new(&emulator);
    let (principal, text) = emulator.workforce_user("ada@corp.example");
    let file: Value = serde_json::from_str(&text).unwrap();
    let form = HashMap::from([
        ("grant_type".to_string(), "refresh_token".to_string()),
        (
            "refresh_token".to_string(),
            file["refresh_token"].as_str().unwrap().to_string(),
        ),
    ]);
    let ask = |secret: &str| {
        client
            .request(Method::POST, "/v1/oauthtoken")
            .basic_auth(
                file["client_id"].as_str().unwrap(),
                Some(secret.to_string()),
            )
            .form(&form)
            .send()
    };
    let secret = file["client_secret"].as_str().unwrap();
    let good: Value = ask(secret).await.unwrap().json().await.unwrap();
    assert!(good["access_token"].is_string());
    assert_eq!(ask("wrong").await.unwrap().status(), 401);
    emulator.revoke_principal(&principal);
    let revoked: Value = ask(secret).await.unwrap().json().await.unwrap();
    assert_eq!(revoked["error"], "invalid_grant");
}

async fn generate(client: &Client, email: &str, bearer: &str, body: Value) -> (u16, Value) {
    let path = format!("/v1/projects/-/serviceAccounts/{email}:generateAccessToken");
    let request = client.request(Method::POST, &path).bearer_auth(bearer);
    let answer = request.json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn a_token_creator_gets_the_service_accounts_token() {
    let emulator = emulator().await;
    let client = Client::new(&emulator);
    let bearer = |principal: &str| {
        emulator
            .access_token(principal, &[CLOUD_PLATFORM], HOUR)
            .unwrap()
    };
    let jane = bearer(HUMAN);
    let wanted = json!({ "scope": [LOGIN_SCOPE], "delegates": null, "lifetime": "600s" });
    let (status, answer) = generate(&client, READER, &jane, wanted.clone()).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer["expireTime"].as_str().unwrap().ends_with('Z'));
    let form = HashMap::from([(
        "access_token".to_string(),
        answer["accessToken"].as_str().unwrap().to_string(),
    )]);
    let information: Value = post(&client, "/tokeninfo", &form)
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(information["scope"], LOGIN_SCOPE);
    let left: u64 = information["expires_in"].as_str().unwrap().parse().unwrap();
    assert!((590..=600).contains(&left), "{left}");

    for (email, bearer) in [
        (SERVICE_ACCOUNT, jane.as_str()),
        (READER, &bearer(SERVICE_ACCOUNT)),
        ("absent@p.iam.gserviceaccount.com", &jane),
    ] {
        let (status, answer) = generate(&client, email, bearer, wanted.clone()).await;
        assert_eq!(status, 403);
        assert_eq!(
            answer["error"]["message"],
            "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist)."
        );
        assert_eq!(answer["error"]["status"], "PERMISSION_DENIED");
    }
    for bad in [
        json!({}),
        json!({ "scope": [] }),
        json!({ "scope": [LOGIN_SCOPE], "lifetime": "3601s" }),
        json!({ "scope": [LOGIN_SCOPE], "lifetime": "soon" }),
        json!({ "scope": [LOGIN_SCOPE], "delegates": [DELEGATE] }),
        json!({ "scope": null }),
        json!({ "scope": "one" }),
    ] {
        let (status, answer) = generate(&client, READER, &jane, bad.clone()).await;
        assert_eq!(
            (status, &answer["error"]["status"]),
            (400, &json!("INVALID_ARGUMENT")),
            "{bad}"
        );
    }
    assert_eq!(
        generate(&client, READER, "emulator-token-x", wanted.clone())
            .await
            .0,
        401
    );
    let narrow = emulator.access_token(HUMAN, &[LOGIN_SCOPE], HOUR).unwrap();
    assert_eq!(generate(&client, READER, &narrow, wanted).await.0, 403);
}

#[tokio::test]
async fn a_chain_holds_if_every_link_does() {
    let emulator = emulator().await;
    let client = Client::new(&emulator);
    let jane = emulator
        .access_token(HUMAN, &[CLOUD_PLATFORM], HOUR)
        .unwrap();
    let chain = json!({ "scope": [LOGIN_SCOPE], "delegates": [format!("projects/-/serviceAccounts/{DELEGATE}")] });
    let status = async || {
        generate(&client, SERVICE_ACCOUNT, &jane, chain.clone())
            .await
            .0
    };
    assert_eq!(status().await, 403);
    emulator.add_token_creator(DELEGATE, HUMAN).unwrap();
    assert_eq!(status().await, 403);
    emulator
        .add_token_creator(SERVICE_ACCOUNT, DELEGATE)
        .unwrap();
    assert_eq!(status().await, 200);
    let direct = json!({ "scope": [LOGIN_SCOPE] });
    assert_eq!(
        generate(&client, SERVICE_ACCOUNT, &jane, direct).await.0,
        403
    );
    let long = json!({ "scope": [LOGIN_SCOPE], "lifetime": "43200s" });
    assert_eq!(generate(&client, READER, &jane, long.clone()).await.0, 400);
    let patient = Principal::service_account(READER)
        .with_token_creator(HUMAN)
        .with_long_tokens(true);
    emulator.add_principal(patient).await.unwrap();
    assert_eq!(generate(&client, READER, &jane, long).await.0, 200);
}

#[tokio::test]
async fn the_control_endpoints_hand_out_the_same() {
    let emulator = emulator().await;
    let client = Client::new(&emulator);
    let ask = async |path: &str, body: Value| {
        let path = format!("/emulator/control/{path}");
        let request = client
            .request(Method::POST, &path)
            .bearer_auth(emulator.control_bearer());
        request.json(&body).send().await.unwrap()
    };
    let account = json!({ "source": "url", "subject": "robot", "impersonate": READER });
    let answer: Value = ask("external-account", account).await.json().await.unwrap();
    assert!(
        answer["configuration"]["service_account_impersonation_url"]
            .as_str()
            .unwrap()
            .ends_with("reader@your-project-id.iam.gserviceaccount.com:generateAccessToken")
    );
    let member = answer["principal"].as_str().unwrap();
    let grant = json!({ "service_account": READER, "member": member });
    assert_eq!(ask("token-creators", grant).await.status(), 204);
    let stranger = json!({ "source": "url", "subject": "robot", "impersonate": "absent@x" });
    assert_eq!(ask("external-account", stranger).await.status(), 400);
    let token: Value = ask("subject-token", json!({ "subject": "robot" }))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(token["executable_response"]["success"], true);
    let helper: Value = ask("gcloud-config-helper", json!({ "principal": HUMAN }))
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(
        helper["configuration"]["properties"]["core"]["account"],
        HUMAN
    );
    assert!(
        helper["credential"]["token_expiry"]
            .as_str()
            .unwrap()
            .ends_with('Z')
    );
    let chain = json!({ "source": HUMAN, "delegates": [DELEGATE], "target": READER });
    let file: Value = ask("impersonated-service-account", chain)
        .await
        .json()
        .await
        .unwrap();
    assert_eq!(file["source_credentials"]["type"], "authorized_user");
    let person: Value = ask("workforce-user", json!({ "subject": "ada" }))
        .await
        .json()
        .await
        .unwrap();
    assert!(
        person["principal"]
            .as_str()
            .unwrap()
            .ends_with("/subject/ada")
    );
}
