//! What excludes what, before anything is opened; and what has no effect, which is said.

use std::path::Path;

use super::product::{Product, product_name};
use super::source::{Given, Source, variable_name};
use super::{Config, Note, flag};

/// # Errors
/// Naming both sides of the first conflict.
pub(crate) fn refuse(config: &Config, given: &Given) -> Result<(), String> {
    if config.instances.is_empty() && config.listeners.fuse.is_none() {
        return Err(no_instance(config.product));
    }
    ports(config)?;
    for (one, other) in [
        ("unix-socket", "address"),
        ("unix-socket", "port"),
        ("private-ip", "auto-ip"),
    ] {
        if given.has(one) && given.has(other) && given.text(one) != Some("") {
            return Err(exclude(one, other));
        }
    }
    one_of(&[
        ("private-ip", config.addresses.private_ip),
        ("psc", config.addresses.psc),
        ("sql-data", config.addresses.sql_data),
    ])?;
    let credentials = &config.credentials;
    one_of(&[
        ("token", credentials.token.is_some()),
        ("credentials-file", credentials.file.is_some()),
        ("json-credentials", credentials.json.is_some()),
        ("gcloud-auth", credentials.gcloud),
    ])?;
    if config.product == Product::CloudSql {
        login_tokens(config)?;
    }
    one_of(&[
        (
            "sqladmin-api-endpoint",
            config.google.sqladmin_endpoint.is_some(),
        ),
        ("universe-domain", config.google.universe_domain.is_some()),
    ])?;
    for (name, endpoint) in [
        ("sqladmin-api-endpoint", &config.google.sqladmin_endpoint),
        ("alloydbadmin-api-endpoint", &config.google.alloydb_endpoint),
        ("sqldata-api-endpoint", &config.google.sqldata_endpoint),
    ] {
        if let Some(endpoint) = endpoint {
            // SqlData's has the form HOST:PORT, too.
            let bare = name == "sqldata-api-endpoint" && !endpoint.contains("://");
            if !bare && url::Url::parse(endpoint).map_or(true, |url| !url.has_host()) {
                return Err(format!(
                    "--{name}: {endpoint:?} is no URL: want one such as https://sqladmin.googleapis.com"
                ));
            }
        }
    }
    if config.listeners.fuse.is_some() {
        if config.lifetime.connection_test {
            return Err(exclude("fuse", "run-connection-test"));
        }
        fuse_is_possible()?;
    }
    Ok(())
}

/// Refuses to start with a flag that is read and checked but that nothing acts on yet: better no proxy than one that
/// does less than was asked for.
///
/// # Errors
/// Naming the flags.
pub(crate) fn refuse_unserved(config: &Config) -> Result<(), String> {
    let asked = [
        ("fuse", config.listeners.fuse.is_some()),
        ("tls-cert", config.access.tls.is_some()),
        ("prometheus", config.http.prometheus),
        ("status-page", config.http.status_page_for_all),
        ("debug", config.admin.profiles),
        ("telemetry-project", config.telemetry.project.is_some()),
    ];
    let named: Vec<_> = asked
        .iter()
        .filter(|(_, asked)| *asked)
        .map(|(name, _)| format!("--{name}"))
        .collect();
    match named.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "{} not served by this version yet",
            match named.len() {
                1 => format!("{} is", named[0]),
                _ => format!("{} are", named.join(", ")),
            }
        )),
    }
}

/// What has no effect, and what the official proxies say about credentials.
pub(crate) fn notes(config: &Config, given: &Given) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut ignoring = |name: &str, why: &str| {
        if given.has(name) {
            notes.push(Note::Info(format!(
                "Ignoring --{name} because {why} was not set"
            )));
        }
    };
    if !config.http.prometheus && !config.http.health_check {
        ignoring("http-port", "--prometheus or --health-check");
    }
    if !config.http.prometheus {
        ignoring("prometheus-namespace", "--prometheus");
    }
    if config.telemetry.project.is_none() {
        for name in ["telemetry-prefix", "disable-metrics", "disable-traces"] {
            ignoring(name, "--telemetry-project");
        }
    }
    if config.product == Product::AlloyDb {
        notes.extend(alloydb_logins(config, given));
    }
    for flag in flag::FLAGS.iter().filter(|flag| flag.secret) {
        if given.source(flag.name) == Some(&Source::CommandLine) {
            notes.push(Note::Warning(format!(
                "--{} stands in the process list, where every user of this machine reads it; set {} instead",
                flag.name,
                variable_name(config.product, flag.name)
            )));
        }
    }
    notes
}

fn no_instance(product: Product) -> String {
    let form = match product {
        Product::AlloyDb => "projects/PROJECT/locations/REGION/clusters/CLUSTER/instances/INSTANCE",
        _ => "PROJECT:REGION:INSTANCE",
    };
    format!(
        "no instance given for {}: name at least one, as {form}, or set {}",
        product_name(product),
        variable_name(product, super::product::instances_key(product)),
    )
}

fn ports(config: &Config) -> Result<(), String> {
    let Some(first) = config.listeners.port else {
        return Ok(());
    };
    let counted = config
        .instances
        .iter()
        .filter(|instance| instance.port.is_none() && !instance.has_own_socket());
    match usize::from(u16::MAX - first) + 1 < counted.clone().count() {
        true => Err(format!(
            "--port {first}: {} instances need as many ports, and the last port is 65535",
            counted.count()
        )),
        false => Ok(()),
    }
}

/// Cloud SQL's rules: a token for the API must not become the login without being named for it.
fn login_tokens(config: &Config) -> Result<(), String> {
    let credentials = &config.credentials;
    let logs_in = config.auto_iam_authn
        || config
            .instances
            .iter()
            .any(|instance| instance.auto_iam_authn == Some(true));
    if credentials.login_token.is_some() && (credentials.token.is_none() || !logs_in) {
        return Err("--login-token needs --token and --auto-iam-authn".to_owned());
    }
    if !credentials.impersonate.is_empty() {
        return Ok(());
    }
    if logs_in && credentials.token.is_some() && credentials.login_token.is_none() {
        return Err("--auto-iam-authn with --token needs --login-token, a token with the scope sqlservice.login".to_owned());
    }
    if logs_in && credentials.gcloud {
        return Err(format!(
            "{}: gcloud's token cannot be narrowed to a login; run `gcloud auth application-default login` and leave --gcloud-auth out",
            exclude("gcloud-auth", "auto-iam-authn")
        ));
    }
    Ok(())
}

fn alloydb_logins(config: &Config, given: &Given) -> Vec<Note> {
    let credentials = &config.credentials;
    let logs_in = config.auto_iam_authn
        || config
            .instances
            .iter()
            .any(|instance| instance.auto_iam_authn == Some(true));
    let mut notes = Vec::new();
    if let Some(endpoint) = given.text("alloydbadmin-api-endpoint") {
        notes.push(Note::Info(format!("Using API Endpoint {endpoint}")));
    }
    match (logs_in, credentials.login_token.is_some()) {
        (false, true) => notes.push(Note::Info(
            "Ignoring --login-token because --auto-iam-authn is not enabled (globally or per-instance)".to_owned(),
        )),
        (true, false) if credentials.token.is_some() || !credentials.impersonate.is_empty() => notes.push(Note::Info(
            "Note: reusing the configured API credential for IAM database authentication login".to_owned(),
        )),
        _ => {}
    }
    notes
}

fn one_of(given: &[(&str, bool)]) -> Result<(), String> {
    let mut set = given.iter().filter(|(_, set)| *set);
    match (set.next(), set.next()) {
        (Some((one, _)), Some((other, _))) => Err(exclude(one, other)),
        _ => Ok(()),
    }
}

fn exclude(one: &str, other: &str) -> String {
    format!("--{one} and --{other} exclude each other")
}

#[cfg(target_os = "linux")]
fn fuse_is_possible() -> Result<(), String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain([Path::new("/bin").to_owned()])
        .flat_map(|directory| ["fusermount3", "fusermount"].map(|program| directory.join(program)))
        .any(|program| program.is_file());
    match found {
        true => Ok(()),
        false => Err("--fuse needs fusermount3 (Debian: apt-get install fuse3)".to_owned()),
    }
}

#[cfg(not(target_os = "linux"))]
fn fuse_is_possible() -> Result<(), String> {
    Err("--fuse works on Linux alone".to_owned())
}
