//! What the program prints: one line of JSON, or exports for a shell.

use std::io::Write;

use anyhow::Context;
use iamsql_emulator::Emulator;
use serde_json::{Value, json};

/// Prints the ready line: the emulator's description, the way to control it, and the environment for clients.
pub(crate) fn print_line(emulator: &Emulator, users: &[(String, String)]) -> anyhow::Result<()> {
    let mut line = emulator.information();
    line["ready"] = true.into();
    line["pid"] = std::process::id().into();
    line["url"] = emulator.url().into();
    line["control"] = json!({ "url": format!("{}/emulator/control", emulator.url()), "bearer": emulator.control_bearer() });
    line["users"] = users
        .iter()
        .map(|(name, password)| json!({ "name": name, "password": password }))
        .collect();
    line["env"] = json!(emulator.env());
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")
        .and_then(|()| stdout.flush())
        .context("cannot write the ready line")
}

/// Prints the ready line's environment as `export` and `unset` for a POSIX shell.
pub(crate) fn print_exports(ready: &Value) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(exports(ready)?.as_bytes())
        .and_then(|()| stdout.flush())
        .context("cannot write the exports")
}

/// The variables by which `--stop` finds the emulator, besides `IAMSQL_EMULATOR_HOST`.
pub(crate) const PID: &str = "IAMSQL_EMULATOR_PID";
pub(crate) const CONTROL: &str = "IAMSQL_EMULATOR_CONTROL";
/// All variables that were set, so that `--stop` can unset them.
pub(crate) const VARIABLES: &str = "IAMSQL_EMULATOR_VARIABLES";

fn exports(ready: &Value) -> anyhow::Result<String> {
    let text = |value: &Value| {
        value
            .as_str()
            .map(str::to_string)
            .context("the ready line lacks a text")
    };
    let environment = ready["env"]
        .as_object()
        .context("the ready line has no environment")?;
    let mut pairs = Vec::new();
    for (name, value) in environment {
        pairs.push((name.clone(), text(value)?));
    }
    pairs.push((PID.to_string(), ready["pid"].to_string()));
    pairs.push((CONTROL.to_string(), text(&ready["control"]["bearer"])?));
    let set = pairs
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, _)| name.as_str());
    pairs.push((VARIABLES.to_string(), set.collect::<Vec<_>>().join(" ")));
    let line = |(name, value): &(String, String)| {
        if value.is_empty() {
            format!("unset {name}\n")
        } else {
            format!("export {name}={}\n", quoted(value))
        }
    };
    Ok(pairs.iter().map(line).collect())
}

/// Text as one word of a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_survive_the_shell() {
        let ready = json!({
            "pid": 42,
            "control": { "bearer": "emulator-control-x" },
            "env": { "A": "it's $HOME `id` \"x\"\nsecond line", "B": "" },
        });
        let script = format!(
            "{}printf '%s' \"$A|${{B-unset}}|$IAMSQL_EMULATOR_PID\"",
            exports(&ready).unwrap()
        );
        let output = std::process::Command::new("sh")
            .arg("-c")
            .arg(script)
            .env("B", "b")
            .output()
            .unwrap();
        assert_eq!(
            String::from_utf8(output.stdout).unwrap(),
            "it's $HOME `id` \"x\"\nsecond line|unset|42"
        );
    }

    #[test]
    fn a_line_without_a_bearer_is_no_ready_line() {
        assert!(exports(&json!({ "env": {}, "pid": 1 })).is_err());
    }
}
