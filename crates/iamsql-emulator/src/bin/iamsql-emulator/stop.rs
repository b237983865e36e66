//! `--stop`: asks the emulator of this environment to end, waits for it, and prints what `eval` needs to forget it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, test_kill_process};

use crate::ready::{CONTROL, PID, VARIABLES};

/// Ends the emulator that the environment names.
pub(crate) fn run() -> anyhow::Result<()> {
    let variable =
        |name| std::env::var(name).with_context(|| format!("{name} is not set: nothing to stop"));
    let host = variable("IAMSQL_EMULATOR_HOST")?;
    let bearer = variable(CONTROL)?;
    let pid: Option<i32> = variable(PID)?.parse().ok();
    ask(&host, &bearer)?;
    if let Some(pid) = pid.and_then(Pid::from_raw) {
        wait(pid)?;
    }
    let mut names = variable(VARIABLES).unwrap_or_default();
    names.push_str(&format!(" {VARIABLES}"));
    for name in names.split_whitespace().filter(|name| is_name(name)) {
        println!("unset {name}");
    }
    Ok(())
}

/// A request without a client library: the program needs no other.
fn ask(host: &str, bearer: &str) -> anyhow::Result<()> {
    let address: SocketAddr = host
        .parse()
        .with_context(|| format!("{host:?} is no address"))?;
    let mut stream = match TcpStream::connect_timeout(&address, LIMIT) {
        Ok(stream) => stream,
        // Gone already: there is only the environment to clean.
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("cannot reach {host}")),
    };
    stream.set_read_timeout(Some(LIMIT))?;
    let request = format!(
        "POST /emulator/control/shutdown HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {bearer}\r\n\
         Content-Length: 0\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).context("cannot ask")?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).context("no answer")?;
    anyhow::ensure!(
        &answer == b"HTTP/1.1 202",
        "the emulator at {host} refused: is this its environment?"
    );
    Ok(())
}

fn wait(pid: Pid) -> anyhow::Result<()> {
    let end = Instant::now() + LIMIT;
    while runs(pid) {
        anyhow::ensure!(
            Instant::now() < end,
            "process {} does not end",
            pid.as_raw_nonzero()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A process that has ended stays listed until somebody asks how; in a container that may be never.
fn runs(pid: Pid) -> bool {
    let listed = !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH));
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    let state = stat
        .ok()
        .and_then(|stat| stat.rsplit_once(") ")?.1.chars().next());
    listed && state != Some('Z')
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

const LIMIT: Duration = Duration::from_secs(10);
