//! What is measured with everything warm: connect, select and bulk.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::doors::{Door, Session};

pub(crate) async fn measure(measurement: &str, door: &Door) -> Result<Value> {
    door.connect().await?.close().await;
    match measurement {
        "connect" => connect(door).await,
        "select" => select(door).await,
        "bulk" => bulk(door).await,
        other => bail!("no such measurement: {other}"),
    }
}

async fn connect(door: &Door) -> Result<Value> {
    let mut latencies = Vec::with_capacity(CONNECTS);
    let before = cpu();
    for _ in 0..CONNECTS {
        let begin = Instant::now();
        let session = door.connect().await?;
        latencies.push(begin.elapsed());
        session.close().await;
    }
    let cpu = (cpu() - before).as_secs_f64() / CONNECTS as f64;
    Ok(json!({ "p50": median(latencies), "cpu": cpu }))
}

async fn select(door: &Door) -> Result<Value> {
    let mut latencies = Vec::with_capacity(SELECT_SESSIONS * SELECTS);
    let mut spent = Duration::ZERO;
    for _ in 0..SELECT_SESSIONS {
        let session = door.connect().await?;
        for _ in 0..SELECTS / 10 {
            one(&session).await?;
        }
        let before = cpu();
        for _ in 0..SELECTS {
            let begin = Instant::now();
            one(&session).await?;
            latencies.push(begin.elapsed());
        }
        spent += cpu() - before;
        session.close().await;
    }
    let cpu = spent.as_secs_f64() / latencies.len() as f64;
    Ok(json!({ "p50": median(latencies), "cpu": cpu }))
}

async fn one(session: &Session) -> Result<()> {
    let rows = session.client.simple_query("SELECT 1").await?;
    ensure!(!rows.is_empty(), "SELECT 1 answered nothing");
    Ok(())
}

async fn bulk(door: &Door) -> Result<Value> {
    let session = door.connect().await?;
    let query =
        format!("SELECT repeat('x', {BULK_ROW_BYTES}) FROM generate_series(1, {BULK_ROWS})");
    let mut received = 0;
    let (begin, before) = (Instant::now(), cpu());
    for _ in 0..BULK_QUERIES {
        for row in session.client.query(query.as_str(), &[]).await? {
            received += row.get::<_, &str>(0).len();
        }
    }
    let (cpu, wall) = (cpu() - before, begin.elapsed());
    ensure!(received == BULK_QUERIES * BULK_ROWS * BULK_ROW_BYTES);
    session.close().await;
    Ok(json!({ "cpu": cpu.as_secs_f64(), "wall": wall.as_secs_f64() }))
}

/// What this process has used so far, all threads.
fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

fn median(mut latencies: Vec<Duration>) -> f64 {
    latencies.sort_unstable();
    latencies[latencies.len() / 2].as_secs_f64()
}

const CONNECTS: usize = 30;
const SELECT_SESSIONS: usize = 5;
const SELECTS: usize = 3_000;
const BULK_ROWS: usize = 1_280;
const BULK_QUERIES: usize = 10;
const BULK_ROW_BYTES: usize = 8_192;
