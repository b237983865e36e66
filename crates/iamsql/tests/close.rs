//! How connectors end, share what they have, and outlive the runtimes that made them.

mod world;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use iamsql::{AuthMode, ConnectOptions, Connector, ErrorKind, Result};
use iamsql_emulator::{Effect, Endpoint, Fault};

use world::{calls, connector, emulator, instance};

fn iam() -> ConnectOptions {
    ConnectOptions::new().auth_mode(AuthMode::Iam)
}

#[tokio::test]
async fn a_closed_connector_refuses_everything_and_so_do_its_clones() {
    let instance = instance(emulator()).await;
    let connector = connector(emulator()).build().await.unwrap();
    let clone = connector.clone();
    connector.warm(&instance, &iam()).await.unwrap();
    connector.close();
    connector.close();
    assert!(clone.is_closed());
    for refused in [
        clone.warm(&instance, &iam()).await,
        clone.user(&instance).await.map(drop),
        clone.user_for(&instance, Some("u")).await.map(drop),
        clone.principal().await.map(drop),
        clone.database_version(&instance).await.map(drop),
    ] {
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Closed);
    }
}

#[tokio::test]
async fn whoever_is_waiting_when_it_closes_is_told_at_once() {
    let instance = instance(emulator()).await;
    let stuck = Fault::new(Endpoint::ConnectSettings, Effect::Hang).instance(&instance);
    emulator().faults().inject(stuck);
    let connector = connector(emulator()).build().await.unwrap();
    let waiting = {
        let (connector, instance) = (connector.clone(), instance.clone());
        tokio::spawn(async move { connector.warm(&instance, &iam()).await })
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    let started = Instant::now();
    connector.close();
    assert_eq!(
        waiting.await.unwrap().unwrap_err().kind(),
        ErrorKind::Closed
    );
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn closing_one_leaves_the_others_and_what_they_share() {
    let instance = instance(emulator()).await;
    let builder = connector(emulator());
    let (one, other) = (
        builder.clone().build().await.unwrap(),
        builder.clone().build().await.unwrap(),
    );
    one.warm(&instance, &iam()).await.unwrap();
    one.close();
    other.warm(&instance, &iam()).await.unwrap();
    other.close();
    // With nobody left the certificate stays for whoever comes before it ends.
    let later = builder.build().await.unwrap();
    later.warm(&instance, &iam()).await.unwrap();
    assert_eq!(
        calls(emulator(), Endpoint::GenerateEphemeralCert, &instance),
        1
    );
    assert_eq!(calls(emulator(), Endpoint::ConnectSettings, &instance), 1);
}

#[tokio::test]
async fn a_hundred_short_lived_connectors_ask_for_one_certificate() {
    let instance = instance(emulator()).await;
    let builder = connector(emulator());
    for _ in 0..100 {
        let connector = builder.clone().build().await.unwrap();
        connector.warm(&instance, &iam()).await.unwrap();
    }
    assert_eq!(
        calls(emulator(), Endpoint::GenerateEphemeralCert, &instance),
        1
    );
}

#[test]
fn a_connector_outlives_the_runtime_that_made_it_and_needs_none() {
    let build = async {
        let instance = instance(emulator()).await;
        let other = world::instance(emulator()).await;
        let connector = connector(emulator()).build().await?;
        connector.warm(&instance, &iam()).await?;
        Ok::<_, iamsql::Error>((connector, instance, other))
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (connector, instance, other) = runtime.block_on(build).unwrap();
    drop(runtime);
    let use_again = async |connector: &Connector| -> Result<()> {
        connector.warm(&instance, &iam()).await?;
        connector.warm(&other, &iam()).await?;
        connector.user(&other).await.map(drop)
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .build()
        .unwrap();
    runtime.block_on(use_again(&connector)).unwrap();
    drop(runtime);
    park_on(use_again(&connector)).unwrap();
}

/// Runs a future with no runtime at all.
fn park_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}
