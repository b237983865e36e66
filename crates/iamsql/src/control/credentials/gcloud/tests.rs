use super::*;

const PRINTED: &str = r#"{
  "configuration": {
    "active_configuration": "default",
    "properties": {"core": {"account": "ada@example.com", "project": "p"}}
  },
  "credential": {
    "access_token": "ya29.of-gcloud",
    "id_token": "eyJ…",
    "token_expiry": "1970-01-01T01:00:00Z"
  },
  "sentinels": {"config_sentinel": "/root/.config/gcloud/config_sentinel"}
}"#;

#[test]
fn token_expiry_and_account_are_read() {
    let token = read(PRINTED.as_bytes(), "googleapis.com").unwrap();
    assert_eq!(token.secret().expose(), "ya29.of-gcloud");
    assert_eq!(
        token.expires(),
        Some(SystemTime::UNIX_EPOCH + Duration::from_secs(3600))
    );
    assert_eq!(token.principal(), Some("ada@example.com"));
}

#[test]
fn whom_gcloud_impersonates_is_the_principal() {
    let printed = PRINTED.replace(
        r#""properties": {"#,
        r#""properties": {"auth": {"impersonate_service_account": "d@p.iam.gserviceaccount.com,t@p.iam.gserviceaccount.com"}, "#,
    );
    let token = read(printed.as_bytes(), "googleapis.com").unwrap();
    assert_eq!(token.principal(), Some("t@p.iam.gserviceaccount.com"));
}

#[test]
fn what_cannot_be_read_is_not_repeated() {
    for printed in [
        "ya29.bare-token",
        r#"{"credential": {"access_token": ""}}"#,
        r#"{"credential": {"access_token": "ya29.token", "token_expiry": "soon"}}"#,
        r#"{"configuration": {}}"#,
    ] {
        let error = read(printed.as_bytes(), "googleapis.com").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Credentials);
        assert!(!error.chain().contains("ya29"), "{error}");
    }
}

#[test]
fn a_gcloud_of_another_universe_is_refused() {
    let printed = PRINTED.replace(r#""project": "p""#, r#""universe_domain": "example.goog""#);
    let error = read(printed.as_bytes(), "googleapis.com").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(read(printed.as_bytes(), "example.goog").is_ok());
}
