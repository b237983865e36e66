//! A client of MariaDB's own socket: logs in, and asks queries whose answers are small.

use std::io;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

use super::answer::{ERR, OK, Refusal};
use super::greeting::{Greeting, Nonce, SWITCH};
use super::packet::{Fields, frame, read};
use super::password::NativeKey;
use super::response::Response;
use super::{capability, plugin};

/// How a client proves itself to MariaDB.
pub(crate) enum Proof {
    /// By a proof that the client itself made for the greeting's nonce.
    Made(Vec<u8>),
    Key(NativeKey),
}

/// MariaDB's answer to a login.
pub(crate) enum Answer {
    /// The OK packet's body.
    Accepted(Vec<u8>),
    Refused(Refusal),
}

/// Reads MariaDB's first packet.
///
/// # Errors
/// [`Refusal`] inside, where it is MariaDB's own.
pub(crate) async fn greeting(server: &mut (impl AsyncRead + Unpin)) -> Result<Greeting> {
    let packet = read(server, LONGEST)
        .await?
        .context("MariaDB said nothing")?;
    if let Some(refusal) = Refusal::parse(&packet.body) {
        return Err(refusal.into());
    }
    Greeting::parse(&packet.body).context("MariaDB's greeting is not understood")
}

/// Sends a response to the greeting and reads what MariaDB makes of it.
pub(crate) async fn log_in(
    server: &mut (impl AsyncRead + AsyncWrite + Unpin),
    greeting: &Greeting,
    response: &Response,
    proof: &Proof,
) -> io::Result<Answer> {
    let prove = |nonce: &Nonce| match proof {
        Proof::Made(made) => made.clone(),
        Proof::Key(key) => key.prove(nonce),
    };
    let made = prove(&greeting.nonce);
    let response = response.to_server(greeting.capabilities, plugin::NATIVE, made);
    server.write_all(&frame(1, &response.encode())).await?;
    loop {
        let Some(packet) = read(server, LONGEST).await? else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        match packet.body.first() {
            Some(&OK) => return Ok(Answer::Accepted(packet.body)),
            Some(&SWITCH) => {
                // For unknown users MariaDB may ask for any plugin: who cannot answer is refused as by a wrong password.
                let proof = switched(&packet.body)
                    .filter(|_| matches!(proof, Proof::Key(_)))
                    .map(|nonce| prove(&nonce));
                let proof = frame(packet.sequence.wrapping_add(1), &proof.unwrap_or_default());
                server.write_all(&proof).await?;
            }
            _ => {
                let refusal = Refusal::parse(&packet.body);
                return refusal.map(Answer::Refused).ok_or_else(|| {
                    io::Error::new(
                        io::ErrorKind::InvalidData,
                        "MariaDB's answer is not understood",
                    )
                });
            }
        }
    }
}

/// The nonce of a request to use `mysql_native_password`.
fn switched(body: &[u8]) -> Option<Nonce> {
    let mut fields = Fields(body.get(1..)?);
    let native = fields.terminated()? == plugin::NATIVE.as_bytes();
    fields.array().filter(|_| native)
}

/// A session of the emulator's own.
pub(crate) struct Client(UnixStream);

impl Client {
    pub(crate) async fn log_in(
        mut server: UnixStream,
        user: &str,
        key: &NativeKey,
    ) -> Result<Client> {
        let greeting = greeting(&mut server).await?;
        let response = Response {
            capabilities: capability::PROTOCOL_41 | capability::SECURE_CONNECTION | 1,
            longest_packet: LONGEST as u32,
            collation: UTF8,
            reserved: [0; 23],
            user: user.to_owned(),
            proof: Vec::new(),
            database: Vec::new(),
            plugin: String::new(),
            attributes: Vec::new(),
        };
        let proof = Proof::Key(key.clone());
        match log_in(&mut server, &greeting, &response, &proof).await? {
            Answer::Accepted(_) => Ok(Client(server)),
            Answer::Refused(refusal) => Err(refusal.into()),
        }
    }

    /// Runs a statement and returns the first column of its rows as text; NULL is empty.
    ///
    /// # Errors
    /// [`Refusal`] inside, where it is MariaDB's own.
    pub(crate) async fn run(&mut self, statement: &str) -> Result<Vec<String>> {
        let command = [&[QUERY], statement.as_bytes()].concat();
        self.0.write_all(&frame(0, &command)).await?;
        let first = self.packet().await?;
        if first.first() == Some(&OK) {
            return Ok(Vec::new());
        }
        let columns = Fields(&first)
            .number()
            .context("MariaDB's answer is not understood")?;
        for _ in 0..columns {
            self.packet().await?;
        }
        self.packet().await?;
        let mut rows = Vec::new();
        loop {
            let row = self.packet().await?;
            if row.first() == Some(&END) && row.len() < SHORTEST_LONG_ROW {
                return Ok(rows);
            }
            let value = Fields(&row).counted().unwrap_or_default();
            rows.push(String::from_utf8_lossy(value).into_owned());
        }
    }

    async fn packet(&mut self) -> Result<Vec<u8>> {
        let Some(packet) = read(&mut self.0, LONGEST).await? else {
            bail!("MariaDB is gone");
        };
        match packet.body.first() {
            Some(&ERR) => Err(Refusal::parse(&packet.body)
                .context("MariaDB's error is not understood")?
                .into()),
            _ => Ok(packet.body),
        }
    }
}

const LONGEST: usize = 1 << 20;
/// COM_QUERY.
const QUERY: u8 = 3;
/// The first byte of what ends rows, and of a row whose first column is very long.
const END: u8 = 0xfe;
const SHORTEST_LONG_ROW: usize = 9;
/// `utf8mb4_general_ci`.
const UTF8: u8 = 45;
