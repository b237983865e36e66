//! Byte buffers that cost nothing while empty: each thread keeps a few spare blocks, no idle connection keeps one.

use std::cell::RefCell;

/// A queue of bytes in one block of [`Buffer::CAPACITY`], which is taken when first needed and given back once empty.
pub(crate) struct Buffer {
    block: Option<Box<[u8]>>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// 64 KiB of payload in TLS records, with their overhead and room for a control record.
    pub(crate) const CAPACITY: usize = 4 * 16_384 + 2_048;

    pub(crate) const fn new() -> Self {
        Buffer {
            block: None,
            start: 0,
            end: 0,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub(crate) fn room(&self) -> usize {
        Self::CAPACITY - (self.end - self.start)
    }

    pub(crate) fn filled(&self) -> &[u8] {
        match &self.block {
            Some(block) => &block[self.start..self.end],
            None => &[],
        }
    }

    pub(crate) fn filled_mut(&mut self) -> &mut [u8] {
        match &mut self.block {
            Some(block) => &mut block[self.start..self.end],
            None => &mut [],
        }
    }

    /// All the room there is, behind what is filled. Say with [`advance`](Self::advance) how much of it was used.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        let block = self.block.get_or_insert_with(take_block);
        if self.start > 0 {
            block.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut block[self.end..]
    }

    pub(crate) fn advance(&mut self, count: usize) {
        self.end += count;
        debug_assert!(self.end <= Self::CAPACITY);
    }

    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end);
        if self.is_empty() {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Gives the block back if nothing is in it.
    pub(crate) fn release(&mut self) {
        if self.is_empty()
            && let Some(block) = self.block.take()
        {
            give_block(block);
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.consume(self.end - self.start);
        self.release();
    }
}

fn take_block() -> Box<[u8]> {
    SPARE
        .try_with(|spare| spare.borrow_mut().pop())
        .ok()
        .flatten()
        .unwrap_or_else(|| vec![0; Buffer::CAPACITY].into_boxed_slice())
}

fn give_block(block: Box<[u8]>) {
    // Fails only while the thread ends; the block is freed then.
    let _ = SPARE.try_with(|spare| {
        let mut spare = spare.borrow_mut();
        if spare.len() < MAX_SPARE {
            spare.push(block);
        }
    });
}

/// One block each for what comes in, what goes out, and what a pump has in hand.
const MAX_SPARE: usize = 3;

thread_local! {
    // Per thread rather than behind a lock: a lock that another thread held during fork would never open in the child.
    static SPARE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_in_the_order_they_came_and_the_block_goes_back() {
        let mut buffer = Buffer::new();
        buffer.space()[..4].copy_from_slice(b"abcd");
        buffer.advance(4);
        buffer.consume(2);
        buffer.space()[..2].copy_from_slice(b"ef");
        buffer.advance(2);
        assert_eq!(buffer.filled(), b"cdef");
        assert_eq!(buffer.room(), Buffer::CAPACITY - 4);
        buffer.release();
        assert!(buffer.block.is_some(), "a buffer in use keeps its block");
        buffer.consume(4);
        buffer.release();
        assert!(buffer.block.is_none());
    }
}
