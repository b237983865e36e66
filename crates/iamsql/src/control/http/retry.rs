//! Whether to send a request again, and when: arithmetic only.

use std::time::Duration;

/// What became of one try.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// The answer's status; `None` where there was no answer.
    pub(crate) status: Option<u16>,
    /// The connection was refused: nobody listens there, so far.
    pub(crate) refused: bool,
    /// How long the server asked to be left alone.
    pub(crate) retry_after: Option<Duration>,
    /// Tries so far, this one included.
    pub(crate) tries: u32,
    /// What is left until the deadline.
    pub(crate) remaining: Duration,
}

/// How hard to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// [`MAX_TRIES`] at most.
    Bounded,
    /// As [`Bounded`](Self::Bounded), but a refused connection and 503 are tried until the deadline: a metadata server comes up after the pod.
    UntilDeadline,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Wait(Duration),
    /// With how long the server asked to wait, where that is why.
    GiveUp(Option<Duration>),
}

/// Decides after a failed try; `chance` in `[0, 1)` is the jitter.
pub(crate) fn next(outcome: Outcome, persistence: Persistence, chance: f64) -> Next {
    if !is_transient(outcome.status) {
        return Next::GiveUp(None);
    }
    let until_deadline = persistence == Persistence::UntilDeadline
        && (outcome.refused || outcome.status == Some(503));
    let asked = outcome.retry_after.map(|asked| asked.min(MAX_RETRY_AFTER));
    if outcome.tries >= MAX_TRIES && !until_deadline {
        return Next::GiveUp(asked);
    }
    let wait = asked.unwrap_or_else(|| backoff(outcome.tries).mul_f64(chance));
    match wait < outcome.remaining {
        true => Next::Wait(wait),
        false => Next::GiveUp(asked),
    }
}

/// Whether the same request may succeed later.
pub(crate) fn is_transient(status: Option<u16>) -> bool {
    matches!(status, None | Some(408 | 429 | 500..=599))
}

fn backoff(tries: u32) -> Duration {
    let exponent = tries.saturating_sub(1).min(32) as i32;
    BASE.mul_f64(GROWTH.powi(exponent)).min(CAP)
}

pub(crate) const MAX_TRIES: u32 = 6;
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);
const BASE: Duration = Duration::from_millis(200);
const GROWTH: f64 = 1.618;
const CAP: Duration = Duration::from_secs(8);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn failed(status: impl Into<Option<u16>>, tries: u32) -> Outcome {
        let status = status.into();
        Outcome {
            refused: status.is_none(),
            status,
            retry_after: None,
            tries,
            remaining: Duration::from_secs(30),
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for status in [408, 429, 500, 502, 503, 504, 599] {
            assert!(is_transient(Some(status)), "{status}");
        }
        for status in [200, 301, 307, 400, 401, 403, 404, 409] {
            assert_eq!(
                next(failed(status, 1), Persistence::UntilDeadline, 0.5),
                Next::GiveUp(None)
            );
        }
    }

    #[test]
    fn waits_grow_to_a_cap_and_the_sixth_failure_is_the_last() {
        let waits: Vec<_> = (1..6)
            .map(
                |tries| match next(failed(503, tries), Persistence::Bounded, 0.999_999) {
                    Next::Wait(wait) => wait.as_millis(),
                    Next::GiveUp(_) => 0,
                },
            )
            .collect();
        assert_eq!(waits, [199, 323, 523, 847, 1370]);
        assert_eq!(
            next(failed(503, 6), Persistence::Bounded, 0.5),
            Next::GiveUp(None)
        );
        assert_eq!(backoff(40), CAP);
    }

    #[test]
    fn a_metadata_server_that_is_not_up_yet_is_tried_until_the_deadline() {
        for status in [None, Some(503)] {
            let late = failed(status, 40);
            assert!(matches!(
                next(late, Persistence::UntilDeadline, 0.5),
                Next::Wait(_)
            ));
        }
        assert_eq!(
            next(failed(500, 6), Persistence::UntilDeadline, 0.5),
            Next::GiveUp(None)
        );
    }

    #[test]
    fn the_servers_own_wish_is_followed_or_reported_when_it_lies_past_the_deadline() {
        let asked = |seconds| Outcome {
            retry_after: Some(Duration::from_secs(seconds)),
            ..failed(429, 1)
        };
        assert_eq!(
            next(asked(7), Persistence::Bounded, 0.0),
            Next::Wait(Duration::from_secs(7))
        );
        assert_eq!(
            next(asked(31), Persistence::Bounded, 0.0),
            Next::GiveUp(Some(Duration::from_secs(31)))
        );
        assert_eq!(
            next(asked(86_400), Persistence::Bounded, 0.0),
            Next::GiveUp(Some(MAX_RETRY_AFTER))
        );
    }

    proptest! {
        #[test]
        fn no_wait_reaches_past_the_deadline(
            status in proptest::option::of(100_u16..600), tries in 1_u32..100, chance in 0.0..1.0_f64,
            remaining in 0_u64..100_000, asked in proptest::option::of(0_u64..1_000_000),
        ) {
            let remaining = Duration::from_millis(remaining);
            let outcome = Outcome { status, refused: status.is_none(), tries, remaining, retry_after: asked.map(Duration::from_millis) };
            for persistence in [Persistence::Bounded, Persistence::UntilDeadline] {
                if let Next::Wait(wait) = next(outcome, persistence, chance) {
                    prop_assert!(wait < remaining && is_transient(status));
                }
            }
        }
    }
}
