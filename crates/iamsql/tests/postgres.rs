//! tokio-postgres against a real PostgreSQL: who is logged in, what a refused login says, cancelling, and the private socket.

#![cfg(feature = "tokio-postgres")]

use std::time::{Duration, Instant};

use iamsql::{
    AuthMode, ConnectOptions, Connector, Environment, Error, ErrorKind, ListenOptions,
    PostgresBuilder,
};
use iamsql_emulator::{
    CertificateAlert, Effect, Emulator, Endpoint, Fault, HUMAN, InstanceSpec, SERVICE_ACCOUNT,
};
use tokio_postgres::{Client, Config, NoTls};

const INSTANCE: &str = "your-project-id:us-central1:driver";
const ECHO: &str = "your-project-id:us-central1:not-postgres";
const USER: &str = "cloudsql-client@your-project-id.iam";
const PASSWORD: &str = "a built-in user's password";

struct World {
    emulator: Emulator,
    connector: Connector,
}

impl World {
    async fn start() -> Self {
        let emulator = Emulator::builder()
            .instance(InstanceSpec::postgres(INSTANCE))
            .instance(InstanceSpec::echo(ECHO).database_version("MYSQL_8_0\nINFO forged"))
            .user("app", PASSWORD)
            .start()
            .await
            .unwrap();
        let environment = Environment::empty().with("IAMSQL_EMULATOR_HOST", emulator.host());
        let builder = Connector::builder().environment(environment);
        let connector = builder.build().await.unwrap();
        World {
            emulator,
            connector,
        }
    }

    fn refuse_certificate_once(&self) {
        let alert = CertificateAlert::Revoked;
        let refusal = Fault::new(Endpoint::Tls, Effect::RefuseCertificate { alert });
        self.emulator
            .faults()
            .inject(refusal.instance(INSTANCE).times(1));
    }
}

async fn refused(builder: PostgresBuilder) -> Error {
    builder.connect().await.map(drop).unwrap_err()
}

async fn current_user(client: &Client) -> String {
    let row = client.query_one("SELECT current_user::text", &[]).await;
    row.unwrap().get(0)
}

#[tokio::test]
async fn the_driver_logs_in_as_whoever_we_are() {
    let world = World::start().await;
    let full_address = Some(SERVICE_ACCOUNT);
    for user in [None, Some(USER), full_address] {
        let mut builder = world.connector.postgres(INSTANCE).dbname("mydb");
        if let Some(user) = user {
            builder = builder.user(user);
        }
        let (client, connection) = builder.connect().await.unwrap();
        tokio::spawn(connection);
        assert_eq!(current_user(&client).await, USER, "asked for {user:?}");
    }

    let built_in = world.connector.postgres(INSTANCE).dbname("mydb");
    let built_in = built_in.user("app").password(PASSWORD);
    for mode in [None, Some(AuthMode::Iam)] {
        let mut options = ConnectOptions::new();
        options.auth_mode = mode;
        let builder = built_in.clone().options(options);
        let (client, connection) = builder.connect().await.unwrap();
        tokio::spawn(connection);
        assert_eq!(current_user(&client).await, "app", "{mode:?}");
    }

    world.refuse_certificate_once();
    let builder = world.connector.postgres(INSTANCE).dbname("mydb");
    let (client, connection) = builder.connect().await.unwrap();
    tokio::spawn(connection);
    assert_eq!(current_user(&client).await, USER, "at the second attempt");
    world.emulator.shutdown().await;
}

#[tokio::test]
async fn a_refused_login_says_who_asked_for_whom() {
    let world = World::start().await;
    let postgres = || world.connector.postgres(INSTANCE).dbname("mydb");

    let error = refused(postgres().user(HUMAN)).await;
    assert_eq!(error.kind(), ErrorKind::Login, "{error:?}");
    let text = error.to_string();
    assert!(text.contains("authentication failed for user"), "{text}");
    for part in [SERVICE_ACCOUNT, HUMAN, USER] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert!(error.advice().unwrap().contains(USER), "{error:?}");

    let error = refused(postgres().user("app")).await;
    assert_eq!(error.kind(), ErrorKind::Login, "{error:?}");
    let error = refused(postgres().user("app").password("wrong")).await;
    assert_eq!(error.kind(), ErrorKind::Login, "{error:?}");
    assert!(error.to_string().contains("28P01"), "{error}");
    let error = refused(world.connector.postgres(INSTANCE).dbname("absent")).await;
    assert_eq!(error.kind(), ErrorKind::Login);
    assert!(
        error.to_string().contains("\"absent\" does not exist"),
        "{error}"
    );

    let error = refused(postgres().password(PASSWORD)).await;
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    assert!(error.to_string().contains("needs a user"), "{error}");
    let error = refused(world.connector.postgres(ECHO).user("u")).await;
    assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
    let line = error.to_string();
    assert!(line.contains("MYSQL_8_0") && !line.contains('\n'), "{line}");
    world.emulator.shutdown().await;
}

#[tokio::test]
async fn a_running_query_is_cancelled() {
    let world = World::start().await;
    let builder = world.connector.postgres(INSTANCE).dbname("mydb");
    let (client, connection) = builder.clone().connect().await.unwrap();
    tokio::spawn(connection);
    let token = client.cancel_token();
    let started = Instant::now();
    let sleeping = client.query("SELECT pg_sleep(60)", &[]);
    let cancelling = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        builder.cancel(&token).await.unwrap();
    };
    let (slept, ()) = tokio::join!(sleeping, cancelling);
    assert_eq!(slept.unwrap_err().code().unwrap().code(), "57014");
    assert!(started.elapsed() < Duration::from_secs(30));
    assert_eq!(current_user(&client).await, USER, "the session goes on");
    world.emulator.shutdown().await;
}

#[tokio::test]
async fn a_driver_that_takes_only_a_path_logs_in_cancels_and_reads_the_reason() {
    let world = World::start().await;
    let options = ListenOptions::new().connect(ConnectOptions::new().auth_mode(AuthMode::Iam));
    let listener = world.connector.listen(INSTANCE, &options).unwrap();
    let mut config = Config::new();
    config
        .host_path(listener.directory().unwrap())
        .user(USER)
        .dbname("mydb");
    listener.park().await.unwrap();
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(current_user(&client).await, USER);

    let token = client.cancel_token();
    let sleeping = client.query("SELECT pg_sleep(60)", &[]);
    let cancelling = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        token.cancel_query(NoTls).await.unwrap();
    };
    let (slept, ()) = tokio::join!(sleeping, cancelling);
    assert_eq!(slept.unwrap_err().code().unwrap().code(), "57014");

    world.refuse_certificate_once();
    let (again, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(current_user(&again).await, USER, "after a late refusal");

    let faults = world.emulator.faults();
    faults.inject(Fault::new(Endpoint::Tcp, Effect::Refuse).instance(INSTANCE));
    let error = config.connect(NoTls).await.map(drop).unwrap_err();
    let refusal = error.as_db_error().unwrap();
    assert_eq!(refusal.code().code(), "08001");
    assert!(
        refusal.message().contains("could not connect to 127."),
        "{refusal}"
    );
    assert_eq!(current_user(&client).await, USER, "open sessions live on");
    world.emulator.shutdown().await;
}
