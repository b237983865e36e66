//! Asks a client to prove itself, by the plugin that its account has.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::backend::mariadb::{Known, MariaDb};
use crate::mysql::answer::{Refusal, more};
use crate::mysql::client::Proof;
use crate::mysql::greeting::{Nonce, switch};
use crate::mysql::packet::{frame, read};
use crate::mysql::password::{CachedKey, ENCRYPTED, NativeKey};
use crate::mysql::response::Response;
use crate::mysql::{capability, plugin};

/// A client in the middle of its login.
pub(super) struct Login<'a, S> {
    pub(super) stream: &'a mut S,
    pub(super) response: Response,
    /// The greeting's.
    pub(super) nonce: Nonce,
    /// Of the client's last packet.
    pub(super) sequence: u8,
}

/// What a client came up with.
pub(super) enum Offered {
    /// Something that MariaDB can judge.
    Proof(Proof),
    /// The same, with what is to be remembered if MariaDB takes it.
    Learnt(Proof, Known),
    /// The same, of a password that is remembered: the client is to be told so before it hears OK.
    Recognised(Proof),
    /// Nothing, or nothing that could be right.
    Nothing { password: bool },
    /// The client does not know how.
    Unable,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Login<'_, S> {
    /// A packet in the client's turn.
    pub(super) async fn send(&mut self, body: &[u8]) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        self.stream.write_all(&frame(self.sequence, body)).await?;
        self.stream.flush().await
    }

    async fn receive(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(packet) = read(self.stream, LONGEST_PROOF).await? else {
            return Ok(None);
        };
        self.sequence = packet.sequence;
        Ok(Some(packet.body))
    }

    /// The client's proof by this plugin; `None` if it leaves or cannot.
    async fn by(&mut self, plugin: &str) -> io::Result<Option<Vec<u8>>> {
        if self.response.plugin == plugin {
            return Ok(Some(std::mem::take(&mut self.response.proof)));
        }
        self.send(&switch(plugin, &self.nonce)).await?;
        self.receive().await
    }

    fn knows_plugins(&self) -> bool {
        self.response.capabilities & capability::PLUGIN_AUTH != 0
    }

    /// A token, sent as it is.
    pub(super) async fn token(&mut self) -> io::Result<Result<Option<String>, Refusal>> {
        if !self.knows_plugins() {
            return Ok(Err(Refusal::no_such_proof()));
        }
        let sent = self.by(plugin::CLEAR).await?;
        let text = sent.and_then(|sent| String::from_utf8(unterminated(sent)).ok());
        Ok(Ok(text.filter(|text| !text.is_empty())))
    }

    /// A proof by `mysql_native_password`, which MariaDB judges.
    pub(super) async fn native(&mut self) -> io::Result<Offered> {
        let sent = if self.knows_plugins() {
            self.by(plugin::NATIVE).await?
        } else {
            Some(std::mem::take(&mut self.response.proof))
        };
        Ok(match sent {
            Some(proof) if proof.len() == NATIVE_PROOF => Offered::Proof(Proof::Made(proof)),
            Some(proof) if unterminated(proof.clone()).is_empty() => {
                Offered::Nothing { password: false }
            }
            Some(_) => Offered::Nothing { password: true },
            None => Offered::Unable,
        })
    }

    /// A proof by `caching_sha2_password`, as MySQL 8 goes about it.
    ///
    /// A password that was right before is recognised by a hash. Otherwise the client sends it whole: as it is over a wire
    /// that both sides take for closed (`secure`), else encrypted for the server's RSA key, which it may ask for.
    pub(super) async fn caching_sha2(
        &mut self,
        mariadb: &MariaDb,
        secure: bool,
    ) -> io::Result<Offered> {
        if !self.knows_plugins() {
            return Ok(Offered::Unable);
        }
        let Some(proof) = self.by(plugin::CACHING_SHA2).await? else {
            return Ok(Offered::Unable);
        };
        if proof.iter().all(|byte| *byte == 0) && proof.len() <= 1 {
            return Ok(Offered::Nothing { password: false });
        }
        let known = mariadb.known(&self.response.user);
        if let Some(known) = known.filter(|known| known.cached.accepts(&proof, &self.nonce)) {
            return Ok(Offered::Recognised(Proof::Key(known.native)));
        }
        if proof.len() != SHA2_PROOF {
            return Ok(Offered::Nothing { password: true });
        }
        self.send(&more(&[SEND_WHOLE])).await?;
        let Some(mut sent) = self.receive().await? else {
            return Ok(Offered::Unable);
        };
        if !secure {
            let key = mariadb.server_key().await.map_err(io::Error::other)?;
            if sent == [ASKS_FOR_KEY] {
                self.send(&more(key.pem().as_bytes())).await?;
                sent = self.receive().await?.unwrap_or_default();
            }
            // A password in the open is not looked at: a MySQL takes any bytes here for encrypted ones.
            let decrypted = Some(sent)
                .filter(|sent| sent.len() == ENCRYPTED)
                .and_then(|sent| key.decrypt(&sent, &self.nonce));
            sent = decrypted.unwrap_or_default();
        }
        let password = unterminated(sent);
        if password.is_empty() {
            return Ok(Offered::Nothing { password: true });
        }
        let native = NativeKey::of(&password);
        let known = Known {
            cached: CachedKey::of(&password),
            native: native.clone(),
        };
        Ok(Offered::Learnt(Proof::Key(native), known))
    }

    /// Tells the client that its password was recognised.
    pub(super) async fn recognised(&mut self) -> io::Result<()> {
        self.send(&more(&[RECOGNISED])).await
    }
}

/// Text up to the zero byte that ends it.
fn unterminated(mut text: Vec<u8>) -> Vec<u8> {
    let end = text.iter().position(|byte| *byte == 0);
    text.truncate(end.unwrap_or(text.len()));
    text
}

/// An access token has one or two kilobytes; Google promises nothing.
const LONGEST_PROOF: usize = 64 * 1024;
const NATIVE_PROOF: usize = 20;
const SHA2_PROOF: usize = 32;
const ASKS_FOR_KEY: u8 = 2;
const RECOGNISED: u8 = 3;
const SEND_WHOLE: u8 = 4;
