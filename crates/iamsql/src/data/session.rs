//! One TLS session without input or output: records in, plaintext out, and back.
//!
//! Every face drives the same session its own way: by readiness on a runtime, by `poll` on the caller's thread, or from
//! the caller's event loop. rustls' unbuffered interface decrypts in place in our 64 KiB buffer; its buffered one would
//! read 4 KiB at a time and copy once more.

mod plaintext;

use std::fmt;
use std::io;
use std::sync::{Arc, OnceLock};

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use rustls::{AlertDescription, ClientConfig};

use super::buffer::Buffer;
use super::connection::Origin;
use super::exchange::cloud_sql::{self, Reply};
use crate::error::{Error, ErrorKind, Result};
use crate::options::ClientProtocol;
use plaintext::Plaintext;

/// The state of one TLS session and the bytes on their way through it.
pub(crate) struct Session {
    layer: Layer,
    incoming: Buffer,
    outgoing: Buffer,
    plaintext: Plaintext,
    end: Option<End>,
    closing: bool,
    failed: Option<rustls::Error>,
    /// Whether the reply to a metadata exchange may stand before what the database says.
    expects_reply: bool,
    /// The reply, if it was a refusal.
    refused: Option<Error>,
    origin: Origin,
}

/// What lies between the socket and the driver.
enum Layer {
    Tls(Box<UnbufferedClientConnection>),
    /// Nothing: the socket's other end is in this process. Where it ends badly, the reason is here.
    Plain(Arc<OnceLock<Error>>),
}

/// What reading from the session came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// So many bytes were written to the caller's buffer.
    Bytes(usize),
    /// More must come from the socket first.
    Starved,
    /// The server is done.
    End(End),
}

/// How the server ended the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// With a close-notify: nothing was cut off.
    Clean,
    /// By closing the socket alone.
    Abrupt,
}

/// Where the handshake stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Handshake {
    /// More must come from the socket, after what is outgoing was sent.
    Starved,
    /// Done, once what is outgoing was sent.
    Done,
}

enum Turn {
    Again,
    Starved,
    Ready,
}

#[derive(Clone, Copy)]
enum Send<'a> {
    Nothing,
    Data(&'a [u8]),
    CloseNotify,
}

impl Session {
    pub(crate) fn new(
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        origin: Origin,
    ) -> Result<Self> {
        let tls = UnbufferedClientConnection::new(config, name).map_err(|error| {
            Error::new(ErrorKind::Tls, "could not start a TLS session").with_source(error)
        })?;
        Ok(Session::over(Layer::Tls(Box::new(tls)), origin))
    }

    /// A session whose bytes are what they are, over a socket whose other end is pumped by this process.
    #[cfg(feature = "sql-data")]
    pub(crate) fn plain(origin: Origin, failure: Arc<OnceLock<Error>>) -> Self {
        Session::over(Layer::Plain(failure), origin)
    }

    fn over(layer: Layer, origin: Origin) -> Self {
        Session {
            layer,
            incoming: Buffer::new(),
            outgoing: Buffer::new(),
            plaintext: Plaintext::default(),
            end: None,
            closing: false,
            failed: None,
            expects_reply: false,
            refused: None,
            origin,
        }
    }

    /// Queues Cloud SQL's metadata exchange; a reply to it is taken out of what the server sends.
    pub(crate) fn introduce(&mut self, client: ClientProtocol) -> Result<()> {
        self.send(Send::Data(&cloud_sql::request(client)))?;
        self.expects_reply = true;
        self.look_for_reply();
        Ok(())
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Takes the handshake as far as the bytes at hand allow.
    pub(crate) fn handshake(&mut self) -> Result<Handshake, rustls::Error> {
        loop {
            match self.turn(&mut [], &mut 0, Send::Nothing)? {
                Turn::Again => {}
                Turn::Starved => return Ok(Handshake::Starved),
                Turn::Ready => return Ok(Handshake::Done),
            }
        }
    }

    /// Decrypts into `buf` what is at hand.
    pub(crate) fn read(&mut self, buf: &mut [u8]) -> Result<Received> {
        let mut filled = self.take(buf);
        // What a reply was found in goes before what comes after it.
        while filled < buf.len() && self.is_readable() && self.available() == 0 {
            match self.turn(buf, &mut filled, Send::Nothing) {
                Ok(Turn::Again) => {}
                Ok(Turn::Starved | Turn::Ready) => break,
                // What was decrypted before the failure goes first; the failure stays for the next read.
                Err(_) => break,
            }
        }
        if filled == 0 {
            filled = self.take(buf);
        }
        self.incoming.release();
        if filled > 0 {
            self.origin.answered();
            return Ok(Received::Bytes(filled));
        }
        if buf.is_empty() {
            return Ok(Received::Bytes(0));
        }
        if let Some(refused) = &self.refused {
            return Err(refused.clone().with_instance(self.origin.instance()));
        }
        if let (Layer::Plain(failure), Some(_)) = (&self.layer, self.end)
            && let Some(error) = failure.get()
        {
            return Err(error.clone());
        }
        match (&self.failed, self.end) {
            (Some(error), _) => Err(self.origin.failure(error)),
            (None, Some(end)) => Ok(Received::End(end)),
            (None, None) => Ok(Received::Starved),
        }
    }

    /// Encrypts the first bytes of `data`, as many as there is room for, and says how many; 0 means to send first.
    pub(crate) fn write(&mut self, data: &[u8]) -> Result<usize> {
        let room = self.outgoing.room().saturating_sub(RECORD_OVERHEAD);
        let chunk = &data[..data.len().min(room).min(MAX_CHUNK)];
        if chunk.is_empty() {
            return Ok(0);
        }
        self.send(Send::Data(chunk)).map(|()| chunk.len())
    }

    /// Queues the record that says nothing more will come from us. Once is enough; more do nothing.
    pub(crate) fn close_notify(&mut self) -> Result<()> {
        match self.closing || self.outgoing.room() < RECORD_OVERHEAD {
            true => Ok(()),
            false => self.send(Send::CloseNotify),
        }
    }

    /// Where to put bytes from the socket. Say with [`arrived`](Self::arrived) how many came.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.incoming.space()
    }

    /// Takes in `count` bytes from the socket; none means that the server closed it.
    pub(crate) fn arrived(&mut self, count: usize) {
        self.incoming.advance(count);
        if count == 0 {
            self.end.get_or_insert(match self.layer {
                Layer::Tls(_) => End::Abrupt,
                Layer::Plain(_) => End::Clean,
            });
        }
    }

    /// Lets go of memory that an idle session does not need.
    pub(crate) fn rest(&mut self) {
        self.incoming.release();
        self.outgoing.release();
    }

    pub(crate) fn outgoing(&self) -> &[u8] {
        self.outgoing.filled()
    }

    pub(crate) fn sent(&mut self, count: usize) {
        self.outgoing.consume(count);
        self.outgoing.release();
    }

    pub(crate) fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// How many decrypted bytes a read would return without the socket.
    pub(crate) fn pending(&mut self) -> usize {
        while self.available() == 0 && self.is_readable() {
            match self.turn(&mut [], &mut 0, Send::Nothing) {
                Ok(Turn::Again) => {}
                Ok(Turn::Starved | Turn::Ready) | Err(_) => break,
            }
        }
        self.available()
    }

    /// Whether there is more to decrypt.
    fn is_readable(&self) -> bool {
        self.failed.is_none() && self.refused.is_none() && !self.incoming.is_empty()
    }

    /// How many decrypted bytes are known to be the database's.
    fn available(&self) -> usize {
        match self.expects_reply {
            true => 0,
            false => self.plaintext.len(),
        }
    }

    fn take(&mut self, buf: &mut [u8]) -> usize {
        match self.expects_reply {
            true => 0,
            false => self.plaintext.take(buf),
        }
    }

    /// Takes a reply out of what was decrypted, or finds that there is none.
    fn look_for_reply(&mut self) {
        match cloud_sql::read_reply(self.plaintext.rest()) {
            Ok(Reply::Incomplete) => {}
            Ok(Reply::None) => self.expects_reply = false,
            Ok(Reply::Accepted(length)) => {
                self.plaintext.skip(length);
                self.expects_reply = false;
            }
            Err(refused) => self.refused = Some(refused),
        }
    }

    /// Says why the socket broke: a server that refused our certificate often shows only as a reset while writing, with
    /// the alert still unread behind it.
    pub(crate) fn explain(
        &mut self,
        error: io::Error,
        mut receive: impl FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> io::Error {
        if let Layer::Plain(failure) = &self.layer {
            return failure.get().map_or(error, |reason| reason.clone().into());
        }
        if self.origin.is_answered() {
            return error;
        }
        while self.incoming.room() > RECORD_OVERHEAD {
            match receive(self.incoming.space()) {
                Ok(count) if count > 0 => self.incoming.advance(count),
                _ => break,
            }
        }
        self.pending();
        match &self.failed {
            Some(cause) => self.origin.failure(cause).into(),
            None => error,
        }
    }

    /// Everything that came before is decrypted first: rustls offers to encrypt only then.
    fn send(&mut self, what: Send<'_>) -> Result<()> {
        if self.closing {
            return Err(Error::new(
                ErrorKind::Closed,
                "the stream was shut down for writing",
            ));
        }
        self.closing = matches!(what, Send::CloseNotify);
        loop {
            match self.turn(&mut [], &mut 0, what) {
                Ok(Turn::Again) => {}
                Ok(Turn::Ready) => return Ok(()),
                Ok(Turn::Starved) => {
                    return Err(self.origin.failure(&rustls::Error::HandshakeNotComplete));
                }
                Err(error) => return Err(self.origin.failure(&error)),
            }
        }
    }

    /// One step of rustls: at most one record decrypted, one message encoded, or `send` encrypted.
    fn turn(
        &mut self,
        buf: &mut [u8],
        filled: &mut usize,
        send: Send<'_>,
    ) -> Result<Turn, rustls::Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let Layer::Tls(tls) = &mut self.layer else {
            return Ok(self.turn_plain(buf, filled, send));
        };
        let UnbufferedStatus { mut discard, state } =
            tls.process_tls_records(self.incoming.filled_mut());
        let turn = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                let mut outcome = Ok(Turn::Again);
                while let Some(record) = traffic.next_record() {
                    match record {
                        Ok(record) => {
                            discard += record.discard;
                            let rest = match self.expects_reply {
                                true => &mut [],
                                false => &mut buf[*filled..],
                            };
                            let count = rest.len().min(record.payload.len());
                            rest[..count].copy_from_slice(&record.payload[..count]);
                            *filled += count;
                            self.plaintext.keep(&record.payload[count..]);
                        }
                        Err(error) => outcome = Err(error),
                    }
                }
                outcome
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                let encoded = data.encode(self.outgoing.space());
                queued(&mut self.outgoing, encoded).map(|()| Turn::Again)
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                // It is in `outgoing`, which is sent before anything later.
                data.done();
                Ok(Turn::Again)
            }
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                let encrypted = match send {
                    Send::Nothing => Ok(0),
                    Send::Data(data) => traffic.encrypt(data, self.outgoing.space()),
                    Send::CloseNotify => traffic.queue_close_notify(self.outgoing.space()),
                };
                queued(&mut self.outgoing, encrypted).map(|()| Turn::Ready)
            }
            Ok(ConnectionState::PeerClosed) => {
                self.end = Some(End::Clean);
                Ok(Turn::Again)
            }
            Ok(ConnectionState::Closed) => Ok(Turn::Ready),
            Ok(_) => Ok(Turn::Starved),
            Err(error) => Err(error),
        };
        self.incoming.consume(discard);
        if self.expects_reply && self.refused.is_none() && !self.plaintext.is_empty() {
            self.look_for_reply();
        }
        if let Err(error) = &turn {
            self.failed = Some(error.clone());
            self.queue_alert(error);
        }
        turn
    }

    /// One step without TLS: what arrived is what the database said.
    fn turn_plain(&mut self, buf: &mut [u8], filled: &mut usize, send: Send<'_>) -> Turn {
        let arrived = self.incoming.filled();
        if !arrived.is_empty() {
            let rest = &mut buf[*filled..];
            let count = rest.len().min(arrived.len());
            rest[..count].copy_from_slice(&arrived[..count]);
            *filled += count;
            self.plaintext.keep(&arrived[count..]);
            let all = arrived.len();
            self.incoming.consume(all);
            return Turn::Again;
        }
        if let Send::Data(data) = send {
            self.outgoing.space()[..data.len()].copy_from_slice(data);
            self.outgoing.advance(data.len());
        }
        Turn::Ready
    }

    /// A server whose identity we refuse is told so, for its log. Of other failures rustls does not promise an alert, and
    /// without one it must not be asked again.
    fn queue_alert(&mut self, error: &rustls::Error) {
        if !matches!(error, rustls::Error::InvalidCertificate(_)) {
            return;
        }
        if let Layer::Tls(tls) = &mut self.layer
            && let Ok(ConnectionState::EncodeTlsData(mut data)) =
                tls.process_tls_records(&mut []).state
            && let Ok(count) = data.encode(self.outgoing.space())
        {
            self.outgoing.advance(count);
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("end", &self.end)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

fn queued<E: fmt::Display>(
    outgoing: &mut Buffer,
    encoded: Result<usize, E>,
) -> Result<(), rustls::Error> {
    match encoded {
        Ok(count) => {
            outgoing.advance(count);
            Ok(())
        }
        Err(reason) => Err(rustls::Error::General(reason.to_string())),
    }
}

/// Whether the server says with this alert that it will not have our certificate.
pub(crate) fn refuses_certificate(error: &rustls::Error) -> bool {
    matches!(
        error,
        rustls::Error::AlertReceived(
            AlertDescription::BadCertificate
                | AlertDescription::UnsupportedCertificate
                | AlertDescription::CertificateRevoked
                | AlertDescription::CertificateExpired
                | AlertDescription::CertificateUnknown
                | AlertDescription::UnknownCA
                | AlertDescription::AccessDenied
                | AlertDescription::DecryptError
                | AlertDescription::CertificateRequired
        )
    )
}

/// The most plaintext that is encrypted at once: four full records.
const MAX_CHUNK: usize = 4 * 16_384;

/// What four records and a control message of rustls add to a chunk, rounded up.
const RECORD_OVERHEAD: usize = 2_048;

#[cfg(test)]
mod tests;
