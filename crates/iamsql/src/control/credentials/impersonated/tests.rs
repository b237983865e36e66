use super::*;
use crate::control::endpoint::EndpointOptions;
use crate::control::environment::Environment;

fn endpoints(universe: &str) -> Endpoints {
    let options = EndpointOptions {
        universe: Some(universe.to_owned()),
        ..EndpointOptions::default()
    };
    Endpoints::resolve(&options, &Environment::empty()).unwrap()
}

#[test]
fn the_universe_decides_where_impersonation_is_asked_for() {
    for universe in ["googleapis.com", "example.goog"] {
        let target = "app@p.iam.gserviceaccount.com";
        let how = Impersonation::of(target, &[], &endpoints(universe)).unwrap();
        assert_eq!(
            how.endpoint.url().as_str(),
            format!(
                "https://iamcredentials.{universe}/v1/projects/-/serviceAccounts/{target}:generateAccessToken"
            )
        );
    }
}

#[test]
fn what_is_no_service_account_is_refused() {
    for odd in [
        "",
        "app",
        "@p.iam.gserviceaccount.com",
        "app@localhost",
        "app@p.iam.gserviceaccount.com:generateIdToken?x=",
        "../app@p.iam.gserviceaccount.com",
        "a b@p.iam.gserviceaccount.com",
    ] {
        let good = "app@p.iam.gserviceaccount.com";
        let google = endpoints("googleapis.com");
        let error = Impersonation::of(odd, &[], &google).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config, "{odd}");
        assert!(Impersonation::of(good, &[odd.to_owned()], &google).is_err());
    }
}

#[test]
fn a_files_url_names_the_target_and_its_delegates_have_either_form() {
    let read = |json: Value| Impersonation::read(&json, &endpoints("googleapis.com"));
    let how = read(json!({
        "service_account_impersonation_url":
            "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/app@p.iam.gserviceaccount.com:generateAccessToken",
        "delegates": ["projects/-/serviceAccounts/one@p.iam.gserviceaccount.com", "two@p.iam.gserviceaccount.com"],
        "service_account_impersonation": {"token_lifetime_seconds": 900},
    }))
    .unwrap()
    .unwrap();
    assert_eq!(how.target, "app@p.iam.gserviceaccount.com");
    assert_eq!(
        how.delegates,
        [
            "one@p.iam.gserviceaccount.com",
            "two@p.iam.gserviceaccount.com"
        ]
    );
    assert_eq!(how.lifetime, Duration::from_secs(900));
    assert!(read(json!({})).unwrap().is_none());
    for (url, kind) in [
        (
            "https://evil.example/v1/projects/-/serviceAccounts/a@b.c:generateAccessToken",
            ErrorKind::Config,
        ),
        (
            "http://127.0.0.1:1/v1/projects/-/serviceAccounts/a@b.c:generateAccessToken",
            ErrorKind::Config,
        ),
        (
            "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@b.c:signJwt",
            ErrorKind::Credentials,
        ),
        ("", ErrorKind::Config),
    ] {
        let error = read(json!({"service_account_impersonation_url": url}))
            .err()
            .unwrap();
        assert_eq!(error.kind(), kind, "{url}");
    }
}

#[test]
fn an_answer_without_a_token_is_not_shown() {
    for body in [
        r#"{"accessToken":"ya29.half"#,
        r#"{"accessToken":"ya29.whole","expireTime":"tomorrow"}"#,
        r#"{"accessToken":"","expireTime":"1970-01-01T00:00:00Z"}"#,
    ] {
        let error = read(&Answer::new(200, body)).unwrap_err();
        assert_eq!(
            error.chain(),
            "IAM's credentials service sent no token in its answer"
        );
    }
    let answer = r#"{"accessToken":"ya29.whole","expireTime":"1970-01-01T00:01:00.5Z"}"#;
    let token = read(&Answer::new(200, answer)).unwrap();
    let end = SystemTime::UNIX_EPOCH + Duration::from_millis(60_500);
    assert_eq!(token.expires(), Some(end));
}
