//! The client's first packet: its abilities, the user, the first proof and the database.

use super::capability;
use super::packet::{Fields, counted};

/// A response of protocol 4.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) capabilities: u32,
    pub(crate) longest_packet: u32,
    pub(crate) collation: u8,
    /// Reserved by MySQL; MariaDB's clients keep further abilities in the last four.
    pub(crate) reserved: [u8; 23],
    pub(crate) user: String,
    pub(crate) proof: Vec<u8>,
    /// Bytes, because they are in the client's own character set.
    pub(crate) database: Vec<u8>,
    /// Empty if the client knows of no plugins.
    pub(crate) plugin: String,
    /// As they came.
    pub(crate) attributes: Vec<u8>,
}

/// Why a response cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// It asks for TLS inside the tunnel, which was not offered.
    Tls,
    /// A client from before MySQL 4.1.
    Old,
    /// It breaks off, or a name is too long or no UTF-8.
    Fields,
}

impl Response {
    pub(crate) fn parse(body: &[u8]) -> Result<Response, Malformed> {
        let capabilities = Fields(body).u32().ok_or(Malformed::Fields)?;
        if capabilities & capability::PROTOCOL_41 == 0 {
            return Err(Malformed::Old);
        }
        if capabilities & capability::TLS != 0 {
            return Err(Malformed::Tls);
        }
        Response::fields(Fields(body)).ok_or(Malformed::Fields)
    }

    fn fields(mut fields: Fields<'_>) -> Option<Response> {
        let capabilities = fields.u32()?;
        let can = |bit| capabilities & bit != 0;
        let longest_packet = fields.u32()?;
        let collation = fields.u8()?;
        let reserved = fields.array()?;
        let user = fields.terminated()?;
        let proof = if can(capability::LENGTH_ENCODED_PROOF) {
            fields.counted()?
        } else if can(capability::SECURE_CONNECTION) {
            let length = fields.u8()?;
            fields.take(length.into())?
        } else {
            fields.terminated()?
        };
        // Some clients leave out the end of the last field, or announce a database that they do not name.
        let mut text = |bit| {
            if !can(bit) || fields.0.is_empty() {
                return &[][..];
            }
            fields.terminated().unwrap_or_else(|| fields.rest())
        };
        let database = text(capability::CONNECT_WITH_DATABASE);
        let plugin = text(capability::PLUGIN_AUTH);
        let attributes = if can(capability::CONNECT_ATTRIBUTES) && !fields.0.is_empty() {
            fields.counted()?
        } else {
            &[]
        };
        let short = user.len() <= LONGEST_NAME
            && database.len() <= LONGEST_NAME
            && plugin.len() <= LONGEST_NAME;
        let name = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        short.then_some(Response {
            capabilities,
            longest_packet,
            collation,
            reserved,
            user: name(user)?,
            proof: proof.to_vec(),
            database: database.to_vec(),
            plugin: name(plugin)?,
            attributes: attributes.to_vec(),
        })
    }

    /// What logs the same client in to a server with these abilities, by another proof.
    pub(crate) fn to_server(&self, offered: u32, plugin: &str, proof: Vec<u8>) -> Response {
        let needed = capability::PROTOCOL_41
            | capability::SECURE_CONNECTION
            | capability::PLUGIN_AUTH
            // The lowest bit is what MariaDB and MySQL tell each other apart by; it is the client's to set.
            | self.capabilities & 1;
        let hidden = capability::TLS | capability::COMPRESS | capability::ZSTD_COMPRESS;
        Response {
            capabilities: self.capabilities & offered & !hidden | needed,
            // A name that the server decodes otherwise than we did would be another user's.
            collation: if self.user.is_ascii() {
                self.collation
            } else {
                UTF8
            },
            plugin: plugin.to_owned(),
            proof,
            ..self.clone()
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let can = |bit| self.capabilities & bit != 0;
        let mut body = [
            &self.capabilities.to_le_bytes()[..],
            &self.longest_packet.to_le_bytes(),
            &[self.collation],
            &self.reserved,
            self.user.as_bytes(),
            &[0],
        ]
        .concat();
        if can(capability::LENGTH_ENCODED_PROOF) {
            body.extend(counted(&self.proof));
        } else if can(capability::SECURE_CONNECTION) {
            body.push(u8::try_from(self.proof.len()).expect("a proof of ours is short"));
            body.extend(&self.proof);
        } else {
            body.extend(&self.proof);
            body.push(0);
        }
        if can(capability::CONNECT_WITH_DATABASE) {
            body.extend(&self.database);
            body.push(0);
        }
        if can(capability::PLUGIN_AUTH) {
            body.extend(self.plugin.as_bytes());
            body.push(0);
        }
        if can(capability::CONNECT_ATTRIBUTES) {
            body.extend(counted(&self.attributes));
        }
        body
    }
}

/// Names have 64 characters at most, in MariaDB 128.
const LONGEST_NAME: usize = 512;
/// `utf8mb4_general_ci`.
const UTF8: u8 = 45;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mysql::plugin;

    fn response(capabilities: u32) -> Response {
        Response {
            capabilities: capabilities | capability::PROTOCOL_41,
            longest_packet: 1 << 24,
            collation: 255,
            reserved: [0; 23],
            user: "app".to_owned(),
            proof: b"proof".to_vec(),
            database: Vec::new(),
            plugin: String::new(),
            attributes: Vec::new(),
        }
    }

    fn whole() -> Response {
        Response {
            database: b"mydb".to_vec(),
            plugin: plugin::CACHING_SHA2.to_owned(),
            attributes: b"\x04_pid\x0242".to_vec(),
            ..response(
                capability::CONNECT_WITH_DATABASE
                    | capability::SECURE_CONNECTION
                    | capability::PLUGIN_AUTH
                    | capability::CONNECT_ATTRIBUTES,
            )
        }
    }

    #[test]
    fn every_kind_of_client_is_understood() {
        for sent in [
            response(0),
            response(capability::SECURE_CONNECTION),
            response(capability::LENGTH_ENCODED_PROOF),
            whole(),
        ] {
            assert_eq!(Response::parse(&sent.encode()), Ok(sent));
        }
        // A client that names a database only in its abilities.
        let silent = response(capability::SECURE_CONNECTION).encode();
        let mut bits = silent.clone();
        bits[0] |= capability::CONNECT_WITH_DATABASE as u8;
        assert_eq!(Response::parse(&bits).unwrap().database, b"");
    }

    #[test]
    fn what_cannot_be_used_is_said() {
        let mut tls = whole();
        tls.capabilities |= capability::TLS;
        assert_eq!(
            Response::parse(&tls.encode()[..32]).unwrap_err(),
            Malformed::Tls
        );
        let mut old = whole().encode();
        old[1] &= !((capability::PROTOCOL_41 >> 8) as u8);
        assert_eq!(Response::parse(&old).unwrap_err(), Malformed::Old);
        let mut long = whole();
        long.user = "u".repeat(LONGEST_NAME + 1);
        assert_eq!(
            Response::parse(&long.encode()).unwrap_err(),
            Malformed::Fields
        );
        for end in 4..36 {
            let cut = Response::parse(&whole().encode()[..end]);
            assert_eq!(cut.unwrap_err(), Malformed::Fields, "{end}");
        }
    }

    #[test]
    fn the_server_is_told_what_the_client_can_and_no_more() {
        let mut sent = whole();
        sent.capabilities |= capability::COMPRESS;
        let offered = !(capability::CONNECT_ATTRIBUTES | capability::PLUGIN_AUTH);
        let forwarded = sent.to_server(offered, plugin::NATIVE, vec![1; 20]);
        let hidden =
            capability::COMPRESS | capability::CONNECT_ATTRIBUTES | capability::PLUGIN_AUTH;
        assert_eq!(forwarded.capabilities & hidden, capability::PLUGIN_AUTH);
        let read = Response::parse(&forwarded.encode()).unwrap();
        assert_eq!((&read.user[..], &read.database[..]), ("app", &b"mydb"[..]));
        assert_eq!((&read.plugin[..], read.collation), (plugin::NATIVE, 255));
        assert_eq!(read.proof, [1; 20]);
        sent.user = "jörg".to_owned();
        assert_eq!(sent.to_server(!0, "", Vec::new()).collation, UTF8);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut body in proptest::collection::vec(any::<u8>(), 0..256), plausible: bool) {
            if plausible && body.len() > 3 {
                body[1] = body[1] & !8 | 2;
            }
            if let Ok(read) = Response::parse(&body) {
                prop_assert!(read.user.len() <= LONGEST_NAME && read.database.len() <= LONGEST_NAME);
            }
        }

        #[test]
        fn what_is_sent_is_read(
            user in "[a-z@.-]{0,64}",
            proof in proptest::collection::vec(1u8.., 0..250),
            database in "[a-z]{0,20}",
            bits in 0u8..32,
        ) {
            let all = [
                capability::CONNECT_WITH_DATABASE,
                capability::SECURE_CONNECTION,
                capability::PLUGIN_AUTH,
                capability::CONNECT_ATTRIBUTES,
                capability::LENGTH_ENCODED_PROOF,
            ];
            let chosen = all.iter().enumerate().filter(|(place, _)| bits >> place & 1 == 1);
            let mut sent = response(chosen.fold(0, |sum, (_, bit)| sum | bit));
            sent.user = user;
            sent.proof = proof;
            if sent.capabilities & capability::CONNECT_WITH_DATABASE != 0 {
                sent.database = database.into_bytes();
            }
            if sent.capabilities & capability::PLUGIN_AUTH != 0 {
                sent.plugin = plugin::NATIVE.to_owned();
            }
            prop_assert_eq!(Response::parse(&sent.encode()), Ok(sent));
        }
    }
}
