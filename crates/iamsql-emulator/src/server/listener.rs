//! Accepts connections on one address, and opens, closes or stops answering the port as the faults say.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::{Instance, connection};
use crate::faults::Effect;
use crate::world::World;

/// Up to which version of the faults a listener has followed them.
#[derive(Clone, Default)]
pub(crate) struct Progress(Arc<AtomicU64>);

impl Progress {
    pub(crate) fn version(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Waits until the listener has followed up to `version`.
    pub(crate) async fn until(&self, version: u64) {
        while self.version() < version {
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
    }

    fn reached(&self, version: u64) {
        self.0.store(version, Ordering::Release);
    }
}

/// What the port does.
enum Port {
    Open(TcpListener),
    Closed,
    /// A listener whose queue is full, and the connections that fill it.
    BlackHole {
        _listener: Socket,
        _fillers: Vec<Socket>,
    },
}

/// A listener on `address`, ready to be polled.
pub(crate) fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = listening_socket(address, BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Serves `address` until the instance stops.
pub(crate) async fn run(
    world: Arc<World>,
    instance: Arc<Instance>,
    address: SocketAddr,
    listener: TcpListener,
    progress: Progress,
) {
    let mut changes = world.faults.changes();
    let mut port = Port::Open(listener);
    loop {
        let version = *changes.borrow_and_update();
        port = follow(world.faults.closing(&instance.text), port, address);
        progress.reached(version);
        tokio::select! {
            biased;
            () = instance.stop.cancelled() => break,
            changed = changes.changed() => if changed.is_err() { break },
            (stream, client) = accept(&port) => {
                let session = world.sessions.opened(world.next_session(), &instance.text, address, client);
                tokio::spawn(connection::serve(world.clone(), instance.clone(), stream, session));
            }
        }
    }
    progress.reached(u64::MAX);
    drop(port);
    world.loopback.release(address.ip());
}

async fn accept(port: &Port) -> (TcpStream, SocketAddr) {
    let Port::Open(listener) = port else {
        return std::future::pending().await;
    };
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // Out of descriptors, or the client left already: neither ends the listener.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// The port as it should be now; unchanged if it is so already.
fn follow(wanted: Option<Effect>, port: Port, address: SocketAddr) -> Port {
    match (wanted, port) {
        (None, port @ Port::Open(_)) => port,
        (Some(Effect::Refuse), port @ Port::Closed) => port,
        (Some(Effect::BlackHole), port @ Port::BlackHole { .. }) => port,
        (wanted, port) => {
            drop(port);
            let opened = match wanted {
                Some(Effect::Refuse) => Ok(Port::Closed),
                Some(Effect::BlackHole) => black_hole(address),
                _ => bind(address).map(Port::Open),
            };
            opened.unwrap_or_else(|error| {
                tracing::error!(%address, %error, "cannot listen");
                Port::Closed
            })
        }
    }
}

/// A listener that never answers: once its queue is full, Linux drops further requests to connect.
fn black_hole(address: SocketAddr) -> std::io::Result<Port> {
    let listener = listening_socket(address, 0)?;
    let mut fillers = Vec::new();
    for _ in 0..FILLERS {
        let filler = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        filler.set_nonblocking(true)?;
        // In progress is what is wanted: it fills the queue, or waits for ever because the queue is full.
        let _ = filler.connect(&address.into());
        fillers.push(filler);
    }
    Ok(Port::BlackHole {
        _listener: listener,
        _fillers: fillers,
    })
}

fn listening_socket(address: SocketAddr, backlog: i32) -> std::io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    Ok(socket)
}

const BACKLOG: i32 = 1024;
const FILLERS: usize = 4;
