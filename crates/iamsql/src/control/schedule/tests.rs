use proptest::prelude::*;

use super::*;
use crate::control::clock::testing::at;

use RefreshStrategy::{Auto, Background, Lazy};

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;

fn view(left: i64, strategy: RefreshStrategy) -> View {
    let now = at(100 * HOUR);
    View {
        now,
        expires: match left {
            0.. => Some(now + Duration::from_secs(left.unsigned_abs())),
            _ => Some(now - Duration::from_secs(left.unsigned_abs())),
        },
        not_before: at(0),
        failed: false,
        forced: false,
        strategy,
    }
}

#[test]
fn what_a_connect_does_follows_from_the_time_left() {
    use AtConnect::{Fetch, Serve, ServeAndFetch};
    for (left, auto, lazy) in [
        (3600, Serve, Serve),
        (241, Serve, Serve),
        (240, ServeAndFetch, Fetch),
        (60, ServeAndFetch, Fetch),
        (59, Fetch, Fetch),
        (1, Fetch, Fetch),
        (0, Fetch, Fetch),
        (-5, Fetch, Fetch),
    ] {
        assert_eq!(at_connect(view(left, Auto)), auto, "{left} s left");
        assert_eq!(at_connect(view(left, Background)), auto, "{left} s left");
        assert_eq!(at_connect(view(left, Lazy)), lazy, "{left} s left");
    }
    let nothing = View {
        expires: None,
        ..view(0, Auto)
    };
    assert_eq!(at_connect(nothing), Fetch);
}

#[test]
fn too_early_for_another_fetch_serves_what_is_valid_and_refuses_otherwise() {
    for strategy in [Auto, Background, Lazy] {
        for (left, want) in [
            (3600, AtConnect::Serve),
            (100, AtConnect::Serve),
            (1, AtConnect::Serve),
            (0, AtConnect::Refuse),
            (-9, AtConnect::Refuse),
        ] {
            let early = View {
                not_before: at(100 * HOUR + 1),
                failed: true,
                ..view(left, strategy)
            };
            assert_eq!(at_connect(early), want, "{left} s left, {strategy:?}");
            let ended_young = View {
                failed: false,
                ..early
            };
            if left <= 0 {
                assert_eq!(at_connect(ended_young), AtConnect::Fetch);
            }
        }
    }
}

#[test]
fn a_clock_that_was_set_back_does_not_stretch_a_pause() {
    for (ahead, want) in [
        (1, AtConnect::Refuse),
        (300, AtConnect::Refuse),
        (301, AtConnect::Fetch),
        (9 * HOUR, AtConnect::Fetch),
    ] {
        let set_back = View {
            expires: None,
            not_before: at(100 * HOUR + ahead),
            failed: true,
            ..view(0, Auto)
        };
        assert_eq!(at_connect(set_back), want, "{ahead} s ahead");
    }
}

#[test]
fn a_refused_certificate_is_not_served_while_another_may_be_had() {
    let forced = View {
        forced: true,
        not_before: at(100 * HOUR + 20),
        ..view(3000, Auto)
    };
    assert_eq!(at_connect(forced), AtConnect::Fetch);
}

#[test]
fn the_timer_runs_four_minutes_ahead_spread_over_one() {
    let (now, expires) = (at(HOUR), at(2 * HOUR));
    let ahead = |chance| {
        expires
            .duration_since(refresh_at(now, expires, None, chance))
            .unwrap()
    };
    assert_eq!(ahead(0.0), Duration::from_secs(4 * MINUTE));
    assert_eq!(ahead(0.5), Duration::from_secs(4 * MINUTE - 30));
    assert!(ahead(0.999_999) > Duration::from_secs(3 * MINUTE));
}

#[test]
fn a_fetch_that_gained_nothing_is_repeated_shortly_before_the_end_and_not_at_once() {
    let (now, expires) = (at(1000), at(1000 + 4 * MINUTE));
    for gain in [0, 59] {
        let previous = Some(expires - Duration::from_secs(gain));
        assert_eq!(
            refresh_at(now, expires, previous, 0.0),
            at(1000 + 3 * MINUTE)
        );
        assert_eq!(
            satisfied_until(now, expires, previous),
            at(1000 + 3 * MINUTE)
        );
    }
    let previous = Some(expires - Duration::from_secs(60));
    assert_eq!(refresh_at(now, expires, previous, 0.5), at(1000 + 30));
    assert_eq!(satisfied_until(now, expires, previous), at(1000 + 30));
}

#[test]
fn the_timer_follows_the_strategy() {
    for (strategy, unused, used) in [
        (Auto, false, true),
        (Background, true, true),
        (Lazy, false, false),
    ] {
        assert_eq!(timer_fetches(strategy, false), unused);
        assert_eq!(timer_fetches(strategy, true), used);
    }
}

#[test]
fn failures_back_off_to_half_a_minute() {
    assert_eq!(backoff(1, 1.0), Duration::from_secs(1));
    assert_eq!(backoff(1, 0.0), Duration::from_millis(500));
    assert!(backoff(2, 0.5) > backoff(1, 0.5));
    assert_eq!(backoff(50, 1.0), Duration::from_secs(30));
}

#[test]
fn a_final_failure_is_remembered_for_five_seconds_and_others_for_eight_at_most() {
    assert_eq!(
        refused_for(true, Duration::from_secs(30)),
        Duration::from_secs(5)
    );
    assert_eq!(
        refused_for(false, Duration::from_secs(30)),
        Duration::from_secs(8)
    );
    assert_eq!(
        refused_for(false, Duration::from_secs(1)),
        Duration::from_secs(1)
    );
}

#[test]
fn forced_fetches_are_two_at_once_and_then_one_per_half_minute() {
    let mut limit = ForcedLimit::new(at(0));
    let mut allowed = Vec::new();
    for second in 0..=95 {
        if limit.allows(at(second)) {
            allowed.push(second);
        }
    }
    assert_eq!(allowed, [0, 1, 30, 60, 90]);
    assert!(limit.allows(at(HOUR)) && limit.allows(at(HOUR)) && !limit.allows(at(HOUR)));
    // The clock was set back.
    assert!(limit.allows(at(10)));
}

/// One instance, driven by nothing but the functions above.
struct Simulation {
    now: u64,
    strategy: RefreshStrategy,
    /// Life of a certificate, and of the login token inside, which its source repeats until 5 minutes before its end.
    certificate_life: u64,
    token_ends: u64,
    expires: Option<u64>,
    issued: u64,
    used: Option<u64>,
    not_before: u64,
    timer: Option<u64>,
    failures: u32,
    down: std::ops::Range<u64>,
    fetches: Vec<u64>,
    unserved: Vec<u64>,
}

impl Simulation {
    fn new(strategy: RefreshStrategy) -> Self {
        Simulation {
            now: 1_000_000,
            strategy,
            certificate_life: HOUR,
            token_ends: 0,
            expires: None,
            issued: 0,
            used: None,
            not_before: 0,
            timer: None,
            failures: 0,
            down: 0..0,
            fetches: Vec::new(),
            unserved: Vec::new(),
        }
    }

    fn fetch(&mut self) -> bool {
        self.fetches.push(self.now);
        let chance = (self.now % 97) as f64 / 97.0;
        if self.down.contains(&self.now) {
            self.failures += 1;
            let pause = backoff(self.failures, chance).as_secs().max(1);
            self.not_before = self.now + pause;
            self.timer = Some(self.now + pause);
            return false;
        }
        if self.token_ends < self.now + 5 * MINUTE {
            self.token_ends = self.now + HOUR;
        }
        let previous = self.expires.map(at);
        let expires = (self.now + self.certificate_life).min(self.token_ends);
        let seconds = |time: SystemTime| time.duration_since(at(0)).unwrap().as_secs();
        self.timer = Some(seconds(refresh_at(
            at(self.now),
            at(expires),
            previous,
            chance,
        )));
        self.not_before = seconds(satisfied_until(at(self.now), at(expires), previous));
        self.failures = 0;
        self.issued = self.now;
        self.expires = Some(expires);
        true
    }

    fn connect(&mut self) {
        let view = View {
            now: at(self.now),
            expires: self.expires.map(at),
            not_before: at(self.not_before),
            failed: self.failures > 0,
            forced: false,
            strategy: self.strategy,
        };
        match at_connect(view) {
            AtConnect::Serve => {}
            AtConnect::ServeAndFetch | AtConnect::Fetch => drop(self.fetch()),
            AtConnect::Refuse => {}
        }
        self.used = Some(self.now);
        if self.expires.is_none_or(|expires| expires <= self.now) {
            self.unserved.push(self.now);
        }
    }

    fn tick(&mut self, connects: bool) {
        self.now += 1;
        if self.timer.is_some_and(|timer| timer <= self.now) {
            self.timer = None;
            let used = self.used.is_some_and(|used| used >= self.issued);
            if timer_fetches(self.strategy, used) {
                self.fetch();
            }
        }
        if connects {
            self.connect();
        }
    }
}

#[test]
fn a_week_in_use_fetches_once_an_hour_and_always_serves() {
    for strategy in [Auto, Background, Lazy] {
        let mut week = Simulation::new(strategy);
        for second in 0..7 * 24 * HOUR {
            week.tick(second % 10 == 0);
        }
        let fetches = week.fetches.len();
        assert!(
            (168..=182).contains(&fetches),
            "{fetches} fetches, {strategy:?}"
        );
        assert!(week.unserved.is_empty(), "{strategy:?}");
        let gaps = week.fetches.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(gaps.min() >= Some(30), "{strategy:?}");
    }
}

#[test]
fn an_idle_week_fetches_at_most_once_more_unless_asked_to_stay_ready() {
    for (strategy, most) in [(Auto, 2), (Lazy, 1), (Background, 182)] {
        let mut week = Simulation::new(strategy);
        for second in 0..7 * 24 * HOUR {
            week.tick(second == 0);
        }
        assert!(
            week.fetches.len() <= most,
            "{} fetches, {strategy:?}",
            week.fetches.len()
        );
        assert!(strategy != Background || week.fetches.len() >= 168);
    }
}

#[test]
fn an_outage_shorter_than_the_margin_is_never_noticed() {
    let mut day = Simulation::new(Auto);
    for second in 0..24 * HOUR {
        if day.down.is_empty() && second > 12 * HOUR && day.expires == Some(day.now + 245) {
            day.down = day.now..day.now + 180;
        }
        day.tick(second % 7 == 0);
    }
    assert!(!day.down.is_empty());
    assert!(day.unserved.is_empty());
    assert!(day.fetches.len() < 80, "{}", day.fetches.len());
}

#[test]
fn certificates_of_a_few_seconds_do_not_make_the_timer_spin() {
    let mut hour = Simulation::new(Background);
    hour.certificate_life = 5;
    for second in 0..HOUR {
        hour.tick(second == 0);
    }
    assert!(hour.fetches.len() <= 121, "{}", hour.fetches.len());
}

proptest! {
    #[test]
    fn a_valid_certificate_is_never_refused_and_an_ended_one_never_served(
        now in 1_000_u64..1_000_000, left in -10_000_i64..100_000, not_before in 0_u64..2_000_000,
        failed: bool, forced: bool, strategy in prop_oneof![Just(Auto), Just(Background), Just(Lazy)],
    ) {
        let expires = now.saturating_add_signed(left);
        let view = View { now: at(now), expires: Some(at(expires)), not_before: at(not_before), failed, forced, strategy };
        match at_connect(view) {
            AtConnect::Serve | AtConnect::ServeAndFetch => prop_assert!(expires > now),
            AtConnect::Refuse => prop_assert!(expires <= now && now < not_before && failed),
            AtConnect::Fetch => {}
        }
    }

    #[test]
    fn the_timer_is_never_sooner_than_half_a_minute_and_never_late_for_a_long_certificate(
        now in 0_u64..1_000_000, life in 1_u64..200_000, gain in proptest::option::of(0_u64..10_000), chance in 0.0..1.0_f64,
    ) {
        let expires = now + life;
        let previous = gain.map(|gain| at(expires.saturating_sub(gain)));
        let wake = refresh_at(at(now), at(expires), previous, chance);
        prop_assert!(wake >= at(now + 30));
        if life >= 5 * MINUTE {
            prop_assert!(wake <= at(expires - MINUTE));
        }
    }
}
