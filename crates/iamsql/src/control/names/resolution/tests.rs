use super::*;
use crate::control::names::testing::Script;

const OWN: &str = "a.b.us-central1.sql.goog";

async fn resolved(script: &Script, domain: &str) -> Result<String> {
    resolve(domain, script, script)
        .await
        .map(|instance| instance.to_string())
}

#[tokio::test]
async fn the_first_record_that_names_an_instance_counts_whatever_the_order() {
    let script = Script::new();
    for texts in [
        ["v=spf1 -all", "p:r:two", "p:r:one"],
        ["p:r:one", "v=spf1 -all", "p:r:two"],
    ] {
        script.text("db.example.com", &texts);
        assert_eq!(
            resolved(&script, "db.example.com").await.unwrap(),
            "p:r:one"
        );
    }
    // Neither another domain name nor an AlloyDB instance is what a record may hold.
    script.text(
        "db.example.com",
        &[
            "a.example.com",
            "projects/p/locations/r/clusters/c/instances/i",
        ],
    );
    let error = resolved(&script, "db.example.com").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Dns);
    assert!(!error.is_retryable());
    assert_eq!(
        error.to_string(),
        "the TXT record \"a.example.com\" of \"db.example.com\" names no instance"
    );
    assert!(error.advice().unwrap().contains("PROJECT:REGION:INSTANCE"));
}

#[tokio::test]
async fn no_more_than_32_records_are_read() {
    let script = Script::new();
    let mut texts: Vec<String> = (0..32).map(|number| format!("a{number:02}")).collect();
    texts.push("p:r:i".to_owned());
    let as_text = |texts: &[String]| {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        script.text("db.example.com", &texts);
    };
    as_text(&texts);
    assert!(resolved(&script, "db.example.com").await.is_err());
    as_text(&texts[1..]);
    assert!(resolved(&script, "db.example.com").await.is_ok());
}

#[tokio::test]
async fn an_instances_own_name_is_asked_of_the_admin_api() {
    let script = Script::new();
    script.bears(OWN, "p:us-central1:db".parse());
    assert_eq!(resolved(&script, OWN).await.unwrap(), "p:us-central1:db");
    assert_eq!(script.asked(), 0);
    let error = resolved(&script, "c.d.us-central1.sql-psc.goog")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn an_alias_is_followed_to_a_record_or_to_an_instances_own_name() {
    let script = Script::new();
    script
        .alias("db.example.com", "next.example.com")
        .text("next.example.com", &["p:r:i"])
        .alias("own.example.com", OWN)
        .bears(OWN, "p:us-central1:db".parse())
        .alias("write.example.com", "a.b.global.sql.goog")
        .alias("a.b.global.sql.goog", OWN);
    assert_eq!(resolved(&script, "db.example.com").await.unwrap(), "p:r:i");
    for domain in ["own.example.com", "write.example.com"] {
        assert_eq!(resolved(&script, domain).await.unwrap(), "p:us-central1:db");
    }
}

#[tokio::test]
async fn a_circle_and_a_long_chain_of_aliases_end() {
    let script = Script::new();
    script
        .alias("a.example.com", "b.example.com")
        .alias("b.example.com", "a.example.com");
    let error = resolved(&script, "a.example.com").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the aliases of \"a.example.com\" lead in a circle, back to \"a.example.com\""
    );
    for hop in 0..11 {
        script.alias(
            &format!("h{hop}.example.com"),
            &format!("h{}.example.com", hop + 1),
        );
    }
    script.text("h11.example.com", &["p:r:i"]);
    assert!(resolved(&script, "h1.example.com").await.is_ok());
    let error = resolved(&script, "h0.example.com").await.unwrap_err();
    assert!(
        error.to_string().contains("more than 10 aliases"),
        "{error}"
    );
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn silence_is_worth_another_try_and_emptiness_is_not() {
    let script = Script::new();
    let error = resolved(&script, "db.example.com").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::Dns, false)
    );
    assert_eq!(
        error.to_string(),
        "\"db.example.com\" has no TXT record that names an instance, and no CNAME record"
    );
    script.silent(true);
    let error = resolved(&script, "db.example.com").await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Dns, true));
}
