//! Runs the table, several rows at once, and reports each.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::door::{Checkout, Door};
use crate::scenario::{Scenario, all};
use crate::world::World;

/// What came of a run.
pub struct Report {
    /// How many rows did as they should.
    pub passed: usize,
    /// The rows that did not, with the reason.
    pub failed: Vec<String>,
    /// Everything that the clients wrote.
    pub heard: String,
}

/// Runs each scenario through each door that can see it. Rows whose name or door lacks `filter` are left out.
pub async fn run(world: Arc<World>, checkout: Arc<Checkout>, filter: &str) -> Result<Report> {
    let mut rows = JoinSet::new();
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    for scenario in all() {
        let instance = format!("your-project-id:us-central1:{}", scenario.name);
        if let Some(spec) = (scenario.instance)(&instance) {
            world.emulator.add_instance(spec).await?;
        }
        for fault in (scenario.faults)(&instance) {
            world.emulator.faults().inject(fault);
        }
        let (scenario, instance) = (Arc::new(scenario), Arc::new(instance));
        for &door in Door::ALL.iter().filter(|door| (scenario.doors)(**door)) {
            let label = format!("{} through {}", scenario.name, door.name());
            if !label.contains(filter) {
                continue;
            }
            let (world, checkout, at_once) = (world.clone(), checkout.clone(), at_once.clone());
            let (scenario, instance) = (scenario.clone(), instance.clone());
            rows.spawn(async move {
                let _permit = at_once
                    .acquire()
                    .await
                    .expect("the semaphore is never closed");
                let begun = Instant::now();
                let mut heard = String::new();
                let verdict = row(&world, &checkout, &scenario, &instance, door, &mut heard).await;
                match &verdict {
                    Ok(()) => println!("ok      {label} ({} ms)", begun.elapsed().as_millis()),
                    Err(reason) => println!("FAILED  {label}: {reason:#}"),
                }
                (label, verdict, heard)
            });
        }
    }
    let mut report = Report {
        passed: 0,
        failed: Vec::new(),
        heard: String::new(),
    };
    while let Some(row) = rows.join_next().await {
        let (label, verdict, heard) = row?;
        report.heard.push_str(&heard);
        match verdict {
            Ok(()) => report.passed += 1,
            Err(reason) => report.failed.push(format!("{label}: {reason:#}")),
        }
    }
    Ok(report)
}

async fn row(
    world: &World,
    checkout: &Checkout,
    scenario: &Scenario,
    instance: &str,
    door: Door,
    heard: &mut String,
) -> Result<()> {
    let mut request = (scenario.request)(world, instance);
    for (name, value) in world.environment() {
        request.environment.entry(name).or_insert(value);
    }
    let outcome = door.perform(checkout, &request, heard).await?;
    match (scenario.expected)(door).contradicts(&outcome) {
        None => Ok(()),
        Some(reason) => anyhow::bail!(reason),
    }
}

/// Most rows wait; a few at once keep two cores busy and leave time for each deadline.
const AT_ONCE: usize = 4;
