//! Carries bytes between a client and PostgreSQL, and notices how the login ends.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Relays until both sides are done. `decided` hears that PostgreSQL let the user in, or what it said to refuse.
///
/// A side that ends its stream may still read what the other has to say. After PostgreSQL's end the client has two
/// seconds to leave.
pub(super) async fn run(
    client: impl AsyncRead + AsyncWrite,
    mut server: UnixStream,
    decided: impl FnOnce(Result<(), String>),
) -> io::Result<()> {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = server.split();
    let up = async {
        carry(&mut from_client, &mut to_server).await?;
        // PostgreSQL may have closed its side already.
        let _ = to_server.shutdown().await;
        io::Result::Ok(())
    };
    let down = async {
        match follow_login(&mut from_server, &mut to_client).await? {
            Login::Accepted => decided(Ok(())),
            Login::Refused(message) => decided(Err(message)),
            Login::Ended => {}
        }
        carry(&mut from_server, &mut to_client).await?;
        // The client may have left without waiting for this.
        let _ = to_client.shutdown().await;
        Ok(())
    };
    both(up, down).await
}

/// Waits for both directions. After the end of `down` the other has two seconds.
pub(super) async fn both(
    up: impl Future<Output = io::Result<()>>,
    down: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    tokio::pin!(up, down);
    tokio::select! {
        up = &mut up => {
            up?;
            down.await
        }
        down = &mut down => {
            down?;
            // A client that goes on writing to a server that has gone gets an error; that is its own affair.
            let _ = timeout(FAREWELL_LIMIT, up).await;
            Ok(())
        }
    }
}

/// How PostgreSQL's side of the login ended.
#[derive(Debug, PartialEq, Eq)]
enum Login {
    Accepted,
    Refused(String),
    /// The stream ended, or went on in a way that is not a login; what was read has been passed on.
    Ended,
}

/// Passes PostgreSQL's messages on, one by one, until it has accepted or refused the login.
async fn follow_login(
    server: &mut (impl AsyncRead + Unpin),
    client: &mut (impl AsyncWrite + Unpin),
) -> io::Result<Login> {
    loop {
        let mut message = vec![0; 5];
        match server.read_exact(&mut message).await {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Login::Ended),
            Err(error) => return Err(error),
        }
        let length = u32::from_be_bytes([message[1], message[2], message[3], message[4]]) as usize;
        let plausible = (4..=LONGEST_LOGIN_MESSAGE).contains(&length);
        if plausible {
            message.resize(1 + length, 0);
            server.read_exact(&mut message[5..]).await?;
        }
        client.write_all(&message).await?;
        client.flush().await?;
        match message[0] {
            _ if !plausible => return Ok(Login::Ended),
            b'R' if message[5..] == [0; 4] => return Ok(Login::Accepted),
            b'E' => return Ok(Login::Refused(error_text(&message[5..]))),
            _ => {}
        }
    }
}

/// The human-readable field of an ErrorResponse's body.
fn error_text(body: &[u8]) -> String {
    let text = body
        .split(|byte| *byte == 0)
        .find_map(|field| field.strip_prefix(b"M"));
    String::from_utf8_lossy(text.unwrap_or_default()).into_owned()
}

/// Copies until the end of `from`, which `to` is not told.
pub(super) async fn carry(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = match from.read(&mut buffer).await {
            // Many clients close TCP without TLS's own farewell. The databases' protocols have one, so nothing is lost.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            other => other?,
        };
        if count == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..count]).await?;
        to.flush().await?;
    }
}

pub(super) const BUFFER: usize = 64 * 1024;
/// Far above any message before AuthenticationOk.
const LONGEST_LOGIN_MESSAGE: usize = 64 * 1024;
const FAREWELL_LIMIT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    const OK: &[u8] = b"R\0\0\0\x08\0\0\0\0";
    const SASL: &[u8] = b"R\0\0\0\x17\0\0\0\x0aSCRAM-SHA-256\0\0";

    async fn follow(bytes: &[u8]) -> (Login, Vec<u8>) {
        let mut passed = Vec::new();
        let login = follow_login(&mut &bytes[..], &mut passed).await.unwrap();
        (login, passed)
    }

    #[tokio::test]
    async fn a_login_is_followed_to_its_end_and_no_further() {
        let refusal = b"E\0\0\0\x15SFATAL\0Mgo away\0\0";
        let cases = [
            (
                [SASL, OK, b"Z\0\0\0\x05I"].concat(),
                Login::Accepted,
                [SASL, OK].concat(),
            ),
            (
                [SASL, refusal].concat(),
                Login::Refused("go away".to_owned()),
                [SASL, refusal].concat(),
            ),
            (SASL.to_vec(), Login::Ended, SASL.to_vec()),
            (b"HTTP/1.1 400".to_vec(), Login::Ended, b"HTTP/".to_vec()),
            (
                b"R\0\0\0\x03".to_vec(),
                Login::Ended,
                b"R\0\0\0\x03".to_vec(),
            ),
        ];
        for (bytes, login, passed) in cases {
            assert_eq!(follow(&bytes).await, (login, passed), "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn a_client_that_ended_its_stream_still_reads_the_answer() {
        let (mut client, client_side) = duplex(1024);
        let (server_side, mut server) = UnixStream::pair().unwrap();
        let relay = tokio::spawn(run(client_side, server_side, drop));
        client.write_all(b"ask").await.unwrap();
        client.shutdown().await.unwrap();
        let mut asked = Vec::new();
        server.read_to_end(&mut asked).await.unwrap();
        assert_eq!(asked, b"ask");
        server.write_all(&[OK, b"answer"].concat()).await.unwrap();
        drop(server);
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, [OK, b"answer"].concat());
        relay.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_client_that_stays_after_the_server_left_is_let_go() {
        let (_client, client_side) = duplex(1024);
        let (server_side, server) = UnixStream::pair().unwrap();
        drop(server);
        run(client_side, server_side, drop).await.unwrap();
    }
}
