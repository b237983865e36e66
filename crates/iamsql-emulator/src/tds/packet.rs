//! Messages in packets: a header of eight bytes, and as many packets as a message needs.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// A connection, in messages.
pub(super) struct Wire<S> {
    stream: S,
    size: usize,
    /// Read, but not yet a packet.
    buffer: BytesMut,
    /// A message whose end is still to come.
    begun: Option<Message>,
}

/// One message of a client.
pub(super) struct Message {
    pub(super) kind: Kind,
    pub(super) body: Vec<u8>,
    /// The client took it back while it sent it.
    pub(super) ignored: bool,
    /// The session is to be as new first.
    pub(super) reset: bool,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Batch,
    Procedure,
    Attention,
    Transaction,
    Login,
    PreLogin,
    Other,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        Wire {
            stream,
            size: FIRST_SIZE,
            buffer: BytesMut::new(),
            begun: None,
        }
    }

    pub(super) fn stream(&mut self) -> &mut S {
        &mut self.stream
    }

    /// From now on packets of this size.
    pub(super) fn packet_size(&mut self, size: usize) {
        self.size = size;
    }

    /// The next message; `None` at the end of the stream. Nothing is lost if it is given up.
    pub(super) async fn receive(&mut self) -> io::Result<Option<Message>> {
        loop {
            while let Some(ended) = self.packet()? {
                if ended {
                    return Ok(self.begun.take());
                }
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                let whole = self.buffer.is_empty() && self.begun.is_none();
                return whole
                    .then_some(None)
                    .ok_or_else(|| io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Takes a packet from what was read, if it is there whole, and says whether its message is complete.
    fn packet(&mut self) -> io::Result<Option<bool>> {
        let Some(&[kind, status, high, low, ..]) = self.buffer.get(..HEADER) else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let before = self.begun.as_ref().map_or(0, |begun| begun.body.len());
        if length < HEADER || before + length > LARGEST {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if self.buffer.len() < length {
            return Ok(None);
        }
        let packet = self.buffer.split_to(length);
        let begun = self.begun.get_or_insert_with(|| Message {
            kind: Kind::of(kind),
            body: Vec::new(),
            ignored: false,
            reset: status & (RESET | RESET_KEEPING_TRANSACTION) != 0,
        });
        begun.body.extend(&packet[HEADER..]);
        begun.ignored = status & IGNORE != 0;
        Ok(Some(status & END != 0))
    }

    /// Sends one answer.
    pub(super) async fn send(&mut self, body: &[u8]) -> io::Result<()> {
        let mut out = Vec::new();
        let mut pieces = body.chunks(self.size - HEADER).peekable();
        let mut number = 1_u8;
        while let Some(piece) = pieces.next() {
            let status = if pieces.peek().is_none() { END } else { 0 };
            let length = (piece.len() + HEADER) as u16;
            out.extend([ANSWER, status]);
            out.extend(length.to_be_bytes());
            out.extend([0, 0, number, 0]);
            out.extend(piece);
            number = number.wrapping_add(1);
        }
        self.stream.write_all(&out).await?;
        self.stream.flush().await
    }
}

impl Kind {
    fn of(byte: u8) -> Self {
        match byte {
            0x01 => Kind::Batch,
            0x03 => Kind::Procedure,
            0x06 => Kind::Attention,
            0x0e => Kind::Transaction,
            0x10 => Kind::Login,
            0x12 => Kind::PreLogin,
            _ => Kind::Other,
        }
    }
}

const HEADER: usize = 8;
const FIRST_SIZE: usize = 4096;
const LARGEST: usize = 4 * 1024 * 1024;
const ANSWER: u8 = 0x04;
const END: u8 = 0x01;
const IGNORE: u8 = 0x02;
const RESET: u8 = 0x08;
const RESET_KEEPING_TRANSACTION: u8 = 0x10;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_message_spans_packets() {
        let (mut near, far) = tokio::io::duplex(1 << 16);
        let mut wire = Wire::new(far);
        near.write_all(b"\x01\x08\0\x0a\0\0\x01\0ab\x01\x01\0\x09\0\0\x02\0c")
            .await
            .unwrap();
        let message = wire.receive().await.unwrap().unwrap();
        assert_eq!(
            (message.kind, &message.body[..]),
            (Kind::Batch, &b"abc"[..])
        );
        assert!(message.reset && !message.ignored);
        wire.packet_size(512);
        wire.send(&[7; 600]).await.unwrap();
        let mut sent = vec![0; 616];
        near.read_exact(&mut sent).await.unwrap();
        assert_eq!(sent[..8], [4, 0, 2, 0, 0, 0, 1, 0]);
        assert_eq!(sent[512..520], [4, 1, 0, 104, 0, 0, 2, 0]);
        near.write_all(b"\x01\x01\0\x03\0\0\0\0").await.unwrap();
        assert!(wire.receive().await.is_err());
    }
}
