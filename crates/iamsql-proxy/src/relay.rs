//! An accepted client → a dialled instance, and the bytes between them until either side ends.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use iamsql::{
    AuthMode, ClientProtocol, ConnectOptions, Connection, Connector, DatabaseEngine, Error,
    ErrorKind, Product, SessionEnd, Unserved,
};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::access::{Admission, admission};
use crate::client::{self, Client};
use crate::clients::{Clients, Full};
use crate::config::Config;
use crate::listen::{Listener, Socket, label};
use crate::log::Explained;

/// Serves listeners until stopped; every client is a task of its own.
pub(crate) struct Relay {
    connector: Connector,
    dials: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    clients: Clients,
    doors: Mutex<Vec<Arc<Door>>>,
    serving: AtomicBool,
    /// No new clients, and none that has not said anything yet.
    stopping: CancellationToken,
    /// No clients at all.
    cutting: CancellationToken,
}

/// One listener's side of it, shared by its clients.
pub(crate) struct Door {
    connector: Connector,
    product: Product,
    /// As log lines name it.
    label: String,
    /// As the engine reads it.
    instance: String,
    options: ConnectOptions,
    admission: Admission,
    /// Once it is known.
    engine: OnceLock<DatabaseEngine>,
    dials: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    clients: Clients,
    stopping: CancellationToken,
    cutting: CancellationToken,
}

/// A bound listener that nobody is accepted from yet.
pub(crate) struct Waiting {
    door: Arc<Door>,
    socket: Socket,
}

impl Relay {
    pub(crate) fn new(connector: Connector, max_connections: Option<u64>) -> Self {
        Relay {
            connector,
            dials: Arc::new(Semaphore::new(MAX_DIALS)),
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS)),
            clients: Clients::at_most(max_connections),
            doors: Mutex::default(),
            serving: AtomicBool::new(false),
            stopping: CancellationToken::new(),
            cutting: CancellationToken::new(),
        }
    }

    /// Takes a listener in, and fetches what its first connect will need; nobody is accepted yet.
    pub(crate) fn add(&self, config: &Config, listener: Listener) -> Waiting {
        let (admission, open) = admission(config, &listener.instance, &listener.socket);
        let label = label(&listener.instance);
        if open {
            warn!(
                "[{label}] whoever reaches {} logs in as this proxy's account; --allow-from locks it",
                listener.socket.place()
            );
        }
        let door = Arc::new(Door {
            connector: self.connector.clone(),
            product: listener.instance.kind(),
            label,
            instance: listener.instance.instance.to_string(),
            options: options(config, &listener),
            admission,
            engine: listener.engine.map_or_else(OnceLock::new, OnceLock::from),
            dials: self.dials.clone(),
            refusals: self.refusals.clone(),
            clients: self.clients.clone(),
            stopping: self.stopping.clone(),
            cutting: self.cutting.clone(),
        });
        if !config.google.lazy_refresh {
            tokio::spawn(prepare(door.clone()));
        }
        self.doors().push(door.clone());
        Waiting {
            door,
            socket: listener.socket,
        }
    }

    /// Accepts on all of them in the background.
    pub(crate) fn serve(&self, waiting: Vec<Waiting>) {
        for Waiting { door, socket } in waiting {
            tokio::spawn(accept(door, socket));
        }
        self.serving.store(true, Ordering::Release);
    }

    pub(crate) fn is_serving(&self) -> bool {
        self.serving.load(Ordering::Acquire)
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// How many instances are served.
    pub(crate) fn instances(&self) -> usize {
        self.doors().len()
    }

    /// Connects to every instance once, all at the same time; a line for each that fails.
    pub(crate) async fn try_every_instance(&self) -> Vec<String> {
        let doors = self.doors().clone();
        let tried: Vec<_> = doors
            .into_iter()
            .map(|door| {
                tokio::spawn(async move {
                    door.dial()
                        .await
                        .map(drop)
                        .map_err(|error| Explained(&error).to_string())
                })
            })
            .collect();
        let mut failed = Vec::new();
        for dialled in tried {
            match dialled.await {
                Ok(Ok(())) => {}
                Ok(Err(why)) => failed.push(why),
                Err(error) => failed.push(error.to_string()),
            }
        }
        failed
    }

    fn doors(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Door>>> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
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

/// How one instance is connected to.
pub(crate) fn options(config: &Config, listener: &Listener) -> ConnectOptions {
    let instance = &listener.instance;
    let mut options = ConnectOptions::new()
        .auth_mode(match config.logs_in(instance) {
            true => AuthMode::Iam,
            false => AuthMode::Password,
        })
        .client_protocol(match listener.socket {
            Socket::Tcp(_) => ClientProtocol::Tcp,
            Socket::Unix(_) => ClientProtocol::Uds,
        });
    options.ip_type = config.ip_type(instance);
    options
}

/// Fetches settings and certificate ahead of the first client.
async fn prepare(door: Arc<Door>) {
    let prepared = async {
        door.find_engine().await?;
        door.connector.warm(&door.instance, &door.options).await
    };
    if let Some(Err(error)) = door.stopping.run_until_cancelled(prepared).await {
        warn!("[{}] not reachable yet: {}", door.label, Explained(&error));
    }
}

async fn accept(door: Arc<Door>, socket: Socket) {
    let stopping = door.stopping.clone();
    let accepting = async {
        loop {
            let accepted = match &socket {
                Socket::Tcp(socket) => socket
                    .accept()
                    .await
                    .map(|(client, from)| door.clone().admit(client, from)),
                Socket::Unix(listener) => listener
                    .socket()
                    .accept()
                    .await
                    .map(|(client, _)| door.clone().enter(client, None)),
            };
            // Usually too many open files: what is open goes on, and some of it will close.
            if let Err(error) = accepted {
                error!("[{}] Error accepting connection: {error}", door.label);
                sleep(ACCEPT_PAUSE).await;
            }
        }
    };
    stopping.run_until_cancelled(accepting).await;
}

impl Door {
    fn admit(self: Arc<Self>, client: TcpStream, from: SocketAddr) {
        if let Err(error) = client::prepare(&client) {
            debug!("[{}] {from}: {error}", self.label);
        }
        let admitted = client
            .local_addr()
            .is_ok_and(|local| self.admission.admits(from.ip(), local.ip()));
        match admitted {
            true => self.enter(client, Some(from)),
            false => drop(tokio::spawn(self.turn_away(client, from))),
        }
    }

    fn enter<C: Client>(self: Arc<Self>, client: C, from: Option<SocketAddr>) {
        let accepted = match self.product {
            Product::AlloyDb => "accepted",
            _ => "Accepted",
        };
        info!(
            "[{}] {accepted} connection from {}",
            self.label,
            client::shown(from)
        );
        let counted = match self.clients.enter() {
            Ok(counted) => counted,
            Err(Full(most)) => {
                info!("max connections ({most}) exceeded, refusing new connection");
                return;
            }
        };
        tokio::spawn(async move {
            let cutting = self.cutting.clone();
            cutting.run_until_cancelled(self.serve(client)).await;
            drop(counted);
        });
    }

    async fn serve<C: Client>(self: Arc<Self>, client: C) {
        let label = &self.label;
        if let Err(reason) = self.first_byte(&client).await {
            info!("[{label}] {reason}");
            return;
        }
        let relayed = match self.dial().await {
            Ok(connection) => connection.relay(client).await,
            Err(error) => Err(Box::new(Unserved::new(client, error))),
        };
        match relayed {
            Ok(SessionEnd::Client) => info!("[{label}] client closed the connection"),
            Ok(SessionEnd::Instance) => info!("[{label}] instance closed the connection"),
            Ok(SessionEnd::ClientLost(error)) => {
                error!("[{label}] connection aborted - error on the client's side: {error}");
            }
            Ok(SessionEnd::InstanceLost(error)) => {
                error!("[{label}] connection aborted - error on the instance's side: {error}");
            }
            Ok(other) => info!("[{label}] connection ended: {other:?}"),
            Err(unserved) => self.explain(*unserved).await,
        }
    }

    /// Waits until it is clear that the client wants the database: nothing is dialled for a client that only connects.
    async fn first_byte(&self, client: &impl Client) -> Result<(), &'static str> {
        tokio::select! {
            spoke = timeout(FIRST_BYTE, client.speaks()) => match spoke {
                Ok(Ok(true)) => Ok(()),
                Ok(_) => Err("client closed the connection"),
                Err(_) => Err("client said nothing for 10 seconds, closing the connection"),
            },
            () = self.server_speaks_first() => Ok(()),
            () = self.stopping.cancelled() => Err("shutting down, closing an unused connection"),
        }
    }

    /// Completes only if the instance turns out to run an engine whose clients wait for its greeting.
    async fn server_speaks_first(&self) {
        // Who cannot tell waits for the client: dialling will say what is wrong.
        if !matches!(self.find_engine().await, Ok(Some(DatabaseEngine::MySql))) {
            std::future::pending().await
        }
    }

    /// What the instance runs; asked for until it is known, which the engine keeps cheap.
    async fn find_engine(&self) -> iamsql::Result<Option<DatabaseEngine>> {
        if let Some(engine) = self.engine.get() {
            return Ok(Some(*engine));
        }
        let version = self.connector.database_version(&self.instance).await?;
        let found = DatabaseEngine::from_database_version(&version);
        Ok(found.map(|engine| *self.engine.get_or_init(|| engine)))
    }

    /// PostgreSQL, until it is known better: its clients speak first.
    fn assumed_engine(&self) -> DatabaseEngine {
        self.engine
            .get()
            .copied()
            .unwrap_or(DatabaseEngine::Postgres)
    }

    async fn dial(&self) -> iamsql::Result<Connection> {
        let _permit = self.dials.acquire().await;
        self.connector
            .connection(&self.instance, &self.options)
            .await
    }

    /// Says why there is no session: here, and to the client in its protocol.
    async fn explain<C: Client>(&self, unserved: Unserved<C>) {
        let explained = Explained(unserved.error());
        error!(
            "[{}] failed to connect to instance: {explained}",
            self.label
        );
        unserved.tell(self.assumed_engine()).await;
    }

    /// A peer that may not come in is told why, in its protocol: it is somebody's own machine, most likely.
    async fn turn_away(self: Arc<Self>, client: TcpStream, from: SocketAddr) {
        error!(
            "[{}] refused a connection from {from}, which is not this host; see --allow-from",
            self.label
        );
        // A place of its own: whoever may not come in must not keep those waiting who may.
        let Ok(told) = self.refusals.clone().try_acquire_owned() else {
            return;
        };
        let refusal = Error::new(
            ErrorKind::Permission,
            format!("the proxy does not serve {}", from.ip()),
        )
        .with_advice("start it with --allow-from for your network");
        let unserved = Unserved::new(client, refusal);
        unserved.tell(self.assumed_engine()).await;
        drop(told);
    }
}

/// Dials at once; further clients wait for their turn.
const MAX_DIALS: usize = 128;
/// Clients that are told at once why they are not served; further ones are only hung up on.
const MAX_REFUSALS: usize = 16;
/// How long a client may take to say something.
const FIRST_BYTE: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
