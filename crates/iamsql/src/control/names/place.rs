//! Where one domain leads, and what a new answer changes. Decisions only; no lookups.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::control::names::Policy;
use crate::error::{Error, ErrorKind, Result};
use crate::instance::Instance;
use crate::tether::Cutter;

pub(super) struct Place {
    pub(super) domain: String,
    /// Held across a lookup, so that there is one at a time.
    pub(super) turn: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

pub(super) struct State {
    /// Where the domain leads, by the last answer that was acceptable.
    pub(super) instance: Option<Instance>,
    /// How many answers there have been, failures included.
    answers: u64,
    /// When that was said, the last time.
    confirmed: Option<Instant>,
    /// The last lookup's failure, until one succeeds.
    failed: Option<(Error, Instant)>,
    pub(super) used: Instant,
    pub(super) watched: bool,
    /// The project of the first answer: whoever comes to own the name later cannot lead us out of it.
    pinned: Option<String>,
    /// Whoever was refused last, so that it is said once.
    refused: Option<Instance>,
    connections: Vec<Cutter>,
}

/// What an answer came to.
#[derive(Debug)]
pub(super) enum Outcome {
    Same(Instance),
    /// The domain leads elsewhere than before; connections to where it led were closed.
    Moved(Instance),
    Failed(Error),
}

impl Place {
    pub(super) fn new(domain: &str) -> Self {
        Place {
            domain: domain.to_owned(),
            turn: tokio::sync::Mutex::default(),
            state: Mutex::new(State {
                instance: None,
                answers: 0,
                confirmed: None,
                failed: None,
                used: Instant::now(),
                watched: false,
                pinned: None,
                refused: None,
                connections: Vec::new(),
            }),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The answer, if it was given in the last `age`.
    ///
    /// While DNS fails for the time being, the last answer counts, and is asked for no more often than that.
    pub(super) fn fresh(&self, age: Duration) -> Option<Instance> {
        let asked = match &self.failed {
            Some((error, at)) if error.is_retryable() => *at,
            Some(_) => return None,
            None => self.confirmed?,
        };
        self.instance.clone().filter(|_| asked.elapsed() < age)
    }

    pub(super) fn answers(&self) -> u64 {
        self.answers
    }

    /// What was answered since there were `seen` answers; also a refusal by the Admin API that is too young to ask again.
    pub(super) fn since(&self, seen: u64) -> Option<Result<Instance>> {
        let is_new = self.answers != seen;
        if let Some((error, at)) = &self.failed {
            let pause = match error.http_status() {
                Some(_) if !error.is_retryable() => REFUSED,
                _ => Duration::ZERO,
            };
            return (is_new || at.elapsed() < pause).then(|| Err(error.clone()));
        }
        self.instance.clone().filter(|_| is_new).map(Ok)
    }

    /// Takes a lookup's answer in.
    ///
    /// A failure closes nothing: DNS fails for many reasons, and an open session needs it no more. But an instance that
    /// the Admin API says does not exist is no place to stay.
    pub(super) fn take_in(
        &mut self,
        domain: &str,
        found: Result<Instance>,
        policy: &Policy,
    ) -> Outcome {
        let now = Instant::now();
        self.answers += 1;
        let found = found.and_then(|instance| self.admit(domain, instance, policy));
        let instance = match found {
            Ok(instance) => instance,
            Err(error) => {
                if error.kind() == ErrorKind::NotFound
                    && let Some(gone) = self.instance.take()
                {
                    self.close(moved(domain, &gone, "to an instance that does not exist"));
                }
                self.failed = Some((error.clone(), now));
                return Outcome::Failed(error);
            }
        };
        self.failed = None;
        self.confirmed = Some(now);
        if self.instance.as_ref() == Some(&instance) {
            return Outcome::Same(instance);
        }
        tracing::info!("{domain} -> {instance}");
        if let Some(old) = self.instance.replace(instance.clone()) {
            self.close(moved(domain, &old, &format!("to {instance}")));
        }
        Outcome::Moved(instance)
    }

    /// Notes a connection that was opened by this name.
    pub(super) fn open(&mut self, connection: Cutter) {
        if self.connections.len() == self.connections.capacity() {
            self.connections.retain(Cutter::is_held);
        }
        self.connections.push(connection);
    }

    pub(super) fn has_connections(&mut self) -> bool {
        self.connections.retain(Cutter::is_held);
        !self.connections.is_empty()
    }

    /// Nothing would be lost but a failure.
    pub(super) fn is_forgettable(&self) -> bool {
        self.pinned.is_none() && self.instance.is_none() && self.used.elapsed() > FORGOTTEN
    }

    fn close(&mut self, reason: Error) {
        let open = self.connections.drain(..).filter(Cutter::is_held);
        let mut count = 0;
        for connection in open {
            connection.cut(&reason);
            count += 1;
        }
        if count > 0 {
            tracing::warn!(connections = count, "{}", reason);
        }
    }

    /// Refuses an instance of a project that the domain may not lead to.
    fn admit(&mut self, domain: &str, instance: Instance, policy: &Policy) -> Result<Instance> {
        let project = instance.project();
        let (allowed, rule) = match (&policy.projects, &self.pinned) {
            (Some(projects), _) => (
                projects.iter().any(|allowed| allowed == project),
                "is not in domain_projects".to_owned(),
            ),
            (None, Some(pinned)) => (
                pinned == project,
                format!("is not {pinned:?}, where the name led at first"),
            ),
            (None, None) => {
                self.pinned = Some(project.to_owned());
                (true, String::new())
            }
        };
        if allowed {
            self.refused = None;
            return Ok(instance);
        }
        let message = format!("{domain} leads to {instance}, whose project {rule}");
        if self.refused.as_ref() != Some(&instance) {
            tracing::warn!("{message}; refused");
            self.refused = Some(instance.clone());
        }
        Err(Error::new(ErrorKind::Dns, message)
            .with_retryable(false)
            .with_advice(format!(
                "if the name is meant to lead there, put {project:?} into domain_projects and make a new connector"
            )))
    }
}

fn moved(domain: &str, old: &Instance, whereto: &str) -> Error {
    Error::new(
        ErrorKind::Closed,
        format!(
            "the connection was closed because {domain} leads {whereto} now, not to {old} any more"
        ),
    )
    .with_retryable(true)
    .with_advice("connect again: the name is followed to where it leads now")
}

/// How long a refusal by the Admin API is kept.
const REFUSED: Duration = Duration::from_secs(5);
const FORGOTTEN: Duration = Duration::from_secs(3600);
