//! What a forked child must know: which values were made by its parent, and which descriptors to let go of.
//!
//! Every lock here is taken with the interpreter attached only. A fork by Python happens attached too, so the child never
//! finds one held by a thread that it did not inherit.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use pyo3::prelude::*;

/// How many forks lie between this process and the one that first loaded the module.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Generation(u32);

impl Generation {
    pub(crate) fn current() -> Self {
        Generation(GENERATION.load(Ordering::Relaxed))
    }

    pub(crate) fn is_current(self) -> bool {
        self == Self::current()
    }
}

/// Something with descriptors, which a child inherits and must neither use nor end in its parent's name.
pub(crate) trait Held: Send + Sync {
    /// In the child: closes the descriptors of this process. Sends nothing, waits for nothing, unlinks nothing.
    fn abandon(&self);

    /// At exit: removes what would outlive the process.
    fn remove(&self) {}
}

/// Has `value` abandoned in a child that is forked while it lives, and removed at exit.
pub(crate) fn watch(_py: Python<'_>, value: &Arc<impl Held + 'static>) {
    let value: Arc<dyn Held> = Arc::clone(value) as _;
    let mut live = LIVE.lock().unwrap_or_else(PoisonError::into_inner);
    if live.len() == live.capacity() {
        live.retain(|other| other.strong_count() > 0);
    }
    live.push(Arc::downgrade(&value));
}

/// Runs in the child right after `os.fork()`.
#[pyfunction]
pub(crate) fn after_fork(py: Python<'_>) -> PyResult<()> {
    GENERATION.fetch_add(1, Ordering::Relaxed);
    let close = py.import("os")?.getattr("close")?;
    for descriptor in iamsql::inherited_descriptors() {
        // One that was being opened or closed at the fork may not be there.
        let _ = close.call1((descriptor,));
    }
    let inherited = std::mem::take(&mut *LIVE.lock().unwrap_or_else(PoisonError::into_inner));
    for value in inherited.iter().filter_map(Weak::upgrade) {
        value.abandon();
        // Dropping could run what belongs to the parent: unlink its directory, end its session.
        std::mem::forget(value);
    }
    Ok(())
}

/// Runs as the interpreter exits.
pub(crate) fn remove_all(_py: Python<'_>) {
    let held = std::mem::take(&mut *LIVE.lock().unwrap_or_else(PoisonError::into_inner));
    for value in held.iter().filter_map(Weak::upgrade) {
        value.remove();
    }
}

/// One value per process. A child makes its own; the parent's stays where it is, never dropped, for its threads are gone.
pub(crate) struct PerProcess<T> {
    first: OnceLock<Box<Slot<T>>>,
}

struct Slot<T> {
    generation: Generation,
    /// Always there; an option so that dropping may leave it alone.
    value: Option<T>,
    next: OnceLock<Box<Slot<T>>>,
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        if !self.generation.is_current() {
            std::mem::forget(self.value.take());
        }
    }
}

impl<T> PerProcess<T> {
    pub(crate) const fn new() -> Self {
        PerProcess {
            first: OnceLock::new(),
        }
    }

    /// This process' value, if it has one already.
    pub(crate) fn get(&self, _py: Python<'_>) -> Option<&T> {
        let mut place = &self.first;
        while let Some(slot) = place.get() {
            if slot.generation.is_current() {
                return slot.value.as_ref();
            }
            place = &slot.next;
        }
        None
    }

    /// This process' value, made by `make` if there is none.
    pub(crate) fn get_or_make(
        &self,
        py: Python<'_>,
        make: impl FnOnce() -> PyResult<T>,
    ) -> PyResult<&T> {
        if self.get(py).is_none() {
            let mut made = Box::new(Slot {
                generation: Generation::current(),
                value: Some(make()?),
                next: OnceLock::new(),
            });
            let mut place = &self.first;
            // Another thread may have been first while `make` ran: then its value stands before ours and is found first.
            while let Err(back) = place.set(made) {
                made = back;
                place = &place.get().expect("a cell that refuses is full").next;
            }
        }
        Ok(self.get(py).expect("just made"))
    }
}

static GENERATION: AtomicU32 = AtomicU32::new(0);
static LIVE: Mutex<Vec<Weak<dyn Held>>> = Mutex::new(Vec::new());
