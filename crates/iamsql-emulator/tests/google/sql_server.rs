//! The stand-in for SQL Server, as a driver sees it through the tunnel.

use iamsql_emulator::{AddressType, Emulator, InstanceSpec};
use tiberius::{AuthMethod, Config, EncryptionLevel};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::compat::{Compat, TokioAsyncWriteCompatExt as _};

use crate::client::{ADMIN_SCOPE, Client, dial, signed};

const NAME: &str = "your-project-id:us-central1:sql-server";

type Driver = tiberius::Client<Compat<TlsStream<TcpStream>>>;

async fn connect(
    emulator: &Emulator,
    password: &str,
    database: &str,
) -> Result<Driver, tiberius::error::Error> {
    let client = Client::new(emulator);
    let bearer = client.token(ADMIN_SCOPE).await;
    let certificate = signed(client.sign(NAME, &bearer, None).await).await;
    let address = emulator.addresses(NAME).unwrap()[&AddressType::Primary];
    let stream = dial(address, Some(&certificate)).await.unwrap();
    let mut config = Config::new();
    config.encryption(EncryptionLevel::NotSupported);
    config.authentication(AuthMethod::sql_server("app-user", password));
    config.database(database);
    Driver::connect(config, stream.compat_write()).await
}

/// The number of the error that a statement is answered with.
async fn refusal(driver: &mut Driver, statement: &str) -> Option<u32> {
    match driver.simple_query(statement).await {
        Ok(stream) => stream.into_results().await.err()?.code(),
        Err(error) => error.code(),
    }
}

#[tokio::test]
async fn a_driver_logs_in_and_gets_its_parameters_back() {
    let emulator = Emulator::builder()
        .instance(InstanceSpec::sql_server(NAME))
        .user("app-user", "emulator-password-1")
        .start()
        .await
        .unwrap();
    let mut driver = connect(&emulator, "emulator-password-1", "mydb")
        .await
        .unwrap();
    let query = "SELECT @P1 AS text, @P2 AS number, SUSER_SNAME() AS who, DB_NAME() AS place";
    let rows = driver.query(query, &[&"grün", &7_i32]).await.unwrap();
    let row = rows.into_row().await.unwrap().unwrap();
    assert_eq!(row.get::<&str, _>("text"), Some("grün"));
    assert_eq!(row.get::<i32, _>("number"), Some(7));
    assert_eq!(row.get::<&str, _>("who"), Some("app-user"));
    assert_eq!(row.get::<&str, _>("place"), Some("mydb"));
    let code = refusal(&mut driver, "DROP TABLE t").await;
    assert_eq!(code, Some(40510));
    let rows = driver
        .simple_query("BEGIN TRAN; SELECT @@TRANCOUNT; COMMIT")
        .await;
    let row = rows.unwrap().into_row().await.unwrap().unwrap();
    assert_eq!(row.get::<i32, _>(0), Some(1));
    let session = emulator.sessions().of(NAME).pop().unwrap();
    assert_eq!(session.user.as_deref(), Some("app-user"));

    emulator
        .add_user("app-user", "emulator-password-2")
        .await
        .unwrap();
    let old = connect(&emulator, "emulator-password-1", "mydb").await;
    assert_eq!(old.err().and_then(|error| error.code()), Some(18456));
    assert!(
        connect(&emulator, "emulator-password-2", "mydb")
            .await
            .is_ok()
    );
    assert!(
        connect(&emulator, "emulator-password-2", "absent")
            .await
            .is_err()
    );
}
