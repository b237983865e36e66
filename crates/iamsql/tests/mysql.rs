//! MySQL's and SQL Server's rules: users, drivers that do not fit, and what a client of the private socket is told.

mod world;

use iamsql::{
    ConnectOptions, Connector, DatabaseEngine, Error, ErrorKind, ListenOptions, PrivateListener,
};
use iamsql_emulator::{Effect, Endpoint, Fault};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use world::{added, calls, connector, emulator};

async fn fresh() -> Connector {
    connector(emulator()).iam_auth(true).build().await.unwrap()
}

async fn running(version: &str) -> String {
    let version = version.to_owned();
    added(emulator(), |spec| spec.database_version(version)).await
}

fn listen(connector: &Connector, instance: &str, engine: DatabaseEngine) -> PrivateListener {
    let options = ListenOptions::new().connect(ConnectOptions::new().engine(engine));
    connector.listen(instance, &options).unwrap()
}

#[tokio::test]
async fn the_user_is_what_stands_before_the_at_sign_and_has_32_characters_at_most() {
    let (connector, mysql) = (fresh().await, running("MYSQL_8_4").await);
    assert_eq!(connector.user(&mysql).await.unwrap(), "cloudsql-client");
    let given = connector.user_for(&mysql, Some("App@proj.iam")).await;
    assert_eq!(given.unwrap(), "app");
    let long = format!("{}@example.com", "x".repeat(33));
    let error = connector.user_for(&mysql, Some(&long)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("32"), "{error}");
    let postgres = running("POSTGRES_17").await;
    let user = connector.user_for(&postgres, Some(&long)).await.unwrap();
    assert_eq!(user, long);
}

#[tokio::test]
async fn a_driver_for_another_engine_is_refused_before_anything_is_dialled() {
    let connector = fresh().await;
    for (version, engine, wanted) in [
        ("MYSQL_8_4", DatabaseEngine::Postgres, "mysql_async"),
        ("POSTGRES_17", DatabaseEngine::MySql, "psycopg"),
        ("POSTGRES_17", DatabaseEngine::SqlServer, "tokio-postgres"),
    ] {
        let instance = running(version).await;
        let options = ConnectOptions::new().engine(engine);
        let refused: [Error; 2] = [
            connector
                .connect_with(&instance, &options)
                .await
                .map(drop)
                .unwrap_err(),
            connector.warm(&instance, &options).await.unwrap_err(),
        ];
        for error in refused {
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains(version), "{error}");
            assert!(error.to_string().contains(engine.as_str()), "{error}");
            assert!(error.advice().unwrap().contains(wanted), "{error:?}");
        }
        assert!(emulator().sessions().of(&instance).is_empty());
        let fitting = DatabaseEngine::from_database_version(version).unwrap();
        let options = ConnectOptions::new().engine(fitting);
        connector.connect_with(&instance, &options).await.unwrap();
    }
}

#[tokio::test]
async fn sql_server_has_no_iam_login_and_says_so_without_asking_for_a_certificate_twice() {
    let (connector, instance) = (fresh().await, running("SQLSERVER_2022_STANDARD").await);
    for error in [
        connector.connect(&instance).await.map(drop).unwrap_err(),
        connector.user(&instance).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("no IAM login"), "{error}");
        assert!(error.advice().unwrap().contains("password"), "{error:?}");
    }
    assert!(calls(emulator(), Endpoint::GenerateEphemeralCert, &instance) <= 1);
}

#[tokio::test]
async fn the_private_socket_is_named_for_the_engine_and_dials_before_the_client_speaks() {
    let (connector, instance) = (fresh().await, running("MYSQL_8_4").await);
    let listener = listen(&connector, &instance, DatabaseEngine::MySql);
    let path = listener.socket_path().unwrap();
    assert_eq!(path.file_name().unwrap(), "mysql.sock");
    let _silent = UnixStream::connect(&path).await.unwrap();
    let begun = std::time::Instant::now();
    while emulator().sessions().open(&instance) == 0 {
        assert!(begun.elapsed().as_secs() < 10, "nothing was dialled");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let mut client = UnixStream::connect(&path).await.unwrap();
    let mut back = [0; 5];
    client.write_all(b"hello").await.unwrap();
    client.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"hello");
}

#[tokio::test]
async fn a_client_whose_dial_fails_reads_an_error_packet_in_place_of_the_greeting() {
    let (connector, instance) = (fresh().await, running("MYSQL_8_4").await);
    let fault = Fault::new(Endpoint::Tcp, Effect::Refuse).instance(&instance);
    emulator().faults().inject(fault);
    let listener = listen(&connector, &instance, DatabaseEngine::MySql);
    let mut client = UnixStream::connect(listener.socket_path().unwrap())
        .await
        .unwrap();
    let mut packet = Vec::new();
    client.read_to_end(&mut packet).await.unwrap();
    assert_eq!(packet[3..7], [0, 0xff, 0x95, 0x05]);
    let text = String::from_utf8_lossy(&packet[7..]);
    assert!(text.contains("IAMSQL_NETWORK"), "{text}");
    assert!(text.contains(&instance), "{text}");
}
