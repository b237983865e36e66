//! Scripted failures: which endpoint fails, for whom, how often, and in what way.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

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

/// One scripted failure.
///
/// Without [`Fault::instance`] and [`Fault::principal`] it meets every call to the endpoint; without [`Fault::times`] it
/// stays until it is cleared. The oldest matching fault wins.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// What fails.
    pub endpoint: Endpoint,
    /// In what way.
    pub effect: Effect,
    /// Only for this instance (`project:region:instance`). Metadata and token calls concern no instance.
    #[serde(default)]
    pub instance: Option<String>,
    /// Only for this principal (e-mail address). Unknown to [`Endpoint::Tcp`].
    #[serde(default)]
    pub principal: Option<String>,
    /// Only the next so many calls.
    #[serde(default)]
    pub times: Option<u32>,
}

/// What a fault or a counted call concerns.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Endpoint {
    /// `/computeMetadata/v1/…`: everything but tokens.
    Metadata,
    /// `/computeMetadata/v1/instance/service-accounts/…/token`.
    MetadataToken,
    /// `/token`: JWT-bearer and refresh grants.
    Token,
    /// `/tokeninfo`.
    TokenInfo,
    /// `GET …/connectSettings`.
    ConnectSettings,
    /// `POST …:generateEphemeralCert`.
    GenerateEphemeralCert,
    /// Accepting connections on port 3307.
    Tcp,
    /// What happens on an accepted connection to port 3307.
    Tls,
}

/// The way of failing.
///
/// HTTP endpoints and [`Endpoint::Tls`] and [`Endpoint::Tcp`] understand `Delay`, `Hang` and `Reset`; the other effects
/// say where they apply. An effect that means nothing at its endpoint is refused by [`Faults::inject`].
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Effect {
    /// HTTP: answers with this status.
    Status {
        /// The status code.
        status: u16,
        /// The body; `None` means an error shaped like Google's.
        #[serde(default)]
        body: Option<String>,
        /// A `Retry-After` header.
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// Waits, then goes on as usual.
    Delay {
        /// How long.
        #[serde(with = "milliseconds")]
        milliseconds: Duration,
    },
    /// Never answers; the connection stays open. At [`Endpoint::Tcp`] the connection is accepted and then ignored.
    Hang,
    /// Resets the connection (RST) instead of answering.
    Reset,
    /// HTTP: status 200 with a body that is not JSON, cut off in the middle.
    Malformed,
    /// HTTP: status 200 with a valid JSON body of about this many bytes.
    Huge {
        /// Size of the body.
        bytes: usize,
    },
    /// HTTP: status 200 and the beginning of a body; then the connection ends.
    ResetMidBody,
    /// HTTP: redirects.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// Where to.
        location: String,
    },
    /// HTTP: an error whose text repeats the caller's own bearer token, `access_token`, assertion or refresh token, with
    /// line breaks, terminal escapes and bidirectional marks around a forged log line.
    EchoSecrets {
        /// The status code.
        status: u16,
    },
    /// [`Endpoint::Tcp`]: the port is closed, connecting is refused. Until cleared; cannot be counted.
    Refuse,
    /// [`Endpoint::Tcp`]: connecting is never answered. Until cleared; cannot be counted. On Linux the kernel drops the
    /// request; elsewhere the connection is accepted and ignored.
    BlackHole,
    /// [`Endpoint::Tls`]: the client certificate is refused. In TLS 1.3 the client learns it after its own handshake.
    RefuseCertificate {
        /// The alert that says so.
        #[serde(default)]
        alert: CertificateAlert,
    },
    /// [`Endpoint::Tls`]: the handshake completes, then nothing is read or answered.
    Stall,
    /// [`Endpoint::Tls`]: the connection is reset once this many bytes of application data were sent to the client.
    ResetAfter {
        /// How many.
        bytes: u64,
    },
}

/// The TLS alert that refuses a client certificate.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateAlert {
    /// `bad_certificate` (42).
    #[default]
    Bad,
    /// `certificate_revoked` (44).
    Revoked,
    /// `certificate_expired` (45).
    Expired,
    /// `unknown_ca` (48).
    UnknownCa,
    /// `access_denied` (49).
    AccessDenied,
}

impl Fault {
    /// A fault for everybody, until cleared.
    pub fn new(endpoint: Endpoint, effect: Effect) -> Self {
        Fault {
            endpoint,
            effect,
            instance: None,
            principal: None,
            times: None,
        }
    }

    /// Only for this instance.
    pub fn instance(mut self, name: impl Into<String>) -> Self {
        self.instance = Some(name.into());
        self
    }

    /// Only for this principal.
    pub fn principal(mut self, email: impl Into<String>) -> Self {
        self.principal = Some(email.into());
        self
    }

    /// Only the next `n` calls.
    pub fn times(mut self, n: u32) -> Self {
        self.times = Some(n);
        self
    }

    fn concerns(
        &self,
        endpoint: Endpoint,
        instance: Option<&str>,
        principal: Option<&str>,
    ) -> bool {
        self.endpoint == endpoint
            && self
                .instance
                .as_deref()
                .is_none_or(|wanted| Some(wanted) == instance)
            && self
                .principal
                .as_deref()
                .is_none_or(|wanted| Some(wanted) == principal)
    }

    fn validate(&self) -> Result<(), String> {
        let (tcp, tls) = (
            self.endpoint == Endpoint::Tcp,
            self.endpoint == Endpoint::Tls,
        );
        let fits = match self.effect {
            Effect::Delay { .. } | Effect::Hang | Effect::Reset => true,
            Effect::Refuse | Effect::BlackHole => tcp,
            Effect::RefuseCertificate { .. } | Effect::Stall | Effect::ResetAfter { .. } => tls,
            Effect::Status { status, .. } | Effect::EchoSecrets { status } => {
                !tcp && !tls && (200..600).contains(&status)
            }
            Effect::Redirect { status, .. } => !tcp && !tls && (300..400).contains(&status),
            Effect::Malformed | Effect::ResetMidBody | Effect::Huge { .. } => !tcp && !tls,
        };
        if !fits {
            return Err(format!(
                "{:?} means nothing at {:?}",
                self.effect, self.endpoint
            ));
        }
        if matches!(self.effect, Effect::Refuse | Effect::BlackHole) && self.times.is_some() {
            return Err(format!(
                "{:?} lasts until it is cleared: refused connections cannot be counted",
                self.effect
            ));
        }
        if tcp && self.principal.is_some() {
            return Err("nobody's identity is known before TLS: use Endpoint::Tls".to_string());
        }
        if tls
            && self.principal.is_some()
            && matches!(
                self.effect,
                Effect::Delay { .. } | Effect::Hang | Effect::Reset
            )
        {
            return Err(
                "the handshake is disturbed before the client says who it is: scope it to an instance".to_string(),
            );
        }
        Ok(())
    }
}

impl Effect {
    /// Answers with `status` and an error shaped like Google's.
    pub fn status(status: u16) -> Self {
        Effect::Status {
            status,
            body: None,
            retry_after: None,
        }
    }

    /// Waits, then goes on as usual.
    pub fn delay(time: Duration) -> Self {
        Effect::Delay { milliseconds: time }
    }

    /// Adds a `Retry-After` header to a status; other effects stay as they are.
    pub fn retry_after(mut self, value: impl Into<String>) -> Self {
        if let Effect::Status { retry_after, .. } = &mut self {
            *retry_after = Some(value.into());
        }
        self
    }

    /// Gives a status this body; other effects stay as they are.
    pub fn body(mut self, text: impl Into<String>) -> Self {
        if let Effect::Status { body, .. } = &mut self {
            *body = Some(text.into());
        }
        self
    }
}

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
        let mut active = self.lock();
        let index = active.iter().position(|active| {
            active.fault.concerns(endpoint, instance, principal) && fits(&active.fault.effect)
        })?;
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

mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        value: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        (value.as_millis() as u64).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

#[cfg(test)]
mod tests;
