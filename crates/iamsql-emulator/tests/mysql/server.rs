//! The emulator's own MariaDB: it serves nobody outside, nobody in it can reach out, and it leaves nothing behind.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use iamsql_emulator::backend::mariadb::MariaDb;
use iamsql_emulator::{Emulator, HUMAN, InstanceSpec, MYSQL_INSTANCE, Principal};
use mysql_async::prelude::Queryable as _;
use rustix::process::{Pid, Signal, kill_process};

use crate::tunnel::{Tunnel, login_token, user};
use crate::{BUILT_IN, emulator, options};

/// Command lines of processes that mention `directory`.
fn processes_of(directory: &Path) -> Vec<String> {
    let output = Command::new("ps")
        .args(["axww", "-o", "stat=,args="])
        .output()
        .unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let wanted = directory.to_str().unwrap();
    let found = lines
        .lines()
        .filter(|line| line.contains(wanted) && !line.starts_with('Z'));
    found.map(str::to_owned).collect()
}

fn wait_until(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    while !done() {
        if start.elapsed() > limit {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    true
}

#[tokio::test]
async fn it_keeps_to_a_private_directory_and_removes_it() {
    let Some(options) = options().await else {
        return;
    };
    let mariadb = MariaDb::start(&options).await.unwrap();
    let directory = mariadb.directory().to_owned();
    let metadata = std::fs::metadata(&directory).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o700);
    assert_ne!(metadata.uid(), 0);
    assert!(!directory.join("temporary/statements").exists());
    let running = processes_of(&directory);
    assert!(
        running
            .iter()
            .any(|line| line.contains("--skip-networking")),
        "{running:?}"
    );

    let jane = [Principal::human("jane@example.com")];
    for _ in 0..2 {
        mariadb.add_principals(&jane).await.unwrap();
        mariadb
            .add_user("it's \\ \"quoted\"", "it's\\secret")
            .await
            .unwrap();
        mariadb
            .add_databases(&["it's `mine`_%".to_owned()])
            .await
            .unwrap();
    }
    for name in ["cloudsqladmin", "mariadb.sys", "", &"u".repeat(33)] {
        assert!(mariadb.add_user(name, "x").await.is_err(), "{name}");
    }
    for name in ["mysql", "Information_Schema", ""] {
        assert!(
            mariadb.add_databases(&[name.to_owned()]).await.is_err(),
            "{name}"
        );
    }
    assert_eq!(mariadb.sessions("jane").await.unwrap(), 0);

    mariadb.stop().await;
    assert!(!directory.exists());
    assert_eq!(processes_of(&directory), [""; 0]);
    mariadb.stop().await;
    let late = [Principal::human("late@example.com")];
    assert!(mariadb.add_principals(&late).await.is_err());
}

#[tokio::test]
async fn a_dropped_server_ends_by_itself() {
    let Some(options) = options().await else {
        return;
    };
    let mariadb = MariaDb::start(&options).await.unwrap();
    let directory = mariadb.directory().to_owned();
    drop(mariadb);
    let gone = || !directory.exists() && processes_of(&directory).is_empty();
    assert!(wait_until(Duration::from_secs(5), gone));
}

#[tokio::test]
async fn a_program_that_is_ended_leaves_nothing() {
    let Some(_) = options().await else { return };
    for signal in [Signal::KILL, Signal::TERM] {
        let temporary = tempfile::tempdir().unwrap();
        let open = std::fs::Permissions::from_mode(0o777);
        std::fs::set_permissions(temporary.path(), open).unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_iamsql-emulator"))
            .args(["--mysql", MYSQL_INSTANCE])
            .env("TMPDIR", temporary.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let begun = || {
            processes_of(temporary.path())
                .iter()
                .any(|line| line.contains("--datadir"))
        };
        assert!(wait_until(Duration::from_secs(30), begun));
        kill_process(Pid::from_child(&program), signal).unwrap();
        let gone = || {
            program.try_wait().unwrap().is_some()
                && temporary.path().read_dir().unwrap().count() == 0
                && processes_of(temporary.path()).is_empty()
        };
        assert!(
            wait_until(Duration::from_secs(5), gone),
            "{signal:?}: {:?}",
            processes_of(temporary.path())
        );
    }
}

#[tokio::test]
async fn nobody_reaches_the_machine_or_the_administration() {
    let Some(emulator) = emulator().await else {
        return;
    };
    let token = login_token(&emulator, HUMAN);
    let iam = Tunnel::new(&emulator, MYSQL_INSTANCE, Some(&token)).await;
    let plain = Tunnel::new(&emulator, MYSQL_INSTANCE, None).await;
    let conns = [
        iam.over_tcp(user("jane", None)).await.unwrap(),
        plain
            .over_tcp(user(BUILT_IN.0, Some(BUILT_IN.1)))
            .await
            .unwrap(),
    ];
    for mut conn in conns {
        for allowed in [
            "CREATE TABLE IF NOT EXISTS t (i INT PRIMARY KEY)",
            "REPLACE INTO t VALUES (1)",
            "CREATE OR REPLACE VIEW v AS SELECT * FROM t",
            "CREATE DATABASE IF NOT EXISTS test_mydb",
            "SET time_zone = 'UTC'",
        ] {
            conn.query_drop(allowed)
                .await
                .unwrap_or_else(|error| panic!("{allowed}: {error}"));
        }
        for forbidden in [
            "SELECT LOAD_FILE('/etc/passwd') IS NULL INTO @x; SELECT 1 INTO OUTFILE '/tmp/iamsql-out'",
            "LOAD DATA INFILE '/etc/passwd' INTO TABLE t",
            "CREATE FUNCTION sys_exec RETURNS INT SONAME 'lib_mysqludf_sys.so'",
            "INSTALL SONAME 'auth_pam'",
            "CREATE USER evil",
            "ALTER USER cloudsqladmin@localhost IDENTIFIED BY ''",
            "GRANT ALL ON *.* TO jane",
            "GRANT SELECT ON mydb.* TO jane",
            "UPDATE mysql.global_priv SET priv = '{}'",
            "SELECT * FROM mysql.global_priv",
            "CREATE DATABASE elsewhere",
            "SET GLOBAL general_log = ON",
            "SET GLOBAL secure_file_priv = ''",
            "KILL 1",
            "SHUTDOWN",
            "SET ROLE cloudsqladmin",
            "CREATE DEFINER = cloudsqladmin@localhost VIEW w AS SELECT * FROM mysql.global_priv",
        ] {
            let statement = forbidden.rsplit("; ").next().unwrap();
            let refused = conn.query_drop(statement).await;
            assert!(
                matches!(&refused, Err(mysql_async::Error::Server(_))),
                "{statement}: {refused:?}"
            );
        }
        let file: Option<Option<String>> = conn
            .query_first("SELECT LOAD_FILE('/etc/passwd')")
            .await
            .unwrap();
        assert_eq!(file, Some(None));
        let grants: Vec<String> = conn.query("SHOW GRANTS").await.unwrap();
        let global: Vec<_> = grants
            .iter()
            .filter(|grant| grant.contains("ON *.*"))
            .collect();
        assert!(
            global.iter().all(|grant| grant.starts_with("GRANT USAGE ")),
            "{grants:?}"
        );
        let tables: Vec<String> = conn.query("SHOW DATABASES").await.unwrap();
        assert!(!tables.contains(&"mysql".to_owned()), "{tables:?}");
    }
    emulator.shutdown().await;
}

#[tokio::test]
async fn users_and_instances_come_later_too() {
    let Some(_) = options().await else { return };
    let emulator = Emulator::builder()
        .rsa_keys(false)
        .lazy_mariadb(true)
        .instance(InstanceSpec::mysql(MYSQL_INSTANCE).databases(["mydb", "shop"]))
        .start()
        .await
        .unwrap();
    emulator.add_user("early", "e").await.unwrap();
    let late = "your-project-id:us-central1:late";
    emulator
        .add_instance(InstanceSpec::mysql(late).databases(["mydb", "late"]))
        .await
        .unwrap();
    let first = Tunnel::new(&emulator, MYSQL_INSTANCE, None).await;
    let mut early = first
        .over_tcp(user("early", Some("e")).db_name(Some("shop")))
        .await
        .unwrap();
    emulator.add_user("later", "l").await.unwrap();
    emulator
        .add_principal(Principal::human("Zoë@example.com"))
        .await
        .unwrap();
    let second = Tunnel::new(&emulator, late, None).await;
    for (name, password) in [("early", "e"), ("later", "l")] {
        let options = user(name, Some(password)).db_name(Some("late"));
        second.over_tcp(options).await.unwrap();
    }
    let token = login_token(&emulator, "Zoë@example.com");
    let iam = Tunnel::new(&emulator, late, Some(&token)).await;
    let mut conn = iam.over_tcp(user("zoë", None)).await.unwrap();
    let current: Option<String> = conn.query_first("SELECT CURRENT_USER()").await.unwrap();
    assert_eq!(current.as_deref(), Some("zoë@%"));

    assert_eq!(emulator.terminate_sessions("early").await.unwrap(), 1);
    assert!(early.query_drop("SELECT 1").await.is_err());
    let unknown = first
        .over_tcp(user("early", Some("e")).db_name(Some("elsewhere")))
        .await;
    assert!(
        matches!(&unknown, Err(mysql_async::Error::Server(error)) if [1044, 1049].contains(&error.code)),
        "{unknown:?}"
    );
    emulator.shutdown().await;
}
