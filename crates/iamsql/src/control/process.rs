//! A value per process: what a forked child must not touch, it finds absent and makes anew.

use std::sync::OnceLock;

/// One `T` for each process that asks.
///
/// After a fork the parent's threads are gone and its locks may be held for ever, so the child neither reads nor drops
/// what the parent made. No lock is taken to find one's own value; a forgotten value costs its memory, once per fork.
pub(crate) struct PerProcess<T> {
    first: OnceLock<Box<Node<T>>>,
}

struct Node<T> {
    process: u32,
    value: Option<T>,
    next: OnceLock<Box<Node<T>>>,
}

impl<T> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        PerProcess {
            first: OnceLock::new(),
        }
    }

    /// This process's value, if it has one.
    pub(crate) fn get(&self) -> Option<&T> {
        let process = std::process::id();
        let mut slot = &self.first;
        while let Some(node) = slot.get() {
            if node.process == process {
                return node.value.as_ref();
            }
            slot = &node.next;
        }
        None
    }

    /// What the processes above this one had made when they forked, the oldest first. Their locks may be held for ever.
    pub(crate) fn inherited(&self) -> impl Iterator<Item = &T> {
        let process = std::process::id();
        std::iter::successors(self.first.get(), |node| node.next.get())
            .filter(move |node| node.process != process)
            .filter_map(|node| node.value.as_ref())
    }

    /// This process's value, made by `make` at the first call; where two threads race, one value is dropped.
    pub(crate) fn get_or_try_make<E>(&self, make: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        if let Some(value) = self.get() {
            return Ok(value);
        }
        let process = std::process::id();
        let mut made = Some(Box::new(Node {
            process,
            value: Some(make()?),
            next: OnceLock::new(),
        }));
        let mut slot = &self.first;
        loop {
            let node = slot.get_or_init(|| made.take().expect("set once: only one slot takes it"));
            if node.process == process {
                return Ok(node.value.as_ref().expect("emptied only on drop"));
            }
            slot = &node.next;
            if made.is_none() {
                unreachable!("our own node has our process id");
            }
        }
    }

    /// [`get_or_try_make`](Self::get_or_try_make) for what cannot fail.
    pub(crate) fn get_or_make(&self, make: impl FnOnce() -> T) -> &T {
        match self.get_or_try_make(|| Ok::<T, std::convert::Infallible>(make())) {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }
}

impl<T> Drop for Node<T> {
    fn drop(&mut self) {
        if self.process != std::process::id() {
            std::mem::forget(self.value.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_makes_its_value_once() {
        let values = PerProcess::new();
        assert!(values.get().is_none());
        assert_eq!(*values.get_or_make(|| 1), 1);
        assert_eq!(*values.get_or_make(|| 2), 1);
        assert_eq!(values.get(), Some(&1));
    }

    #[test]
    fn a_value_of_another_process_is_passed_over_and_never_dropped() {
        struct Alarm;
        impl Drop for Alarm {
            fn drop(&mut self) {
                panic!("dropped");
            }
        }
        let values = PerProcess::new();
        let foreign = Node {
            process: std::process::id() + 1,
            value: Some(Ok(Alarm)),
            next: OnceLock::new(),
        };
        assert!(values.first.set(Box::new(foreign)).is_ok());
        assert_eq!(values.get_or_make(|| Err(7)).as_ref().err(), Some(&7));
    }
}
