//! Decrypted bytes on their way to whoever reads.

/// Decrypted bytes that did not fit the caller's buffer.
#[derive(Default)]
pub(super) struct Plaintext {
    bytes: Vec<u8>,
    taken: usize,
}

impl Plaintext {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    pub(super) fn skip(&mut self, count: usize) {
        self.taken += count;
        if self.is_empty() {
            *self = Self::default();
        }
    }

    pub(super) fn keep(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(super) fn take(&mut self, buf: &mut [u8]) -> usize {
        let count = self.len().min(buf.len());
        buf[..count].copy_from_slice(&self.rest()[..count]);
        self.skip(count);
        count
    }
}
