//! The program `iamsql-emulator`: what it prints, and that it ends with whom it should.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_iamsql-emulator");
const ECHO: [&str; 2] = [
    "--echo",
    "your-project-id:us-central1:echo?ca=cas&address=private",
];

#[test]
fn the_ready_line_tells_clients_everything() {
    let directory = tempfile::tempdir().unwrap();
    let issued = directory.path().join("issued");
    let key = directory.path().join("key.json");
    let mut command = Command::new(PROGRAM);
    command
        .args(ECHO)
        .args(["--token-lifetime", "90s"])
        .arg("--issued-log")
        .arg(&issued);
    let (mut child, ready) = start(command.arg("--service-account-key").arg(&key));
    assert_eq!(ready["ready"], true);
    assert_eq!(ready["pid"], child.id());
    assert_eq!(ready["env"]["IAMSQL_EMULATOR_HOST"], ready["host"]);
    assert_eq!(ready["env"]["GCE_METADATA_HOST"], ready["host"]);
    assert_eq!(ready["instances"][0]["ca_mode"], "GOOGLE_MANAGED_CAS_CA");
    assert!(ready["instances"][0]["addresses"]["PRIMARY"].is_null());
    let private = std::fs::read_to_string(&key).unwrap();
    assert!(private.contains(ready["url"].as_str().unwrap()));
    assert_eq!(
        std::fs::metadata(&key).unwrap().permissions().mode() & 0o777,
        0o600
    );

    let log = std::fs::read_dir(&issued).unwrap().next().unwrap().unwrap();
    let log = std::fs::read_to_string(log.path()).unwrap();
    let password = ready["users"][0]["password"].as_str().unwrap();
    for secret in [
        password,
        ready["control"]["bearer"].as_str().unwrap(),
        "BEGIN PRIVATE KEY",
    ] {
        assert!(log.contains(secret));
    }

    signal(&child, "INT");
    assert!(child.wait().unwrap().success());
    assert!(!key.exists(), "keys of an ended run are removed");
    assert!(TcpStream::connect(ready["host"].as_str().unwrap()).is_err());
}

#[test]
fn it_ends_with_its_parent_also_if_that_is_killed() {
    let script = format!("{PROGRAM} {} '{}' --exit-with-parent; :", ECHO[0], ECHO[1]);
    let (mut shell, ready) = start(Command::new("sh").arg("-c").arg(script));
    shell.kill().unwrap();
    shell.wait().unwrap();
    assert!(ends(ready["host"].as_str().unwrap()));
}

#[test]
fn it_ends_with_the_process_it_was_told() {
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    let pid = other.id().to_string();
    let (mut child, ready) = start(Command::new(PROGRAM).args(ECHO).args(["--exit-with", &pid]));
    other.kill().unwrap();
    other.wait().unwrap();
    assert!(ends(ready["host"].as_str().unwrap()));
    assert!(child.wait().unwrap().success());
    let output = Command::new(PROGRAM)
        .args(ECHO)
        .args(["--exit-with", &pid])
        .output()
        .unwrap();
    assert!(!output.status.success());
}

#[test]
fn a_shell_starts_it_with_eval_and_stops_it_with_eval() {
    let script = format!(
        r#"set -e
        export GOOGLE_APPLICATION_CREDENTIALS=/home/somebody/key.json
        eval "$({PROGRAM} {} '{}' --env)"
        printf '%s\n' "$IAMSQL_EMULATOR_HOST" "${{GOOGLE_APPLICATION_CREDENTIALS-unset}}"
        kill -0 "$IAMSQL_EMULATOR_PID"
        eval "$({PROGRAM} --stop)"
        printf '%s\n' "${{IAMSQL_EMULATOR_HOST-unset}}" "${{IAMSQL_EMULATOR_CONTROL-unset}}""#,
        ECHO[0], ECHO[1]
    );
    let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[1..], ["unset", "unset", "unset"]);
    assert!(TcpStream::connect(lines[0]).is_err());
}

#[test]
fn in_the_background_it_ends_with_the_session_that_started_it() {
    let script = format!(
        r#"eval "$({PROGRAM} {} '{}' --env)"; echo "$IAMSQL_EMULATOR_HOST""#,
        ECHO[0], ECHO[1]
    );
    // A session of its own, as a terminal has. Its leader ends after the last line.
    let output = Command::new("setsid")
        .args(["-w", "sh", "-c", &script])
        .output()
        .unwrap();
    let host = String::from_utf8(output.stdout).unwrap();
    assert!(
        !host.trim().is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(ends(host.trim()));
}

#[test]
fn mistakes_are_one_clear_line_and_start_nothing() {
    for (arguments, word) in [
        (&["--echo", "p:i"][..], "PROJECT:REGION:INSTANCE"),
        (&["--echo", "p:r:i", "--principal", "nobody"], "e-mail"),
        (
            &["--echo", "p:r:i", "--env", "--issued-log", "/dev/null/x"],
            "before it was ready",
        ),
        (
            &["--echo", "p:r:i", "--exit-with", "999999999"],
            "--exit-with",
        ),
        (&["--stop"], "nothing to stop"),
    ] {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).env_remove("IAMSQL_EMULATOR_HOST");
        let output = command.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && output.stdout.is_empty(),
            "{arguments:?}"
        );
        assert!(
            error.contains(word) && !error.contains("panicked"),
            "{arguments:?}: {error}"
        );
    }
}

#[test]
fn exposed_it_has_one_address_for_everything() {
    let (mut child, ready) =
        start(Command::new(PROGRAM).args(["--echo", "p:r:i", "--expose", "127.3.2.1"]));
    assert_eq!(ready["host"], "127.3.2.1:9470");
    let addresses = &ready["instances"][0]["addresses"];
    assert_eq!(addresses["PRIMARY"], "127.3.2.1:3307");
    assert_eq!(addresses["PRIVATE"], "127.3.2.1:3307");
    signal(&child, "TERM");
    assert!(child.wait().unwrap().success());
}

/// Starts and reads the ready line.
fn start(command: &mut Command) -> (Child, Value) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    (child, serde_json::from_str(&line).expect("a ready line"))
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &child.id().to_string()])
        .status();
    assert!(status.unwrap().success());
}

/// Whether the emulator at `host` is gone within the five seconds that are promised.
fn ends(host: &str) -> bool {
    let end = Instant::now() + Duration::from_secs(5);
    while TcpStream::connect(host).is_ok() {
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    true
}
