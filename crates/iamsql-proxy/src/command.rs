//! The sub-commands: `wait`, `shutdown`, `completion`. Each is a small client; none reads the proxy's configuration.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::{self, duration};

/// Runs the sub-command that the first word names; `None` if it names none, and the words are the proxy's.
pub(crate) fn run(words: impl Iterator<Item = String>) -> Option<ExitCode> {
    let words: Vec<String> = words.collect();
    if !words
        .get(1)
        .is_some_and(|word| ["wait", "shutdown", "completion", "help"].contains(&word.as_str()))
    {
        return None;
    }
    let parsed = match Line::try_parse_from(&words) {
        Ok(parsed) => parsed,
        Err(error) => {
            if error.use_stderr() {
                let text = error.to_string();
                eprint!("Error: {}", text.strip_prefix("error: ").unwrap_or(&text));
                return Some(ExitCode::FAILURE);
            }
            print!("{error}");
            return Some(ExitCode::SUCCESS);
        }
    };
    let ended = match parsed.command {
        Command::Wait(wait) => wait.run(),
        Command::Shutdown(shutdown) => shutdown.run(),
        Command::Completion { shell } => {
            let mut command = config::command("iamsql-proxy");
            clap_complete::generate(shell, &mut command, "iamsql-proxy", &mut io::stdout());
            Ok(())
        }
    };
    Some(match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("Error: {message}");
            ExitCode::FAILURE
        }
    })
}

#[derive(Parser)]
#[command(name = "iamsql-proxy", version)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Wait until a proxy with --health-check has started.
    Wait(Wait),
    /// Ask a proxy with --quitquitquit to stop; does not wait until it has.
    Shutdown(Shutdown),
    /// Print what makes a shell complete the flags.
    Completion {
        /// bash, elvish, fish, powershell or zsh.
        shell: Shell,
    },
}

#[derive(Args)]
struct Wait {
    /// The longest wait, as in 30s.
    #[arg(short, long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    max: Duration,
    /// Where the proxy serves health checks.
    #[arg(long, value_name = "HOST", default_value = "localhost")]
    http_address: String,
    #[arg(long, value_name = "PORT", default_value_t = 9090)]
    http_port: u16,
    /// Accepted: success is silent anyway.
    #[arg(long)]
    quiet: bool,
}

#[derive(Args)]
struct Shutdown {
    /// The proxy's admin port.
    #[arg(long, value_name = "PORT", default_value_t = 9091)]
    admin_port: u16,
    /// Accepted: success is silent anyway.
    #[arg(long)]
    quiet: bool,
}

impl Wait {
    fn run(&self) -> Result<(), String> {
        let deadline = Instant::now() + self.max;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let asked = request(
                "GET",
                &self.http_address,
                self.http_port,
                "/startup",
                left.min(PATIENCE),
            );
            if matches!(asked, Ok((200, _))) {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let why = match asked {
                    Ok((status, _)) => format!("the last answer was {status}"),
                    Err(error) => error.to_string(),
                };
                return Err(format!(
                    "command failed to complete successfully: no proxy has started at {}:{} within {} ({why}); it needs --health-check",
                    self.http_address,
                    self.http_port,
                    config::go_duration(self.max),
                ));
            }
            thread::sleep(PAUSE.min(left));
        }
    }
}

impl Shutdown {
    fn run(&self) -> Result<(), String> {
        match request(
            "POST",
            "localhost",
            self.admin_port,
            "/quitquitquit",
            PATIENCE,
        ) {
            Ok((200, _)) => Ok(()),
            Ok((status, reason)) => Err(format!(
                "shutdown request failed: status code {status}, {reason}"
            )),
            Err(error) => Err(format!(
                "failed to send shutdown request to localhost:{}: {error}; the proxy needs --quitquitquit",
                self.admin_port
            )),
        }
    }
}

/// One request of HTTP/1.0 to this machine's own proxy: the status and its reason.
fn request(
    method: &str,
    host: &str,
    port: u16,
    path: &str,
    limit: Duration,
) -> io::Result<(u16, String)> {
    let limit = limit.max(Duration::from_millis(100));
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
    for address in (host, port).to_socket_addrs()? {
        let mut stream = match TcpStream::connect_timeout(&address, limit) {
            Ok(stream) => stream,
            Err(error) => {
                failed = error;
                continue;
            }
        };
        stream.set_read_timeout(Some(limit))?;
        stream.set_write_timeout(Some(limit))?;
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: {host}:{port}\r\nContent-Length: 0\r\n\r\n"
        )?;
        let mut answer = Vec::new();
        stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        let mut words = answer.lines().next().unwrap_or_default().splitn(3, ' ');
        let status = words.nth(1).and_then(|status| status.parse().ok());
        let status = status
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the answer is not HTTP"))?;
        return Ok((status, words.next().unwrap_or_default().to_owned()));
    }
    Err(failed)
}

const PAUSE: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(5);
const MAX_ANSWER: u64 = 64 * 1024;
