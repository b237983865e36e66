use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

fn script(text: &str) -> (tempfile::TempDir, Program) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("program");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    let environment = Environment::empty()
        .with("PATH", "/usr/bin:/bin")
        .with("ITS", "own");
    (
        directory,
        Program::new("the program", path, ["an argument", "$ITS"], &environment),
    )
}

async fn run(text: &str, limit: Duration) -> Result<String> {
    let (_directory, program) = script(text);
    let printed = program.run(limit).await?;
    Ok(String::from_utf8(printed.to_vec()).unwrap())
}

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_program_gets_its_arguments_as_they_are_the_captured_variables_and_no_input() {
    let text = r#"printf '%s|' "$1" "$2" "$ITS" "${CARGO_MANIFEST_DIR-unset}"; cat"#;
    assert_eq!(
        run(text, LONG).await.unwrap(),
        "an argument|$ITS|own|unset|"
    );
}

#[tokio::test]
async fn a_program_that_fails_is_quoted_and_one_that_is_absent_is_named() {
    let error = run("echo 'not logged in' >&2; exit 3", LONG)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials);
    assert_eq!(error.to_string(), "the program failed: not logged in");

    let (directory, program) = script("");
    drop(directory);
    let error = program.run(LONG).await.unwrap_err();
    assert_eq!(error.to_string(), "the program could not be started");
}

#[tokio::test]
async fn a_program_that_hangs_is_killed_with_all_that_it_started() {
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("mark");
    let text = format!("(sleep 2; touch {}) & sleep 60", mark.display());
    let started = Instant::now();
    let error = run(&text, Duration::from_millis(700)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(started.elapsed() < Duration::from_secs(10));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(!mark.exists(), "a child of the program lived on");
}

#[tokio::test]
async fn a_program_that_prints_without_end_is_ended() {
    for endless in ["yes", "yes >&2 & sleep 0.2; yes"] {
        let error = run(endless, LONG).await.unwrap_err();
        assert_eq!(error.to_string(), "the program printed more than 64 KiB");
    }
}

#[tokio::test]
async fn what_a_program_leaves_running_is_not_waited_for() {
    let started = Instant::now();
    let printed = run("sleep 60 & echo token", LONG).await.unwrap();
    assert_eq!(printed, "token\n");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn what_others_may_write_is_not_private_wherever_it_really_lies() {
    let (directory, program) = script("");
    assert!(is_private(&program.path).unwrap());

    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link");
    std::os::unix::fs::symlink(&program.path, &link).unwrap();
    assert!(is_private(&link).unwrap());

    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    assert!(!is_private(&program.path).unwrap());
    assert!(!is_private(&link).unwrap());
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&program.path, fs::Permissions::from_mode(0o757)).unwrap();
    assert!(!is_private(&program.path).unwrap());
    fs::set_permissions(&program.path, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(elsewhere.path(), fs::Permissions::from_mode(0o777)).unwrap();
    assert!(!is_private(&link).unwrap());
    assert!(is_private(&directory.path().join("absent")).is_err());
}

#[test]
fn what_another_group_may_write_is_not_private() {
    let ours = (1000, 1001);
    for (mode, owner, expected) in [
        (0o755, (1000, 50), true),
        (0o775, (1000, 50), false),
        (0o2775, (0, 50), false),
        (0o775, (1000, 1000), false),
        (0o775, (1000, 1001), true),
        (0o775, (0, 0), true),
        (0o757, (1000, 1001), false),
        (0o755, (50, 1001), false),
    ] {
        assert_eq!(
            is_only_ours(mode, owner, ours),
            expected,
            "{mode:o} {owner:?}"
        );
    }

    let (directory, program) = script("");
    fs::set_permissions(&program.path, fs::Permissions::from_mode(0o775)).unwrap();
    assert!(is_private(&program.path).unwrap(), "of our own group");
    // Only root may give a file to any group.
    for path in [&*program.path, directory.path()] {
        if std::os::unix::fs::chown(path, None, Some(54_321)).is_ok() {
            fs::set_permissions(path, fs::Permissions::from_mode(0o775)).unwrap();
            assert!(!is_private(&program.path).unwrap());
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
            assert!(is_private(&program.path).unwrap());
        }
    }
}
