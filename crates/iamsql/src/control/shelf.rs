//! What an Admin API last said of each instance, asked again when it is old, doubted or missing.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use crate::control::clock::Clock;
use crate::control::http::patience::{Patience, Single};
use crate::control::schedule;
use crate::error::{Error, Result};
use crate::instance::Instance;

/// One `T` per instance, fetched by one for all who need it.
pub(crate) struct Shelf<T> {
    clock: Arc<dyn Clock>,
    known: Mutex<HashMap<Instance, Arc<Single<Known<T>>>>>,
}

/// What is known of one instance. Locked across a fetch.
struct Known<T> {
    value: Option<Arc<T>>,
    fetched: Option<SystemTime>,
    refused: Option<(Error, SystemTime)>,
    failures: u32,
}

impl<T> Shelf<T> {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Shelf {
            clock,
            known: Mutex::default(),
        }
    }

    /// What is at hand, unless it is old or, with `suspect`, doubted; then what `fetch` brings.
    pub(crate) async fn get<F: Future<Output = Result<T>>>(
        &self,
        instance: &Instance,
        suspect: bool,
        patience: &Patience,
        fetch: impl FnOnce(Patience) -> F,
    ) -> Result<Arc<T>> {
        let known = self.known(instance);
        let asked = self.clock.now();
        let (mut known, patience) = known.lock(patience).await;
        let now = self.clock.now();
        if let (Some(value), Some(fetched)) = (&known.value, known.fetched) {
            let young = now
                .duration_since(fetched)
                .is_ok_and(|age| age < schedule::SETTINGS_LIFE);
            // Doubt is settled by anything that was fetched since it arose.
            if young && (!suspect || fetched >= asked) {
                return Ok(value.clone());
            }
        }
        if let Some((error, until)) = &known.refused
            && schedule::is_pause(now, *until)
        {
            return known.instead_of(error);
        }
        match fetch(patience).await {
            Ok(value) => {
                let value = Arc::new(value);
                *known = Known {
                    value: Some(value.clone()),
                    fetched: Some(self.clock.now()),
                    ..Known::default()
                };
                Ok(value)
            }
            Err(error) => {
                known.failures += 1;
                let now = self.clock.now();
                let backoff = schedule::backoff(known.failures, self.clock.chance());
                let pause = schedule::refused_for(!error.is_retryable(), backoff);
                let until = error.retry_at().unwrap_or(now).max(now + pause);
                let outcome = known.instead_of(&error);
                known.refused = Some((error, until));
                outcome
            }
        }
    }

    fn known(&self, instance: &Instance) -> Arc<Single<Known<T>>> {
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_KNOWN {
            // Whoever is fetching holds a reference; what was refused may be forgotten.
            all.retain(|_, known| known.try_lock().is_none_or(|known| known.value.is_some()));
        }
        all.entry(instance.clone()).or_default().clone()
    }
}

impl<T> Known<T> {
    /// What is old is better than nothing while asking anew fails; but an instance that is gone is gone.
    fn instead_of(&self, error: &Error) -> Result<Arc<T>> {
        match &self.value {
            Some(old) if error.is_retryable() => Ok(old.clone()),
            _ => Err(error.clone()),
        }
    }
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Known {
            value: None,
            fetched: None,
            refused: None,
            failures: 0,
        }
    }
}

const MAX_KNOWN: usize = 1024;
