//! An accepted client → a dialled instance, and the bytes between them until either side ends.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use iamsql::{
    ClientProtocol, ConnectOptions, Connection, Connector, DatabaseEngine, SessionEnd, Unserved,
};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::clients::Clients;
use crate::listen::Listener;
use crate::log::Explained;

/// Serves listeners until stopped; every client is a task of its own.
pub(crate) struct Relay {
    connector: Connector,
    dials: Arc<Semaphore>,
    clients: Clients,
    /// No new clients, and none that has not said anything yet.
    stopping: CancellationToken,
    /// No clients at all.
    cutting: CancellationToken,
}

/// One listener's side of it, shared by its clients.
struct Door {
    connector: Connector,
    instance: String,
    engine: watch::Receiver<Option<DatabaseEngine>>,
    dials: Arc<Semaphore>,
    stopping: CancellationToken,
}

impl Relay {
    pub(crate) fn new(connector: Connector) -> Self {
        Relay {
            connector,
            dials: Arc::new(Semaphore::new(MAX_DIALS)),
            clients: Clients::none(),
            stopping: CancellationToken::new(),
            cutting: CancellationToken::new(),
        }
    }

    /// Accepts on `listener` in the background, and fetches what the first connect will need.
    pub(crate) fn serve(&self, listener: Listener) {
        let (engine_found, engine) = watch::channel(listener.engine);
        let door = Arc::new(Door {
            connector: self.connector.clone(),
            instance: listener.instance.to_string(),
            engine,
            dials: self.dials.clone(),
            stopping: self.stopping.clone(),
        });
        tokio::spawn(prepare(door.clone(), engine_found));
        tokio::spawn(accept(
            door,
            listener.socket,
            self.clients.clone(),
            self.cutting.clone(),
        ));
    }

    /// Closes the listeners, and turns away clients that have not said anything yet.
    pub(crate) fn stop_accepting(&self) {
        self.stopping.cancel();
    }

    pub(crate) fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Ends the clients that are left.
    pub(crate) async fn cut(&self) {
        self.cutting.cancel();
        self.connector.close();
        self.clients.all_left().await;
    }
}

/// Fetches settings and certificate ahead of the first client, and tells which engine it will find.
async fn prepare(door: Arc<Door>, engine_found: watch::Sender<Option<DatabaseEngine>>) {
    let prepared = async {
        if engine_found.borrow().is_none() {
            let version = door.connector.database_version(&door.instance).await?;
            engine_found.send_replace(DatabaseEngine::from_database_version(&version));
        }
        door.connector
            .warm(&door.instance, &ConnectOptions::new())
            .await
    };
    tokio::select! {
        prepared = prepared => if let Err(error) = prepared {
            warn!("[{}] not reachable yet: {}", door.instance, Explained(&error));
        },
        () = door.stopping.cancelled() => {}
    }
}

async fn accept(
    door: Arc<Door>,
    socket: TcpListener,
    clients: Clients,
    cutting: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = door.stopping.cancelled() => return,
        };
        match accepted {
            Ok((client, from)) => {
                let serving = door.clone().serve(client, from);
                let (client, cutting) = (clients.enter(), cutting.clone());
                tokio::spawn(async move {
                    cutting.run_until_cancelled(serving).await;
                    drop(client);
                });
            }
            // Usually too many open files: what is open goes on, and some of it will close.
            Err(error) => {
                error!("[{}] Error accepting connection: {error}", door.instance);
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

impl Door {
    async fn serve(self: Arc<Self>, client: TcpStream, from: SocketAddr) {
        let instance = &self.instance;
        info!("[{instance}] Accepted connection from {from}");
        if let Err(error) = prepare_socket(&client) {
            debug!("[{instance}] {from}: {error}");
        }
        if let Err(reason) = self.first_byte(&client).await {
            info!("[{instance}] {reason}");
            return;
        }
        let relayed = match self.dial().await {
            Ok(connection) => connection.relay(client).await,
            Err(error) => Err(Box::new(Unserved::new(client, error))),
        };
        match relayed {
            Ok(SessionEnd::Client) => info!("[{instance}] client closed the connection"),
            Ok(SessionEnd::Instance) => info!("[{instance}] instance closed the connection"),
            Ok(SessionEnd::ClientLost(error)) => {
                error!("[{instance}] connection aborted - error on the client's side: {error}");
            }
            Ok(SessionEnd::InstanceLost(error)) => {
                error!("[{instance}] connection aborted - error on the instance's side: {error}");
            }
            Ok(other) => info!("[{instance}] connection ended: {other:?}"),
            Err(unserved) => self.explain(*unserved).await,
        }
    }

    /// Waits until it is clear that the client wants the database: nothing is dialled for a client that only connects.
    async fn first_byte(&self, client: &TcpStream) -> Result<(), &'static str> {
        let mut byte = [0];
        tokio::select! {
            peeked = timeout(FIRST_BYTE, client.peek(&mut byte)) => match peeked {
                Ok(Ok(1)) => Ok(()),
                Ok(_) => Err("client closed the connection"),
                Err(_) => Err("client said nothing for 10 seconds, closing the connection"),
            },
            () = self.server_speaks_first() => Ok(()),
            () = self.stopping.cancelled() => Err("shutting down, closing an unused connection"),
        }
    }

    /// Completes only if the instance turns out to run an engine whose clients wait for its greeting.
    async fn server_speaks_first(&self) {
        let mut engine = self.engine.clone();
        let found = engine
            .wait_for(|engine| *engine == Some(DatabaseEngine::MySql))
            .await
            .is_ok();
        if !found {
            std::future::pending().await
        }
    }

    async fn dial(&self) -> iamsql::Result<Connection> {
        let _permit = self.dials.acquire().await;
        let options = ConnectOptions::new().client_protocol(ClientProtocol::Tcp);
        self.connector.connection(&self.instance, &options).await
    }

    /// Says why there is no session: here, and to the client, who is assumed to speak PostgreSQL until the instance is known.
    async fn explain(&self, unserved: Unserved<TcpStream>) {
        let explained = Explained(unserved.error());
        error!(
            "[{}] failed to connect to instance: {explained}",
            self.instance
        );
        let engine = *self.engine.borrow();
        unserved
            .tell(engine.unwrap_or(DatabaseEngine::Postgres))
            .await;
    }
}

fn prepare_socket(client: &TcpStream) -> io::Result<()> {
    client.set_nodelay(true)?;
    SockRef::from(client).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))
}

/// Dials at once; further clients wait for their turn.
const MAX_DIALS: usize = 128;
/// How long a client may take to say something.
const FIRST_BYTE: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const KEEPALIVE: Duration = Duration::from_secs(30);
