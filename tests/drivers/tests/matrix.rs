//! The driver matrix: every Rust driver on every database with both ways to log in, each row tested or told why not.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::OnceLock;

use iamsql::{Connector, Environment};
use iamsql_emulator::{Emulator, InstanceSpec, SERVICE_ACCOUNT, random_password};
use iamsql_rust_drivers::{Target, User};
use iamsql_rust_drivers::{
    bb8, deadpool_postgres, diesel_async, mysql_async, sea_orm, sqlx, tiberius, tokio_postgres,
};
use tokio::sync::OnceCell;

#[derive(Clone, Copy, PartialEq)]
enum Database {
    Postgres,
    MySql,
    SqlServer,
    AlloyDb,
}

use Database::{AlloyDb, MySql, Postgres, SqlServer};

const DATABASES: [Database; 4] = [Postgres, MySql, SqlServer, AlloyDb];

impl Database {
    fn label(self) -> &'static str {
        match self {
            Postgres => "postgres",
            MySql => "mysql",
            SqlServer => "sqlserver",
            AlloyDb => "alloydb",
        }
    }

    fn instance(self) -> &'static str {
        match self {
            Postgres => "your-project-id:us-central1:rust-postgres",
            MySql => "your-project-id:us-central1:rust-mysql",
            SqlServer => "your-project-id:us-central1:rust-sqlserver",
            AlloyDb => {
                "projects/your-project-id/locations/us-central1/clusters/rust/instances/primary"
            }
        }
    }

    fn spec(self) -> InstanceSpec {
        match self {
            Postgres | AlloyDb => InstanceSpec::postgres(self.instance()),
            MySql => InstanceSpec::mysql(self.instance()),
            SqlServer => InstanceSpec::sql_server(self.instance()),
        }
    }

    /// The user that the default principal becomes.
    fn iam_user(self) -> String {
        let (name, domain) = SERVICE_ACCOUNT.split_once('@').unwrap();
        match self {
            MySql => name.to_owned(),
            _ => format!("{name}@{}", domain.trim_end_matches(".gserviceaccount.com")),
        }
    }
}

/// What the database says who we are; none if the driver does not speak to it.
async fn ask(driver: &str, database: Database, target: &Target) -> Option<anyhow::Result<String>> {
    let connector = connector().await;
    Some(match (driver, database) {
        ("tokio-postgres", Postgres | AlloyDb) => tokio_postgres::who_am_i(connector, target).await,
        ("deadpool-postgres", Postgres | AlloyDb) => {
            deadpool_postgres::who_am_i(connector, target).await
        }
        ("bb8", Postgres | AlloyDb) => bb8::who_am_i(connector, target).await,
        ("diesel-async", Postgres | AlloyDb) => diesel_async::who_am_i(connector, target).await,
        ("sqlx", Postgres | AlloyDb) => sqlx::who_am_i(connector, target).await,
        ("sqlx", MySql) => sqlx::who_am_i_in_mysql(connector, target).await,
        ("SeaORM", Postgres | AlloyDb) => sea_orm::who_am_i(connector, target).await,
        ("SeaORM", MySql) => sea_orm::who_am_i_in_mysql(connector, target).await,
        ("mysql_async", MySql) => mysql_async::who_am_i(connector, target).await,
        ("tiberius", SqlServer) => tiberius::who_am_i(connector, target).await,
        _ => return None,
    })
}

fn speaks_only(driver: &str) -> &'static str {
    match driver {
        "sqlx" | "SeaORM" => "it has no SQL Server driver",
        "mysql_async" => "it speaks MySQL alone",
        "tiberius" => "it speaks SQL Server's protocol alone",
        _ => "it speaks PostgreSQL alone",
    }
}

fn speaks(driver: &str, database: Database) -> bool {
    match driver {
        "sqlx" | "SeaORM" => database != SqlServer,
        "mysql_async" => database == MySql,
        "tiberius" => database == SqlServer,
        _ => matches!(database, Postgres | AlloyDb),
    }
}

async fn rows_of(driver: &str) {
    for database in DATABASES {
        for auth in ["iam", "password"] {
            let report = |result, why| report(driver, database, auth, result, why);
            if !speaks(driver, database) {
                report("not applicable", speaks_only(driver));
            } else if database == SqlServer && auth == "iam" {
                report("not applicable", "SQL Server has no IAM login");
            } else {
                match started(database).await {
                    Ok(()) => {
                        row(driver, database, auth).await;
                        report("pass", "");
                    }
                    // A laptop may lack the database; a build machine may not.
                    Err(error) if std::env::var_os("CI").is_none() => {
                        eprintln!("skipped: {driver} on {}: {error}", database.label());
                    }
                    Err(error) => panic!("{driver} on {}: {error}", database.label()),
                }
            }
        }
    }
}

async fn row(driver: &str, database: Database, auth: &str) {
    let (user, wanted) = match auth {
        "iam" => (None, database.iam_user()),
        _ => (Some(built_in()), built_in().name),
    };
    let target = Target {
        instance: database.instance().to_owned(),
        database: "mydb".to_owned(),
        user,
    };
    let case = format!("{driver} on {}, {auth}", database.label());
    let me = match ask(driver, database, &target).await {
        Some(Ok(me)) => me,
        Some(Err(error)) => panic!("{case}: {error:?}"),
        None => panic!("{case}: there is no example"),
    };
    // MySQL adds where from.
    assert_eq!(me.split('@').next(), wanted.split('@').next(), "{case}");
    if database != MySql {
        assert_eq!(me, wanted, "{case}");
    }
    // A row that passes whatever is said to the database shows nothing.
    if auth == "password" {
        let user = User {
            password: random_password(),
            ..built_in()
        };
        let target = Target {
            user: Some(user),
            ..target
        };
        let answer = ask(driver, database, &target).await;
        assert!(
            answer.is_some_and(|answer| answer.is_err()),
            "{case}: a wrong password"
        );
    }
}

fn report(driver: &str, database: Database, auth: &str, result: &str, why: &str) {
    let Some(path) = std::env::var_os("IAMSQL_DRIVER_MATRIX").filter(|path| !path.is_empty())
    else {
        return;
    };
    let mut row = serde_json::json!({"language": "rust", "driver": driver, "database": database.label(),
        "auth": auth, "result": result});
    if !why.is_empty() {
        row["why"] = why.into();
    }
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    // In one write, because other tests append too.
    file.write_all(format!("{row}\n").as_bytes()).unwrap();
}

fn built_in() -> User {
    static PASSWORD: OnceLock<String> = OnceLock::new();
    User {
        name: "app".to_owned(),
        password: PASSWORD.get_or_init(random_password).clone(),
    }
}

fn emulator() -> &'static Emulator {
    static EMULATOR: OnceLock<Emulator> = OnceLock::new();
    EMULATOR.get_or_init(|| {
        let starting = || {
            let user = built_in();
            Emulator::builder()
                .user(user.name, user.password)
                .start_blocking()
        };
        std::thread::spawn(starting).join().unwrap().unwrap()
    })
}

/// Each database runs from its first row on.
async fn started(database: Database) -> Result<(), String> {
    static STARTED: [OnceCell<Result<(), String>>; 4] = [const { OnceCell::const_new() }; 4];
    let start = || async {
        let started = emulator().add_instance(database.spec()).await;
        started.map(drop).map_err(|error| format!("{error:#}"))
    };
    STARTED[database as usize].get_or_init(start).await.clone()
}

async fn connector() -> &'static Connector {
    static CONNECTOR: OnceCell<Connector> = OnceCell::const_new();
    let build = || async {
        let environment = Environment::empty().with("IAMSQL_EMULATOR_HOST", emulator().host());
        let builder = Connector::builder().environment(environment);
        builder.build().await.unwrap()
    };
    CONNECTOR.get_or_init(build).await
}

#[tokio::test]
async fn tokio_postgres_rows() {
    rows_of("tokio-postgres").await;
}

#[tokio::test]
async fn deadpool_postgres_rows() {
    rows_of("deadpool-postgres").await;
}

#[tokio::test]
async fn bb8_rows() {
    rows_of("bb8").await;
}

#[tokio::test]
async fn diesel_async_rows() {
    rows_of("diesel-async").await;
}

#[tokio::test]
async fn sqlx_rows() {
    rows_of("sqlx").await;
}

#[tokio::test]
async fn sea_orm_rows() {
    rows_of("SeaORM").await;
}

#[tokio::test]
async fn mysql_async_rows() {
    rows_of("mysql_async").await;
}

#[tokio::test]
async fn tiberius_rows() {
    rows_of("tiberius").await;
}
