//! MySQL's word for it: an ERR packet where the server's greeting would be. The client speaks second, so nothing is read first.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::error::Error;

pub(super) async fn answer(local: impl AsyncRead + AsyncWrite, error: &Error) -> io::Result<()> {
    let (mut reading, mut writing) = tokio::io::split(local);
    writing.write_all(&error_packet(error)).await?;
    writing.shutdown().await?;
    // Until the client has read it: closing with bytes unread would throw the answer away.
    tokio::io::copy(&mut reading, &mut tokio::io::sink()).await?;
    Ok(())
}

/// Number 1429 (the server behind this one cannot be reached), our code and text, and what to do about it.
///
/// Without an SQLSTATE: before the client has said what it understands, the server does not send one.
fn error_packet(error: &Error) -> Vec<u8> {
    let mut text = format!("[{}] {}", error.code(), error.chain());
    if let Some(advice) = error.advice() {
        text = format!("{text} ({advice})");
    }
    let end = text.floor_char_boundary(MAX_TEXT);
    let text: Vec<u8> = text.bytes().take(end).filter(|&byte| byte != 0).collect();
    let body = [&[0xff][..], &CONNECT_FAILED.to_le_bytes(), &text].concat();
    let length = u32::try_from(body.len()).unwrap_or_default().to_le_bytes();
    [&length[..3], &[0], &body].concat()
}

/// `ER_CONNECT_TO_FOREIGN_DATA_SOURCE`.
const CONNECT_FAILED: u16 = 1429;

/// What MySQL's own clients have room for.
const MAX_TEXT: usize = 511;

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;

    use super::*;
    use crate::error::ErrorKind;
    use crate::face::refusal::tell;
    use crate::user::DatabaseEngine;

    #[tokio::test]
    async fn a_client_that_waits_for_the_greeting_reads_the_reason() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let error = Error::new(ErrorKind::Network, "could not connect").with_instance("p:r:i");
        let told =
            tokio::spawn(async move { tell(DatabaseEngine::MySql, server, &[], &error).await });
        let mut header = [0; 4];
        client.read_exact(&mut header).await.unwrap();
        let length = u32::from_le_bytes([header[0], header[1], header[2], 0]);
        assert_eq!(header[3], 0, "the first packet");
        let mut body = Vec::new();
        client.read_to_end(&mut body).await.unwrap();
        assert_eq!(body.len(), usize::try_from(length).unwrap());
        assert_eq!(body[..3], [0xff, 0x95, 0x05]);
        let text = std::str::from_utf8(&body[3..]).unwrap();
        assert!(
            text.starts_with("[IAMSQL_NETWORK] p:r:i: could not connect ("),
            "{text}"
        );
        drop(client);
        told.await.unwrap();
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let error = Error::new(ErrorKind::Network, "\0ü".repeat(600));
        let packet = error_packet(&error);
        assert!(packet.len() <= MAX_TEXT + 7);
        assert!(std::str::from_utf8(&packet[7..]).is_ok());
        assert!(!packet[7..].contains(&0));
    }
}
