//! Who may connect to a listener that logs in without a password.
//!
//! Whoever reaches such a port is the service account. So a port that other machines can reach serves only peers on this
//! host, unless `--allow-from` or a client certificate lets them in. Under an official proxy's name the published
//! manifests have to work: everybody is served, with a warning.

use std::net::IpAddr;

use crate::config::{Access, Config, InstanceConfig};
use crate::listen::Socket;

/// The rule of one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Everybody,
    /// Peers on this host, or in one of these networks.
    ThisHostAnd(Vec<(IpAddr, u8)>),
}

/// Which rule holds, and whether the listener is open to whoever reaches it.
pub(crate) fn admission(
    config: &Config,
    instance: &InstanceConfig,
    socket: &Socket,
) -> (Admission, bool) {
    decide(
        &config.access,
        config.program.official.is_some(),
        config.logs_in(instance),
        socket.is_open(),
    )
}

fn decide(access: &Access, official: bool, logs_in: bool, reachable: bool) -> (Admission, bool) {
    let certificates = access
        .tls
        .as_ref()
        .is_some_and(|tls| tls.client_ca.is_some());
    let listed = || Admission::ThisHostAnd(access.allow_from.clone());
    match (reachable, logs_in) {
        // A list is a wish, whether or not there is a password.
        (true, _) if !access.allow_from.is_empty() => (listed(), false),
        (true, true) if certificates => (Admission::Everybody, false),
        (true, true) if official => (Admission::Everybody, true),
        (true, true) => (listed(), false),
        _ => (Admission::Everybody, false),
    }
}

impl Admission {
    /// Whether the client at `peer` may come in, having connected to `local`.
    ///
    /// A host that talks to itself does so from the address that it talks to.
    pub(crate) fn admits(&self, peer: IpAddr, local: IpAddr) -> bool {
        let (peer, local) = (peer.to_canonical(), local.to_canonical());
        match self {
            Admission::Everybody => true,
            Admission::ThisHostAnd(networks) => {
                peer.is_loopback()
                    || peer == local
                    || networks.iter().any(|network| contains(*network, peer))
            }
        }
    }
}

fn contains((network, length): (IpAddr, u8), address: IpAddr) -> bool {
    let same = |a: u128, b: u128, bits: u32| {
        let rest = bits.saturating_sub(u32::from(length));
        a.checked_shr(rest).unwrap_or(0) == b.checked_shr(rest).unwrap_or(0)
    };
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            same(network.to_bits().into(), address.to_bits().into(), 32)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            same(network.to_bits(), address.to_bits(), 128)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::config::ServerTls;

    fn access(allow_from: &[(&str, u8)], client_ca: bool) -> Access {
        Access {
            allow_from: allow_from
                .iter()
                .map(|(address, length)| (address.parse().unwrap(), *length))
                .collect(),
            tls: client_ca.then(|| ServerTls {
                certificate: PathBuf::new(),
                key: PathBuf::new(),
                client_ca: Some(PathBuf::new()),
            }),
        }
    }

    #[test]
    fn a_port_that_logs_in_is_for_this_host_unless_a_lock_is_on_it() {
        let none = access(&[], false);
        let this_host = Admission::ThisHostAnd(vec![]);
        assert_eq!(decide(&none, false, true, true), (this_host, false));
        assert_eq!(
            decide(&none, true, true, true),
            (Admission::Everybody, true)
        );
        assert_eq!(
            decide(&none, false, false, true),
            (Admission::Everybody, false)
        );
        assert_eq!(
            decide(&none, false, true, false),
            (Admission::Everybody, false)
        );
        assert_eq!(
            decide(&access(&[], true), false, true, true),
            (Admission::Everybody, false)
        );
        let listed = access(&[("10.8.0.0", 16)], false);
        assert_eq!(
            decide(&listed, true, true, true).0,
            Admission::ThisHostAnd(listed.allow_from.clone())
        );
    }

    #[test]
    fn this_host_and_the_networks_are_let_in() {
        let rule = Admission::ThisHostAnd(
            access(&[("10.8.0.0", 16), ("2001:db8::", 32)], false).allow_from,
        );
        for (peer, admitted) in [
            ("127.0.0.1", true),
            ("::ffff:127.0.0.1", true),
            ("::1", true),
            ("10.8.200.1", true),
            ("::ffff:10.8.0.1", true),
            ("10.9.0.1", false),
            ("2001:db8:1::1", true),
            ("2001:db9::1", false),
            ("192.0.2.1", true),
            ("203.0.113.77", false),
        ] {
            assert_eq!(
                rule.admits(peer.parse().unwrap(), "192.0.2.1".parse().unwrap()),
                admitted,
                "{peer}"
            );
        }
        assert!(contains(
            ("0.0.0.0".parse().unwrap(), 0),
            "203.0.113.1".parse().unwrap()
        ));
    }
}
