//! When to fetch a certificate: arithmetic on times and counts, with nothing behind it.

use std::time::{Duration, SystemTime};

use crate::control::http::retry::MAX_RETRY_AFTER;
use crate::options::RefreshStrategy;

/// What a connect finds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) now: SystemTime,
    /// End of the certificate at hand, if there is one.
    pub(crate) expires: Option<SystemTime>,
    /// Before this moment another fetch gains nothing, or was asked not to come.
    pub(crate) not_before: SystemTime,
    /// The last fetch failed.
    pub(crate) failed: bool,
    /// A server refused the certificate at hand.
    pub(crate) forced: bool,
    pub(crate) strategy: RefreshStrategy,
}

/// What a connect does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtConnect {
    /// Takes the certificate at hand.
    Serve,
    /// Takes it, and starts a fetch for those who come later.
    ServeAndFetch,
    /// Waits for a fetch; if that fails, takes the certificate at hand as long as it is valid.
    Fetch,
    /// Fails with what the last fetch said: it is too early for another.
    Refuse,
}

/// Decides by wall clock: a timer may not have run while the machine slept or had no processor.
pub(crate) fn at_connect(view: View) -> AtConnect {
    let too_early = view.now < view.not_before;
    let left = view
        .expires
        .and_then(|expires| expires.duration_since(view.now).ok())
        .filter(|left| !left.is_zero());
    match left {
        None if view.failed && is_pause(view.now, view.not_before) => AtConnect::Refuse,
        None => AtConnect::Fetch,
        Some(_) if view.forced => AtConnect::Fetch,
        Some(left) if left > MARGIN || too_early => AtConnect::Serve,
        Some(left) if left >= LAST_CALL && view.strategy != RefreshStrategy::Lazy => {
            AtConnect::ServeAndFetch
        }
        Some(_) => AtConnect::Fetch,
    }
}

/// Whether `until` is yet to come, and so soon that it can be meant: a clock that was set back must not stretch a pause.
pub(crate) fn is_pause(now: SystemTime, until: SystemTime) -> bool {
    until
        .duration_since(now)
        .is_ok_and(|left| !left.is_zero() && left <= MAX_RETRY_AFTER)
}

/// When the timer fetches next, after a fetch that succeeded: four minutes before the end, spread over one, so that
/// replicas do not meet.
///
/// A login token that its source hands out again gains nothing: then once more, shortly before the end.
pub(crate) fn refresh_at(
    now: SystemTime,
    expires: SystemTime,
    previous: Option<SystemTime>,
    chance: f64,
) -> SystemTime {
    let ahead = match gains_nothing(expires, previous) {
        true => LAST_CALL,
        false => MARGIN.saturating_sub(SPREAD.mul_f64(chance)),
    };
    let at = expires.checked_sub(ahead).unwrap_or(now);
    at.max(now + MIN_INTERVAL)
}

/// Before when a connect starts no other fetch, after one that succeeded.
pub(crate) fn satisfied_until(
    now: SystemTime,
    expires: SystemTime,
    previous: Option<SystemTime>,
) -> SystemTime {
    let pause = now + MIN_INTERVAL;
    match gains_nothing(expires, previous) {
        true => expires.checked_sub(LAST_CALL).unwrap_or(now).max(pause),
        false => pause,
    }
}

fn gains_nothing(expires: SystemTime, previous: Option<SystemTime>) -> bool {
    previous.is_some_and(|previous| expires < previous + WORTHWHILE)
}

/// Whether the timer does fetch when its moment comes.
pub(crate) fn timer_fetches(strategy: RefreshStrategy, used_since_issued: bool) -> bool {
    match strategy {
        RefreshStrategy::Lazy => false,
        RefreshStrategy::Background => true,
        RefreshStrategy::Auto => used_since_issued,
    }
}

/// How long to wait after the `failures`th failure in a row; `chance` spreads the upper half.
pub(crate) fn backoff(failures: u32, chance: f64) -> Duration {
    let exponent = failures.saturating_sub(1).min(32) as i32;
    let whole = BACKOFF.mul_f64(GROWTH.powi(exponent)).min(MAX_BACKOFF);
    whole.mul_f64(0.5 + chance / 2.0)
}

/// How long connects that have nothing to be served get the same failure again.
pub(crate) fn refused_for(is_final: bool, backoff: Duration) -> Duration {
    match is_final {
        true => NEGATIVE,
        false => backoff.min(MAX_NEGATIVE),
    }
}

/// Lets a few through at once and then one per interval.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForcedLimit {
    left: u32,
    refilled: SystemTime,
}

impl ForcedLimit {
    pub(crate) fn new(now: SystemTime) -> Self {
        ForcedLimit {
            left: FORCED_AT_ONCE,
            refilled: now,
        }
    }

    /// Whether one more forced fetch may happen now.
    pub(crate) fn allows(&mut self, now: SystemTime) -> bool {
        // A clock that was set back must not close the gate for as long as it was wrong.
        let waited = now.duration_since(self.refilled).unwrap_or(FORCED_INTERVAL);
        let gained = (waited.as_secs() / FORCED_INTERVAL.as_secs()).min(u64::from(FORCED_AT_ONCE));
        if gained > 0 {
            self.left = (self.left + gained as u32).min(FORCED_AT_ONCE);
            self.refilled = now;
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}

/// Settings are fetched again when they are this old.
pub(crate) const SETTINGS_LIFE: Duration = Duration::from_secs(24 * 3600);
/// How long a fetch may take that nobody waits for any more.
pub(crate) const FETCH_LIMIT: Duration = Duration::from_secs(60);

const MARGIN: Duration = Duration::from_secs(4 * 60);
const SPREAD: Duration = Duration::from_secs(60);
const LAST_CALL: Duration = Duration::from_secs(60);
const WORTHWHILE: Duration = Duration::from_secs(60);
/// However short certificates live, they are not fetched ahead more often than this.
const MIN_INTERVAL: Duration = Duration::from_secs(30);
const BACKOFF: Duration = Duration::from_secs(1);
const GROWTH: f64 = 1.618;
const MAX_BACKOFF: Duration = Duration::from_secs(30);
const NEGATIVE: Duration = Duration::from_secs(5);
const MAX_NEGATIVE: Duration = Duration::from_secs(8);
const FORCED_AT_ONCE: u32 = 2;
const FORCED_INTERVAL: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
