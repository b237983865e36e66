//! tokio-postgres on AlloyDB, with a real PostgreSQL behind it: IAM and password logins, and what a refused one says.

#![cfg(feature = "tokio-postgres")]

use iamsql::{AuthMode, ConnectOptions, Connector, Environment, ErrorKind};
use iamsql_emulator::{Emulator, InstanceSpec};

const INSTANCE: &str =
    "projects/your-project-id/locations/us-central1/clusters/driver/instances/primary";
const USER: &str = "cloudsql-client@your-project-id.iam";
const PASSWORD: &str = "a built-in user's password";

async fn world() -> (Emulator, Connector) {
    let emulator = Emulator::builder()
        .instance(InstanceSpec::postgres(INSTANCE))
        .user("app", PASSWORD)
        .start()
        .await
        .unwrap();
    let environment = Environment::empty().with("IAMSQL_EMULATOR_HOST", emulator.host());
    let connector = Connector::builder().environment(environment).build().await;
    (emulator, connector.unwrap())
}

#[tokio::test]
async fn the_driver_logs_in_by_iam_or_by_password() {
    let (emulator, connector) = world().await;
    let iam = connector.postgres(INSTANCE).dbname("mydb");
    let built_in = iam.clone().user("app").password(PASSWORD);
    for (builder, user, kind) in [(iam, USER, "AUTO_IAM"), (built_in, "app", "DB_NATIVE")] {
        let (client, connection) = builder.connect().await.unwrap();
        tokio::spawn(connection);
        let row = client.query_one("SELECT current_user::text", &[]).await;
        assert_eq!(row.unwrap().get::<_, String>(0), user);
        let session = emulator.sessions().of(INSTANCE).pop().unwrap();
        assert_eq!(session.auth_type.as_deref(), Some(kind));
        assert_eq!(session.user.as_deref(), Some(user));
    }
}

#[tokio::test]
async fn a_refused_login_names_the_user_that_works() {
    let (_emulator, connector) = world().await;
    let iam = ConnectOptions::new().auth_mode(AuthMode::Iam);
    let builder = connector.postgres(INSTANCE).dbname("mydb").options(iam);
    let error = builder.user("postgres").connect().await.map(drop);
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Login, "{error:?}");
    assert!(error.to_string().contains(USER), "{error}");
    assert_eq!(error.instance(), Some(INSTANCE));
}
