//! The two messages that open a session: what both sides can do, and who the client is.

use std::collections::BTreeMap;

/// LOGIN7, as far as it matters here.
#[derive(Default)]
pub(super) struct Login {
    pub(super) user: String,
    password: String,
    pub(super) database: String,
    pub(super) host: String,
    pub(super) application: String,
    /// As in the message that acknowledges it.
    pub(super) version: u32,
    packet_size: u32,
    /// Windows or Azure identities, which there are none of here.
    integrated: bool,
}

impl Login {
    /// Reads the message. `None` if it is none, or older than SQL Server 2005.
    pub(super) fn parse(body: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u32::from_le_bytes(body.get(at..at + 4)?.try_into().ok()?));
        let bytes = |at: usize| {
            let start = usize::from(u16::from_le_bytes(body.get(at..at + 2)?.try_into().ok()?));
            let count = u16::from_le_bytes(body.get(at + 2..at + 4)?.try_into().ok()?);
            body.get(start..start + 2 * usize::from(count))
        };
        let plain: Vec<u8> = bytes(44)?
            .iter()
            .map(|byte| (byte ^ 0xa5).rotate_left(4))
            .collect();
        let version = number(4)?;
        (version >= OLDEST).then_some(())?;
        Some(Login {
            host: text(bytes(36)?),
            user: text(bytes(40)?),
            password: text(&plain),
            application: text(bytes(48)?),
            database: text(bytes(68)?),
            version: version.min(NEWEST),
            packet_size: number(8)?,
            integrated: body.get(25)? & 0x80 != 0,
        })
    }

    /// Whether the password is the user's.
    pub(super) fn may(&self, users: &BTreeMap<String, String>) -> bool {
        !self.integrated && users.get(&self.user) == Some(&self.password)
    }

    /// The size of packets that the client asks for, within what the protocol allows.
    pub(super) fn packet_size(&self) -> usize {
        match self.packet_size {
            0 => 4096,
            size => size.clamp(512, 32767) as usize,
        }
    }
}

/// What this server can do: no encryption, since it stands at the end of a tunnel that has it, and one result at a time.
pub(super) fn prelogin() -> Vec<u8> {
    let options: [(u8, &[u8]); 4] = [
        (VERSION, &[16, 0, 0, 0, 0, 0]),
        (ENCRYPTION, &[NOT_SUPPORTED]),
        (INSTANCE, &[0]),
        (MARS, &[0]),
    ];
    let mut at = options.len() * 5 + 1;
    let mut head = Vec::new();
    let mut tail: Vec<u8> = Vec::new();
    for (option, value) in options {
        head.push(option);
        head.extend((at as u16).to_be_bytes());
        head.extend((value.len() as u16).to_be_bytes());
        tail.extend(value);
        at += value.len();
    }
    head.push(END);
    head.extend(tail);
    head
}

/// UTF-16, little-endian.
pub(super) fn text(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    String::from_utf16_lossy(&units)
}

const VERSION: u8 = 0;
const ENCRYPTION: u8 = 1;
const INSTANCE: u8 = 2;
const MARS: u8 = 4;
const END: u8 = 0xff;
const NOT_SUPPORTED: u8 = 2;
/// 7.2, since which tokens look alike.
const OLDEST: u32 = 0x7209_0002;
const NEWEST: u32 = 0x7400_0004;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_is_read() {
        let mut body = vec![0; 94];
        body[4..8].copy_from_slice(&NEWEST.to_le_bytes());
        body[8..12].copy_from_slice(&8000_u32.to_le_bytes());
        let mut put = |at: usize, value: &str, hide: bool| {
            let start = body.len() as u16;
            let units: Vec<u8> = value.encode_utf16().flat_map(u16::to_le_bytes).collect();
            body[at..at + 2].copy_from_slice(&start.to_le_bytes());
            body[at + 2..at + 4].copy_from_slice(&(units.len() as u16 / 2).to_le_bytes());
            let hidden = |byte: u8| {
                if hide {
                    byte.rotate_left(4) ^ 0xa5
                } else {
                    byte
                }
            };
            body.extend(units.into_iter().map(hidden));
        };
        put(40, "app-user", false);
        put(44, "pässword", true);
        put(68, "mydb", false);
        let login = Login::parse(&body).unwrap();
        assert_eq!(
            (login.database.as_str(), login.packet_size()),
            ("mydb", 8000)
        );
        let users = |password: &str| BTreeMap::from([("app-user".into(), password.into())]);
        assert!(login.may(&users("pässword")));
        assert!(!login.may(&users("other")) && !login.may(&BTreeMap::new()));
        body[25] = 0x80;
        assert!(!Login::parse(&body).unwrap().may(&users("pässword")));
        body[4] = 1;
        body[7] = 0x71;
        assert!(Login::parse(&body).is_none());
        assert!(Login::parse(&body[..60]).is_none());
    }
}
