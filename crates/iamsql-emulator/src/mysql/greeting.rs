//! The server's first packet: who it is, what it can, and the nonce that proofs are made for.

use super::packet::Fields;
use super::{capability, plugin};

/// A greeting of protocol version 10.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Greeting {
    /// What the server calls itself, as bytes.
    pub(crate) version: Vec<u8>,
    pub(crate) connection: u32,
    pub(crate) nonce: Nonce,
    pub(crate) capabilities: u32,
    pub(crate) collation: u8,
    pub(crate) status: u16,
    /// Reserved by MySQL; MariaDB keeps further abilities in the last four.
    pub(crate) reserved: [u8; 10],
    /// The plugin that the nonce is meant for.
    pub(crate) plugin: Vec<u8>,
}

pub(crate) type Nonce = [u8; 20];

impl Greeting {
    /// Reads a greeting; `None` if it is none, or of a server from before 5.5.
    pub(crate) fn parse(body: &[u8]) -> Option<Greeting> {
        let mut fields = Fields(body);
        if fields.u8()? != PROTOCOL {
            return None;
        }
        let version = fields.terminated()?.to_vec();
        let connection = fields.u32()?;
        let first: [u8; 8] = fields.array()?;
        fields.u8()?;
        let low = fields.u16()?;
        let collation = fields.u8()?;
        let status = fields.u16()?;
        let high = fields.u16()?;
        let length = usize::from(fields.u8()?);
        let reserved = fields.array()?;
        let capabilities = u32::from(low) | u32::from(high) << 16;
        if length != NONCE_AND_END || capabilities & capability::PLUGIN_AUTH == 0 {
            return None;
        }
        let second: [u8; 12] = fields.array()?;
        fields.u8()?;
        let plugin = fields.terminated()?.to_vec();
        let mut nonce = [0; 20];
        nonce[..8].copy_from_slice(&first);
        nonce[8..].copy_from_slice(&second);
        Some(Greeting {
            version,
            connection,
            nonce,
            capabilities,
            collation,
            status,
            reserved,
            plugin,
        })
    }

    /// The same greeting as a client behind the tunnel sees it: no further TLS, no compression, our plugins.
    pub(crate) fn behind_tunnel(&self, plugin: &str) -> Greeting {
        let hidden = capability::TLS | capability::COMPRESS | capability::ZSTD_COMPRESS;
        Greeting {
            capabilities: self.capabilities & !hidden,
            plugin: plugin.into(),
            ..self.clone()
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let (first, second) = self.nonce.split_at(8);
        let capabilities = self.capabilities.to_le_bytes();
        [
            &[PROTOCOL],
            &self.version[..],
            &[0],
            &self.connection.to_le_bytes(),
            first,
            &[0],
            &capabilities[..2],
            &[self.collation],
            &self.status.to_le_bytes(),
            &capabilities[2..],
            &[NONCE_AND_END as u8],
            &self.reserved,
            second,
            &[0],
            &self.plugin,
            &[0],
        ]
        .concat()
    }
}

/// Asks a client to prove itself by another plugin, with the nonce to do it for.
pub(crate) fn switch(to: &str, nonce: &Nonce) -> Vec<u8> {
    let nonce: &[u8] = if to == plugin::CLEAR { &[] } else { nonce };
    let end: &[u8] = if nonce.is_empty() { &[] } else { &[0] };
    [&[SWITCH], to.as_bytes(), &[0], nonce, end].concat()
}

/// The first byte of such a request.
pub(crate) const SWITCH: u8 = 0xfe;
const PROTOCOL: u8 = 10;
const NONCE_AND_END: usize = 21;

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What MariaDB 10.11 said, its connection number and nonce replaced.
    pub(crate) fn mariadb() -> Vec<u8> {
        let mut greeting = b"\x0a5.5.5-10.11.19-MariaDB-0+deb12u1\0".to_vec();
        greeting.extend(7u32.to_le_bytes());
        greeting.extend(b"nonce-01\0\xfe\xff\x2d\x02\x00\xff\x81\x15\0\0\0\0\0\0\x1d\0\0\0");
        greeting.extend(b"nonce-02-end\0mysql_native_password\0");
        greeting
    }

    #[test]
    fn a_greeting_is_passed_on_without_what_the_tunnel_hides() {
        let greeting = Greeting::parse(&mariadb()).unwrap();
        assert_eq!(&greeting.nonce, b"nonce-01nonce-02-end");
        assert_eq!(greeting.encode(), mariadb());
        let hidden = capability::TLS | capability::COMPRESS | capability::ZSTD_COMPRESS;
        assert_ne!(greeting.capabilities & hidden, 0);
        let shown = greeting.behind_tunnel(plugin::CACHING_SHA2);
        assert_eq!(shown.capabilities, greeting.capabilities & !hidden);
        let read = Greeting::parse(&shown.encode()).unwrap();
        assert_eq!(read.plugin, plugin::CACHING_SHA2.as_bytes());
        assert_eq!(
            (read.nonce, read.reserved),
            (greeting.nonce, greeting.reserved)
        );
    }

    #[test]
    fn other_packets_are_no_greeting() {
        let whole = mariadb();
        for end in 0..whole.len() {
            assert_eq!(Greeting::parse(&whole[..end]), None, "{end}");
        }
        assert_eq!(Greeting::parse(b"\xff\x10\x04Too many connections"), None);
    }

    #[test]
    fn a_switch_names_plugin_and_nonce() {
        let nonce = *b"nonce-01nonce-02-end";
        assert_eq!(switch(plugin::CLEAR, &nonce), b"\xfemysql_clear_password\0");
        assert_eq!(
            switch(plugin::NATIVE, &nonce),
            b"\xfemysql_native_password\0nonce-01nonce-02-end\0"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..128)) {
            let _ = Greeting::parse(&body);
        }
    }
}
