//! PostgreSQL's word for it: a FATAL in answer to the startup packet.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::error::Error;

pub(super) async fn answer(
    local: impl AsyncRead + AsyncWrite,
    said: &[u8],
    error: &Error,
) -> io::Result<()> {
    let (reading, mut writing) = tokio::io::split(local);
    let mut reading = said.chain(reading);
    loop {
        match read_packet(&mut reading).await? {
            Packet::Encryption => writing.write_all(b"N").await?,
            Packet::Cancel => return Ok(()),
            Packet::Startup => break,
        }
    }
    writing.write_all(&error_response(error)).await?;
    writing.shutdown().await?;
    // Until the client has read it: closing with bytes unread would throw the answer away.
    tokio::io::copy(&mut reading, &mut tokio::io::sink()).await?;
    Ok(())
}

enum Packet {
    Encryption,
    Cancel,
    Startup,
}

async fn read_packet(reading: &mut (impl AsyncRead + Unpin)) -> io::Result<Packet> {
    let length = reading.read_u32().await?;
    let code = reading.read_u32().await?;
    if !(8..=MAX_PACKET).contains(&length) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let rest = u64::from(length) - 8;
    let skipped = tokio::io::copy(&mut reading.take(rest), &mut tokio::io::sink()).await?;
    match (code, skipped == rest) {
        (_, false) => Err(io::ErrorKind::UnexpectedEof.into()),
        (SSL_REQUEST | GSS_REQUEST, _) => Ok(Packet::Encryption),
        (CANCEL_REQUEST, _) => Ok(Packet::Cancel),
        (version, _) if version >> 16 == 3 => Ok(Packet::Startup),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// `FATAL`, SQLSTATE 08001 (the client could not establish the connection), our text, our code as the detail, and what to
/// do as the hint.
fn error_response(error: &Error) -> Vec<u8> {
    let text = error.chain();
    let fields = [
        (b'S', "FATAL"),
        (b'V', "FATAL"),
        (b'C', "08001"),
        (b'M', &text),
        (b'D', error.code()),
    ];
    let hint = error.advice().map(|advice| (b'H', advice));
    let mut body = Vec::new();
    for (field, value) in fields.into_iter().chain(hint) {
        body.push(field);
        body.extend(value.bytes().filter(|&byte| byte != 0));
        body.push(0);
    }
    body.push(0);
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [b"E".as_slice(), &length.to_be_bytes(), &body].concat()
}

const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;

/// PostgreSQL's own limit for a startup packet.
const MAX_PACKET: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixStream;

    use crate::error::ErrorKind;
    use crate::face::refusal::tell;
    use crate::user::DatabaseEngine;

    fn packet(code: u32, rest: &[u8]) -> Vec<u8> {
        let length = u32::try_from(8 + rest.len()).unwrap();
        [&length.to_be_bytes()[..], &code.to_be_bytes(), rest].concat()
    }

    #[tokio::test]
    async fn a_client_that_asks_for_tls_first_still_reads_the_reason() {
        let (mut client, server) = UnixStream::pair().unwrap();
        let error = Error::new(ErrorKind::Network, "could not connect").with_instance("p:r:i");
        let told = tokio::spawn(async move {
            tell(
                DatabaseEngine::Postgres,
                server,
                &packet(SSL_REQUEST, b""),
                &error,
            )
            .await
        });
        assert_eq!(client.read_u8().await.unwrap(), b'N');
        client
            .write_all(&packet(196_608, b"user\0me\0\0"))
            .await
            .unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        let text = String::from_utf8_lossy(&answer);
        assert!(text.starts_with('E'), "{text:?}");
        assert!(
            text.contains("SFATAL\0VFATAL\0C08001\0Mp:r:i: could not connect\0DIAMSQL_NETWORK\0H"),
            "{text:?}"
        );
        drop(client);
        told.await.unwrap();
    }

    #[tokio::test]
    async fn a_cancel_request_or_noise_is_only_hung_up_on() {
        for said in [
            packet(CANCEL_REQUEST, &[0; 8]),
            b"GET / HTTP/1.1\r\n".to_vec(),
        ] {
            let (mut client, server) = UnixStream::pair().unwrap();
            let error = Error::new(ErrorKind::Network, "no");
            tell(DatabaseEngine::Postgres, server, &said, &error).await;
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer, b"");
        }
    }
}
