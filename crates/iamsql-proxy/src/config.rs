//! Command line, environment and file → [`Config`]. What can be refused before anything is opened or asked is refused here.

mod command_line;
mod conflicts;
mod file;
mod flag;
mod instance;
mod legacy;
mod print;
mod product;
mod read;
mod source;
mod value;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use iamsql::{IpType, Product, Secret};

pub(crate) use command_line::command;
pub(crate) use instance::InstanceConfig;
pub(crate) use product::Program;
pub(crate) use value::{duration, go_duration};

/// What was asked for, checked.
#[derive(Debug)]
pub(crate) struct Config {
    /// Whose defaults hold.
    pub(crate) product: Product,
    pub(crate) program: Program,
    pub(crate) instances: Vec<InstanceConfig>,
    pub(crate) listeners: Listeners,
    pub(crate) access: Access,
    pub(crate) addresses: Addresses,
    pub(crate) auto_iam_authn: bool,
    pub(crate) credentials: CredentialsConfig,
    pub(crate) google: Google,
    pub(crate) logs: Logs,
    pub(crate) lifetime: Lifetime,
    pub(crate) http: Http,
    pub(crate) admin: Admin,
    pub(crate) telemetry: Telemetry,
    pub(crate) allow_core_dumps: bool,
    /// Lines to log once logging has started.
    pub(crate) notes: Vec<Note>,
}

/// Where the instances are listened for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listeners {
    pub(crate) address: IpAddr,
    /// The first port; `None` leaves it to each instance's engine.
    pub(crate) port: Option<u16>,
    pub(crate) unix_socket: Option<PathBuf>,
    pub(crate) unix_socket_mode: u32,
    pub(crate) fuse: Option<Fuse>,
    /// `None`: no limit.
    pub(crate) max_connections: Option<u64>,
    pub(crate) skip_failed: bool,
}

/// A directory whose entries become sockets when they are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fuse {
    pub(crate) directory: PathBuf,
    pub(crate) sockets: PathBuf,
    pub(crate) allow_other: bool,
    /// Empty: every instance.
    pub(crate) patterns: Vec<String>,
}

/// Who may connect, and how they show it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Access {
    pub(crate) allow_from: Vec<(IpAddr, u8)>,
    pub(crate) tls: Option<ServerTls>,
}

/// TLS from application to proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerTls {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) client_ca: Option<PathBuf>,
}

/// Which address is dialled where an instance does not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Addresses {
    pub(crate) private_ip: bool,
    pub(crate) public_ip: bool,
    pub(crate) psc: bool,
    pub(crate) auto_ip: bool,
    pub(crate) sql_data: bool,
}

/// Who the proxy is.
#[derive(Clone, Debug, Default)]
pub(crate) struct CredentialsConfig {
    pub(crate) token: Option<Secret>,
    pub(crate) login_token: Option<Secret>,
    pub(crate) file: Option<PathBuf>,
    pub(crate) json: Option<Secret>,
    pub(crate) gcloud: bool,
    /// The target first, then the delegates, as the flag gives them; empty: nobody.
    pub(crate) impersonate: Vec<String>,
    pub(crate) quota_project: Option<String>,
}

/// Where Google is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Google {
    pub(crate) sqladmin_endpoint: Option<String>,
    pub(crate) alloydb_endpoint: Option<String>,
    pub(crate) sqldata_endpoint: Option<String>,
    pub(crate) sqldata_cooldown: Duration,
    pub(crate) universe_domain: Option<String>,
    pub(crate) static_connection_info: Option<PathBuf>,
    pub(crate) user_agent: Option<String>,
    pub(crate) lazy_refresh: bool,
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Logs {
    pub(crate) structured: bool,
    pub(crate) debug: bool,
    pub(crate) quiet: bool,
}

/// How the proxy starts and ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lifetime {
    pub(crate) min_sigterm_delay: Duration,
    pub(crate) max_sigterm_delay: Duration,
    pub(crate) exit_zero_on_sigterm: bool,
    pub(crate) connection_test: bool,
}

/// Health checks, metrics, status page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Http {
    pub(crate) health_check: bool,
    pub(crate) backend_check: bool,
    pub(crate) prometheus: bool,
    pub(crate) prometheus_namespace: Option<String>,
    pub(crate) address: String,
    /// Whether somebody chose the address.
    pub(crate) address_given: bool,
    pub(crate) port: u16,
    pub(crate) status_page_for_all: bool,
}

/// The server on localhost that stops the proxy and shows profiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admin {
    pub(crate) quitquitquit: bool,
    pub(crate) profiles: bool,
    pub(crate) port: u16,
}

/// What is sent to Cloud Monitoring and Cloud Trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Telemetry {
    pub(crate) project: Option<String>,
    pub(crate) prefix: Option<String>,
    pub(crate) sample_rate: u64,
    pub(crate) traces: bool,
    pub(crate) metrics: bool,
}

/// A line that the configuration has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Note {
    Info(String),
    Warning(String),
}

/// Why there is no [`Config`]: a mistake, or `--help`, `--version` and `--print-config`, which are none.
#[derive(Debug)]
pub(crate) enum Refusal {
    CommandLine(Box<clap::Error>),
    Meaning(String),
    Printed(String),
}

impl Config {
    /// Whether an instance logs in without a password.
    pub(crate) fn logs_in(&self, instance: &InstanceConfig) -> bool {
        instance.auto_iam_authn.unwrap_or(self.auto_iam_authn)
    }

    /// # Errors
    /// If a flag was given that nothing acts on yet.
    pub(crate) fn refuse_unserved(&self) -> Result<(), String> {
        conflicts::refuse_unserved(self)
    }

    /// Which address an instance is dialled at; `None` leaves it to the product's default.
    pub(crate) fn ip_type(&self, instance: &InstanceConfig) -> Option<IpType> {
        let Addresses {
            private_ip,
            public_ip,
            psc,
            auto_ip,
            sql_data,
        } = self.addresses;
        // What an instance says comes before what a flag says, whichever address it is about.
        match instance.kind() {
            Product::AlloyDb => match (instance.psc, instance.public_ip) {
                (Some(true), _) => Some(IpType::Psc),
                (_, Some(true)) => Some(IpType::Public),
                (own_psc, own_public) => {
                    match (own_psc.unwrap_or(psc), own_public.unwrap_or(public_ip)) {
                        (true, _) => Some(IpType::Psc),
                        (_, true) => Some(IpType::Public),
                        _ => None,
                    }
                }
            },
            _ if instance.private_ip == Some(true) => Some(IpType::Private),
            _ if instance.psc == Some(true) => Some(IpType::Psc),
            _ if instance.sql_data == Some(true) => Some(IpType::SqlData),
            _ if instance.private_ip.unwrap_or(private_ip) => Some(IpType::Private),
            _ if instance.psc.unwrap_or(psc) => Some(IpType::Psc),
            _ if instance.sql_data.unwrap_or(sql_data) => Some(IpType::SqlData),
            _ if auto_ip => Some(IpType::Auto),
            _ => Some(IpType::Public),
        }
    }
}

impl Refusal {
    /// Says what was wrong and how it should look; the exit code is 1 for a mistake.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Refusal::Printed(text) => {
                println!("{text}");
                ExitCode::SUCCESS
            }
            Refusal::CommandLine(error) if !error.use_stderr() => {
                print!("{error}");
                ExitCode::SUCCESS
            }
            Refusal::CommandLine(error) => {
                let text = error.to_string();
                eprint!("Error: {}", text.strip_prefix("error: ").unwrap_or(&text));
                ExitCode::FAILURE
            }
            Refusal::Meaning(message) => {
                eprintln!("Error: {message}");
                ExitCode::FAILURE
            }
        }
    }
}

#[cfg(test)]
mod tests;
