//! The process's engines: one per identity, shared while in use and kept a while after.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::control::engine::{Engine, EngineSpec};
use crate::control::process::PerProcess;
use crate::control::sharing::SharingKey;
use crate::error::Result;

/// A connector's share in an engine.
pub(crate) struct Lease {
    engine: Arc<Engine>,
    key: SharingKey,
}

#[derive(Default)]
struct Registry {
    engines: HashMap<SharingKey, Held>,
    turn: u64,
}

struct Held {
    engine: Arc<Engine>,
    /// Counts up whenever the engine gains or loses its users; also the order in which idle ones are dropped.
    turn: u64,
}

impl Lease {
    /// A share in the engine for `spec`, which is started if there is none.
    pub(crate) fn take(spec: &EngineSpec) -> Result<Self> {
        let mut registry = registry();
        registry.turn += 1;
        let turn = registry.turn;
        let engine = match registry.engines.get_mut(&spec.key) {
            Some(held) => {
                held.turn = turn;
                held.engine.clone()
            }
            None => {
                let engine = Arc::new(Engine::start(spec)?);
                let held = Held {
                    engine: engine.clone(),
                    turn,
                };
                registry.engines.insert(spec.key, held);
                engine
            }
        };
        engine.cache.join();
        registry.drop_idle();
        Ok(Lease {
            engine,
            key: spec.key,
        })
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.engine
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut registry = registry();
        if !self.engine.cache.leave() {
            return;
        }
        registry.turn += 1;
        let turn = registry.turn;
        if let Some(held) = registry.engines.get_mut(&self.key) {
            held.turn = turn;
        }
        registry.drop_idle();
        drop(registry);
        retire(&self.engine, self.key, turn);
    }
}

impl Registry {
    /// Lets the longest idle engines go, down to as many as are kept.
    fn drop_idle(&mut self) {
        let mut idle: Vec<(u64, SharingKey)> = self
            .engines
            .iter()
            .filter(|(_, held)| !held.engine.cache.is_used())
            .map(|(key, held)| (held.turn, *key))
            .collect();
        idle.sort_by_key(|(turn, _)| *turn);
        let surplus = idle.len().saturating_sub(MAX_IDLE);
        for (_, key) in idle.into_iter().take(surplus) {
            self.engines.remove(&key);
        }
    }
}

/// Forgets an idle engine when its last certificate has ended, unless it was used again since `turn`.
fn retire(engine: &Engine, key: SharingKey, turn: u64) {
    let cache = Arc::downgrade(&engine.cache);
    engine.runtime.spawn(async move {
        loop {
            let left = match cache.upgrade() {
                Some(cache) => left(cache.last_expiry(), cache.clock().now()),
                None => return,
            };
            if left.is_zero() {
                break;
            }
            tokio::time::sleep(left.min(STEP)).await;
        }
        let mut registry = registry();
        if registry
            .engines
            .get(&key)
            .is_some_and(|held| held.turn == turn && !held.engine.cache.is_used())
        {
            registry.engines.remove(&key);
        }
    });
}

fn left(expiry: Option<SystemTime>, now: SystemTime) -> Duration {
    expiry
        .and_then(|expiry| expiry.duration_since(now).ok())
        .unwrap_or_default()
}

fn registry() -> MutexGuard<'static, Registry> {
    REGISTRY
        .get_or_make(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

static REGISTRY: PerProcess<Mutex<Registry>> = PerProcess::new();

const MAX_IDLE: usize = 8;
const STEP: Duration = Duration::from_secs(60);
