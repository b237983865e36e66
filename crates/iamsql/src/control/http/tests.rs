use super::*;

#[test]
fn retry_after_is_read_as_seconds_or_as_a_date() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    for (text, seconds) in [
        ("120", Some(120)),
        (" 0 ", Some(0)),
        ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
        ("Sun, 06 Nov 1994 08:49:07 GMT", Some(0)),
        ("soon", None),
        ("-5", None),
    ] {
        assert_eq!(
            read_retry_after(text, now),
            seconds.map(Duration::from_secs),
            "{text}"
        );
    }
}

#[test]
fn without_a_system_ca_store_the_bundled_roots_serve() {
    assert!(with_bundled_roots(reqwest::Client::builder()).is_ok());
}

#[test]
fn a_malformed_proxy_is_refused_without_repeating_it() {
    let environment = Environment::empty().with("HTTPS_PROXY", "http://user:hunter2@:bad");
    let error = proxy(&environment).unwrap_err();
    assert_eq!(error.to_string(), "HTTPS_PROXY is not a proxy's URL");
    assert!(!error.chain().contains("hunter2"));
}

#[test]
fn a_bearer_header_is_sensitive() {
    let value = bearer(&Secret::new("ya29.something-secret")).unwrap();
    assert!(value.is_sensitive());
    assert_eq!(format!("{value:?}"), "Sensitive");
    assert!(bearer(&Secret::new("two\nlines")).is_err());
}
