//! Claims loopback addresses, so that emulators run side by side although port 3307 is fixed.
//!
//! On Linux all of 127.0.0.0/8 is local: a run takes a random /24, and owns it by holding the HTTP port of its first
//! address. Elsewhere only 127.0.0.1 exists, so there is room for one instance.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Mutex;

use anyhow::Context;

use crate::issued::random_bytes;

/// The addresses of one run.
pub(crate) struct Loopback {
    state: Mutex<State>,
}

struct State {
    claims: Vec<Claim>,
    free: Vec<Ipv4Addr>,
}

/// One /24, held by a listening socket.
struct Claim {
    network: [u8; 3],
    next: u8,
    /// Held for its side effect: nobody else can claim this network. The first claim's listener serves HTTP.
    _holder: Option<TcpListener>,
}

impl Loopback {
    /// Claims a network and returns the listener for the HTTP port on its first address.
    pub(crate) fn claim() -> anyhow::Result<(Self, TcpListener)> {
        let (claim, listener) = claim_network()?;
        Ok((
            Loopback {
                state: Mutex::new(State {
                    claims: vec![claim],
                    free: Vec::new(),
                }),
            },
            listener,
        ))
    }

    /// An address of ours that nobody uses yet.
    pub(crate) fn address(&self) -> anyhow::Result<IpAddr> {
        if !cfg!(target_os = "linux") {
            return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        let mut state = self.state.lock().expect("no panic under lock");
        if let Some(address) = state.free.pop() {
            return Ok(IpAddr::V4(address));
        }
        if state
            .claims
            .last()
            .is_none_or(|claim| claim.next == u8::MAX)
        {
            let (mut claim, holder) = claim_network()?;
            claim._holder = Some(holder);
            state.claims.push(claim);
        }
        let claim = state.claims.last_mut().expect("pushed above");
        claim.next += 1;
        let [a, b, c] = claim.network;
        Ok(IpAddr::V4(Ipv4Addr::new(a, b, c, claim.next)))
    }

    /// Gives an address back.
    pub(crate) fn release(&self, address: IpAddr) {
        if let IpAddr::V4(address) = address
            && cfg!(target_os = "linux")
        {
            self.state
                .lock()
                .expect("no panic under lock")
                .free
                .push(address);
        }
    }
}

fn claim_network() -> anyhow::Result<(Claim, TcpListener)> {
    if !cfg!(target_os = "linux") {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on 127.0.0.1")?;
        return Ok((
            Claim {
                network: [127, 0, 0],
                next: 1,
                _holder: None,
            },
            listener,
        ));
    }
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let random = random_bytes(2);
        let network = [127, FIRST_NETWORK + random[0] % NETWORKS, random[1]];
        let address = Ipv4Addr::new(network[0], network[1], network[2], 1);
        match TcpListener::bind(SocketAddr::from((address, HTTP_PORT))) {
            Ok(listener) => {
                return Ok((
                    Claim {
                        network,
                        next: 1,
                        _holder: None,
                    },
                    listener,
                ));
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.expect("there was an attempt")).context("no free loopback network after 64 attempts")
}

const ATTEMPTS: usize = 64;
/// Networks 127.16 to 127.239; never 127.0, where everything else lives.
const FIRST_NETWORK: u8 = 16;
const NETWORKS: u8 = 224;
/// Fixed, since holding it is the claim.
const HTTP_PORT: u16 = 9470;

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    #[test]
    fn addresses_do_not_repeat_and_spill_into_a_second_network() {
        let (loopback, listener) = Loopback::claim().unwrap();
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
