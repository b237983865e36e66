//! `iamsql-emulator`: a local Google for a shell, a test suite or a laptop.

#![forbid(unsafe_code)]

mod background;
mod instances;
mod lifetime;
mod options;
mod ready;
mod stop;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser as _;
use iamsql_emulator::Emulator;

use self::lifetime::Watch;
use self::options::Options;

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("iamsql-emulator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> anyhow::Result<()> {
    if options.stop {
        return stop::run();
    }
    if options.env {
        return background::start();
    }
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::INFO)
        .init();
    let watch = Watch::new(options)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start")?;
    runtime.block_on(serve(options, watch))
}

/// Starts, says so, and waits for the end, which may also come while it starts.
async fn serve(options: &Options, watch: Watch) -> anyhow::Result<()> {
    let mut ends = watch.ends()?;
    let users = options.users();
    let start = async { options.builder(&users).await?.start().await };
    let emulator = tokio::select! {
        started = start => started?,
        () = ends.wait() => return Ok(()),
    };
    let served = announce(options, &emulator, &users).await;
    if served.is_ok() {
        ends.became_ready();
        tokio::select! {
            () = ends.wait() => {}
            () = emulator.shutdown_asked() => {}
        }
    }
    tokio::select! {
        () = emulator.shutdown() => {}
        // Asked a second time: do not wait for databases.
        () = ends.again() => {}
    }
    options.remove_files();
    served
}

async fn announce(
    options: &Options,
    emulator: &Emulator,
    users: &[(String, String)],
) -> anyhow::Result<()> {
    options.write_files(emulator).await?;
    ready::print_line(emulator, users)?;
    if options.background {
        background::let_go(options.log.as_deref())?;
    }
    Ok(())
}
