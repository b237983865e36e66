//! Claims addresses, so that emulators run side by side although port 3307 is fixed.
//!
//! On Linux all of 127.0.0.0/8 is local: a run takes a random /24, and owns it by holding the HTTP port of its first
//! address. Elsewhere only 127.0.0.1 exists, and an exposed run has the one address that it was given: there is room for
//! one instance, all of whose address types are that address.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Mutex;

use anyhow::Context;

use crate::issued::random_bytes;

/// The addresses of one run.
pub(crate) enum Loopback {
    /// One address for everything.
    Single(IpAddr),
    /// Networks of our own.
    Networks(Mutex<Networks>),
}

pub(crate) struct Networks {
    claims: Vec<Claim>,
    free: Vec<Ipv4Addr>,
}

/// One /24, held by a listening socket.
struct Claim {
    network: [u8; 3],
    last: u8,
    /// Kept open: nobody else can claim this network. The first claim's listener serves HTTP instead.
    _holder: Option<TcpListener>,
}

impl Loopback {
    /// Claims a network, or `exposed` alone, and returns the listener for the HTTP port.
    pub(crate) fn claim(exposed: Option<IpAddr>) -> anyhow::Result<(Self, TcpListener)> {
        if let Some(address) = exposed {
            return single(address, HTTP_PORT);
        }
        if !cfg!(target_os = "linux") {
            return single(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
        }
        let (network, listener) = claim_network()?;
        let claim = Claim {
            network,
            last: 1,
            _holder: None,
        };
        Ok((
            Loopback::Networks(Mutex::new(Networks {
                claims: vec![claim],
                free: Vec::new(),
            })),
            listener,
        ))
    }

    /// An address of ours that nobody uses yet; the single address again where there is one.
    pub(crate) fn address(&self) -> anyhow::Result<IpAddr> {
        let mut networks = match self {
            Loopback::Single(address) => return Ok(*address),
            Loopback::Networks(networks) => networks.lock().expect("no panic under lock"),
        };
        if let Some(address) = networks.free.pop() {
            return Ok(IpAddr::V4(address));
        }
        if networks
            .claims
            .last()
            .is_none_or(|claim| claim.last == LAST_ADDRESS)
        {
            let (network, holder) = claim_network()?;
            networks.claims.push(Claim {
                network,
                last: 1,
                _holder: Some(holder),
            });
        }
        let claim = networks.claims.last_mut().expect("pushed above");
        claim.last += 1;
        let [a, b, c] = claim.network;
        Ok(IpAddr::V4(Ipv4Addr::new(a, b, c, claim.last)))
    }

    /// Gives an address back.
    pub(crate) fn release(&self, address: IpAddr) {
        if let (Loopback::Networks(networks), IpAddr::V4(address)) = (self, address) {
            networks
                .lock()
                .expect("no panic under lock")
                .free
                .push(address);
        }
    }
}

/// The gRPC port beside an HTTP port.
pub(crate) fn grpc_address(http: SocketAddr) -> SocketAddr {
    let port = if http.port() == HTTP_PORT {
        GRPC_PORT
    } else {
        0
    };
    SocketAddr::new(http.ip(), port)
}

fn single(address: IpAddr, port: u16) -> anyhow::Result<(Loopback, TcpListener)> {
    let listener = TcpListener::bind((address, port))
        .with_context(|| format!("cannot listen on {address}:{port}"))?;
    Ok((Loopback::Single(address), listener))
}

fn claim_network() -> anyhow::Result<([u8; 3], TcpListener)> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let random = random_bytes(2);
        let network = [127, FIRST_NETWORK + random[0] % NETWORKS, random[1]];
        let address = Ipv4Addr::new(network[0], network[1], network[2], 1);
        match TcpListener::bind(SocketAddr::from((address, HTTP_PORT))) {
            Ok(listener) => return Ok((network, listener)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.expect("there was an attempt")).context("no free loopback network after 64 attempts")
}

const ATTEMPTS: usize = 64;
/// Networks 127.16 to 127.239; never 127.0, where everything else lives.
const FIRST_NETWORK: u8 = 16;
const NETWORKS: u8 = 224;
const LAST_ADDRESS: u8 = 254;
/// Fixed, since holding it is the claim.
const HTTP_PORT: u16 = 9470;
/// Fixed beside the HTTP port: whoever holds that has the address.
const GRPC_PORT: u16 = 9471;

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn addresses_do_not_repeat_and_spill_into_a_second_network() {
        let (loopback, listener) = Loopback::claim(None).unwrap();
        let first = listener.local_addr().unwrap().ip();
        let mut seen = std::collections::HashSet::from([first]);
        for _ in 0..300 {
            assert!(seen.insert(loopback.address().unwrap()));
        }
        assert!(seen.iter().all(
            |address| matches!(address, IpAddr::V4(ip) if (16..240).contains(&ip.octets()[1]))
        ));
        loopback.release(first);
        assert_eq!(loopback.address().unwrap(), first);
    }
}
