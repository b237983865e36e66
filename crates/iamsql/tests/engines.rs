//! How many engines a process keeps. A program of its own: what it counts is shared by the whole process.

mod world;

use std::time::{Duration, Instant};

use iamsql::{AuthMode, ConnectOptions};
use iamsql_emulator::Endpoint;

use world::{calls, connector, emulator, instance};

#[tokio::test]
async fn at_most_eight_unused_engines_are_kept_and_the_others_end_their_threads() {
    let instance = instance(emulator()).await;
    let builders: Vec<_> = (0..9).map(|_| connector(emulator())).collect();
    let warm = async |index: usize| {
        let connector = builders[index].clone().build().await.unwrap();
        let options = ConnectOptions::new().auth_mode(AuthMode::Iam);
        connector.warm(&instance, &options).await.unwrap();
    };
    for index in 0..9 {
        warm(index).await;
    }
    let count = || calls(emulator(), Endpoint::GenerateEphemeralCert, &instance);
    assert_eq!(count(), 9);
    warm(8).await;
    assert_eq!(count(), 9, "the youngest was kept");
    warm(0).await;
    assert_eq!(count(), 10, "the oldest was not");

    for _ in 0..20 {
        connector(emulator()).build().await.unwrap();
    }
    let started = Instant::now();
    while engine_threads() > 8 {
        assert!(
            started.elapsed() < Duration::from_secs(20),
            "{} threads",
            engine_threads()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn engine_threads() -> usize {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else {
        // Only Linux lists the names of threads.
        return 0;
    };
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        .filter(|name| name.trim() == "iamsql-engine")
        .count()
}
