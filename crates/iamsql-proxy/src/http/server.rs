//! A small HTTP/1.1 server that nobody can hold up: few connections, short headers, little time.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

/// Serves `routes` until `ended`, which closes open connections, too.
pub(crate) async fn serve(listener: TcpListener, routes: Router, ended: CancellationToken) {
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let accepting = async {
        loop {
            let Ok(permit) = room.clone().acquire_owned().await else {
                return;
            };
            let Ok((stream, _)) = listener.accept().await else {
                // Usually too many open files.
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            let service = TowerToHyperService::new(routes.clone());
            let ended = ended.clone();
            tokio::spawn(async move {
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEADERS)
                    .max_buf_size(MAX_HEADERS)
                    .keep_alive(false)
                    .serve_connection(TokioIo::new(stream), service);
                // One request and its answer.
                if let Some(Ok(Err(error))) =
                    ended.run_until_cancelled(timeout(ANSWER, connection)).await
                {
                    debug!("HTTP: {error}");
                }
                drop(permit);
            });
        }
    };
    ended.run_until_cancelled(accepting).await;
}

const MAX_CONNECTIONS: usize = 64;
const MAX_HEADERS: usize = 8 * 1024;
const HEADERS: Duration = Duration::from_secs(5);
/// A probe that dials every instance may take as long as a connect.
const ANSWER: Duration = Duration::from_secs(60);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
