//! The command line → [`Config`]: everything that can be refused before anything is opened is refused here.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use iamsql::Instance;

use crate::log::Explained;

/// What was asked for, checked.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) instances: Vec<Instance>,
    pub(crate) address: IpAddr,
    /// The first port; `None` leaves it to each instance's engine.
    pub(crate) port: Option<u16>,
    pub(crate) auto_iam_authn: bool,
    pub(crate) max_sigterm_delay: Duration,
    pub(crate) allow_core_dumps: bool,
}

/// Why there is no [`Config`]: a mistake, or `--help` and `--version`, which are none.
#[derive(Debug)]
pub(crate) enum Refusal {
    CommandLine(Box<clap::Error>),
    Meaning(String),
}

impl Config {
    pub(crate) fn from_command_line() -> Result<Self, Refusal> {
        Self::from_arguments(std::env::args_os())
    }

    fn from_arguments(
        arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, Refusal> {
        let arguments = Arguments::try_parse_from(arguments)
            .map_err(|error| Refusal::CommandLine(Box::new(error)))?;
        Self::checked(arguments).map_err(Refusal::Meaning)
    }

    fn checked(arguments: Arguments) -> Result<Self, String> {
        if arguments.instances.is_empty() {
            return Err("no instance given: name at least one, as PROJECT:REGION:INSTANCE".into());
        }
        let instances = arguments
            .instances
            .iter()
            .map(|name| {
                name.parse::<Instance>()
                    .map_err(|error| Explained(&error).to_string())
            })
            .collect::<Result<Vec<_>, _>>()?;
        if !arguments.address.is_loopback() {
            return Err(format!(
                "--address {}: only loopback addresses are served, because whoever reaches the port uses your credentials; want 127.0.0.1 or ::1",
                arguments.address
            ));
        }
        let port = Some(arguments.port).filter(|port| *port != 0);
        if let Some(port) = port
            && usize::from(u16::MAX - port) < instances.len() - 1
        {
            return Err(format!(
                "--port {port}: {} instances need as many ports, and the last port is 65535",
                instances.len()
            ));
        }
        Ok(Config {
            instances,
            address: arguments.address,
            port,
            auto_iam_authn: arguments.auto_iam_authn,
            max_sigterm_delay: arguments.max_sigterm_delay,
            allow_core_dumps: arguments.allow_core_dumps,
        })
    }
}

impl Refusal {
    /// Says what was wrong and how it should look; the exit code is 1 for a mistake.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Refusal::CommandLine(error) if !error.use_stderr() => {
                print!("{error}");
                ExitCode::SUCCESS
            }
            Refusal::CommandLine(error) => {
                eprint!("{error}");
                ExitCode::FAILURE
            }
            Refusal::Meaning(message) => {
                eprintln!("error: {message}");
                ExitCode::FAILURE
            }
        }
    }
}

/// Local ports that log in to Cloud SQL as your Google identity.
#[derive(Parser, Debug)]
#[command(name = "iamsql-proxy", version, disable_version_flag = true)]
struct Arguments {
    /// The instances to serve, each on a port of its own, in this order.
    #[arg(value_name = "PROJECT:REGION:INSTANCE")]
    instances: Vec<String>,

    /// The loopback address to listen on.
    #[arg(short, long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    address: IpAddr,

    /// The first instance's port; each further one gets the next. 0: by engine, 5432 for PostgreSQL, 3306 for MySQL, 1433
    /// for SQL Server, and upwards.
    #[arg(short, long, value_name = "PORT", default_value_t = 0)]
    port: u16,

    /// Log in as the IAM principal: clients need no password.
    #[arg(short = 'i', long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true", hide_possible_values = true)]
    auto_iam_authn: bool,

    /// How long open sessions may go on after SIGTERM or SIGINT, as in 30s or 1m30s; a second signal ends them at once.
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = duration)]
    max_sigterm_delay: Duration,

    /// Leave core dumps and debuggers as the system has them; they show tokens and keys.
    #[arg(long)]
    allow_core_dumps: bool,

    /// Print the version.
    #[arg(short, long, action = clap::ArgAction::Version)]
    version: Option<bool>,
}

/// Reads `1h2m3.5s` or `250ms`; a bare number other than 0 is refused, because its unit would be a guess.
fn duration(text: &str) -> Result<Duration, String> {
    let refused = || {
        format!("{text:?} is no duration: want a number and its unit, as in 30s, 1m30s or 250ms")
    };
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total = 0.0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(refused)?;
        let number: f64 = rest[..digits].parse().map_err(|_| refused())?;
        let (unit, seconds) = UNITS
            .into_iter()
            .find(|(unit, _)| rest[digits..].starts_with(unit))
            .ok_or_else(refused)?;
        total += number * seconds;
        rest = &rest[digits + unit.len()..];
    }
    match text.is_empty() {
        true => Err(refused()),
        false => Duration::try_from_secs_f64(total).map_err(|_| refused()),
    }
}

/// `ms` stands before `m`, which it starts with.
const UNITS: [(&str, f64); 4] = [("ms", 0.001), ("h", 3600.0), ("m", 60.0), ("s", 1.0)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sidecar_command_line_is_understood() {
        let config = parsed(&[
            "--auto-iam-authn",
            "--port=5432",
            "p:r:i",
            "example.com:p:r:j",
            "--max-sigterm-delay",
            "1m30s",
        ])
        .unwrap();
        assert_eq!(config.instances[1].to_string(), "example.com:p:r:j");
        assert_eq!(config.port, Some(5432));
        assert_eq!(config.address, IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(config.max_sigterm_delay, Duration::from_secs(90));
        assert!(config.auto_iam_authn && !config.allow_core_dumps);

        let config = parsed(&["-p", "5000", "-a=::1", "--auto-iam-authn=false", "p:r:i"]).unwrap();
        assert!(config.address.is_loopback() && !config.auto_iam_authn);
    }

    #[test]
    fn a_flag_takes_no_separate_word() {
        // `true` would be an instance name, as it is for the official proxy.
        assert!(refusal(&["-i", "true", "p:r:i"]).contains("\"true\""));
    }

    #[test]
    fn a_mistake_is_refused_with_what_was_wanted() {
        for (arguments, wanted) in [
            (&["--port", "5432"][..], "no instance given"),
            (&["p:r"][..], "PROJECT:REGION:INSTANCE"),
            (
                &["p:r:i", "--address", "0.0.0.0"][..],
                "only loopback addresses",
            ),
            (&["p:r:i", "--address", "localhost"][..], "localhost"),
            (
                &["p:r:i", "p:r:j", "--port", "65535"][..],
                "the last port is 65535",
            ),
            (&["p:r:i", "--port", "70000"][..], "70000"),
            (
                &["p:r:i", "--max-sigterm-delay", "30"][..],
                "want a number and its unit",
            ),
            (&["p:r:i", "--no-such-flag"][..], "--no-such-flag"),
        ] {
            let message = refusal(arguments);
            assert!(message.contains(wanted), "{arguments:?}: {message}");
        }
    }

    #[test]
    fn durations_need_their_unit() {
        for (text, millis) in [
            ("0", 0),
            ("0s", 0),
            ("250ms", 250),
            ("1h2m3.5s", 3_723_500),
            ("1.5m", 90_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "s",
            "10",
            "1s2",
            "-1s",
            "1d",
            "1..2s",
            "99999999999999999999s",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    fn parsed(arguments: &[&str]) -> Result<Config, Refusal> {
        Config::from_arguments([&["iamsql-proxy"], arguments].concat())
    }

    fn refusal(arguments: &[&str]) -> String {
        match parsed(arguments).unwrap_err() {
            Refusal::CommandLine(error) => error.to_string(),
            Refusal::Meaning(message) => message,
        }
    }
}
