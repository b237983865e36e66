//! One fresh process, one measurement, one JSON line. Usage: `iamsql-bench MEASUREMENT SIDE`.

mod doors;
mod floor;
mod measurements;

use anyhow::{Context as _, Result};

use crate::doors::Door;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let measurement = arguments.next().context("which measurement?")?;
    let side = arguments.next().context("which side?")?;
    // One thread, as little machinery as possible: what is compared is the stream.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(async {
        let door = Door::open(&side).await?;
        measurements::measure(&measurement, &door).await
    })?;
    println!("{report}");
    Ok(())
}

/// A setting that the orchestrator hands to every client.
fn setting(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set"))
}
