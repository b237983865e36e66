//! The server-side proxy of an instance: port 3307 (AlloyDB: 5433) of its own loopback addresses, TLS 1.3, client certificates checked.

mod ahead;
pub(crate) mod client_protocol;
mod connection;
mod counted;
mod declarations;
pub(crate) mod echo;
mod fatal;
mod listener;
mod tls;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::Context;
use rustls::server::ServerSessionMemoryCache;
use tokio_util::sync::CancellationToken;

use crate::authority::{Authority, ServerNames, ServerTrust, issue_server};
use crate::dns::key;
use crate::instance::{AddressType, CaMode, InstanceName, InstanceSpec};
use crate::issued::random_bytes;
use crate::world::{World, make_authority};

pub(crate) use ahead::Ahead;
pub(crate) use counted::Counted;
pub(crate) use declarations::{Declarations, Taken};
pub(crate) use listener::Progress;

/// One running instance.
pub(crate) struct Instance {
    pub(crate) name: InstanceName,
    /// `project:region:instance`.
    pub(crate) text: String,
    /// What the AlloyDB API calls `instanceUid`; it also stands in the server certificate.
    pub(crate) uid: String,
    /// Listening addresses by type.
    pub(crate) addresses: BTreeMap<AddressType, SocketAddr>,
    /// Ends the listeners, and every session.
    pub(crate) stop: CancellationToken,
    pub(crate) progress: Vec<Progress>,
    tickets: Arc<ServerSessionMemoryCache>,
    state: RwLock<State>,
}

struct State {
    spec: InstanceSpec,
    /// Ends the sessions that are open, not the listeners.
    sessions: CancellationToken,
    server: Arc<ServerTrust>,
    /// Signed the server certificate unless that is wrong on purpose.
    server_authority: Arc<Authority>,
    client_authority: Arc<Authority>,
}

impl Instance {
    /// Makes the instance's certificates, binds its addresses and starts to listen.
    pub(crate) async fn start(
        world: &Arc<World>,
        mut spec: InstanceSpec,
    ) -> anyhow::Result<Arc<Self>> {
        let name = InstanceName::parse(&spec.name)?;
        anyhow::ensure!(
            world.instance(&spec.name).is_none(),
            "{} exists already",
            spec.name
        );
        let cas = matches!(spec.ca_mode, CaMode::Cas | CaMode::CustomerCas);
        if cas && !name.is_alloydb() && spec.dns_names.is_empty() {
            spec.dns_names.push(made_up_name(&name.region));
        }
        if spec.addresses.contains(&AddressType::Psc) {
            spec.psc_dns_name
                .get_or_insert_with(|| made_up_psc_name(&name));
        }
        let (server_authority, client_authority) = match name.cluster_path() {
            Some(cluster) => {
                world
                    .clusters()
                    .authorities(&cluster, world.settings.keys)
                    .await?
            }
            None => tokio::try_join!(
                server_authority(world, spec.ca_mode),
                make_authority(CLIENT_AUTHORITY, world.settings.keys)
            )?,
        };
        let mut addresses = BTreeMap::new();
        let mut listeners = Vec::new();
        for &kind in &spec.addresses {
            let address = SocketAddr::new(world.loopback.address()?, name.port());
            // Where there is one address for everything, it has one listener.
            if !addresses.values().any(|bound| *bound == address) {
                let listener = listener::bind(address)
                    .with_context(|| format!("cannot listen on {address}"))?;
                listeners.push((address, listener, Progress::default()));
            }
            addresses.insert(kind, address);
        }
        let uid = made_up_uid();
        let known = Known {
            name: &name,
            uid: &uid,
            addresses: &addresses,
        };
        let server = issue(world, &known, &spec, &server_authority).await?;
        let progress = listeners
            .iter()
            .map(|(_, _, progress)| progress.clone())
            .collect();
        let instance = Arc::new(Instance {
            text: spec.name.clone(),
            name,
            uid,
            addresses,
            stop: world.stop.child_token(),
            progress,
            tickets: ServerSessionMemoryCache::new(RESUMABLE_SESSIONS),
            state: RwLock::new(State {
                sessions: world.stop.child_token(),
                spec,
                server: Arc::new(server),
                server_authority,
                client_authority,
            }),
        });
        for (address, listener, progress) in listeners {
            tokio::spawn(listener::run(
                world.clone(),
                instance.clone(),
                address,
                listener,
                progress,
            ));
        }
        world.insert_instance(instance.clone());
        Ok(instance)
    }

    /// The settings of now.
    pub(crate) fn spec(&self) -> InstanceSpec {
        self.read().spec.clone()
    }

    pub(crate) fn server_trust(&self) -> Arc<ServerTrust> {
        self.read().server.clone()
    }

    /// The DNS names that the service gave the instance.
    pub(crate) fn managed_names(&self) -> Vec<String> {
        let state = self.read();
        let names = state.spec.dns_names.iter();
        names.chain(&state.spec.psc_dns_name).cloned().collect()
    }

    /// The same, and where each one leads.
    pub(crate) fn dns_names(&self) -> Vec<(String, IpAddr)> {
        use AddressType::{Primary, Private, Psc};
        let psc = self.read().spec.psc_dns_name.clone();
        let place = |name: String| {
            let wanted: &[AddressType] = match key(&name) {
                _ if psc.as_ref() == Some(&name) => &[Psc],
                name if name.ends_with(".sql-psc.goog") => &[Psc],
                name if name.ends_with(".sql-psa.goog") => &[Private],
                _ => &[Primary, Private, Psc],
            };
            let address = wanted.iter().find_map(|kind| self.addresses.get(kind))?;
            Some((name, address.ip()))
        };
        self.managed_names().into_iter().filter_map(place).collect()
    }

    pub(crate) fn server_authority(&self) -> Arc<Authority> {
        self.read().server_authority.clone()
    }

    pub(crate) fn client_authority(&self) -> Arc<Authority> {
        self.read().client_authority.clone()
    }

    pub(crate) fn life_of_certificates(&self, world: &World) -> Duration {
        self.read()
            .spec
            .certificate_lifetime
            .unwrap_or(world.settings.certificate_lifetime)
    }

    /// Changes settings; the server certificate is issued anew. Name, database and addresses stay.
    pub(crate) async fn change(
        &self,
        world: &World,
        change: impl FnOnce(&mut InstanceSpec),
    ) -> anyhow::Result<()> {
        let (mut spec, authority) = {
            let state = self.read();
            (state.spec.clone(), state.server_authority.clone())
        };
        let before = spec.clone();
        change(&mut spec);
        anyhow::ensure!(
            (&spec.name, spec.database, &spec.addresses)
                == (&before.name, before.database, &before.addresses),
            "name, database and address types of a running instance cannot change"
        );
        let authority = if spec.ca_mode == before.ca_mode || self.name.is_alloydb() {
            authority
        } else {
            server_authority(world, spec.ca_mode).await?
        };
        let cas = matches!(spec.ca_mode, CaMode::Cas | CaMode::CustomerCas);
        if cas && !self.name.is_alloydb() && spec.dns_names.is_empty() {
            spec.dns_names.push(made_up_name(&self.name.region));
        }
        let server = issue(world, &self.known(), &spec, &authority).await?;
        let mut state = self.write();
        (state.spec, state.server, state.server_authority) = (spec, Arc::new(server), authority);
        Ok(())
    }

    /// Replaces the server's CA and certificate: clients that trust only the old CA must fetch the settings anew. The
    /// instances of an AlloyDB cluster have one CA.
    pub(crate) async fn rotate_server_authority(&self, world: &World) -> anyhow::Result<()> {
        let keys = world.settings.keys;
        let Some(cluster) = self.name.cluster_path() else {
            let authority = make_authority(SERVER_AUTHORITY, keys).await?;
            return self.adopt_server_authority(world, authority).await;
        };
        let authority = world.clusters().rotate_server(&cluster, keys).await?;
        for instance in world.cluster_instances(&cluster) {
            instance
                .adopt_server_authority(world, authority.clone())
                .await?;
        }
        Ok(())
    }

    /// Replaces the CA of client certificates: those issued so far are refused from now on, by the instance or by the
    /// whole AlloyDB cluster.
    pub(crate) async fn rotate_client_authority(&self, world: &World) -> anyhow::Result<()> {
        let keys = world.settings.keys;
        let Some(cluster) = self.name.cluster_path() else {
            self.write().client_authority = make_authority(CLIENT_AUTHORITY, keys).await?;
            return Ok(());
        };
        let authority = world.clusters().rotate_client(&cluster, keys).await?;
        for instance in world.cluster_instances(&cluster) {
            instance.write().client_authority = authority.clone();
        }
        Ok(())
    }

    async fn adopt_server_authority(
        &self,
        world: &World,
        authority: Arc<Authority>,
    ) -> anyhow::Result<()> {
        let server = issue(world, &self.known(), &self.spec(), &authority).await?;
        let mut state = self.write();
        (state.server, state.server_authority) = (Arc::new(server), authority);
        Ok(())
    }

    /// What certificates of clients must have been issued for: the instance, or its AlloyDB cluster.
    pub(crate) fn certificate_scope(&self) -> String {
        self.name
            .cluster_path()
            .unwrap_or_else(|| self.text.clone())
    }

    fn known(&self) -> Known<'_> {
        Known {
            name: &self.name,
            uid: &self.uid,
            addresses: &self.addresses,
        }
    }

    /// Ends the open sessions, as a restart of the instance does.
    pub(crate) fn disconnect(&self, world: &World) {
        let ended = std::mem::replace(&mut self.write().sessions, world.stop.child_token());
        ended.cancel();
    }

    pub(crate) fn sessions_end(&self) -> CancellationToken {
        self.read().sessions.clone()
    }

    /// Completes when the open sessions are to end.
    pub(crate) async fn sessions_end_now(&self) {
        self.sessions_end().cancelled_owned().await;
    }

    /// Whether a listener has yet to follow the faults up to `version`.
    pub(crate) fn is_behind(&self, version: u64) -> bool {
        self.progress
            .iter()
            .any(|progress| progress.version() < version)
    }

    /// Closes the listeners and every session, and gives the addresses back.
    pub(crate) fn stop(&self, world: &World) {
        self.stop.cancel();
        self.disconnect(world);
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().expect("no panic under lock")
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().expect("no panic under lock")
    }
}

async fn server_authority(world: &World, mode: CaMode) -> anyhow::Result<Arc<Authority>> {
    match mode {
        CaMode::Cas => world.shared_authority().await,
        CaMode::Internal | CaMode::Unspecified => {
            make_authority(SERVER_AUTHORITY, world.settings.keys).await
        }
        CaMode::CustomerCas => make_authority("Customer CA", world.settings.keys).await,
    }
}

/// What a server certificate may name.
struct Known<'a> {
    name: &'a InstanceName,
    uid: &'a str,
    addresses: &'a BTreeMap<AddressType, SocketAddr>,
}

async fn issue(
    world: &World,
    known: &Known<'_>,
    spec: &InstanceSpec,
    authority: &Arc<Authority>,
) -> anyhow::Result<ServerTrust> {
    let key = world.server_key().await?;
    let alloydb = known.name.is_alloydb();
    let common_name = if alloydb {
        format!("{}.server.alloydb", known.uid)
    } else {
        format!("{}:{}", known.name.project, known.name.instance)
    };
    let mut dns_names: Vec<String> = spec
        .dns_names
        .iter()
        .chain(&spec.custom_names)
        .chain(&spec.psc_dns_name)
        .cloned()
        .collect();
    let mut addresses = Vec::new();
    if alloydb {
        // Written without the final dot that the API's answer has.
        for name in &mut dns_names {
            name.truncate(name.trim_end_matches('.').len());
        }
        let dialled = known.addresses.iter();
        addresses = dialled
            .filter(|(kind, _)| **kind != AddressType::Psc)
            .map(|(_, address)| address.ip())
            .collect();
    }
    let (authority, spec) = (authority.clone(), spec.clone());
    let issue = move || {
        let names = ServerNames {
            common_name: &common_name,
            dns_names: &dns_names,
            addresses: &addresses,
        };
        issue_server(
            &authority,
            spec.ca_mode,
            spec.certificate,
            spec.pinned,
            &names,
            &key,
        )
    };
    tokio::task::spawn_blocking(issue).await.expect("no panic")
}

/// An id in the form of a UUID.
fn made_up_uid() -> String {
    let text = crate::authority::hex(&random_bytes(16));
    [
        &text[..8],
        &text[8..12],
        &text[12..16],
        &text[16..20],
        &text[20..],
    ]
    .join("-")
}

/// A DNS name such as the real service gives to CAS instances.
fn made_up_name(region: &str) -> String {
    let label = |bytes| crate::authority::hex(&random_bytes(bytes));
    format!("{}.{}.{region}.sql.goog.", label(6), label(6))
}

/// A DNS name such as the real service gives to Private Service Connect endpoints.
fn made_up_psc_name(name: &InstanceName) -> String {
    let label = |bytes| crate::authority::hex(&random_bytes(bytes));
    let zone = if name.is_alloydb() {
        "alloydb-psc"
    } else {
        "sql-psc"
    };
    format!("{}.{}.{}.{zone}.goog.", label(6), label(6), name.region)
}

const SERVER_AUTHORITY: &str = "Google Cloud SQL Server CA";
const CLIENT_AUTHORITY: &str = "Google Cloud SQL Client CA";
const RESUMABLE_SESSIONS: usize = 256;
