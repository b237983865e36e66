//! The certificates of one engine: who may use which, when another is fetched, and what happens when that fails.

mod entry;
mod flight;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::control::clock::Clock;
use crate::control::credentials::is_principal_switch;
use crate::control::http::patience::Patience;
use crate::control::schedule::{self, AtConnect};
use crate::control::target::Target;
use crate::error::Result;
use crate::instance::{Instance, Product};
use crate::options::{AuthMode, RefreshStrategy};

use entry::{Entry, State};
use flight::Flight;

/// Makes targets: the whole way from tokens to a TLS configuration.
#[async_trait]
pub(crate) trait Issuer: Send + Sync + 'static {
    /// A new target; with `suspect`, nothing known about the instance is taken for granted.
    async fn issue(
        &self,
        instance: &Instance,
        mode: AuthMode,
        suspect: bool,
        generation: u64,
        patience: &Patience,
    ) -> Result<Target>;
}

/// One certificate per instance and, on Cloud SQL, way to log in.
pub(crate) struct Cache {
    issuer: Arc<dyn Issuer>,
    clock: Arc<dyn Clock>,
    strategy: RefreshStrategy,
    runtime: Handle,
    users: AtomicUsize,
    entries: Mutex<HashMap<(Instance, AuthMode), Arc<Entry>>>,
}

impl Cache {
    pub(crate) fn new(
        issuer: Arc<dyn Issuer>,
        clock: Arc<dyn Clock>,
        strategy: RefreshStrategy,
        runtime: Handle,
    ) -> Arc<Self> {
        Arc::new(Cache {
            issuer,
            clock,
            strategy,
            runtime,
            users: AtomicUsize::new(0),
            entries: Mutex::new(HashMap::new()),
        })
    }

    /// A target that may be used at once, if there is one. Never blocks: a warm connect asks on its own thread.
    pub(crate) fn at_hand(
        self: &Arc<Self>,
        instance: &Instance,
        mode: AuthMode,
    ) -> Option<Arc<Target>> {
        let entry = self.entry(instance, mode);
        let mut state = entry.lock();
        match schedule::at_connect(state.view(self.clock.now(), self.strategy)) {
            AtConnect::Serve => state.serve(self.clock.now()),
            AtConnect::ServeAndFetch => {
                self.fetch(&entry, &mut state);
                state.serve(self.clock.now())
            }
            AtConnect::Fetch | AtConnect::Refuse => None,
        }
    }

    /// A target, waiting for one until `deadline` if need be. Runs on the engine's runtime.
    pub(crate) async fn target(
        self: Arc<Self>,
        instance: Instance,
        mode: AuthMode,
        deadline: Instant,
    ) -> Result<Arc<Target>> {
        let entry = self.entry(&instance, mode);
        let (flight, limit) = {
            let mut state = entry.lock();
            let now = self.clock.now();
            match schedule::at_connect(state.view(now, self.strategy)) {
                AtConnect::Serve => return state.serve_or_fail(now),
                AtConnect::ServeAndFetch => {
                    self.fetch(&entry, &mut state);
                    return state.serve_or_fail(now);
                }
                AtConnect::Refuse if state.flight.is_none() => return Err(state.refusal()),
                AtConnect::Refuse | AtConnect::Fetch => {
                    let limit = match state.is_valid(now) {
                        true => halfway(deadline),
                        false => deadline,
                    };
                    (self.fetch(&entry, &mut state), limit)
                }
            }
        };
        let outcome = flight.wait(limit).await;
        let mut state = entry.lock();
        let now = self.clock.now();
        match outcome {
            Ok(target) => {
                state.used = Some(now);
                Ok(target)
            }
            // A failed renewal hurts nobody as long as the old certificate lives.
            Err(error) if !is_principal_switch(&error) => state.serve(now).ok_or(error),
            Err(error) => Err(error),
        }
        .map_err(|error| error.with_instance(&instance))
    }

    /// Asks for a renewal because a server refused what generation `seen` presented, or could not be reached with it.
    ///
    /// The next connect waits for it. Does nothing if it has happened already, or happens too often.
    pub(crate) fn force(&self, instance: &Instance, mode: AuthMode, seen: u64) {
        let entry = self.entry(instance, mode);
        let mut state = entry.lock();
        let current = state.current.as_ref().map(|target| target.generation);
        let now = self.clock.now();
        if current == Some(seen) && !state.forced && state.forced_limit.allows(now) {
            state.forced = true;
            state.suspect = true;
        }
    }

    /// Counts a connector in; as long as there is one, timers run.
    pub(crate) fn join(&self) {
        self.users.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts a connector out; says whether it was the last.
    pub(crate) fn leave(&self) -> bool {
        self.users.fetch_sub(1, Ordering::AcqRel) == 1
    }

    pub(crate) fn is_used(&self) -> bool {
        self.users.load(Ordering::Acquire) > 0
    }

    /// When the last certificate ends; `None` if there is none.
    pub(crate) fn last_expiry(&self) -> Option<SystemTime> {
        let entries: Vec<_> = self.entries().values().cloned().collect();
        entries
            .iter()
            .filter_map(|entry| entry.lock().current.as_ref().map(|target| target.expires))
            .max()
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Joins the fetch in flight, or starts one.
    fn fetch(self: &Arc<Self>, entry: &Arc<Entry>, state: &mut State) -> Flight {
        if let Some(flight) = &state.flight {
            return flight.clone();
        }
        let (flight, report) = Flight::new();
        state.flight = Some(flight.clone());
        state.generation += 1;
        let (generation, suspect) = (state.generation, state.suspect);
        let (cache, entry) = (self.clone(), entry.clone());
        self.runtime.spawn(async move {
            let patience = report.patience(Instant::now() + schedule::FETCH_LIMIT);
            // A task of its own: a panic must not leave everybody waiting.
            let work = {
                let (cache, entry) = (cache.clone(), entry.clone());
                tokio::spawn(async move {
                    let deadline = patience.deadline();
                    let issue = cache.issuer.issue(
                        &entry.instance,
                        entry.mode,
                        suspect,
                        generation,
                        &patience,
                    );
                    tokio::time::timeout_at(deadline, issue)
                        .await
                        .unwrap_or_else(|_| Err(patience.timed_out()))
                })
            };
            let outcome = work.await.unwrap_or_else(|_| Err(flight::failed()));
            let outcome = cache.settle(&entry, outcome, suspect);
            report.land(outcome);
        });
        flight
    }

    /// Takes a fetch's outcome in, and sets the timer for the next.
    fn settle(
        self: &Arc<Self>,
        entry: &Arc<Entry>,
        outcome: Result<Target>,
        suspect: bool,
    ) -> Result<Arc<Target>> {
        let now = self.clock.now();
        let mut state = entry.lock();
        state.flight = None;
        // A doubt that arose under way is not settled by a fetch that took the instance's settings for granted.
        let doubted_since = state.forced && !suspect;
        state.forced = false;
        match outcome {
            Ok(target) => {
                let target = Arc::new(target);
                let wake = state.succeed(target.clone(), now, self.clock.chance());
                state.forced = doubted_since;
                state.suspect = doubted_since;
                tracing::debug!(instance = %entry.instance, mode = ?entry.mode, generation = target.generation,
                    "certificate fetched");
                self.set_timer(entry, &state, wake);
                Ok(target)
            }
            Err(error) => {
                let wake = state.fail(&error, now, self.clock.chance());
                // Whoever waits hears of it anyway; a renewal ahead of time fails unheard otherwise.
                match state.current {
                    Some(_) => {
                        tracing::warn!(instance = %entry.instance, mode = ?entry.mode, failures = state.failures,
                            error = %error.chain(), "the certificate could not be renewed");
                        self.set_timer(entry, &state, wake);
                    }
                    None => {
                        tracing::debug!(instance = %entry.instance, mode = ?entry.mode, failures = state.failures,
                            error = %error.chain(), "no certificate could be fetched");
                    }
                }
                Err(error)
            }
        }
    }

    /// Fetches at `wake`, if by then the certificate is still the same, is in use, and somebody is there to use it.
    fn set_timer(self: &Arc<Self>, entry: &Arc<Entry>, state: &State, wake: SystemTime) {
        if self.strategy == RefreshStrategy::Lazy {
            return;
        }
        let (cache, entry, set_for) = (Arc::downgrade(self), entry.clone(), state.generation);
        self.runtime.spawn(async move {
            loop {
                let Some(cache) = cache.upgrade() else { return };
                let left = wake.duration_since(cache.clock.now()).unwrap_or_default();
                drop(cache);
                if left.is_zero() {
                    break;
                }
                // In steps, because the machine may sleep, or its clock be set, meanwhile.
                tokio::time::sleep(left.min(TIMER_STEP)).await;
            }
            let Some(cache) = cache.upgrade() else { return };
            let mut state = entry.lock();
            let is_in_use = state.used_since_issued() && !state.was_given_up(cache.clock.now());
            if state.generation == set_for
                && cache.is_used()
                && schedule::timer_fetches(cache.strategy, is_in_use)
            {
                cache.fetch(&entry, &mut state);
            }
        });
    }

    fn entry(&self, instance: &Instance, mode: AuthMode) -> Arc<Entry> {
        let mut entries = self.entries();
        // AlloyDB's certificates are nobody's login, so that both ways to log in share one.
        let mode = match instance.product() {
            Product::CloudSql => mode,
            Product::AlloyDb => AuthMode::Password,
        };
        let key = (instance.clone(), mode);
        if let Some(entry) = entries.get(&key) {
            return entry.clone();
        }
        let now = self.clock.now();
        if entries.len() >= MAX_ENTRIES {
            entries.retain(|_, entry| !entry.lock().is_forgettable(now));
        }
        let entry = Arc::new(Entry::new(instance.clone(), mode, now));
        entries.insert(key, entry.clone());
        entry
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<(Instance, AuthMode), Arc<Entry>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long to wait for a renewal with a valid certificate at hand: there must be time left to dial with it.
fn halfway(deadline: Instant) -> Instant {
    let now = Instant::now();
    now + deadline.saturating_duration_since(now) / 2
}

const TIMER_STEP: Duration = Duration::from_secs(60);
/// Beyond this many names, those that lead nowhere are forgotten.
const MAX_ENTRIES: usize = 1024;

#[cfg(test)]
mod tests;
