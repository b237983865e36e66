//! Who is turned away: web pages, rebound names, callers without the bearer.

use iamsql_emulator::Emulator;
use reqwest::Method;

use crate::client::Client;

const PATHS: [(&str, &str); 13] = [
    ("GET", "/"),
    ("GET", "/computeMetadata/v1/project/project-id"),
    ("POST", "/token"),
    ("GET", "/sql/v1beta4/projects/p/instances/i/connectSettings"),
    (
        "GET",
        "/sql/v1beta4/locations/r/dns/a.b.r.sql.goog.:resolveConnectSettings",
    ),
    ("POST", "/v1/token"),
    ("POST", "/v1/oauthtoken"),
    (
        "POST",
        "/v1/projects/-/serviceAccounts/a@p.iam.gserviceaccount.com:generateAccessToken",
    ),
    ("GET", "/emulator/subject-token"),
    ("PUT", "/emulator/aws/robot/latest/api/token"),
    ("GET", "/emulator"),
    ("GET", "/emulator/control/calls"),
    ("GET", "/emulator/control/dns"),
];

#[tokio::test]
async fn web_pages_and_foreign_hosts_are_turned_away_everywhere() {
    let emulator = Emulator::builder().start().await.unwrap();
    let client = Client::new(&emulator);
    let bad = [
        ("Origin", "http://127.0.0.1"),
        ("Origin", "null"),
        ("Sec-Fetch-Site", "none"),
        ("Sec-Fetch-Mode", "navigate"),
        ("Host", "rebound.example.com"),
        ("Host", "metadata.google.internal"),
    ];
    for (method, path) in PATHS {
        for (name, value) in bad {
            let request = client.request(method.parse().unwrap(), path);
            let request = request
                .header("Metadata-Flavor", "Google")
                .header(name, value);
            let status = request
                .bearer_auth(emulator.control_bearer())
                .send()
                .await
                .unwrap()
                .status();
            assert_eq!(status, 403, "{path} with {name}: {value}");
        }
    }
}

#[tokio::test]
async fn control_needs_the_bearer_and_information_does_not() {
    let emulator = Emulator::builder().start().await.unwrap();
    let client = Client::new(&emulator);
    let get = |path| client.request(Method::GET, path);
    assert_eq!(get("/emulator").send().await.unwrap().status(), 200);
    assert_eq!(
        get("/emulator/control/calls")
            .send()
            .await
            .unwrap()
            .status(),
        401
    );
    let wrong = get("/emulator/control/calls").bearer_auth("emulator-control-wrong");
    assert_eq!(wrong.send().await.unwrap().status(), 401);
    let right = get("/emulator/control/calls").bearer_auth(emulator.control_bearer());
    assert_eq!(right.send().await.unwrap().status(), 200);
    let information = get("/emulator").send().await.unwrap().text().await.unwrap();
    assert!(!information.contains(emulator.control_bearer()));
}
