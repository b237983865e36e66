//! Wall-clock time and chance, injected so that a week of refreshing can be tested in a moment.

use std::time::SystemTime;

use aws_lc_rs::rand;

/// What time it is, and a throw of the dice.
///
/// Wall clock, not monotonic: certificates expire by the calendar, also while a laptop sleeps.
pub(crate) trait Clock: Send + Sync + 'static {
    fn now(&self) -> SystemTime;

    /// A number in `[0, 1)`.
    fn chance(&self) -> f64;
}

/// The machine's own clock and randomness.
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn chance(&self) -> f64 {
        let mut bytes = [0; 4];
        // Without randomness replicas may meet; nothing else depends on it.
        let _ = rand::fill(&mut bytes);
        f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use std::time::{Duration, SystemTime};

    use super::Clock;

    /// Follows tokio's clock, which tests may pause; chance is always one half.
    pub(crate) struct TokioClock(tokio::time::Instant);

    impl TokioClock {
        pub(crate) fn start() -> Self {
            TokioClock(tokio::time::Instant::now())
        }
    }

    impl Clock for TokioClock {
        fn now(&self) -> SystemTime {
            EPOCH + self.0.elapsed()
        }

        fn chance(&self) -> f64 {
            0.5
        }
    }

    pub(crate) const EPOCH: SystemTime = SystemTime::UNIX_EPOCH;

    pub(crate) fn at(seconds: u64) -> SystemTime {
        EPOCH + Duration::from_secs(seconds)
    }
}
