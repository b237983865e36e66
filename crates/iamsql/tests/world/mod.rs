//! One emulator per test program; each test adds an instance of its own.

// Each test program uses its own part of this.
#![allow(dead_code)]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use iamsql::{Connector, ConnectorBuilder, Environment};
use iamsql_emulator::{Emulator, Endpoint, InstanceSpec};

/// The emulator that the tests of this program share.
pub(crate) fn emulator() -> &'static Emulator {
    static EMULATOR: OnceLock<Emulator> = OnceLock::new();
    EMULATOR.get_or_init(|| {
        std::thread::spawn(|| Emulator::builder().start_blocking())
            .join()
            .unwrap()
            .unwrap()
    })
}

/// An emulator that nobody else uses: for faults that concern no instance.
pub(crate) async fn own_emulator() -> Emulator {
    Emulator::builder().start().await.unwrap()
}

/// A new echo instance; its name.
pub(crate) async fn instance(emulator: &Emulator) -> String {
    added(emulator, |spec| spec).await
}

/// A new echo instance, changed before it starts; its name.
pub(crate) async fn added(
    emulator: &Emulator,
    change: impl FnOnce(InstanceSpec) -> InstanceSpec,
) -> String {
    let name = unknown_instance();
    emulator
        .add_instance(change(InstanceSpec::echo(&name)))
        .await
        .unwrap();
    name
}

/// A name that no instance has.
pub(crate) fn unknown_instance() -> String {
    static LAST: AtomicU32 = AtomicU32::new(0);
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    format!("your-project-id:us-central1:test-{number}")
}

/// A new AlloyDB echo instance in a cluster of its own, changed before it starts; its URI.
pub(crate) async fn added_alloydb(
    emulator: &Emulator,
    change: impl FnOnce(InstanceSpec) -> InstanceSpec,
) -> String {
    let name = unknown_alloydb();
    emulator
        .add_instance(change(InstanceSpec::echo(&name)))
        .await
        .unwrap();
    name
}

/// A URI that no instance has.
pub(crate) fn unknown_alloydb() -> String {
    let name = unknown_instance();
    let number = name.rsplit('-').next().unwrap();
    format!(
        "projects/your-project-id/locations/us-central1/clusters/cluster-{number}/instances/primary"
    )
}

/// How many certificates the cluster of this AlloyDB instance has issued.
pub(crate) fn certificates(emulator: &Emulator, instance: &str) -> usize {
    let (cluster, _) = instance.split_once("/instances/").unwrap();
    let calls = emulator.calls().to(Endpoint::GenerateClientCertificate);
    calls
        .iter()
        .filter(|call| call.path.contains(&format!("{cluster}:")))
        .count()
}

/// A connector of the emulator's own identity, which shares its engine with no other test.
pub(crate) fn connector(emulator: &Emulator) -> ConnectorBuilder {
    Connector::builder()
        .environment(environment(emulator))
        .user_agent(unknown_instance())
}

/// `IAMSQL_EMULATOR_HOST` alone.
pub(crate) fn environment(emulator: &Emulator) -> Environment {
    Environment::empty().with("IAMSQL_EMULATOR_HOST", emulator.host())
}

/// How many calls there were about this instance.
pub(crate) fn calls(emulator: &Emulator, endpoint: Endpoint, instance: &str) -> usize {
    emulator.calls().count(endpoint, instance)
}
