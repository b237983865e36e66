use std::time::Duration;

use super::*;

#[test]
fn a_counted_fault_ends_by_itself() {
    let faults = Faults::new();
    faults.inject(Fault::new(Endpoint::Token, Effect::status(503)).times(2));
    assert!(faults.take(Endpoint::Token, None, Some("a@b")).is_some());
    assert!(faults.take(Endpoint::Token, None, None).is_some());
    assert!(faults.take(Endpoint::Token, None, None).is_none());
}

#[test]
fn a_scoped_fault_leaves_others_alone() {
    let faults = Faults::new();
    let fault = Fault::new(Endpoint::ConnectSettings, Effect::Reset)
        .instance("p:r:i")
        .principal("a@b");
    let id = faults.inject(fault);
    assert!(
        faults
            .take(Endpoint::ConnectSettings, Some("p:r:other"), Some("a@b"))
            .is_none()
    );
    assert!(
        faults
            .take(Endpoint::ConnectSettings, Some("p:r:i"), Some("c@d"))
            .is_none()
    );
    assert!(
        faults
            .take(Endpoint::ConnectSettings, Some("p:r:i"), Some("a@b"))
            .is_some()
    );
    faults.clear(id);
    assert!(faults.active().is_empty());
}

#[test]
fn effects_are_refused_where_they_mean_nothing() {
    let faults = Faults::new();
    for fault in [
        Fault::new(Endpoint::Token, Effect::Refuse),
        Fault::new(Endpoint::Tcp, Effect::status(500)),
        Fault::new(Endpoint::Tcp, Effect::Refuse).times(1),
        Fault::new(Endpoint::Tcp, Effect::Hang).principal("a@b"),
        Fault::new(Endpoint::Tls, Effect::Malformed),
    ] {
        assert!(faults.add(fault.clone()).is_err(), "{fault:?}");
    }
}

#[test]
fn a_fault_reads_naturally_in_json() {
    let fault: Fault = serde_json::from_str(
        r#"{"endpoint": "connectSettings", "effect": {"kind": "status", "status": 429, "retry_after": "2"}, "times": 3}"#,
    )
    .unwrap();
    assert_eq!(fault.effect, Effect::status(429).retry_after("2"));
    let fault: Fault = serde_json::from_str(
        r#"{"endpoint": "tls", "effect": {"kind": "delay", "milliseconds": 250}}"#,
    )
    .unwrap();
    assert_eq!(fault.effect, Effect::delay(Duration::from_millis(250)));
}
