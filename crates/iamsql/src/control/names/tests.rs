use std::sync::atomic::{AtomicBool, Ordering};

use super::testing::Script;
use super::*;
use crate::tether::Tether;

const DOMAIN: &str = "db.example.com";
const PERIOD: Duration = Duration::from_secs(30);

struct World {
    script: Arc<Script>,
    names: Arc<Names>,
    in_use: Arc<AtomicBool>,
}

fn world(projects: Option<&[&str]>, period: Duration) -> World {
    let script = Script::new();
    script.text(DOMAIN, &["p:r:one"]);
    let in_use = Arc::new(AtomicBool::new(true));
    let policy = Policy {
        projects: projects.map(|projects| projects.iter().map(|&name| name.to_owned()).collect()),
        period,
    };
    let still = in_use.clone();
    let names = Names::new(
        script.clone(),
        script.clone(),
        policy,
        Handle::current(),
        move || still.load(Ordering::SeqCst),
    );
    World {
        script,
        names,
        in_use,
    }
}

impl World {
    async fn locate(&self) -> Result<String> {
        let deadline = Instant::now() + Duration::from_secs(30);
        if let Some(instance) = self.names.at_hand(DOMAIN) {
            return Ok(instance.to_string());
        }
        let found = self.names.clone().locate(DOMAIN.to_owned(), deadline).await;
        found.map(|instance| instance.to_string())
    }

    fn open(&self, instance: &str) -> Option<Tether> {
        self.names.tie(DOMAIN, &instance.parse().unwrap())
    }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_serves_many_connects_for_a_moment() {
    let world = world(None, PERIOD);
    let (one, two) = tokio::join!(world.locate(), world.locate());
    assert_eq!(
        (one.unwrap(), two.unwrap()),
        ("p:r:one".into(), "p:r:one".into())
    );
    assert_eq!(world.script.asked(), 1);
    pass(4).await;
    world.locate().await.unwrap();
    assert_eq!(world.script.asked(), 1);
    pass(2).await;
    world.locate().await.unwrap();
    assert_eq!(world.script.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_moves_takes_its_open_connections_away_and_no_others() {
    let world = world(None, PERIOD);
    world.locate().await.unwrap();
    let old = world.open("p:r:one").unwrap();
    assert!(world.open("p:r:two").is_none());
    world.script.text(DOMAIN, &["p:r:two"]);
    pass(31).await;
    let reason = old.severed().expect("cut").clone();
    assert_eq!(reason.kind(), ErrorKind::Closed);
    assert!(reason.is_retryable());
    assert_eq!(
        reason.to_string(),
        "the connection was closed because db.example.com leads to p:r:two now, not to p:r:one any more"
    );
    assert_eq!(world.locate().await.unwrap(), "p:r:two");
    // Whoever dialled the old one meanwhile is told to dial again.
    assert!(world.open("p:r:one").is_none());
    let new = world.open("p:r:two").unwrap();
    pass(300).await;
    assert!(new.severed().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_finds_the_name_moved_closes_at_once() {
    let world = world(None, Duration::ZERO);
    world.locate().await.unwrap();
    let old = world.open("p:r:one").unwrap();
    world.script.text(DOMAIN, &["p:r:two"]);
    pass(600).await;
    assert!(old.severed().is_none(), "a period of zero means no watch");
    assert_eq!(world.locate().await.unwrap(), "p:r:two");
    assert!(old.severed().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_lookup_that_fails_closes_nothing_and_the_last_answer_serves() {
    let world = world(None, PERIOD);
    world.locate().await.unwrap();
    let open = world.open("p:r:one").unwrap();
    world.script.silent(true);
    pass(200).await;
    assert!(open.severed().is_none());
    let before = world.script.asked();
    assert_eq!(world.locate().await.unwrap(), "p:r:one");
    assert_eq!(world.locate().await.unwrap(), "p:r:one");
    assert!(world.script.asked() <= before + 2, "one lookup for both");
    world.script.silent(false);
    // A record that is deleted and made anew is gone for a moment.
    world.script.text(DOMAIN, &[]);
    pass(100).await;
    assert!(open.severed().is_none());
    let error = world.locate().await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::Dns, false)
    );
    assert_eq!(error.instance(), Some(DOMAIN));
    world.script.text(DOMAIN, &["p:r:one"]);
    assert_eq!(world.locate().await.unwrap(), "p:r:one");
    assert!(open.severed().is_none());
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_is_gone_is_left() {
    let world = world(None, PERIOD);
    let own = "a.b.us-central1.sql.goog";
    let refusal = |status| Error::new(ErrorKind::Permission, "HTTP").with_http_status(status);
    world.script.text(DOMAIN, &[]).alias(DOMAIN, own);
    world.script.bears(own, "p:us-central1:one".parse());
    world.locate().await.unwrap();
    let open = world.open("p:us-central1:one").unwrap();
    world.script.bears(own, Err(refusal(403)));
    pass(60).await;
    assert!(
        open.severed().is_none(),
        "a lost permission ends no session"
    );
    world.script.bears(
        own,
        Err(Error::new(ErrorKind::NotFound, "HTTP 404").with_http_status(404)),
    );
    pass(60).await;
    assert!(open.severed().is_some());
}

#[tokio::test(start_paused = true)]
async fn the_first_answers_project_is_pinned() {
    let world = world(None, PERIOD);
    world.locate().await.unwrap();
    let open = world.open("p:r:one").unwrap();
    world.script.text(DOMAIN, &["evil:r:one"]);
    pass(100).await;
    assert!(open.severed().is_none());
    let error = world.locate().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Dns);
    assert_eq!(
        error.to_string(),
        "db.example.com: db.example.com leads to evil:r:one, whose project is not \"p\", where the name led at first"
    );
    world.script.text(DOMAIN, &["p:r:two"]);
    assert_eq!(world.locate().await.unwrap(), "p:r:two");
    assert!(open.severed().is_some());
}

#[tokio::test(start_paused = true)]
async fn named_projects_are_the_only_ones() {
    let world = world(Some(&["p", "example.com:q"]), PERIOD);
    world.locate().await.unwrap();
    world.script.text(DOMAIN, &["example.com:q:r:two"]);
    pass(31).await;
    assert_eq!(world.locate().await.unwrap(), "example.com:q:r:two");
    world.script.text(DOMAIN, &["z:r:i"]);
    pass(31).await;
    assert!(
        world
            .locate()
            .await
            .unwrap_err()
            .to_string()
            .contains("domain_projects")
    );
}

#[tokio::test(start_paused = true)]
async fn the_watch_ends_when_it_concerns_nobody() {
    let world = world(None, PERIOD);
    world.locate().await.unwrap();
    pass(200).await;
    let idle = world.script.asked();
    assert!(idle <= 3, "{idle}");
    pass(600).await;
    assert_eq!(world.script.asked(), idle, "unused and with nothing open");
    world.locate().await.unwrap();
    let open = world.open("p:r:one").unwrap();
    pass(100).await;
    assert!(world.script.asked() >= idle + 4);
    world.in_use.store(false, Ordering::SeqCst);
    pass(60).await;
    let closed = world.script.asked();
    pass(600).await;
    assert_eq!(world.script.asked(), closed, "the last connector is gone");
    drop(open);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_answers_costs_ten_seconds_at_most() {
    let world = world(None, PERIOD);
    *world.script.delay.lock().unwrap() = Duration::from_secs(3600);
    let begun = Instant::now();
    let error = world.locate().await.unwrap_err();
    assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Dns, true));
    assert_eq!(begun.elapsed(), Duration::from_secs(10));
    let soon = Instant::now() + Duration::from_secs(1);
    let error = world
        .names
        .clone()
        .locate(DOMAIN.to_owned(), soon)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let addresses = world.names.clone().addresses(DOMAIN.to_owned(), soon).await;
    assert_eq!(addresses.unwrap_err().kind(), ErrorKind::Dns);
}

#[tokio::test(start_paused = true)]
async fn addresses_are_remembered_for_a_moment_and_forgotten_with_a_move() {
    let world = world(None, Duration::ZERO);
    let set = |text: &str| {
        let addresses = vec![text.parse().unwrap()];
        world
            .script
            .addresses
            .lock()
            .unwrap()
            .insert(DOMAIN.to_owned(), addresses);
    };
    let ask = || {
        let deadline = Instant::now() + Duration::from_secs(5);
        world.names.clone().addresses(DOMAIN.to_owned(), deadline)
    };
    world.locate().await.unwrap();
    set("10.0.0.1");
    assert_eq!(
        ask().await.unwrap(),
        ["10.0.0.1".parse::<IpAddr>().unwrap()]
    );
    set("10.0.0.2");
    pass(4).await;
    assert_eq!(
        ask().await.unwrap(),
        ["10.0.0.1".parse::<IpAddr>().unwrap()]
    );
    pass(2).await;
    world.script.text(DOMAIN, &["p:r:two"]);
    assert_eq!(
        ask().await.unwrap(),
        ["10.0.0.2".parse::<IpAddr>().unwrap()]
    );
    set("10.0.0.3");
    world.locate().await.unwrap();
    assert_eq!(
        ask().await.unwrap(),
        ["10.0.0.3".parse::<IpAddr>().unwrap()]
    );
}
