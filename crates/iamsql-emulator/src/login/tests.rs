//! The gate in front of a real PostgreSQL, without TLS.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use tokio::io::{DuplexStream, duplex};
use tokio::task::JoinHandle;
use tokio_postgres::error::{DbError, SqlState};
use tokio_postgres::{Client, Config, NoTls};

use super::*;
use crate::backend::{BackendOptions, Installation};
use crate::principal::Principal;

const SERVICE: &str = "cloudsql-client@your-project-id.iam";
const OTHER_SERVICE: &str = "batch@your-project-id.iam";
const HUMAN: &str = "jane@example.com";
const BUILT_IN: &str = "legacy";
const PASSWORD: &str = "legacy's own";
const DATABASE: &str = "mydb";

/// One PostgreSQL for all tests of this process, or the reason why there is none.
fn shared_backend() -> Option<&'static Backend> {
    static SHARED: OnceLock<Option<Backend>> = OnceLock::new();
    let start = || {
        let (sender, receiver) = std::sync::mpsc::channel();
        // Lives as long as the process: the tests' own runtimes end too early.
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                sender.send(start_backend().await).unwrap();
                std::future::pending::<()>().await;
            });
        });
        receiver.recv().unwrap()
    };
    SHARED.get_or_init(start).as_ref()
}

async fn start_backend() -> Option<Backend> {
    let options = BackendOptions::from_environment();
    if let Err(missing) = Installation::find(&options).await {
        assert!(std::env::var_os("CI").is_none(), "{missing:#}");
        eprintln!("skipped, no PostgreSQL: {missing:#}");
        return None;
    }
    let backend = Backend::start(&options).await.unwrap();
    let service = |user| Principal::service_account(format!("{user}.gserviceaccount.com"));
    let principals = [
        service(SERVICE),
        service(OTHER_SERVICE),
        Principal::human(HUMAN),
    ];
    backend.add_principals(&principals).await.unwrap();
    backend.add_databases(&[DATABASE.to_owned()]).await.unwrap();
    backend.add_user(BUILT_IN, PASSWORD).await.unwrap();
    Some(backend)
}

/// A client as the TLS server would describe it.
#[derive(Clone)]
struct Visitor {
    certificate: Result<String, LoginRefusal>,
    /// What tokens as passwords are worth.
    tokens: HashMap<&'static str, Result<String, LoginRefusal>>,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Visitor {
    fn with_token_of(user: &str) -> Visitor {
        Visitor {
            certificate: Ok(user.to_owned()),
            tokens: HashMap::new(),
            heard: Arc::default(),
        }
    }

    fn without(refusal: LoginRefusal) -> Visitor {
        Visitor {
            certificate: Err(refusal),
            ..Visitor::with_token_of("")
        }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

impl Applicant for Visitor {
    fn iam_kind(&self, user: &str) -> Option<PrincipalKind> {
        match user {
            SERVICE | OTHER_SERVICE => Some(PrincipalKind::ServiceAccount),
            _ => user
                .ends_with("@example.com")
                .then_some(PrincipalKind::Human),
        }
    }

    fn certificate_user(&self) -> Result<String, LoginRefusal> {
        self.certificate.clone()
    }

    fn token_user(&self, token: &str) -> Result<String, LoginRefusal> {
        self.tokens
            .get(token)
            .cloned()
            .unwrap_or(Err(LoginRefusal::UnknownToken))
    }

    fn logged_in(&self, user: &str, database: &str) {
        assert_eq!(database, DATABASE);
        self.heard.lock().unwrap().push(format!("in: {user}"));
    }

    fn refused(&self, reason: &str) {
        self.heard.lock().unwrap().push(reason.to_owned());
    }
}

/// Connects to the gate; what is returned with the stream ends with the session.
fn arrive(backend: &Backend, visitor: &Visitor) -> (DuplexStream, JoinHandle<io::Result<()>>) {
    let (client, server) = duplex(16 * 1024);
    let (backend, visitor) = (backend.clone(), visitor.clone());
    (
        client,
        tokio::spawn(async move { serve_postgres(server, &visitor, &backend).await }),
    )
}

async fn log_in(
    backend: &Backend,
    visitor: &Visitor,
    user: &str,
    password: Option<&str>,
) -> Result<Client, tokio_postgres::Error> {
    let (stream, _) = arrive(backend, visitor);
    let mut config = Config::new();
    config.user(user).dbname(DATABASE);
    if let Some(password) = password {
        config.password(password);
    }
    let (client, connection) = config.connect_raw(stream, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn refusal(
    backend: &Backend,
    visitor: &Visitor,
    user: &str,
    password: Option<&str>,
) -> DbError {
    let error = log_in(backend, visitor, user, password)
        .await
        .expect_err("a refusal");
    error
        .as_db_error()
        .unwrap_or_else(|| panic!("a message of the server, not {error:?}"))
        .clone()
}

async fn current_user(client: &Client) -> String {
    client
        .query_one("SELECT current_user::text", &[])
        .await
        .unwrap()
        .get(0)
}

#[tokio::test]
async fn the_principal_of_the_certificate_logs_in_without_a_password() {
    let Some(backend) = shared_backend() else {
        return;
    };
    for user in [SERVICE, HUMAN] {
        let visitor = Visitor::with_token_of(user);
        let client = log_in(backend, &visitor, user, None).await.unwrap();
        assert_eq!(current_user(&client).await, user);
        client
            .batch_execute(
                "CREATE TEMPORARY TABLE t (a int); DROP TABLE IF EXISTS mine; CREATE TABLE mine (a int); CREATE SCHEMA own CREATE TABLE t (a int); DROP SCHEMA own CASCADE; DROP TABLE mine",
            )
            .await
            .unwrap();
        assert_eq!(visitor.heard(), [format!("in: {user}")]);
    }
}

#[tokio::test]
async fn another_iam_user_is_refused_in_the_words_of_the_real_service() {
    let Some(backend) = shared_backend() else {
        return;
    };
    let visitor = Visitor::with_token_of(SERVICE);
    let cases = [
        (
            OTHER_SERVICE,
            "Cloud SQL IAM service account authentication failed for user \"batch@your-project-id.iam\"",
        ),
        (
            HUMAN,
            "Cloud SQL IAM user authentication failed for user \"jane@example.com\"",
        ),
    ];
    for (user, message) in cases {
        let error = refusal(backend, &visitor, user, None).await;
        assert_eq!(
            (error.message(), error.code(), error.severity()),
            (
                message,
                &SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
                "FATAL"
            )
        );
    }
    assert_eq!(
        visitor.heard()[0],
        format!("the token logs in {SERVICE}, not {OTHER_SERVICE}")
    );
}

#[tokio::test]
async fn a_token_that_does_not_log_in_is_refused_and_the_reason_recorded() {
    use LoginRefusal::*;
    let Some(backend) = shared_backend() else {
        return;
    };
    let cases = [
        (Expired, "expired"),
        (Revoked, "revoked"),
        (Scope, "sqlservice.login"),
        (InstanceFlag, "cloudsql.iam_authentication"),
        (Role, "roles/cloudsql.instanceUser"),
        (UnknownToken, "not the emulator's"),
    ];
    for (why, word) in cases {
        let visitor = Visitor::without(why);
        let error = refusal(backend, &visitor, SERVICE, None).await;
        assert_eq!(error.code(), &SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
        assert_eq!(
            error.message(),
            format!("Cloud SQL IAM service account authentication failed for user \"{SERVICE}\"")
        );
        assert!(visitor.heard()[0].contains(word), "{:?}", visitor.heard());
    }
}

#[tokio::test]
async fn a_built_in_user_needs_its_password_whatever_the_certificate_says() {
    let Some(backend) = shared_backend() else {
        return;
    };
    for visitor in [
        Visitor::with_token_of(SERVICE),
        Visitor::without(LoginRefusal::NoToken),
    ] {
        let client = log_in(backend, &visitor, BUILT_IN, Some(PASSWORD))
            .await
            .unwrap();
        assert_eq!(current_user(&client).await, BUILT_IN);
        let error = refusal(backend, &visitor, BUILT_IN, Some("wrong")).await;
        assert_eq!(error.code(), &SqlState::INVALID_PASSWORD);
        let unanswered = log_in(backend, &visitor, BUILT_IN, None).await.unwrap_err();
        assert!(
            unanswered.as_db_error().is_none(),
            "the driver has no password to send: {unanswered}"
        );
        let wrong = format!("password authentication failed for user \"{BUILT_IN}\"");
        assert_eq!(visitor.heard()[..2], [format!("in: {BUILT_IN}"), wrong]);
    }
}

#[tokio::test]
async fn a_name_that_is_nobodys_is_asked_for_a_password() {
    let Some(backend) = shared_backend() else {
        return;
    };
    let visitor = Visitor::with_token_of(SERVICE);
    for user in [
        "stranger",
        "cloudsql-client@your-project-id.iam.gserviceaccount.com",
        "cloudsqlsuperuser",
    ] {
        let error = refusal(backend, &visitor, user, Some("anything")).await;
        assert_eq!(error.code(), &SqlState::INVALID_PASSWORD, "{user}: {error}");
    }
    // The group belongs to itself, so its rule applies, but it may not log in.
    let error = refusal(backend, &visitor, "cloudsqliamserviceaccount", None).await;
    assert_eq!(error.code(), &SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
}

#[tokio::test]
async fn a_name_that_postgresql_would_cut_to_anothers_is_refused() {
    let Some(backend) = shared_backend() else {
        return;
    };
    let longest = format!("{}@long.iam", "a".repeat(54));
    backend
        .add_principals(&[Principal::service_account(format!(
            "{longest}.gserviceaccount.com"
        ))])
        .await
        .unwrap();
    let error = refusal(
        backend,
        &Visitor::with_token_of(SERVICE),
        &format!("{longest}x"),
        None,
    )
    .await;
    assert_eq!(error.code(), &SqlState::NAME_TOO_LONG);
}

#[tokio::test]
async fn without_a_token_in_the_certificate_an_iam_user_may_send_one_as_its_password() {
    let Some(backend) = shared_backend() else {
        return;
    };
    let mut visitor = Visitor::without(LoginRefusal::NoToken);
    visitor.tokens = HashMap::from([
        ("good", Ok(HUMAN.to_owned())),
        ("of-another", Ok(SERVICE.to_owned())),
        ("old", Err(LoginRefusal::Expired)),
    ]);
    let client = log_in(backend, &visitor, HUMAN, Some("good"))
        .await
        .unwrap();
    assert_eq!(current_user(&client).await, HUMAN);
    for token in ["of-another", "old", "never-issued"] {
        let error = refusal(backend, &visitor, HUMAN, Some(token)).await;
        assert_eq!(
            error.message(),
            "Cloud SQL IAM user authentication failed for user \"jane@example.com\""
        );
    }
    assert!(
        log_in(backend, &visitor, HUMAN, None)
            .await
            .unwrap_err()
            .as_db_error()
            .is_none()
    );
    assert!(
        visitor
            .heard()
            .iter()
            .all(|line| !line.contains("never-issued"))
    );
}

#[tokio::test]
async fn nobody_reaches_a_superuser_files_or_programs() {
    let Some(backend) = shared_backend() else {
        return;
    };
    for user in [SERVICE, HUMAN, BUILT_IN] {
        let visitor = Visitor::with_token_of(user);
        let client = log_in(backend, &visitor, user, Some(PASSWORD))
            .await
            .unwrap();
        let reach = client
            .query_one(
                "SELECT count(*) FROM pg_roles WHERE pg_has_role(oid, 'MEMBER')
                 AND (rolsuper OR rolcreaterole OR rolreplication OR rolbypassrls OR rolname LIKE 'pg\\_%')",
                &[],
            )
            .await
            .unwrap();
        assert_eq!(reach.get::<_, i64>(0), 0, "{user}");
        client
            .batch_execute("CREATE TEMPORARY TABLE t (line text)")
            .await
            .unwrap();
        let forbidden = [
            "COPY t FROM PROGRAM 'id'",
            "COPY t TO PROGRAM 'cat'",
            "COPY t FROM '/etc/passwd'",
            "COPY t TO '/tmp/iamsql-written'",
            "SELECT pg_read_file('/etc/passwd')",
            "SELECT pg_ls_dir('/')",
            "SELECT lo_import('/etc/passwd')",
            "CREATE EXTENSION file_fdw",
            "CREATE FUNCTION f() RETURNS int LANGUAGE c AS '/lib/x86_64-linux-gnu/libc.so.6', 'getpid'",
            "LOAD '/tmp/evil.so'",
            "CREATE ROLE another",
            "ALTER ROLE cloudsqladmin PASSWORD 'x'",
            "SET ROLE cloudsqladmin",
            "SET SESSION AUTHORIZATION cloudsqladmin",
            "GRANT pg_execute_server_program TO CURRENT_USER",
            "ALTER SYSTEM SET listen_addresses = '*'",
        ];
        for statement in forbidden {
            let error = client.batch_execute(statement).await.expect_err(statement);
            let code = error
                .code()
                .unwrap_or_else(|| panic!("{statement}: {error}"));
            let refused = [
                &SqlState::INSUFFICIENT_PRIVILEGE,
                // LOAD looks for the file in the one directory that it is limited to; packages may leave file_fdw out.
                &SqlState::UNDEFINED_FILE,
                &SqlState::FEATURE_NOT_SUPPORTED,
            ];
            assert!(refused.contains(&code), "{user}: {statement}: {error:?}");
        }
    }
}

#[tokio::test]
async fn the_administrator_cannot_log_in_through_the_gate() {
    let Some(backend) = shared_backend() else {
        return;
    };
    for visitor in [
        Visitor::with_token_of("cloudsqladmin"),
        Visitor::without(LoginRefusal::NoToken),
    ] {
        let error = refusal(backend, &visitor, "cloudsqladmin", Some("")).await;
        assert_eq!(error.code(), &SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
    }
}

#[tokio::test]
async fn offers_to_encrypt_are_declined_once_each() {
    let Some(backend) = shared_backend() else {
        return;
    };
    let visitor = Visitor::with_token_of(SERVICE);
    let (mut client, session) = arrive(backend, &visitor);
    for code in [80_877_104_u32, 80_877_103] {
        client
            .write_all(&[&8_u32.to_be_bytes()[..], &code.to_be_bytes()].concat())
            .await
            .unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'N');
    }
    client
        .write_all(&[&8_u32.to_be_bytes()[..], &80_877_103_u32.to_be_bytes()].concat())
        .await
        .unwrap();
    assert_eq!(client.read_to_end(&mut Vec::new()).await.unwrap(), 0);
    session.await.unwrap().unwrap();
    assert_eq!(visitor.heard(), ["no PostgreSQL startup packet"]);
}

#[tokio::test]
async fn a_malformed_packet_is_answered_in_the_protocol_and_a_foreign_one_is_not() {
    let Some(backend) = shared_backend() else {
        return;
    };
    let packet = |code: u32, rest: &[u8]| {
        [
            &(8 + rest.len() as u32).to_be_bytes()[..],
            &code.to_be_bytes(),
            rest,
        ]
        .concat()
    };
    let cases = [
        (
            packet(3 << 16, b"database\0mydb\0\0"),
            "C28000\0Mno PostgreSQL user name specified in startup packet",
        ),
        (
            packet(3 << 16, b"user\0a\0user\0b\0\0"),
            "C08P01\0Minvalid startup packet",
        ),
        (
            packet(2 << 16, b"x"),
            "C0A000\0Munsupported frontend protocol 2.0",
        ),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), ""),
    ];
    for (bytes, expected) in cases {
        let (mut client, session) = arrive(backend, &Visitor::with_token_of(SERVICE));
        client.write_all(&bytes).await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.contains(expected) && answer.is_empty() == expected.is_empty(),
            "{answer:?}"
        );
        drop(client);
        session.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_query_is_cancelled_over_a_connection_of_its_own() {
    let Some(backend) = shared_backend() else {
        return;
    };
    let visitor = Visitor::with_token_of(SERVICE);
    let client = log_in(backend, &visitor, SERVICE, None).await.unwrap();
    let token = client.cancel_token();
    let cancel = async {
        loop {
            let (stream, session) = arrive(backend, &visitor);
            token.cancel_query_raw(stream, NoTls).await.unwrap();
            session.await.unwrap().unwrap();
            // The request may have come before the query.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        slept = client.batch_execute("SELECT pg_sleep(60)") => {
            assert_eq!(slept.unwrap_err().code(), Some(&SqlState::QUERY_CANCELED));
        }
        () = cancel => unreachable!("loops"),
    }
}

#[tokio::test]
async fn large_results_and_uploads_pass() {
    let Some(backend) = shared_backend() else {
        return;
    };
    let client = log_in(backend, &Visitor::with_token_of(SERVICE), SERVICE, None)
        .await
        .unwrap();
    let megabytes = "x".repeat(3 << 20);
    let row = client
        .query_one("SELECT $1::text, length($1)", &[&megabytes])
        .await
        .unwrap();
    assert!(row.get::<_, &str>(0) == megabytes && row.get::<_, i32>(1) == 3 << 20);
}

#[tokio::test]
async fn an_administrator_ends_the_sessions_of_one_user() {
    let Some(backend) = shared_backend() else {
        return;
    };
    backend
        .add_principals(&[Principal::human("short@example.com")])
        .await
        .unwrap();
    let visitor = Visitor::with_token_of("short@example.com");
    let client = log_in(backend, &visitor, "short@example.com", None)
        .await
        .unwrap();
    assert_eq!(backend.sessions("short@example.com").await.unwrap(), 1);
    assert_eq!(backend.terminate("short@example.com").await.unwrap(), 1);
    let error = client.batch_execute("SELECT 1").await.unwrap_err();
    assert!(
        error.is_closed() || error.code() == Some(&SqlState::ADMIN_SHUTDOWN),
        "{error:?}"
    );
}
