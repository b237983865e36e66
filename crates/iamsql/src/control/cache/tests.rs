use std::sync::atomic::AtomicU32;

use super::*;
use crate::control::admin::Settings;
use crate::control::admin::settings::CaMode;
use crate::control::certificate::Certificate;
use crate::control::clock::testing::TokioClock;
use crate::control::key::{EngineKey, Key};
use crate::error::{Error, ErrorKind};

use RefreshStrategy::{Auto, Background, Lazy};

/// Issues targets after a second of work, or fails as scripted.
struct Fake {
    clock: Arc<dyn Clock>,
    key: Key,
    certificate: Certificate,
    settings: Settings,
    calls: AtomicU32,
    work: Mutex<Duration>,
    life: Mutex<Duration>,
    failure: Mutex<Option<Error>>,
    suspects: Mutex<Vec<bool>>,
}

struct World {
    fake: Arc<Fake>,
    cache: Arc<Cache>,
    instance: Instance,
}

#[async_trait]
impl Issuer for Fake {
    async fn issue(
        &self,
        instance: &Instance,
        _mode: AuthMode,
        suspect: bool,
        generation: u64,
        patience: &Patience,
    ) -> Result<Target> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.suspects.lock().unwrap().push(suspect);
        let work = *self.work.lock().unwrap();
        let failure = self.failure.lock().unwrap().clone();
        match failure {
            Some(error) if error.retry_at().is_some() => {
                patience.pause(error.clone(), work).await;
                return Err(error);
            }
            Some(error) => {
                tokio::time::sleep(work).await;
                return Err(error);
            }
            None => tokio::time::sleep(work).await,
        }
        let certificate = Certificate {
            expires: self.clock.now() + *self.life.lock().unwrap(),
            ..self.certificate.clone()
        };
        Target::cloud_sql(
            instance,
            &self.settings,
            &certificate,
            &self.key,
            generation,
        )
    }
}

impl World {
    async fn new(strategy: RefreshStrategy) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(TokioClock::start());
        let key = EngineKey::default().get().await.unwrap();
        let fake = Arc::new(Fake {
            certificate: certificate_for(&key),
            settings: Settings {
                addresses: Vec::new(),
                database_version: "POSTGRES_17".to_owned(),
                server_ca: authority(),
                ca_mode: CaMode::Google,
                dns_names: Vec::new(),
                asks_client_protocol: false,
            },
            clock: clock.clone(),
            key,
            calls: AtomicU32::new(0),
            work: Mutex::new(Duration::from_secs(1)),
            life: Mutex::new(Duration::from_secs(3600)),
            failure: Mutex::new(None),
            suspects: Mutex::new(Vec::new()),
        });
        let cache = Cache::new(fake.clone(), clock, strategy, Handle::current());
        cache.join();
        World {
            fake,
            cache,
            instance: "p:r:i".parse().unwrap(),
        }
    }

    async fn connect(&self) -> Result<Arc<Target>> {
        self.connect_within(Duration::from_secs(30)).await
    }

    async fn connect_within(&self, limit: Duration) -> Result<Arc<Target>> {
        if let Some(target) = self.cache.at_hand(&self.instance, AuthMode::Iam) {
            return Ok(target);
        }
        let deadline = Instant::now() + limit;
        self.cache
            .clone()
            .target(self.instance.clone(), AuthMode::Iam, deadline)
            .await
    }

    fn calls(&self) -> u32 {
        self.fake.calls.load(Ordering::SeqCst)
    }

    fn fail(&self, error: Option<Error>) {
        *self.fake.failure.lock().unwrap() = error;
    }
}

fn certificate_for(key: &Key) -> Certificate {
    let public = rcgen::SubjectPublicKeyInfo::from_pem(&key.public_pem).unwrap();
    let signer = rcgen::KeyPair::generate().unwrap();
    let issuer = rcgen::Issuer::new(rcgen::CertificateParams::default(), signer);
    let signed = rcgen::CertificateParams::default()
        .signed_by(&public, &issuer)
        .unwrap();
    Certificate {
        chain: vec![signed.der().clone()],
        expires: SystemTime::UNIX_EPOCH,
    }
}

fn authority() -> String {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    params.self_signed(&key).unwrap().pem()
}

fn unavailable() -> Error {
    Error::new(ErrorKind::Unavailable, "HTTP 503")
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn fifty_connects_at_once_share_one_fetch() {
    let world = Arc::new(World::new(Auto).await);
    let connects: Vec<_> = (0..50)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { world.connect().await.unwrap().generation })
        })
        .collect();
    for connect in connects {
        assert_eq!(connect.await.unwrap(), 1);
    }
    assert_eq!(world.calls(), 1);
    world.connect().await.unwrap();
    assert_eq!(world.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_two_ways_to_log_in_have_certificates_of_their_own() {
    let world = World::new(Auto).await;
    world.connect().await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    assert!(
        world
            .cache
            .at_hand(&world.instance, AuthMode::Password)
            .is_none()
    );
    let other = world
        .cache
        .clone()
        .target(world.instance.clone(), AuthMode::Password, deadline);
    other.await.unwrap();
    assert_eq!(world.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_gives_up_leaves_the_fetch_to_the_others() {
    let world = World::new(Auto).await;
    *world.fake.work.lock().unwrap() = Duration::from_secs(5);
    let error = world
        .connect_within(Duration::from_secs(2))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    assert_eq!(error.instance(), Some("p:r:i"));
    assert_eq!(world.connect().await.unwrap().generation, 1);
    assert_eq!(world.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_hangs_ends_after_a_minute() {
    let world = World::new(Auto).await;
    *world.fake.work.lock().unwrap() = Duration::from_secs(100_000);
    assert!(world.connect().await.is_err());
    pass(31).await;
    *world.fake.work.lock().unwrap() = Duration::from_secs(1);
    pass(1).await;
    assert!(world.connect().await.is_ok());
    assert_eq!(world.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_instance_in_use_is_renewed_ahead_and_an_idle_one_is_not() {
    let world = World::new(Auto).await;
    world.connect().await.unwrap();
    pass(3400).await;
    assert_eq!(world.calls(), 1 + 1, "used when it was issued");
    let second = world.cache.at_hand(&world.instance, AuthMode::Iam).unwrap();
    assert_eq!(second.generation, 2);
    pass(3400).await;
    assert_eq!(world.calls(), 3, "used since");
    pass(10 * 3600).await;
    assert_eq!(world.calls(), 3, "unused since");
    assert_eq!(world.connect().await.unwrap().generation, 4);
}

#[tokio::test(start_paused = true)]
async fn background_renews_an_idle_instance_and_lazy_never_does() {
    for (strategy, calls) in [(Background, 11), (Lazy, 1)] {
        let world = World::new(strategy).await;
        world.connect().await.unwrap();
        pass(10 * 3600).await;
        assert_eq!(world.calls(), calls, "{strategy:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn without_connectors_nothing_is_renewed() {
    let world = World::new(Background).await;
    world.connect().await.unwrap();
    assert!(world.cache.leave());
    pass(10 * 3600).await;
    assert_eq!(world.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_valid_certificate_is_served_while_renewals_fail() {
    let world = World::new(Auto).await;
    world.connect().await.unwrap();
    world.fail(Some(unavailable()));
    for _ in 0..359 {
        pass(10).await;
        assert_eq!(world.connect().await.unwrap().generation, 1);
    }
    let tries = world.calls();
    assert!((4..=30).contains(&tries), "{tries} fetches");
    pass(20).await;
    assert_eq!(
        world.connect().await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    world.fail(None);
    pass(10).await;
    assert!(world.connect().await.is_ok());
    assert_eq!(world.fake.suspects.lock().unwrap().last(), Some(&true));
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_ended_unrenewed_is_left_to_the_next_connect() {
    for (strategy, goes_on) in [(Auto, false), (Background, true)] {
        let world = World::new(strategy).await;
        world.connect().await.unwrap();
        world.fail(Some(unavailable()));
        pass(3700).await;
        let tries = world.calls();
        pass(24 * 3600).await;
        assert_eq!(world.calls() > tries, goes_on, "{strategy:?}");
        world.fail(None);
        pass(60).await;
        assert!(world.connect().await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn close_to_the_end_a_connect_is_served_at_once_and_starts_the_renewal() {
    let world = World::new(Auto).await;
    world.connect().await.unwrap();
    world.cache.leave();
    pass(3600 - 120).await;
    assert_eq!(world.calls(), 1, "nobody there for the timer");
    world.cache.join();
    let started = Instant::now();
    assert_eq!(world.connect().await.unwrap().generation, 1);
    assert_eq!(world.connect().await.unwrap().generation, 1);
    assert_eq!(started.elapsed(), Duration::ZERO);
    pass(2).await;
    assert_eq!(
        (world.connect().await.unwrap().generation, world.calls()),
        (2, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn in_the_last_minute_a_connect_waits_for_the_renewal() {
    let world = World::new(Auto).await;
    world.connect().await.unwrap();
    world.cache.leave();
    pass(3600 - 59).await;
    world.cache.join();
    assert_eq!(world.connect().await.unwrap().generation, 2);
}

#[tokio::test(start_paused = true)]
async fn a_lazy_connect_takes_the_old_certificate_if_its_renewal_fails() {
    let world = World::new(Lazy).await;
    world.connect().await.unwrap();
    pass(3590).await;
    world.fail(Some(unavailable()));
    assert_eq!(world.connect().await.unwrap().generation, 1);
    assert_eq!(world.calls(), 2);
    pass(20).await;
    assert!(world.connect().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_hangs_leaves_time_to_dial_with_the_old_certificate() {
    let world = World::new(Auto).await;
    let first = world.connect().await.unwrap().generation;
    *world.fake.work.lock().unwrap() = Duration::from_secs(3600);
    world.cache.force(&world.instance, AuthMode::Iam, first);
    let (asked, limit) = (Instant::now(), Duration::from_secs(30));
    let target = world.connect_within(limit).await.unwrap();
    assert_eq!(target.generation, first);
    assert_eq!(asked.elapsed(), limit / 2);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_ends_within_seconds_is_replaced_when_it_has_ended() {
    let world = World::new(Auto).await;
    *world.fake.life.lock().unwrap() = Duration::from_secs(5);
    for generation in 1..=3 {
        assert_eq!(world.connect().await.unwrap().generation, generation);
        pass(2).await;
        assert_eq!(world.connect().await.unwrap().generation, generation);
        pass(4).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_remembered_for_five_seconds() {
    let world = World::new(Auto).await;
    world.fail(Some(Error::new(ErrorKind::NotFound, "HTTP 404")));
    for _ in 0..20 {
        assert_eq!(
            world.connect().await.unwrap_err().kind(),
            ErrorKind::NotFound
        );
    }
    assert_eq!(world.calls(), 1);
    pass(6).await;
    world.fail(None);
    assert!(world.connect().await.is_ok());
    assert_eq!(world.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_servers_wish_to_be_left_alone_outlives_the_fetch() {
    let world = World::new(Auto).await;
    let at = world.fake.clock.now() + Duration::from_secs(120);
    world.fail(Some(
        Error::new(ErrorKind::Unavailable, "HTTP 429").with_retry_at(at),
    ));
    assert!(world.connect().await.is_err());
    world.fail(None);
    pass(100).await;
    let error = world.connect().await.unwrap_err();
    assert_eq!((error.retry_at(), world.calls()), (Some(at), 1));
    pass(21).await;
    assert!(world.connect().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_wait_past_a_connects_deadline_fails_it_at_once() {
    let world = World::new(Auto).await;
    *world.fake.work.lock().unwrap() = Duration::from_secs(45);
    let at = world.fake.clock.now() + Duration::from_secs(45);
    world.fail(Some(
        Error::new(ErrorKind::Unavailable, "HTTP 429").with_retry_at(at),
    ));
    let start = Instant::now();
    let error = world.connect().await.unwrap_err();
    assert_eq!(error.retry_at(), Some(at));
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_refused_certificate_is_replaced_twice_at_once_and_then_rarely() {
    let world = World::new(Auto).await;
    let mut seen = world.connect().await.unwrap().generation;
    for _ in 0..10 {
        world.cache.force(&world.instance, AuthMode::Iam, seen);
        seen = world.connect().await.unwrap().generation;
    }
    assert_eq!((world.calls(), seen), (3, 3));
    world.cache.force(&world.instance, AuthMode::Iam, 1);
    assert_eq!(
        world.connect().await.unwrap().generation,
        3,
        "an old complaint"
    );
    pass(31).await;
    world.cache.force(&world.instance, AuthMode::Iam, seen);
    assert_eq!(world.connect().await.unwrap().generation, 4);
}

#[tokio::test(start_paused = true)]
async fn a_forced_renewal_that_fails_leaves_the_old_certificate() {
    let world = World::new(Auto).await;
    world.connect().await.unwrap();
    world.fail(Some(unavailable()));
    world.cache.force(&world.instance, AuthMode::Iam, 1);
    assert_eq!(world.connect().await.unwrap().generation, 1);
    assert_eq!(*world.fake.suspects.lock().unwrap(), [false, true]);
}

#[tokio::test(start_paused = true)]
async fn names_that_lead_nowhere_are_forgotten() {
    let world = World::new(Auto).await;
    for number in 0..2 * MAX_ENTRIES {
        let instance = format!("p:r:i{number}").parse().unwrap();
        world.cache.entry(&instance, AuthMode::Iam);
        if number == MAX_ENTRIES / 2 {
            pass(3601).await;
        }
    }
    assert!(world.cache.entries().len() <= 2 * MAX_ENTRIES - MAX_ENTRIES / 2);
}

#[tokio::test(start_paused = true)]
async fn a_doubt_that_arises_during_an_unrelated_fetch_outlives_it() {
    let world = Arc::new(World::new(Lazy).await);
    world.connect().await.unwrap();
    pass(3_550).await;
    let renewing = tokio::spawn({
        let world = world.clone();
        async move { world.connect().await.unwrap().generation }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    world.cache.force(&world.instance, AuthMode::Iam, 1);
    assert_eq!(renewing.await.unwrap(), 2);
    assert_eq!(world.connect().await.unwrap().generation, 3);
    assert_eq!(*world.fake.suspects.lock().unwrap(), [false, false, true]);
    assert_eq!(world.connect().await.unwrap().generation, 3, "settled");
}

#[tokio::test(start_paused = true)]
async fn both_ways_to_log_in_to_alloydb_share_a_certificate() {
    let world = World::new(Auto).await;
    let instance: Instance = "projects/p/locations/r/clusters/c/instances/i"
        .parse()
        .unwrap();
    for mode in [AuthMode::Iam, AuthMode::Password] {
        let deadline = Instant::now() + Duration::from_secs(30);
        let target = world.cache.clone().target(instance.clone(), mode, deadline);
        assert_eq!(target.await.unwrap().generation, 1);
    }
    assert_eq!(world.calls(), 1);
}
