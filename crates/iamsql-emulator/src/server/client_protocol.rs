//! Cloud SQL's metadata exchange: a client says, before the database's first byte from it, how its own client reached it.
//!
//! ```text
//! "CSQLMDEX" │ u32 length, big-endian │ request  { user_agent: 1, client_protocol_type: 2 }
//!                                     │ response { response_status_code: 1, error_message: 2 }
//! ```
//!
//! A client that speaks first sends its request before all else and looks for the response at its first read. Google's
//! Go connector does the same with MySQL, whose server speaks first: there the request comes behind the greeting, and a
//! response would be taken for the database's. So only a request that precedes the server's first byte is answered.

use std::io;

use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::ahead::Ahead;

/// How a database client reached the connector or proxy, as that declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ClientProtocol {
    /// In the open.
    Tcp,
    /// Through TLS.
    Tls,
    /// Through a Unix socket.
    Uds,
}

impl ClientProtocol {
    /// Whether a password may cross as it is.
    pub(crate) fn is_secure(self) -> bool {
        matches!(self, ClientProtocol::Tls | ClientProtocol::Uds)
    }
}

/// What stands at the beginning of what a client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// It cannot be told yet.
    Incomplete,
    /// No request.
    Other,
    /// A request of so many bytes; it may leave the protocol open.
    Request(usize, Option<ClientProtocol>),
    /// A request that cannot be read, and why.
    Malformed(&'static str),
}

/// Looks for a request in the first bytes of a client.
pub(crate) fn look(received: &[u8]) -> Beginning {
    let compared = received.len().min(SIGNATURE.len());
    if received[..compared] != SIGNATURE[..compared] {
        return Beginning::Other;
    }
    let Some((header, rest)) = received.split_first_chunk::<HEADER>() else {
        return Beginning::Incomplete;
    };
    let length = u32::from_be_bytes([header[8], header[9], header[10], header[11]]) as usize;
    if length > LONGEST {
        return Beginning::Malformed("the metadata exchange request is longer than 16 KiB");
    }
    let Some(message) = rest.get(..length) else {
        return Beginning::Incomplete;
    };
    match protocol(message) {
        Some(protocol) => Beginning::Request(HEADER + length, protocol),
        None => Beginning::Malformed("the metadata exchange request cannot be read"),
    }
}

/// What a client began with, once that is clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// No request; the stream may have ended.
    None,
    Read(Option<ClientProtocol>),
    Malformed(&'static str),
}

/// Waits until the beginning of a client's bytes is clear, and takes a request away from them. Nothing is lost where it is
/// given up.
pub(crate) async fn read(stream: &mut Ahead<impl AsyncRead + Unpin>) -> io::Result<Request> {
    loop {
        match look(stream.bytes()) {
            Beginning::Incomplete if stream.more().await? => {}
            Beginning::Incomplete | Beginning::Other => return Ok(Request::None),
            Beginning::Malformed(reason) => return Ok(Request::Malformed(reason)),
            Beginning::Request(length, protocol) => {
                stream.consume(length);
                return Ok(Request::Read(protocol));
            }
        }
    }
}

/// Answers a request.
pub(crate) async fn answer(
    stream: &mut (impl AsyncWrite + Unpin),
    outcome: Result<(), &str>,
) -> io::Result<()> {
    stream.write_all(&response(outcome)).await?;
    stream.flush().await
}

fn response(outcome: Result<(), &str>) -> Vec<u8> {
    let message = match outcome {
        Ok(()) => vec![STATUS_FIELD, STATUS_OK],
        Err(reason) => {
            let reason = &reason.as_bytes()[..reason.len().min(LONGEST_REASON)];
            let mut message = vec![STATUS_FIELD, STATUS_ERROR, TEXT_FIELD];
            // A number of two groups of seven bits.
            message.extend([reason.len() as u8 | 0x80, (reason.len() >> 7) as u8]);
            message.extend_from_slice(reason);
            message
        }
    };
    let length = u32::try_from(message.len()).expect("a response is short");
    [&SIGNATURE[..], &length.to_be_bytes(), &message].concat()
}

/// The client's protocol in a request's message; `None` if it is no message.
fn protocol(mut message: &[u8]) -> Option<Option<ClientProtocol>> {
    let mut protocol = None;
    while !message.is_empty() {
        let key = number(&mut message)?;
        match (key >> 3, key & 7) {
            (CLIENT_PROTOCOL, 0) => {
                protocol = match number(&mut message)? {
                    1 => Some(ClientProtocol::Tcp),
                    2 => Some(ClientProtocol::Tls),
                    3 => Some(ClientProtocol::Uds),
                    _ => None,
                }
            }
            (0, _) => return None,
            (_, 0) => drop(number(&mut message)?),
            (_, 1) => message = message.get(8..)?,
            (_, 2) => {
                let length = number(&mut message)?;
                message = message.get(usize::try_from(length).ok()?..)?;
            }
            (_, 5) => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some(protocol)
}

/// A number in groups of seven bits, the lowest first.
fn number(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for place in 0..10 {
        let (byte, rest) = message.split_first()?;
        *message = rest;
        number |= u64::from(byte & 0x7f) << (7 * place).min(63);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

const SIGNATURE: [u8; 8] = *b"CSQLMDEX";
const HEADER: usize = SIGNATURE.len() + 4;
const LONGEST: usize = 16 * 1024;
const LONGEST_REASON: usize = 16_000;
const CLIENT_PROTOCOL: u64 = 2;
/// Field 1, a number.
const STATUS_FIELD: u8 = 0x08;
const STATUS_OK: u8 = 1;
const STATUS_ERROR: u8 = 2;
/// Field 2, bytes.
const TEXT_FIELD: u8 = 0x12;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &length, message].concat()
    }

    #[test]
    fn requests_are_understood() {
        use ClientProtocol::*;
        let cases: [(&[u8], Option<ClientProtocol>); 7] = [
            (b"\x10\x01", Some(Tcp)),
            (b"\x10\x02", Some(Tls)),
            (b"\x10\x03", Some(Uds)),
            (b"\x10\x09", None),
            (b"", None),
            // A user agent before, and fields of a later version behind.
            (b"\x0a\x02go\x10\x02\x18\x05\x21abcdefgh\x2dabcd", Some(Tls)),
            (b"\x10\x01\x10\x03", Some(Uds)),
        ];
        for (message, protocol) in cases {
            let frame = framed(message);
            assert_eq!(look(&frame), Beginning::Request(frame.len(), protocol));
            for end in 0..frame.len() {
                assert_eq!(look(&frame[..end]), Beginning::Incomplete, "{end}");
            }
            let followed = [&frame[..], b"\0\0\0\x08"].concat();
            assert_eq!(look(&followed), Beginning::Request(frame.len(), protocol));
        }
    }

    #[test]
    fn what_a_database_client_sends_is_no_request() {
        for other in [
            &b"\0\0\0\x08\x04\xd2\x16\x2f"[..],
            b"\xb5\0\0\x01",
            b"CSQLMDEx",
        ] {
            assert_eq!(look(other), Beginning::Other);
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let long = [&SIGNATURE[..], &16_385u32.to_be_bytes()].concat();
        assert!(matches!(look(&long), Beginning::Malformed(_)));
        for message in [
            &b"\x10"[..],
            b"\x0a\x05go",
            b"\x13",
            b"\x00\x00",
            &[0xff; 11],
        ] {
            assert!(
                matches!(look(&framed(message)), Beginning::Malformed(_)),
                "{message:?}"
            );
        }
    }

    #[test]
    fn responses_are_the_documented_ones() {
        assert_eq!(response(Ok(())), framed(b"\x08\x01"));
        assert_eq!(response(Err("no")), framed(b"\x08\x02\x12\x82\0no"));
        let long = response(Err(&"x".repeat(300)));
        assert_eq!(
            long[HEADER..][..5],
            [8, 2, 0x12, 300u16 as u8 & 0x7f | 0x80, 2]
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..64), signed: bool) {
            if signed {
                bytes = framed(&bytes);
            }
            if let Beginning::Request(length, _) = look(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }
    }
}
