//! Every scenario through every door, then a search of all that the clients wrote for every secret issued to them.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result};
use iamsql_e2e::door::Checkout;
use iamsql_e2e::run::run;
use iamsql_e2e::secrets;
use iamsql_e2e::world::World;

fn main() -> ExitCode {
    let filter = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'))
        .unwrap_or_default();
    if std::env::args().any(|argument| argument == "--list") {
        println!("scenarios: test");
        return ExitCode::SUCCESS;
    }
    match scenarios(&filter) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(reason) => {
            eprintln!("the scenarios could not run: {reason:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn scenarios(filter: &str) -> Result<bool> {
    let checkout = Arc::new(Checkout::find()?);
    let private = tempfile::tempdir()?;
    let issued = private.path().join("issued");
    let world = Arc::new(World::start(&issued).await?);
    let mut report = run(world.clone(), checkout, filter).await?;
    let world = Arc::into_inner(world).context("every row has ended")?;
    world.emulator.shutdown().await;
    let shown = secrets::found(&report.heard, &issued)?;
    report.failed.extend(
        shown
            .into_iter()
            .map(|what| format!("a client wrote a secret: {what}")),
    );
    for reason in &report.failed {
        println!("failed: {reason}");
    }
    println!(
        "scenarios: {} passed, {} failed",
        report.passed,
        report.failed.len()
    );
    Ok(report.failed.is_empty())
}
