//! Cloud SQL's metadata exchange: what the client's own socket is, so that MySQL knows whether a password may cross it.
//!
//! The request is the first thing on the session. The reply, if the server gives one, comes before the database's first
//! byte; most servers stay silent, so nobody waits for it. Frames are `CSQLMDEX`, a length and a protobuf message.

use crate::error::{Error, ErrorKind, Result};
use crate::options::ClientProtocol;
use crate::secret::foreign;

/// What stands at the beginning of what the server sent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// It cannot be told yet.
    Incomplete,
    /// No reply: the database speaks.
    None,
    /// A reply of so many bytes, in our favour.
    Accepted(usize),
}

/// The frame that says how the database's client connects.
pub(crate) fn request(protocol: ClientProtocol) -> Vec<u8> {
    let kind = match protocol {
        ClientProtocol::Tcp => 1,
        ClientProtocol::Tls => 2,
        ClientProtocol::Uds => 3,
    };
    // Field 2, a number.
    frame(&[0x10, kind])
}

/// Looks for a reply at the beginning of `received`.
///
/// # Errors
/// [`ErrorKind::Handshake`] if the server refuses, or replies with more than 16 KiB or something unreadable.
pub(crate) fn read_reply(received: &[u8]) -> Result<Reply> {
    let compared = received.len().min(SIGNATURE.len());
    if received[..compared] != SIGNATURE[..compared] {
        return Ok(Reply::None);
    }
    let Some((header, rest)) = received.split_first_chunk::<HEADER>() else {
        return Ok(Reply::Incomplete);
    };
    let length = u32::from_be_bytes([header[8], header[9], header[10], header[11]]);
    let length = usize::try_from(length)
        .ok()
        .filter(|&length| length <= MAX_MESSAGE)
        .ok_or_else(|| unreadable("is larger than 16 KiB"))?;
    let Some(message) = rest.get(..length) else {
        return Ok(Reply::Incomplete);
    };
    let (status, said) = read_message(message).ok_or_else(|| unreadable("cannot be read"))?;
    match status {
        REFUSED => Err(Error::new(
            ErrorKind::Handshake,
            format!(
                "the server refused the metadata exchange: {}",
                foreign(&said)
            ),
        )),
        _ => Ok(Reply::Accepted(HEADER + length)),
    }
}

fn unreadable(why: &str) -> Error {
    Error::new(
        ErrorKind::Handshake,
        format!("the server's reply to the metadata exchange {why}"),
    )
}

fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&SIGNATURE[..], &length.to_be_bytes(), message].concat()
}

/// Status (field 1, a number) and text (field 2, bytes); other fields are passed over.
fn read_message(mut message: &[u8]) -> Option<(u64, String)> {
    let (mut status, mut text) = (0, String::new());
    while !message.is_empty() {
        let key = read_number(&mut message)?;
        match (key >> 3, key & 7) {
            (1, 0) => status = read_number(&mut message)?,
            (_, 0) => drop(read_number(&mut message)?),
            (_, 1) => message = message.get(8..)?,
            (field, 2) => {
                let length = usize::try_from(read_number(&mut message)?).ok()?;
                let (bytes, rest) = message.split_at_checked(length)?;
                message = rest;
                if field == 2 {
                    text = String::from_utf8_lossy(bytes).into_owned();
                }
            }
            (_, 5) => message = message.get(4..)?,
            _ => return None,
        }
    }
    Some((status, text))
}

fn read_number(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for place in 0..10 {
        let (&byte, rest) = message.split_first()?;
        *message = rest;
        number |= u64::from(byte & 0x7f).checked_shl(7 * place)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

const SIGNATURE: [u8; 8] = *b"CSQLMDEX";
const HEADER: usize = SIGNATURE.len() + 4;
const MAX_MESSAGE: usize = 16 * 1024;
/// `ERROR`, of `OK` (1) and this.
const REFUSED: u64 = 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_request_is_the_documented_one() {
        for (protocol, number) in [
            (ClientProtocol::Tcp, 1),
            (ClientProtocol::Tls, 2),
            (ClientProtocol::Uds, 3),
        ] {
            let mut wanted = b"CSQLMDEX\0\0\0\x02\x10".to_vec();
            wanted.push(number);
            assert_eq!(request(protocol), wanted);
        }
    }

    #[test]
    fn a_reply_is_told_from_the_databases_first_bytes() {
        let reply = frame(&[8, 1]);
        for end in 0..reply.len() {
            assert_eq!(
                read_reply(&reply[..end]).unwrap(),
                Reply::Incomplete,
                "{end}"
            );
        }
        let followed = [&reply[..], b"J\0\0\0\x0a8.4.0"].concat();
        assert_eq!(read_reply(&followed).unwrap(), Reply::Accepted(14));
        // A MySQL greeting, a PostgreSQL authentication request, and a greeting that begins as a reply does.
        for other in [&b"J\0\0\0\x0a8.4.0"[..], b"R\0\0\0\x08", b"CS\0\0\x0a"] {
            assert_eq!(read_reply(other).unwrap(), Reply::None);
        }
    }

    #[test]
    fn an_error_refuses_in_the_servers_words() {
        let error = read_reply(&frame(b"\x08\x02\x12\x04no\nX")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Handshake);
        assert!(
            error
                .to_string()
                .starts_with("the server refused the metadata exchange: no")
        );
        assert!(!error.to_string().contains('\n'));
    }

    #[test]
    fn a_reply_that_is_too_long_or_garbled_is_refused() {
        let huge = [&SIGNATURE[..], &(16_385_u32).to_be_bytes()].concat();
        assert_eq!(read_reply(&huge).unwrap_err().kind(), ErrorKind::Handshake);
        for message in [&[0x12, 200, 1][..], &[0x08], &[0x0f], &[0xff; 12]] {
            assert_eq!(
                read_reply(&frame(message)).unwrap_err().kind(),
                ErrorKind::Handshake,
                "{message:?}"
            );
        }
        // Fields that a later version adds.
        let later = frame(&[0x18, 1, 0x22, 1, b'x', 0x08, 1]);
        assert_eq!(read_reply(&later).unwrap(), Reply::Accepted(later.len()));
    }

    proptest! {
        #[test]
        fn nothing_that_a_server_sends_is_a_panic(message in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = read_reply(&message);
            let _ = read_reply(&frame(&message));
        }
    }
}
