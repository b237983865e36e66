//! A domain name that moves takes its connections along; one that cannot be looked up for a while does not.

mod world;

use std::io;
use std::time::{Duration, Instant};

use iamsql::{ConnectOptions, Connector, Error, ErrorKind, ListenOptions, Stream};
use iamsql_emulator::{CaMode, DnsCode, DnsRecord, Effect, Endpoint, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use world::{added, connector, emulator, unknown_instance};

const PERIOD: Duration = Duration::from_millis(200);

struct World {
    domain: String,
    old: String,
    new: String,
    connector: Connector,
}

impl World {
    async fn start() -> Self {
        let unique = unknown_instance().rsplit_once('-').unwrap().1.to_owned();
        let domain = format!("moving{unique}.example.com");
        let member = || {
            let name = domain.clone();
            added(emulator(), |spec| {
                spec.ca_mode(CaMode::Cas).custom_name(name)
            })
        };
        let (old, new) = (member().await, member().await);
        let connector = connector(emulator())
            .iam_auth(true)
            .failover_period(PERIOD)
            .build()
            .await
            .unwrap();
        let world = World {
            domain,
            old,
            new,
            connector,
        };
        world.lead_to(&world.old);
        world
    }

    fn lead_to(&self, instance: &str) {
        emulator()
            .dns()
            .set(&self.domain, [DnsRecord::txt(instance)]);
    }

    async fn connect(&self) -> Stream {
        self.connector.connect(&self.domain).await.unwrap()
    }

    fn label(&self, instance: &str) -> String {
        format!("{} -> {instance}", self.domain)
    }
}

async fn echo(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) -> io::Result<()> {
    let mut answer = [0; 5];
    stream.write_all(b"hello").await?;
    stream.read_exact(&mut answer).await?;
    Ok(())
}

async fn soon(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(10), "never {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn reason(error: &io::Error) -> &Error {
    error.get_ref().unwrap().downcast_ref().unwrap()
}

#[tokio::test]
async fn open_connections_are_closed_with_the_reason_and_new_ones_go_to_the_new_instance() {
    let world = World::start().await;
    let mut stream = world.connect().await;
    assert_eq!(stream.instance(), world.label(&world.old));
    echo(&mut stream).await.unwrap();
    let options = ConnectOptions::new();
    let blocking = world.connector.connection(&world.domain, &options).await;
    let blocking = blocking.unwrap().into_blocking();
    let by_name = world.connector.connect(&world.old).await;
    let mut by_name = by_name.unwrap();
    let listener = world.connector.listen(&world.domain, &ListenOptions::new());
    let listener = listener.unwrap();
    let path = listener.socket_path().unwrap();
    let mut client = UnixStream::connect(&path).await.unwrap();
    echo(&mut client).await.unwrap();

    world.lead_to(&world.new);
    let error = stream.read_u8().await.unwrap_err();
    let why = reason(&error);
    assert_eq!((why.kind(), why.is_retryable()), (ErrorKind::Closed, true));
    assert!(why.to_string().contains(&world.new), "{why}");
    let read = tokio::task::spawn_blocking(move || blocking.read(&mut [0], &mut || Ok(())));
    assert_eq!(
        reason(&read.await.unwrap().unwrap_err()).kind(),
        ErrorKind::Closed
    );
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    echo(&mut by_name)
        .await
        .expect("nobody asked the domain for it");

    let mut stream = world.connect().await;
    assert_eq!(stream.instance(), world.label(&world.new));
    echo(&mut stream).await.unwrap();
    let mut client = UnixStream::connect(&path).await.unwrap();
    echo(&mut client).await.unwrap();
    soon("two at the new one, one at the old", || {
        let open = |instance| emulator().sessions().open(instance);
        (open(&world.old), open(&world.new)) == (1, 2)
    })
    .await;
}

#[tokio::test]
async fn a_lookup_that_fails_for_a_while_closes_nothing_and_the_last_answer_serves() {
    let world = World::start().await;
    let mut stream = world.connect().await;
    for code in [DnsCode::ServerFailure, DnsCode::Refused] {
        let fault = Fault::new(Endpoint::Dns, Effect::DnsError { code }).dns_name(&world.domain);
        let fault = emulator().faults().inject(fault);
        tokio::time::sleep(PERIOD * 4).await;
        echo(&mut stream).await.unwrap();
        echo(&mut world.connect().await).await.unwrap();
        emulator().faults().clear(fault);
    }
    emulator().dns().remove(&world.domain);
    tokio::time::sleep(PERIOD * 4).await;
    echo(&mut stream).await.unwrap();
    let error = world.connector.connect(&world.domain).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.is_retryable()),
        (ErrorKind::Dns, false)
    );
    world.lead_to(&world.old);
    echo(&mut world.connect().await).await.unwrap();
    echo(&mut stream).await.unwrap();
}

#[tokio::test]
async fn another_project_is_refused_and_open_connections_stay() {
    let world = World::start().await;
    let mut stream = world.connect().await;
    world.lead_to("your-other-project:us-central1:db");
    tokio::time::sleep(PERIOD * 4).await;
    echo(&mut stream).await.unwrap();
    let error = world.connector.connect(&world.domain).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Dns, "{error:?}");
    assert!(error.to_string().contains("your-other-project"), "{error}");
    world.lead_to(&world.new);
    assert!(stream.read_u8().await.is_err());
    assert_eq!(world.connect().await.instance(), world.label(&world.new));
}

#[tokio::test]
async fn the_instances_own_name_is_not_looked_up_again() {
    let unique = unknown_instance().rsplit_once(':').unwrap().1.to_owned();
    let own = format!("a1.{unique}.us-central1.sql.goog");
    let name = format!("{own}.");
    added(emulator(), |spec| spec.ca_mode(CaMode::Cas).dns_name(name)).await;
    let connector = connector(emulator())
        .iam_auth(true)
        .failover_period(PERIOD)
        .build()
        .await
        .unwrap();
    let mut stream = connector.connect(&own).await.unwrap();
    let asked = || emulator().calls().all().len();
    let before = asked();
    tokio::time::sleep(PERIOD * 4).await;
    assert_eq!(asked(), before);
    echo(&mut stream).await.unwrap();
}

#[tokio::test]
async fn a_period_out_of_range_is_refused() {
    let tiny = connector(emulator()).failover_period(Duration::from_millis(1));
    assert_eq!(tiny.build().await.unwrap_err().kind(), ErrorKind::Config);
    let none = connector(emulator()).failover_period(Duration::ZERO);
    assert!(none.build().await.is_ok());
}
