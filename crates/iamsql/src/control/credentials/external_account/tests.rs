use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::control::endpoint::EndpointOptions;
use crate::control::environment;

fn read(source: Value, rest: Value, environment: &Environment) -> Result<ExternalAccount> {
    let endpoints = Endpoints::resolve(&EndpointOptions::default(), environment)?;
    let mut json = json!({
        "type": "external_account",
        "audience": "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/q",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "credential_source": source,
    });
    for (field, value) in rest.as_object().unwrap() {
        json[field] = value.clone();
    }
    ExternalAccount::read(&json, &endpoints, environment)
}

fn refused(source: Value, rest: Value, environment: &Environment) -> Error {
    read(source, rest, environment).err().unwrap()
}

#[test]
fn a_program_runs_only_where_the_switch_is_on_from_an_absolute_path_and_within_limits() {
    let source = |command: &str| json!({"executable": {"command": command}});
    let program = source("/bin/true");
    let error = refused(program.clone(), json!({}), &Environment::empty());
    assert_eq!(error.kind(), ErrorKind::Config);
    let off = Environment::empty().with(environment::ALLOW_EXECUTABLES, "0");
    assert!(read(program.clone(), json!({}), &off).is_err());
    let on = Environment::empty().with(environment::ALLOW_EXECUTABLES, "1");
    assert!(read(program, json!({}), &on).unwrap().runs_a_program());
    for command in ["", "true", "./true", "bin/true --flag"] {
        assert!(read(source(command), json!({}), &on).is_err(), "{command}");
    }
    for (millis, fits) in [
        (4_999, false),
        (5_000, true),
        (120_000, true),
        (120_001, false),
    ] {
        let source = json!({"executable": {"command": "/bin/true", "timeout_millis": millis}});
        assert_eq!(read(source, json!({}), &on).is_ok(), fits, "{millis}");
    }
}

#[test]
fn a_file_that_sends_tokens_elsewhere_is_refused() {
    let file = || json!({"file": "/token"});
    for rest in [
        json!({"token_url": "https://sts.evil.example/v1/token"}),
        json!({"token_url": "http://127.0.0.1:1/v1/token"}),
        json!({"service_account_impersonation_url":
            "https://evil.example/v1/projects/-/serviceAccounts/a@b.c:generateAccessToken"}),
    ] {
        let error = refused(file(), rest, &Environment::empty());
        assert_eq!(error.kind(), ErrorKind::Config);
    }
    let regional = json!({"token_url": "https://sts.europe-west1.rep.googleapis.com/v1/token"});
    assert!(read(file(), regional, &Environment::empty()).is_ok());
}

#[test]
fn a_subject_token_travels_by_https_or_on_this_machine() {
    for (url, fits) in [
        ("https://vstoken.actions.example/token?audience=x", true),
        (
            "http://169.254.169.254/metadata/identity/oauth2/token?resource=r",
            true,
        ),
        ("http://127.0.0.1:9/token", true),
        ("http://localhost:9/token", false),
        ("http://vault.example/token", false),
        ("file:///token", false),
    ] {
        let read = read(json!({"url": url}), json!({}), &Environment::empty());
        assert_eq!(read.is_ok(), fits, "{url}");
    }
}

#[test]
fn aws_is_asked_at_its_own_metadata_server_alone() {
    let source = |url: &str| {
        json!({"environment_id": "aws1", "region_url": url, "url": url,
            "regional_cred_verification_url": "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15"})
    };
    let keys = Environment::empty()
        .with(environment::AWS_REGIONS[0], "eu-west-3")
        .with(environment::AWS_ACCESS_KEY_ID, "id")
        .with(environment::AWS_SECRET_ACCESS_KEY, "secret");
    for (url, fits) in [
        ("http://169.254.169.254/latest/meta-data/x", true),
        ("http://[fd00:ec2::254]/latest/meta-data/x", true),
        ("http://169.254.169.254:8080/x", false),
        ("http://metadata.google.internal/x", false),
        ("http://127.0.0.1:1/x", false),
        ("https://evil.example/x", false),
    ] {
        for environment in [&Environment::empty(), &keys] {
            let read = read(source(url), json!({}), environment);
            assert_eq!(read.is_ok(), fits, "{url}");
        }
    }
    let unnamed = json!({"environment_id": "aws1"});
    assert!(read(unnamed.clone(), json!({}), &Environment::empty()).is_err());
    assert!(read(unnamed, json!({}), &keys).is_ok());
    let odd = Environment::empty().with(environment::AWS_REGIONS[1], "evil.example/#");
    let odd = refused(source("http://169.254.169.254/x"), json!({}), &odd);
    assert_eq!(odd.kind(), ErrorKind::Credentials);
    let later = json!({"environment_id": "aws2"});
    assert!(read(later, json!({}), &keys).is_err());
}

#[test]
fn a_source_that_is_not_known_is_said_so() {
    for source in [
        json!({}),
        json!({"file": "/token", "url": "https://a.example/"}),
        json!({"certificate": {"use_default_certificate_config": true}}),
        json!({"file": "/token", "format": {"type": "xml"}}),
        json!({"file": "/token", "format": {"type": "json"}}),
        json!({"url": "https://a.example/", "headers": {"a\nb": "c"}}),
    ] {
        let error = refused(source, json!({}), &Environment::empty());
        assert_eq!(error.kind(), ErrorKind::Credentials);
        assert!(error.advice().unwrap().contains("create-cred-config"));
    }
}

#[test]
fn whom_a_jwt_names_is_read_and_nothing_else_is_taken_for_one() {
    let jwt = |claims: Value| {
        Secret::new(format!(
            "e30.{}.c2ln",
            URL_SAFE_NO_PAD.encode(claims.to_string())
        ))
    };
    let named = |claims| subject::named_in(&jwt(claims));
    assert_eq!(
        named(json!({"sub": "repo:a/b", "iss": "https://token.example"})).as_deref(),
        Some("repo:a/b of https://token.example")
    );
    assert_eq!(named(json!({"aud": "x"})), None);
    assert_eq!(subject::named_in(&Secret::new("opaque")), None);
    assert_eq!(subject::named_in(&Secret::new("a.b.c")), None);
}
