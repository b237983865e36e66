//! What is known about one instance and way to log in, and how a fetch's outcome changes it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::control::cache::flight::{self, Flight};
use crate::control::credentials::is_principal_switch;
use crate::control::schedule::{self, ForcedLimit, View};
use crate::control::target::Target;
use crate::error::{Error, ErrorKind, Result};
use crate::instance::Instance;
use crate::options::{AuthMode, RefreshStrategy};

pub(super) struct Entry {
    pub(super) instance: Instance,
    pub(super) mode: AuthMode,
    state: Mutex<State>,
}

pub(super) struct State {
    pub(super) current: Option<Arc<Target>>,
    pub(super) flight: Option<Flight>,
    /// Counts fetches, the failed ones too.
    pub(super) generation: u64,
    issued: SystemTime,
    pub(super) used: Option<SystemTime>,
    /// A server refused `current`, so the next connect waits for another.
    pub(super) forced: bool,
    /// Something failed since the settings were fetched.
    pub(super) suspect: bool,
    pub(super) failures: u32,
    refused: Option<Error>,
    not_before: SystemTime,
    pub(super) forced_limit: ForcedLimit,
}

impl Entry {
    pub(super) fn new(instance: Instance, mode: AuthMode, now: SystemTime) -> Self {
        Entry {
            instance,
            mode,
            state: Mutex::new(State {
                current: None,
                flight: None,
                generation: 0,
                issued: now,
                used: None,
                forced: false,
                suspect: false,
                failures: 0,
                refused: None,
                not_before: SystemTime::UNIX_EPOCH,
                forced_limit: ForcedLimit::new(now),
            }),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(super) fn view(&self, now: SystemTime, strategy: RefreshStrategy) -> View {
        View {
            now,
            expires: self.current.as_ref().map(|target| target.expires),
            not_before: self.not_before,
            failed: self.refused.is_some(),
            forced: self.forced,
            strategy,
        }
    }

    /// The certificate at hand, if it is valid; notes that it was used.
    pub(super) fn serve(&mut self, now: SystemTime) -> Option<Arc<Target>> {
        let target = self
            .current
            .as_ref()
            .filter(|target| target.expires > now)?;
        self.used = Some(now);
        Some(target.clone())
    }

    pub(super) fn serve_or_fail(&mut self, now: SystemTime) -> Result<Arc<Target>> {
        self.serve(now).ok_or_else(flight::failed)
    }

    /// What the last fetch said, for those who come too early for another.
    pub(super) fn refusal(&self) -> Error {
        self.refused.clone().unwrap_or_else(flight::failed)
    }

    pub(super) fn used_since_issued(&self) -> bool {
        self.used.is_some_and(|used| used >= self.issued)
    }

    /// The certificate ended while renewals failed: nobody uses it any more, and the next connect asks anyway.
    pub(super) fn was_given_up(&self, now: SystemTime) -> bool {
        self.failures > 0 && !self.is_valid(now)
    }

    pub(super) fn is_valid(&self, now: SystemTime) -> bool {
        self.current
            .as_ref()
            .is_some_and(|target| target.expires > now)
    }

    /// Takes a new certificate in; returns when the timer should fetch the next.
    pub(super) fn succeed(
        &mut self,
        target: Arc<Target>,
        now: SystemTime,
        chance: f64,
    ) -> SystemTime {
        let previous = self.current.as_ref().map(|target| target.expires);
        let expires = target.expires;
        self.current = Some(target);
        self.issued = now;
        self.suspect = false;
        self.failures = 0;
        self.refused = None;
        self.not_before = schedule::satisfied_until(now, expires, previous);
        schedule::refresh_at(now, expires, previous, chance)
    }

    /// Takes a failure in; returns when the timer should try again.
    pub(super) fn fail(&mut self, error: &Error, now: SystemTime, chance: f64) -> SystemTime {
        if is_principal_switch(error) {
            self.current = None;
        }
        self.failures += 1;
        self.suspect = true;
        let backoff = schedule::backoff(self.failures, chance);
        let pause = match self.is_valid(now) {
            true => backoff,
            false => schedule::refused_for(is_final(error), backoff),
        };
        let asked = error.retry_at().unwrap_or(now);
        self.not_before = (now + pause).max(asked);
        self.refused = Some(error.clone());
        (now + backoff).max(asked)
    }

    /// Nothing would be lost but a failure that is an hour old.
    pub(super) fn is_forgettable(&self, now: SystemTime) -> bool {
        let idle = now
            .duration_since(self.used.unwrap_or(self.issued))
            .is_ok_and(|idle| idle > FORGOTTEN);
        self.flight.is_none()
            && idle
            && self
                .current
                .as_ref()
                .is_none_or(|target| target.expires <= now)
    }
}

/// Whether only somebody's doing can make it better: such a failure is kept for a moment, not for a back-off.
fn is_final(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Config | ErrorKind::Permission | ErrorKind::NotFound
    )
}

const FORGOTTEN: Duration = Duration::from_secs(3600);
