//! The two calls of the AlloyDB API that connectors make: where an instance is, and a client certificate of its cluster.
//!
//! REST (`rest`) and gRPC (`service`) are two doors to the same answers; `exchange` is what comes first on a connection.

mod cluster;
pub(crate) mod exchange;
mod message;
pub(crate) mod rest;
mod service;

use std::sync::Arc;
use std::time::Duration;

use self::message::{ClientCertificate, ConnectionInfo, Span};
use crate::authority::{any_public_key, sign_client};
use crate::caller::Caller;
use crate::instance::{AddressType, InstanceName};
use crate::principal::Role;
use crate::server::Instance;
use crate::session::Login;
use crate::sqladmin::error::ApiError;
use crate::token::CLOUD_PLATFORM_SCOPE;
use crate::world::{IssuedCertificate, World};

pub(crate) use self::cluster::Clusters;
pub(crate) use self::service::AlloyDbAdmin;

/// What a request for a certificate says.
#[derive(Default)]
pub(crate) struct Wanted {
    pub(crate) public_key: String,
    pub(crate) duration: Option<Span>,
    pub(crate) exchange: bool,
}

/// Answers where the instance of this path is.
fn connection_info(world: &World, caller: &Caller, path: &str) -> Result<ConnectionInfo, ApiError> {
    let name = InstanceName::parse(path).ok();
    let name = name.filter(InstanceName::is_alloydb);
    let name = name.ok_or_else(|| malformed(path))?;
    let instance = world.instance(path);
    permitted(
        world,
        caller,
        &name.project,
        "alloydb.instances.connect",
        path,
    )?;
    let instance = instance.ok_or_else(|| missing(path))?;
    let spec = instance.spec();
    let address = |kind| {
        let address = instance.addresses.get(&kind);
        address.map_or_else(String::new, |address| address.ip().to_string())
    };
    let psc = spec.addresses.contains(&AddressType::Psc);
    Ok(ConnectionInfo {
        name: format!("{path}/connectionInfo"),
        ip_address: address(AddressType::Private),
        pem_certificate_chain: Vec::new(),
        instance_uid: instance.uid.clone(),
        public_ip_address: address(AddressType::Primary),
        psc_dns_name: spec.psc_dns_name.filter(|_| psc).unwrap_or_default(),
    })
}

/// Signs a certificate for the cluster of this path.
fn client_certificate(
    world: &World,
    caller: &Caller,
    path: &str,
    wanted: &Wanted,
) -> Result<ClientCertificate, ApiError> {
    // The same rules as for an instance of the cluster.
    let name = InstanceName::parse(&format!("{path}/instances/any"))
        .ok()
        .ok_or_else(|| malformed(path))?;
    permitted(
        world,
        caller,
        &name.project,
        "alloydb.clusters.generateClientCertificate",
        path,
    )?;
    let instances = world.cluster_instances(path);
    let first = instances.first().ok_or_else(|| missing(path))?;
    if wanted.public_key.is_empty() {
        return Err(invalid("The request must have a public key."));
    }
    let key = any_public_key(&wanted.public_key)
        .map_err(|error| invalid(format!("Invalid public key: {error}.")))?;
    let authority = first.client_authority();
    let life = life(world, &instances, wanted.duration.as_ref())?;
    let certificate = sign_client(&authority, CLIENT_NAME, &key, life)
        .map_err(|error| ApiError::internal(error.to_string()).of(SERVICE))?;
    let issued = IssuedCertificate {
        instance: path.to_string(),
        requester: caller.email(),
        login: Login::Absent,
        exchange: wanted.exchange,
        revoked: false,
    };
    world.certificates.remember(certificate.serial, issued);
    let chain = [vec![certificate.pem.clone()], authority.chain()].concat();
    Ok(ClientCertificate {
        pem_certificate: certificate.pem,
        pem_certificate_chain: chain,
        ca_cert: trust(&instances),
    })
}

/// The CA that clients of the cluster are told: its own, unless a server was set up to be verified against another one.
fn trust(instances: &[Arc<Instance>]) -> String {
    let told = |one: &Arc<Instance>| one.server_trust().pem.clone();
    let own = instances
        .iter()
        .map(|one| one.server_authority().pem.clone());
    let odd = instances
        .iter()
        .zip(own)
        .find(|(one, own)| told(one) != *own);
    told(odd.map_or(&instances[0], |(one, _)| one))
}

/// The duration asked for, from an hour to a day; the emulator's own setting where that is shorter than an hour.
fn life(
    world: &World,
    instances: &[Arc<Instance>],
    wanted: Option<&Span>,
) -> Result<Duration, ApiError> {
    let wanted = match wanted {
        None => SHORTEST,
        Some(span) => span
            .duration()
            .ok_or_else(|| invalid("Invalid certificate duration."))?,
    };
    let set = instances
        .iter()
        .map(|one| one.life_of_certificates(world))
        .min()
        .filter(|set| *set < SHORTEST);
    Ok(set.unwrap_or(wanted.clamp(SHORTEST, LONGEST)))
}

/// The checks of both calls: token, scope, role. As at Google, a stranger does not learn what exists.
fn permitted(
    world: &World,
    caller: &Caller,
    project: &str,
    permission: &str,
    resource: &str,
) -> Result<(), ApiError> {
    caller
        .authenticate(world, &[CLOUD_PLATFORM_SCOPE])
        .map_err(|error| error.of(SERVICE))?;
    let instances = world.instances();
    let known = instances
        .iter()
        .any(|one| one.name.is_alloydb() && one.name.project == project);
    if !known || !caller.has_role(world, Role::AlloyDbClient) {
        return Err(ApiError::denied(permission, resource).of(SERVICE));
    }
    Ok(())
}

fn missing(path: &str) -> ApiError {
    ApiError::not_found(&format!("Resource '{path}' was not found"), "notFound").of(SERVICE)
}

fn malformed(path: &str) -> ApiError {
    let shown: String = path.chars().take(200).collect();
    invalid(format!("Malformed name: '{}'", shown.escape_default()))
}

fn invalid(message: impl Into<String>) -> ApiError {
    ApiError::invalid(message).of(SERVICE)
}

const SERVICE: &str = "alloydb.googleapis.com";
const CLIENT_NAME: &str = "AlloyDB Client";
const SHORTEST: Duration = Duration::from_secs(3600);
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Which instance a call about a cluster is noted under: any, so that faults of one instance meet its cluster's calls.
fn first_of(world: &World, cluster: &str) -> Option<String> {
    let instances = world.cluster_instances(cluster);
    instances.first().map(|one| one.text.clone())
}
