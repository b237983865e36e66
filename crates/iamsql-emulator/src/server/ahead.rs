//! A stream whose first bytes can be looked at before they are read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// A stream, and what was looked at of it.
pub(crate) struct Ahead<S> {
    stream: S,
    bytes: Vec<u8>,
}

impl<S: AsyncRead + Unpin> Ahead<S> {
    pub(crate) fn new(stream: S) -> Self {
        Ahead {
            stream,
            bytes: Vec::new(),
        }
    }

    /// The bytes that came and have not been read.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Waits for further bytes; false at the end of the stream. Nothing is lost where it is given up.
    pub(crate) async fn more(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 4096];
        let count = self.stream.read(&mut buffer).await?;
        self.bytes.extend_from_slice(&buffer[..count]);
        Ok(count > 0)
    }

    /// Drops so many bytes, which must have come.
    pub(crate) fn consume(&mut self, count: usize) {
        self.bytes.drain(..count);
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Ahead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.bytes.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let count = self.bytes.len().min(buffer.remaining());
        buffer.put_slice(&self.bytes[..count]);
        self.consume(count);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Ahead<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    #[tokio::test]
    async fn what_was_looked_at_is_read_again() {
        let (mut far, near) = duplex(64);
        let mut near = Ahead::new(near);
        tokio::io::AsyncWriteExt::write_all(&mut far, b"one two")
            .await
            .unwrap();
        assert!(near.more().await.unwrap());
        assert_eq!(near.bytes(), b"one two");
        near.consume(4);
        drop(far);
        let mut rest = String::new();
        near.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "two");
        assert!(!near.more().await.unwrap());
    }
}
