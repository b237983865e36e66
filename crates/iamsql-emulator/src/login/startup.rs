//! The first packet of a PostgreSQL client: bytes in, what it asks for out.

use std::fmt;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::backend::LONGEST_NAME;

/// What a client opens with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// It offers TLS, inside the TLS that it already has. Drivers that are handed a socket do this.
    Tls,
    /// It offers GSSAPI encryption.
    Gss,
    /// It asks, on a connection of its own, to end the query of another one. The packet is kept as it came.
    Cancel(Vec<u8>),
    /// It asks for a session.
    Startup(Startup),
}

/// The request for a session. Its names are what PostgreSQL will read in [`Startup::encode`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Startup {
    version: u32,
    user: String,
    database: Option<String>,
    /// Everything else, in order: `options`, `application_name`, … Not for us to judge.
    others: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Why a packet is not one that PostgreSQL would take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Malformed {
    /// Not the frame of a startup packet; whoever sent it may not speak PostgreSQL at all.
    Frame,
    /// The parameters are cut short, not text, or name the user or database twice.
    Parameters,
    /// There is no user.
    NoUser,
    /// The user or the database has a name longer than PostgreSQL keeps.
    LongName,
    /// The protocol version is not 3.
    Version(u32),
}

/// Reads one packet, not a byte more. `None` is a client that left, or does not speak PostgreSQL.
pub(super) async fn read_packet(
    stream: &mut (impl AsyncRead + Unpin),
) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length).await {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let Some(total) = packet_length(length) else {
        return Ok(None);
    };
    let mut packet = vec![0; total];
    packet[..4].copy_from_slice(&length);
    stream.read_exact(&mut packet[4..]).await?;
    Ok(Some(packet))
}

/// Understands a whole packet, its length included.
pub(super) fn parse(packet: &[u8]) -> Result<Opening, Malformed> {
    let (length, rest) = packet.split_first_chunk::<4>().ok_or(Malformed::Frame)?;
    if packet_length(*length) != Some(packet.len()) {
        return Err(Malformed::Frame);
    }
    let (code, rest) = rest.split_first_chunk::<4>().ok_or(Malformed::Frame)?;
    match (u32::from_be_bytes(*code), rest.len()) {
        (TLS_REQUEST, 0) => Ok(Opening::Tls),
        (GSS_REQUEST, 0) => Ok(Opening::Gss),
        (CANCEL_REQUEST, 8..=LONGEST_CANCEL) => Ok(Opening::Cancel(packet.to_owned())),
        (version, _) if version >> 16 == 3 => Startup::parse(version, rest).map(Opening::Startup),
        (version, _) => Err(Malformed::Version(version)),
    }
}

impl Startup {
    /// The database user asked for; at most 63 bytes, so that PostgreSQL reads the very name that was judged.
    pub(super) fn user(&self) -> &str {
        &self.user
    }

    /// The database asked for; the user's name if none was given.
    pub(super) fn database(&self) -> &str {
        self.database.as_deref().unwrap_or(&self.user)
    }

    /// The packet to send to PostgreSQL, made anew from what was understood.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut packet = vec![0; 4];
        packet.extend(self.version.to_be_bytes());
        let mut put = |name: &[u8], value: &[u8]| {
            for text in [name, value] {
                packet.extend(text);
                packet.push(0);
            }
        };
        put(b"user", self.user.as_bytes());
        if let Some(database) = &self.database {
            put(b"database", database.as_bytes());
        }
        self.others
            .iter()
            .for_each(|(name, value)| put(name, value));
        packet.push(0);
        let length = packet.len() as u32;
        packet[..4].copy_from_slice(&length.to_be_bytes());
        packet
    }

    fn parse(version: u32, mut rest: &[u8]) -> Result<Startup, Malformed> {
        let (mut user, mut database, mut others) = (None, None, Vec::new());
        loop {
            let (name, after) = cut_text(rest)?;
            if name.is_empty() {
                // PostgreSQL wants this zero byte to be the last of the packet.
                if !after.is_empty() {
                    return Err(Malformed::Parameters);
                }
                break;
            }
            let (value, after) = cut_text(after)?;
            rest = after;
            match name {
                b"user" => set_once(&mut user, value)?,
                b"database" => set_once(&mut database, value)?,
                _ => others.push((name.to_owned(), value.to_owned())),
            }
        }
        let user = user
            .filter(|user| !user.is_empty())
            .ok_or(Malformed::NoUser)?;
        let database = database.filter(|database| !database.is_empty());
        Ok(Startup {
            version,
            user,
            database,
            others,
        })
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Frame => f.write_str("invalid length of startup packet"),
            Malformed::Parameters => f.write_str("invalid startup packet"),
            Malformed::NoUser => f.write_str("no PostgreSQL user name specified in startup packet"),
            Malformed::LongName => write!(
                f,
                "a user or database name is longer than {LONGEST_NAME} bytes"
            ),
            Malformed::Version(version) => {
                write!(
                    f,
                    "unsupported frontend protocol {}.{}: server supports 3.0",
                    version >> 16,
                    version & 0xffff
                )
            }
        }
    }
}

/// The length that a packet begins with, if it can be one.
fn packet_length(bytes: [u8; 4]) -> Option<usize> {
    let length = usize::try_from(u32::from_be_bytes(bytes)).ok()?;
    (SHORTEST_PACKET..=LONGEST_PACKET)
        .contains(&length)
        .then_some(length)
}

/// Splits at the first zero byte, which goes.
fn cut_text(bytes: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .ok_or(Malformed::Parameters)?;
    Ok((&bytes[..end], &bytes[end + 1..]))
}

/// Twice the same name would leave it to PostgreSQL which one counts.
fn set_once(slot: &mut Option<String>, value: &[u8]) -> Result<(), Malformed> {
    let value = std::str::from_utf8(value).map_err(|_| Malformed::Parameters)?;
    if value.len() > LONGEST_NAME {
        return Err(Malformed::LongName);
    }
    match slot.replace(value.to_owned()) {
        None => Ok(()),
        Some(_) => Err(Malformed::Parameters),
    }
}

const TLS_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
const CANCEL_REQUEST: u32 = 80_877_102;
const SHORTEST_PACKET: usize = 8;
/// As in PostgreSQL.
const LONGEST_PACKET: usize = 10_000;
/// Process number and key; protocol 3.2 allows keys of 256 bytes.
const LONGEST_CANCEL: usize = 4 + 256;

#[cfg(test)]
mod tests;
