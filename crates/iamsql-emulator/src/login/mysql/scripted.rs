//! Plays a MySQL that refuses every login with a scripted ERR, also where there is no database.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::issued::random_bytes;
use crate::login::linger;
use crate::mysql::answer::Refusal;
use crate::mysql::greeting::Greeting;
use crate::mysql::packet::{frame, read};
use crate::mysql::{capability, plugin};
use crate::server::{Ahead, client_protocol};

/// Greets, reads the response, then refuses with this SQLSTATE.
pub(crate) async fn refuse<S>(stream: S, state: &str, message: &str) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut stream = Ahead::new(stream);
    let nonce: Vec<u8> = random_bytes(20).iter().map(|byte| byte % 90 + 33).collect();
    let greeting = Greeting {
        version: VERSION.into(),
        connection: 1,
        nonce: nonce.try_into().expect("twenty bytes"),
        capabilities: capability::CONNECT_WITH_DATABASE
            | capability::PROTOCOL_41
            | capability::SECURE_CONNECTION
            | capability::PLUGIN_AUTH
            | capability::CONNECT_ATTRIBUTES
            | capability::LENGTH_ENCODED_PROOF
            | 1,
        collation: UTF8,
        status: AUTOCOMMIT,
        reserved: [0; 10],
        plugin: plugin::CACHING_SHA2.into(),
    };
    stream.write_all(&frame(0, &greeting.encode())).await?;
    stream.flush().await?;
    client_protocol::read(&mut stream).await?;
    let Some(response) = read(&mut stream, super::LONGEST_RESPONSE).await? else {
        return Ok(());
    };
    let code = if state == "28000" {
        crate::mysql::answer::ACCESS_DENIED
    } else {
        super::UNKNOWN_ERROR
    };
    let refusal = Refusal::other(code, state, message);
    let sequence = response.sequence.wrapping_add(1);
    stream
        .write_all(&frame(sequence, &refusal.encode()))
        .await?;
    linger(stream).await
}

const VERSION: &str = "8.0.36";
const UTF8: u8 = 45;
const AUTOCOMMIT: u16 = 2;
