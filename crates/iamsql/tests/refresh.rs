//! Certificates in time: fetched once for all, renewed before their end, and served as long as they are valid.

mod world;

use std::time::{Duration, Instant};

use iamsql::{AuthMode, ConnectOptions, ErrorKind, RefreshStrategy};
use iamsql_emulator::{Effect, Emulator, Endpoint, Fault};

use world::{added, calls, connector, emulator, instance};

fn iam() -> ConnectOptions {
    ConnectOptions::new().auth_mode(AuthMode::Iam)
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test]
async fn fifty_connects_at_once_cost_one_fetch() {
    let instance = instance(emulator()).await;
    let connector = connector(emulator()).build().await.unwrap();
    let connects = (0..50).map(|_| {
        let (connector, instance) = (connector.clone(), instance.clone());
        tokio::spawn(async move { connector.warm(&instance, &iam()).await })
    });
    for connect in connects.collect::<Vec<_>>() {
        connect.await.unwrap().unwrap();
    }
    assert_eq!(calls(emulator(), Endpoint::ConnectSettings, &instance), 1);
    assert_eq!(
        calls(emulator(), Endpoint::GenerateEphemeralCert, &instance),
        1
    );
}

#[tokio::test]
async fn both_ways_to_log_in_share_the_settings() {
    let instance = instance(emulator()).await;
    let connector = connector(emulator()).build().await.unwrap();
    connector.user(&instance).await.unwrap();
    connector.warm(&instance, &iam()).await.unwrap();
    connector
        .warm(&instance, &ConnectOptions::new())
        .await
        .unwrap();
    assert_eq!(calls(emulator(), Endpoint::ConnectSettings, &instance), 1);
    assert_eq!(
        calls(emulator(), Endpoint::GenerateEphemeralCert, &instance),
        2
    );
}

#[tokio::test]
async fn a_warm_connect_asks_nobody() {
    let emulator = world::own_emulator().await;
    let instance = instance(&emulator).await;
    let connector = connector(&emulator).build().await.unwrap();
    connector.warm(&instance, &iam()).await.unwrap();
    let before = emulator.calls().all().len();
    for _ in 0..1000 {
        connector.warm(&instance, &iam()).await.unwrap();
    }
    assert_eq!(emulator.calls().all().len(), before);
}

#[tokio::test]
async fn an_ended_certificate_is_replaced_at_the_next_connect_without_asking_for_settings_again() {
    let mut rows = Vec::new();
    for strategy in [
        RefreshStrategy::Auto,
        RefreshStrategy::Background,
        RefreshStrategy::Lazy,
    ] {
        let brief = Duration::from_secs(4);
        let instance = added(emulator(), |spec| spec.certificate_lifetime(brief)).await;
        let connector = connector(emulator())
            .refresh_strategy(strategy)
            .build()
            .await
            .unwrap();
        connector.warm(&instance, &iam()).await.unwrap();
        rows.push((strategy, instance, connector));
    }
    pass(6).await;
    for (strategy, instance, connector) in rows {
        let before = calls(emulator(), Endpoint::GenerateEphemeralCert, &instance);
        connector.warm(&instance, &iam()).await.unwrap();
        let after = calls(emulator(), Endpoint::GenerateEphemeralCert, &instance);
        assert_eq!((before, after), (1, 2), "{strategy:?}");
        assert_eq!(
            calls(emulator(), Endpoint::ConnectSettings, &instance),
            1,
            "{strategy:?}"
        );
    }
}

#[tokio::test]
async fn a_certificate_ends_with_the_login_token_inside() {
    let emulator = Emulator::builder()
        .token_lifetime(Duration::from_secs(3))
        .start()
        .await
        .unwrap();
    let instance = instance(&emulator).await;
    let connector = connector(&emulator).build().await.unwrap();
    connector.warm(&instance, &iam()).await.unwrap();
    connector
        .warm(&instance, &ConnectOptions::new())
        .await
        .unwrap();
    assert_eq!(
        calls(&emulator, Endpoint::GenerateEphemeralCert, &instance),
        2
    );
    pass(4).await;
    connector.warm(&instance, &iam()).await.unwrap();
    assert_eq!(
        calls(&emulator, Endpoint::GenerateEphemeralCert, &instance),
        3
    );
    connector
        .warm(&instance, &ConnectOptions::new())
        .await
        .unwrap();
    assert_eq!(
        calls(&emulator, Endpoint::GenerateEphemeralCert, &instance),
        3,
        "no token inside"
    );
}

#[tokio::test]
async fn a_valid_certificate_is_served_while_google_is_down_and_settings_are_asked_for_again_after()
{
    let instance = added(emulator(), |spec| {
        spec.certificate_lifetime(Duration::from_secs(10))
    })
    .await;
    let connector = connector(emulator()).build().await.unwrap();
    connector.warm(&instance, &iam()).await.unwrap();
    let down = emulator().faults().inject(
        Fault::new(Endpoint::GenerateEphemeralCert, Effect::status(503)).instance(&instance),
    );
    for _ in 0..3 {
        pass(1).await;
        connector.warm(&instance, &iam()).await.unwrap();
    }
    pass(9).await;
    let error = connector.warm(&instance, &iam()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("HTTP 503"), "{error}");
    emulator().faults().clear(down);
    let recovered = Instant::now();
    while connector.warm(&instance, &iam()).await.is_err() {
        assert!(recovered.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(calls(emulator(), Endpoint::ConnectSettings, &instance), 2);
}

#[tokio::test]
async fn a_wait_that_is_given_up_does_not_stop_the_fetch() {
    let instance = instance(emulator()).await;
    let slow = Effect::Delay {
        milliseconds: Duration::from_millis(800),
    };
    emulator().faults().inject(
        Fault::new(Endpoint::ConnectSettings, slow)
            .instance(&instance)
            .times(1),
    );
    let connector = connector(emulator()).build().await.unwrap();
    let hasty = iam().timeout(Duration::from_millis(100));
    let error = connector.warm(&instance, &hasty).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    connector.warm(&instance, &iam()).await.unwrap();
    assert_eq!(calls(emulator(), Endpoint::ConnectSettings, &instance), 1);
}
