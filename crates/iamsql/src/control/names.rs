//! From a domain name to an instance, and again every while, because names are moved on purpose.
//!
//! `domain` tells what a name's text says, `lookup` asks DNS, `resolution` walks from record to record, and a `place`
//! remembers where a domain leads, who may answer for it, and which connections were opened by it.

pub(crate) mod domain;
pub(crate) mod lookup;
mod place;
mod resolution;
pub(crate) mod servers;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

use crate::error::{Error, ErrorKind, Result};
use crate::instance::Instance;
use crate::tether::Tether;

use lookup::Lookup;
use place::{Place, State};
pub(crate) use resolution::InstanceNames;
use resolution::resolve;

/// What a caller decides about domain names.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// The projects that a domain may lead to; unset, that of the first answer.
    pub(crate) projects: Option<Vec<String>>,
    /// How often a domain in use is looked up again; zero means never.
    pub(crate) period: Duration,
}

/// Every domain name that an engine was asked for.
pub(crate) struct Names {
    lookup: Arc<dyn Lookup>,
    service: Arc<dyn InstanceNames>,
    policy: Policy,
    runtime: Handle,
    /// Whether there is a connector left to watch for.
    in_use: Box<dyn Fn() -> bool + Send + Sync>,
    places: Mutex<HashMap<String, Arc<Place>>>,
    addresses: Mutex<HashMap<String, Known>>,
}

/// What a name's address records said, and when.
#[derive(Clone)]
struct Known {
    asked: Instant,
    answer: Result<Vec<IpAddr>>,
}

impl Names {
    pub(crate) fn new(
        lookup: Arc<dyn Lookup>,
        service: Arc<dyn InstanceNames>,
        policy: Policy,
        runtime: Handle,
        in_use: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Names {
            lookup,
            service,
            policy,
            runtime,
            in_use: Box::new(in_use),
            places: Mutex::default(),
            addresses: Mutex::default(),
        })
    }

    /// Where `domain` leads, if that was looked up a moment ago. Never blocks.
    pub(crate) fn at_hand(self: &Arc<Self>, domain: &str) -> Option<Instance> {
        let place = self.place(domain);
        let mut state = place.lock();
        state.used = Instant::now();
        let instance = state.fresh(self.fresh_for())?;
        self.watch(&place, &mut state);
        Some(instance)
    }

    /// Where `domain` leads. Runs on the engine's runtime.
    ///
    /// # Errors
    /// [`ErrorKind::Dns`] if its records name no instance, or one that it may not lead to; what the Admin API says of an
    /// instance's own DNS name. A lookup that fails for the time being does not count while an earlier answer is known.
    pub(crate) async fn locate(
        self: Arc<Self>,
        domain: String,
        deadline: Instant,
    ) -> Result<Instance> {
        let place = self.place(&domain);
        place.lock().used = Instant::now();
        let found = self.check(&place, deadline).await;
        let mut state = place.lock();
        match (found, state.instance.clone()) {
            (Ok(instance), _) => {
                self.watch(&place, &mut state);
                Ok(instance)
            }
            (Err(error), Some(last)) if error.is_retryable() => {
                tracing::warn!(domain, error = %error.chain(), "the lookup failed; going by the last answer");
                self.watch(&place, &mut state);
                Ok(last)
            }
            (Err(error), _) => Err(error.with_instance(&domain)),
        }
    }

    /// Ties a connection that was just opened to the name that it was opened by; `None` if that leads elsewhere by now.
    pub(crate) fn tie(&self, domain: &str, instance: &Instance) -> Option<Tether> {
        let place = self.place(domain);
        let mut state = place.lock();
        (state.instance.as_ref() == Some(instance)).then(|| {
            let (tether, cutter) = Tether::new();
            state.open(cutter);
            tether
        })
    }

    /// The addresses of `name`, none if it has no such record. Runs on the engine's runtime.
    ///
    /// # Errors
    /// [`ErrorKind::Dns`] if DNS does not answer.
    pub(crate) async fn addresses(
        self: Arc<Self>,
        name: String,
        deadline: Instant,
    ) -> Result<Vec<IpAddr>> {
        if let Some(known) = self.known_addresses(&name) {
            return known;
        }
        let limit = deadline.min(Instant::now() + ADDRESS_LIMIT);
        let answer = tokio::time::timeout_at(limit, self.lookup.addresses(&name))
            .await
            .unwrap_or_else(|_| Err(unanswered(&name)));
        let mut known = lock(&self.addresses);
        if known.len() >= MAX_ADDRESSES {
            known.retain(|_, known| known.asked.elapsed() < FRESH);
        }
        let asked = Instant::now();
        known.insert(
            name,
            Known {
                asked,
                answer: answer.clone(),
            },
        );
        answer
    }

    /// [`addresses`](Self::addresses), if they were asked for a moment ago. Never blocks.
    pub(crate) fn known_addresses(&self, name: &str) -> Option<Result<Vec<IpAddr>>> {
        lock(&self.addresses)
            .get(name)
            .filter(|known| {
                let fresh_for = match known.answer {
                    Ok(_) => self.fresh_for(),
                    Err(_) => FRESH_FAILURE,
                };
                known.asked.elapsed() < fresh_for
            })
            .map(|known| known.answer.clone())
    }

    /// One lookup at a time for each domain; those who waited for it take its answer.
    async fn check(&self, place: &Arc<Place>, deadline: Instant) -> Result<Instance> {
        let seen = place.lock().answers();
        let limit = deadline.min(Instant::now() + RESOLUTION_LIMIT);
        let work = async {
            let _turn = place.turn.lock().await;
            if let Some(known) = place.lock().since(seen) {
                return known;
            }
            let found = resolve(&place.domain, &*self.lookup, &*self.service).await;
            let outcome = place.lock().take_in(&place.domain, found, &self.policy);
            match outcome {
                place::Outcome::Same(instance) => Ok(instance),
                place::Outcome::Moved(instance) => {
                    lock(&self.addresses).remove(&place.domain);
                    Ok(instance)
                }
                place::Outcome::Failed(error) => Err(error),
            }
        };
        tokio::time::timeout_at(limit, work)
            .await
            .unwrap_or_else(|_| {
                if limit == deadline {
                    return Err(Error::new(
                        ErrorKind::Timeout,
                        "the deadline passed while looking the domain name up",
                    ));
                }
                let error = unanswered(&place.domain);
                place
                    .lock()
                    .take_in(&place.domain, Err(error.clone()), &self.policy);
                Err(error)
            })
    }

    /// Looks the domain up again every while, as long as that concerns anybody.
    fn watch(self: &Arc<Self>, place: &Arc<Place>, state: &mut State) {
        let period = self.policy.period;
        if state.watched || period.is_zero() || domain::is_immutable(&place.domain) {
            return;
        }
        state.watched = true;
        let (names, place) = (Arc::downgrade(self), place.clone());
        self.runtime.spawn(async move {
            loop {
                let begun = Instant::now();
                tokio::time::sleep(period).await;
                let Some(names) = names.upgrade() else { return };
                {
                    let mut state = place.lock();
                    if !(names.in_use)() || !(state.has_connections() || state.used >= begun) {
                        state.watched = false;
                        return;
                    }
                }
                if let Err(error) = names.check(&place, Instant::now() + RESOLUTION_LIMIT).await {
                    tracing::debug!(domain = place.domain, error = %error.chain(), "the domain name could not be looked up again");
                }
            }
        });
    }

    /// An answer is as good as new for so long; less where the name is to be watched more closely.
    fn fresh_for(&self) -> Duration {
        match self.policy.period {
            Duration::ZERO => FRESH,
            period => FRESH.min(period / 2),
        }
    }

    fn place(&self, domain: &str) -> Arc<Place> {
        let mut places = lock(&self.places);
        if let Some(place) = places.get(domain) {
            return place.clone();
        }
        if places.len() >= MAX_PLACES {
            places.retain(|_, place| !place.lock().is_forgettable());
        }
        let place = Arc::new(Place::new(domain));
        places.insert(domain.to_owned(), place.clone());
        place
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unanswered(name: &str) -> Error {
    Error::new(
        ErrorKind::Dns,
        format!("DNS did not answer for {name:?} in time"),
    )
}

const FRESH: Duration = Duration::from_secs(5);
const FRESH_FAILURE: Duration = Duration::from_secs(1);
/// How long all the lookups behind one name may take together.
pub(crate) const RESOLUTION_LIMIT: Duration = Duration::from_secs(10);
/// The address of a domain is a refinement in most cases, and waited for no longer than that.
const ADDRESS_LIMIT: Duration = Duration::from_secs(5);
/// Beyond this many, names that lead nowhere are forgotten.
const MAX_PLACES: usize = 1024;
const MAX_ADDRESSES: usize = 1024;

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
