//! The scripted failures in force: injected, counted down, cleared.

mod fault;

use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use self::fault::{CertificateAlert, DnsCode, Effect, Endpoint, Fault};

/// The failures in force. Cheap to clone.
///
/// ```no_run
/// # async fn example(emulator: iamsql_emulator::Emulator) {
/// use iamsql_emulator::{Effect, Endpoint, Fault};
///
/// emulator.faults().inject(
///     Fault::new(Endpoint::ConnectSettings, Effect::status(503).retry_after("1"))
///         .instance("your-project-id:us-central1:orders")
///         .times(2),
/// );
/// # }
/// ```
#[derive(Clone)]
pub struct Faults(Arc<Inner>);

struct Inner {
    active: Mutex<Vec<Active>>,
    changed: watch::Sender<u64>,
    settle: Mutex<Option<Settle>>,
}

/// Waits until the listeners follow a change.
type Settle = Arc<dyn Fn(u64) + Send + Sync>;

struct Active {
    id: FaultId,
    fault: Fault,
}

/// Names a fault so that it can be cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FaultId(u64);

impl Faults {
    pub(crate) fn new() -> Self {
        let changed = watch::Sender::new(0);
        Faults(Arc::new(Inner {
            active: Mutex::default(),
            changed,
            settle: Mutex::default(),
        }))
    }

    /// Puts a fault in force and returns when it is.
    ///
    /// # Panics
    /// If the effect means nothing at the endpoint: that is a mistake in the test.
    pub fn inject(&self, fault: Fault) -> FaultId {
        let (id, version) = self.add(fault).unwrap_or_else(|reason| panic!("{reason}"));
        self.settle(version);
        id
    }

    /// Ends one fault. Nothing happens if it has ended already.
    pub fn clear(&self, id: FaultId) {
        let version = self.remove(|active| active.id == id);
        self.settle(version);
    }

    /// Ends the faults scoped to this instance.
    pub fn clear_instance(&self, name: &str) {
        let version = self.remove(|active| active.fault.instance.as_deref() == Some(name));
        self.settle(version);
    }

    /// Ends all faults.
    pub fn clear_all(&self) {
        let version = self.remove(|_| true);
        self.settle(version);
    }

    /// The faults in force; [`Fault::times`] counts what is left.
    pub fn active(&self) -> Vec<(FaultId, Fault)> {
        self.lock()
            .iter()
            .map(|active| (active.id, active.fault.clone()))
            .collect()
    }

    /// Puts a fault in force without waiting for the listeners.
    pub(crate) fn add(&self, fault: Fault) -> Result<(FaultId, u64), String> {
        fault.validate()?;
        let mut active = self.lock();
        let version = self.bump();
        active.push(Active {
            id: FaultId(version),
            fault,
        });
        Ok((FaultId(version), version))
    }

    pub(crate) fn clear_quietly(&self, id: Option<FaultId>) -> u64 {
        self.remove(|active| id.is_none_or(|id| active.id == id))
    }

    /// Takes the effect for a call, counting it.
    pub(crate) fn take(
        &self,
        endpoint: Endpoint,
        instance: Option<&str>,
        principal: Option<&str>,
    ) -> Option<Effect> {
        self.take_where(endpoint, instance, principal, |_| true)
    }

    /// Takes the first effect that also fits the present step of a connection.
    pub(crate) fn take_where(
        &self,
        endpoint: Endpoint,
        instance: Option<&str>,
        principal: Option<&str>,
        fits: impl Fn(&Effect) -> bool,
    ) -> Option<Effect> {
        self.take_matching(|fault| {
            fault.concerns(endpoint, instance, principal) && fits(&fault.effect)
        })
    }

    /// Takes the effect for a question about a DNS name, counting it.
    pub(crate) fn take_dns(&self, name: &str) -> Option<Effect> {
        self.take_matching(|fault| fault.concerns_name(name))
    }

    fn take_matching(&self, concerned: impl Fn(&Fault) -> bool) -> Option<Effect> {
        let mut active = self.lock();
        let index = active.iter().position(|active| concerned(&active.fault))?;
        let effect = active[index].fault.effect.clone();
        if let Some(times) = &mut active[index].fault.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                active.remove(index);
            }
        }
        Some(effect)
    }

    /// How this instance's port should be: its closing effect, if one is in force.
    pub(crate) fn closing(&self, instance: &str) -> Option<Effect> {
        let active = self.lock();
        let closing = active.iter().find(|active| {
            matches!(active.fault.effect, Effect::Refuse | Effect::BlackHole)
                && active.fault.concerns(Endpoint::Tcp, Some(instance), None)
        })?;
        Some(closing.fault.effect.clone())
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.0.changed.subscribe()
    }

    pub(crate) fn on_change(&self, settle: impl Fn(u64) + Send + Sync + 'static) {
        *self.0.settle.lock().expect("no panic under lock") = Some(Arc::new(settle));
    }

    fn remove(&self, ended: impl Fn(&Active) -> bool) -> u64 {
        let mut active = self.lock();
        active.retain(|active| !ended(active));
        self.bump()
    }

    fn bump(&self) -> u64 {
        let mut version = 0;
        self.0.changed.send_modify(|current| {
            *current += 1;
            version = *current;
        });
        version
    }

    fn settle(&self, version: u64) {
        let settle = self.0.settle.lock().expect("no panic under lock").clone();
        if let Some(settle) = settle {
            settle(version);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Active>> {
        self.0.active.lock().expect("no panic under lock")
    }
}

#[cfg(test)]
mod tests;
