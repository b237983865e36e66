use super::*;

const AUDIENCE: &str = "//iam.googleapis.com/x";

fn key() -> AwsKey {
    AwsKey {
        id: "ASIAEMULATOR".to_string(),
        secret: "secret".to_string(),
        session: "session".to_string(),
        role: "robot".to_string(),
        expires: now() + Duration::from_secs(3600),
    }
}

fn now() -> SystemTime {
    timestamp("20261122T101112Z").unwrap()
}

/// A request as a client signs it.
fn token(change: impl Fn(&mut serde_json::Value)) -> String {
    let key = key();
    let names = "host;x-amz-date;x-amz-security-token";
    let canonical = format!(
        "POST\n/\nAction=GetCallerIdentity&Version=2011-06-15\nhost:sts.us-east-2.amazonaws.com\nx-amz-date:20261122T101112Z\n\
         x-amz-security-token:{}\n\n{names}\n{}",
        key.session,
        sha256("")
    );
    let scope = "20261122/us-east-2/sts/aws4_request";
    let to_sign = format!(
        "AWS4-HMAC-SHA256\n20261122T101112Z\n{scope}\n{}",
        sha256(&canonical)
    );
    let signature = hex(&keyed(
        &signing_key(&key.secret, "20261122", "us-east-2"),
        &to_sign,
    ));
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        key.id
    );
    let header = |key: &str, value: &str| serde_json::json!({ "key": key, "value": value });
    let mut request = serde_json::json!({
        "url": "https://sts.us-east-2.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
        "method": "POST",
        "headers": [
            header("Authorization", &authorization),
            header("host", "sts.us-east-2.amazonaws.com"),
            header("x-amz-date", "20261122T101112Z"),
            header("x-amz-security-token", &key.session),
            header("x-goog-cloud-target-resource", AUDIENCE),
        ],
    });
    change(&mut request);
    percent_encoding::utf8_percent_encode(&request.to_string(), percent_encoding::NON_ALPHANUMERIC)
        .to_string()
}

fn checked(token: &str, at: SystemTime) -> Result<String, String> {
    let find = |id: &str| (id == "ASIAEMULATOR").then(key);
    check(token, AUDIENCE, find, at).map(|key| key.role)
}

#[test]
fn a_request_signed_with_the_key_names_its_role() {
    assert_eq!(checked(&token(|_| {}), now()), Ok("robot".to_string()));
    let slashed =
        "https://sts.us-east-2.amazonaws.com/?Version=2011-06-15&Action=GetCallerIdentity";
    assert!(checked(&token(|request| request["url"] = slashed.into()), now()).is_ok());
}

#[test]
fn whatever_was_changed_is_refused() {
    type Change = fn(&mut serde_json::Value);
    let cases: [(Change, &str); 11] = [
        (
            |one| {
                one["url"] =
                    "https://sts.us-east-2.evil.example?Action=GetCallerIdentity&Version=2011-06-15"
                        .into()
            },
            "URL",
        ),
        (
            |one| {
                one["url"] =
                    "https://sts.us-east-2.amazonaws.com?Action=AssumeRole&Version=2011-06-15"
                        .into()
            },
            "GetCallerIdentity",
        ),
        (|one| one["method"] = "GET".into(), "URL"),
        (|one| one["body"] = "x".into(), "SignatureDoesNotMatch"),
        (
            |one| one["headers"][0]["value"] = "Bearer x".into(),
            "Authorization",
        ),
        (
            |one| one["headers"][1]["value"] = "sts.amazonaws.com".into(),
            "URL",
        ),
        (
            |one| one["headers"][2]["value"] = "20261122T101113Z".into(),
            "SignatureDoesNotMatch",
        ),
        (
            |one| one["headers"][2]["value"] = "yesterday".into(),
            "date",
        ),
        (
            |one| one["headers"][3]["value"] = "other".into(),
            "InvalidClientTokenId",
        ),
        (
            |one| one["headers"][4]["value"] = "//iam.googleapis.com/other".into(),
            "audience",
        ),
        (
            |one| {
                one["headers"][0]["value"] = "AWS4-HMAC-SHA256 Credential=ASIAOTHER/20261122/us-east-2/sts/aws4_request, SignedHeaders=host, Signature=00".into()
            },
            "InvalidClientTokenId",
        ),
    ];
    for (change, expected) in cases {
        let error = checked(&token(change), now()).unwrap_err();
        assert!(error.contains(expected), "{expected}: {error}");
    }
    for text in ["", "%7B%7D", "%ff", "x"] {
        assert!(checked(text, now()).is_err(), "{text}");
    }
}

#[test]
fn old_requests_and_ended_keys_are_refused() {
    let late = now() + Duration::from_secs(16 * 60);
    assert!(
        checked(&token(|_| {}), late)
            .unwrap_err()
            .contains("Signature expired")
    );
    let ended = |_: &str| {
        Some(AwsKey {
            expires: now(),
            ..key()
        })
    };
    let error = check(&token(|_| {}), AUDIENCE, ended, now())
        .map(|key| key.role)
        .unwrap_err();
    assert!(error.contains("ExpiredTokenException"), "{error}");
}
