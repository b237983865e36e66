//! The sources in their order → a checked [`Config`].

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use iamsql::Secret;

use super::conflicts;
use super::file::File;
use super::flag::{self, FLAGS};
use super::instance::{InstanceConfig, address, port};
use super::legacy;
use super::print;
use super::product::{Product, Program, instances_key, product, product_of};
use super::source::{Given, Source, variable_name};
use super::value;
use super::{
    Access, Addresses, Admin, Config, CredentialsConfig, Fuse, Google, Http, Lifetime, Listeners,
    Logs, Note, Refusal, ServerTls, Telemetry, command_line,
};

/// The environment, as far as it is asked.
pub(crate) type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Config {
    /// Reads the process's own command line and environment.
    ///
    /// # Errors
    /// With what to say and the exit code, as a [`Refusal`].
    pub(crate) fn from_process() -> Result<Self, Refusal> {
        let mut words = Vec::new();
        for word in std::env::args_os() {
            words.push(word.into_string().map_err(|word| {
                Refusal::Meaning(format!(
                    "an argument is not UTF-8: {:?}",
                    word.to_string_lossy()
                ))
            })?);
        }
        let program = if words.is_empty() {
            String::new()
        } else {
            words.remove(0)
        };
        Config::from(&program, words, &|name| std::env::var(name).ok())
    }

    /// Reads a command line after the program's name.
    ///
    /// # Errors
    /// As [`from_process`](Self::from_process).
    pub(crate) fn from(
        program: &str,
        arguments: impl IntoIterator<Item = String>,
        variables: Variables<'_>,
    ) -> Result<Self, Refusal> {
        let program = Program::called(program);
        let modern = legacy::translate(arguments).map_err(Refusal::Meaning)?;
        let line = command_line::parse(&program.name, modern.arguments.clone())
            .map_err(|error| Refusal::CommandLine(Box::new(error)))?;
        let given = Given::on_command_line(line.values);
        let (config, given) =
            resolve(program, given, line.instances, variables).map_err(Refusal::Meaning)?;
        let mut config = config;
        if modern.translated {
            config.notes.push(Note::Warning(format!(
                "this command line is spelled as version 1 had it; today it is: {}",
                print::shell_line(&config.program.name, &modern.arguments)
            )));
        }
        config
            .notes
            .extend(modern.dropped.into_iter().map(Note::Warning));
        match switch(&given, "print-config").map_err(Refusal::Meaning)? {
            true => Err(Refusal::Printed(print::json(&config, &given))),
            false => Ok(config),
        }
    }
}

fn resolve(
    program: Program,
    given: Given,
    instances: Vec<String>,
    variables: Variables<'_>,
) -> Result<(Config, Given), String> {
    let chosen = given
        .text("product")
        .map(product)
        .transpose()?
        .or(program.official);
    let by_name = chosen.or_else(|| instances.first().map(|name| product_of(name)));
    // Without an instance on the command line, the variables that name one tell.
    let by_environment = by_name.or_else(|| {
        [Product::CloudSql, Product::AlloyDb]
            .into_iter()
            .find(|product| !from_environment(*product, variables).is_empty())
    });
    let before_file = by_environment.unwrap_or(Product::CloudSql);
    let given = given.or_environment(before_file, variables);
    let file = given
        .text("config-file")
        .filter(|path| !path.is_empty())
        .map(PathBuf::from);
    let contents = file
        .as_deref()
        .map(File::read)
        .transpose()?
        .unwrap_or_default();
    let given = given.or_file(&contents);
    let listed = match (
        instances.is_empty(),
        from_environment(before_file, variables),
    ) {
        (false, _) => instances,
        (true, named) if !named.is_empty() => named,
        (true, _) => from_file(&contents, by_environment),
    };
    let late = given.text("product").map(product).transpose()?;
    let product = by_environment.or(late).unwrap_or_else(|| {
        listed
            .first()
            .map_or(Product::CloudSql, |name| product_of(name))
    });
    let config = typed(product, program, &given, listed)?;
    Ok((config, given))
}

/// `…_INSTANCE_CONNECTION_NAME`, or `…_0`, `…_1` and so on up to the first gap.
fn from_environment(product: Product, variables: Variables<'_>) -> Vec<String> {
    let name = variable_name(product, instances_key(product));
    let numbered =
        |number: usize| variables(&format!("{name}_{number}")).filter(|value| !value.is_empty());
    let first = variables(&name)
        .filter(|value| !value.is_empty())
        .or_else(|| numbered(0));
    let rest = (1..).map_while(numbered);
    first.into_iter().chain(rest).collect()
}

fn from_file(file: &File, product: Option<Product>) -> Vec<String> {
    let keys = match product {
        Some(product) => vec![instances_key(product)],
        None => vec![
            instances_key(Product::CloudSql),
            instances_key(Product::AlloyDb),
        ],
    };
    let mut found = Vec::new();
    for key in keys {
        let numbered = |number: usize| file.text(&format!("{key}-{number}")).map(str::to_owned);
        found.extend(file.text(key).map(str::to_owned).or_else(|| numbered(0)));
        found.extend((1..).map_while(numbered));
    }
    found
}

fn typed(
    product: Product,
    program: Program,
    given: &Given,
    listed: Vec<String>,
) -> Result<Config, String> {
    let mut warnings = Vec::new();
    let instances = listed
        .iter()
        .map(|text| InstanceConfig::parse(text, &mut warnings))
        .collect::<Result<Vec<_>, _>>()?;
    let bool = |name: &str| switch(given, name);
    let official = program.official.is_some();
    let config = Config {
        listeners: Listeners {
            address: read(given, product, "address", address)?,
            port: Some(read(given, product, "port", port)?).filter(|port| *port != 0),
            unix_socket: path(given, "unix-socket"),
            unix_socket_mode: match text(given, "unix-socket-mode") {
                Some(_) => read(given, product, "unix-socket-mode", mode)?,
                None if official => 0o777,
                None => 0o660,
            },
            fuse: path(given, "fuse")
                .map(|directory| {
                    Ok::<_, String>(Fuse {
                        directory,
                        sockets: path(given, "fuse-tmp-dir")
                            .unwrap_or_else(|| default_sockets(product)),
                        allow_other: bool("fuse-allow-other")?,
                        patterns: list(given, "fuse-instances"),
                    })
                })
                .transpose()?,
            max_connections: Some(read(given, product, "max-connections", value::integer)?)
                .filter(|most| *most != 0),
            skip_failed: bool("skip-failed-instance-config")?,
        },
        access: Access {
            allow_from: list(given, "allow-from")
                .iter()
                .map(|text| network(text).map_err(|why| blamed(given, "allow-from", &why)))
                .collect::<Result<_, _>>()?,
            tls: tls(given)?,
        },
        addresses: Addresses {
            private_ip: bool("private-ip")?,
            public_ip: bool("public-ip")?,
            psc: bool("psc")?,
            auto_ip: bool("auto-ip")?,
            sql_data: bool("sql-data")?,
        },
        auto_iam_authn: bool("auto-iam-authn")?,
        credentials: CredentialsConfig {
            token: secret(given, "token"),
            login_token: secret(given, "login-token"),
            file: path(given, "credentials-file"),
            json: secret(given, "json-credentials"),
            gcloud: bool("gcloud-auth")?,
            impersonate: list(given, "impersonate-service-account"),
            quota_project: text(given, "quota-project"),
        },
        google: Google {
            sqladmin_endpoint: text(given, "sqladmin-api-endpoint"),
            alloydb_endpoint: text(given, "alloydbadmin-api-endpoint"),
            sqldata_endpoint: text(given, "sqldata-api-endpoint"),
            sqldata_cooldown: read(
                given,
                product,
                "resource-exhausted-cooldown-delay",
                value::duration,
            )?,
            universe_domain: text(given, "universe-domain"),
            static_connection_info: path(given, "static-connection-info"),
            user_agent: text(given, "user-agent"),
            lazy_refresh: bool("lazy-refresh")?,
        },
        logs: Logs {
            structured: bool("structured-logs")?,
            debug: bool("debug-logs")?,
            quiet: bool("quiet")?,
        },
        lifetime: Lifetime {
            min_sigterm_delay: read(given, product, "min-sigterm-delay", value::duration)?,
            max_sigterm_delay: read(given, product, "max-sigterm-delay", value::duration)?,
            exit_zero_on_sigterm: bool("exit-zero-on-sigterm")? || bool("exit-zero-sigterm")?,
            connection_test: bool("run-connection-test")?,
        },
        http: Http {
            health_check: bool("health-check")?,
            backend_check: bool("with-backend-check")?,
            prometheus: bool("prometheus")?,
            prometheus_namespace: text(given, "prometheus-namespace"),
            address: shown(given, product, "http-address").to_owned(),
            address_given: given.has("http-address"),
            port: read(given, product, "http-port", port)?,
            status_page_for_all: read(given, product, "status-page", |text| match text {
                "loopback" => Ok(false),
                "all" => Ok(true),
                _ => Err(format!("{text:?}: want loopback or all")),
            })?,
        },
        admin: Admin {
            quitquitquit: bool("quitquitquit")?,
            profiles: bool("debug")?,
            port: read(given, product, "admin-port", port)?,
        },
        telemetry: Telemetry {
            project: text(given, "telemetry-project"),
            prefix: text(given, "telemetry-prefix"),
            sample_rate: read(given, product, "telemetry-sample-rate", value::integer)?,
            traces: !bool("disable-traces")?,
            metrics: !bool("disable-metrics")?,
        },
        allow_core_dumps: bool("allow-core-dumps")?,
        notes: warnings.into_iter().map(Note::Warning).collect(),
        product,
        program,
        instances,
    };
    let mut config = config;
    conflicts::refuse(&config, given)?;
    let notes = conflicts::notes(&config, given);
    config.notes.extend(notes);
    Ok(config)
}

/// The text that holds: what was given, else the product's default.
pub(crate) fn shown<'a>(given: &'a Given, product: Product, name: &str) -> &'a str {
    let flag = flag::find(name).expect("every name asked for is in the table");
    match (product, flag.alloydb_default) {
        (Product::AlloyDb, Some(default)) => given.text(name).unwrap_or(default),
        _ => given.text(name).unwrap_or(flag.default),
    }
}

pub(crate) fn default_sockets(product: Product) -> PathBuf {
    std::env::temp_dir().join(match product {
        Product::AlloyDb => "alloydb-tmp",
        _ => "csql-tmp",
    })
}

fn read<T>(
    given: &Given,
    product: Product,
    name: &str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, String> {
    parse(shown(given, product, name)).map_err(|why| blamed(given, name, &why))
}

/// A mistake with the flag, and the variable or file where it stands.
fn blamed(given: &Given, name: &str, why: &str) -> String {
    match given.source(name) {
        Some(source @ (Source::Environment(_) | Source::File)) => {
            format!("--{name} ({source}): {why}")
        }
        _ => format!("--{name}: {why}"),
    }
}

fn switch(given: &Given, name: &str) -> Result<bool, String> {
    debug_assert!(FLAGS.iter().any(|flag| flag.name == name), "{name}");
    match given.text(name) {
        None => Ok(false),
        Some(text) => value::boolean(text).map_err(|why| blamed(given, name, &why)),
    }
}

fn text(given: &Given, name: &str) -> Option<String> {
    given
        .text(name)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

fn path(given: &Given, name: &str) -> Option<PathBuf> {
    text(given, name).map(PathBuf::from)
}

fn secret(given: &Given, name: &str) -> Option<Secret> {
    text(given, name).map(Secret::from)
}

fn list(given: &Given, name: &str) -> Vec<String> {
    let text = given.text(name).unwrap_or_default();
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

fn mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777 && text.len() <= 4)
        .ok_or_else(|| format!("{text:?} is no file mode: want one such as 0660"))
}

/// `10.8.0.0/16`, or an address alone.
fn network(text: &str) -> Result<(IpAddr, u8), String> {
    let refused =
        || format!("{text:?} is no network: want one such as 10.8.0.0/16 or 2001:db8::/32");
    let (address, length) = text
        .split_once('/')
        .map_or((text, None), |(address, length)| (address, Some(length)));
    let address: IpAddr = address.parse().map_err(|_| refused())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let length = length.map_or(Ok(most), str::parse).map_err(|_| refused())?;
    (length <= most)
        .then_some((address, length))
        .ok_or_else(refused)
}

/// Certificate and key belong together; they are read here, so that a wrong path is known at once.
fn tls(given: &Given) -> Result<Option<ServerTls>, String> {
    let client_ca = path(given, "tls-client-ca");
    let (certificate, key) = match (path(given, "tls-cert"), path(given, "tls-key")) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) if client_ca.is_none() => return Ok(None),
        _ => {
            return Err(
                "--tls-cert and --tls-key belong together, and --tls-client-ca needs both"
                    .to_owned(),
            );
        }
    };
    for (flag, file) in [
        ("tls-cert", Some(&certificate)),
        ("tls-key", Some(&key)),
        ("tls-client-ca", client_ca.as_ref()),
    ] {
        file.map_or(Ok(()), |file| readable(file))
            .map_err(|why| blamed(given, flag, &why))?;
    }
    Ok(Some(ServerTls {
        certificate,
        key,
        client_ca,
    }))
}

fn readable(path: &Path) -> Result<(), String> {
    fs::File::open(path)
        .map(drop)
        .map_err(|error| format!("cannot read {}: {error}", path.display()))
}
