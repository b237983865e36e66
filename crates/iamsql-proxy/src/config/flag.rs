//! Every flag of both official proxies and our own, once: from this table come the parser, the environment's and the
//! file's names, the help and `--print-config`.

/// What kind of text a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A truth value; never takes a separate word.
    Bool,
    Integer,
    Duration,
    Text,
}

/// Which official proxy knows a flag. Both kinds are accepted always; only defaults and `--print-config` tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Home {
    Both,
    CloudSql,
    AlloyDb,
}

/// One flag. Its environment variable and file key follow from its name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) short: Option<char>,
    pub(crate) kind: Kind,
    pub(crate) home: Home,
    pub(crate) default: &'static str,
    /// The default under alloydb-auth-proxy, where it is another.
    pub(crate) alloydb_default: Option<&'static str>,
    /// Whether the value may not be shown.
    pub(crate) secret: bool,
    pub(crate) value: &'static str,
    pub(crate) help: &'static str,
}

impl Flag {
    const fn new(
        name: &'static str,
        kind: Kind,
        default: &'static str,
        value: &'static str,
        help: &'static str,
    ) -> Self {
        Flag {
            name,
            short: None,
            kind,
            home: Home::Both,
            default,
            alloydb_default: None,
            secret: false,
            value,
            help,
        }
    }

    const fn switch(name: &'static str, help: &'static str) -> Self {
        Flag::new(name, Kind::Bool, "false", "BOOL", help)
    }

    const fn text(name: &'static str, value: &'static str, help: &'static str) -> Self {
        Flag::new(name, Kind::Text, "", value, help)
    }

    const fn number(
        name: &'static str,
        default: &'static str,
        value: &'static str,
        help: &'static str,
    ) -> Self {
        Flag::new(name, Kind::Integer, default, value, help)
    }

    const fn duration(name: &'static str, help: &'static str) -> Self {
        Flag::new(name, Kind::Duration, "0s", "DURATION", help)
    }

    const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    const fn default(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    const fn on_alloydb(mut self, default: &'static str) -> Self {
        self.alloydb_default = Some(default);
        self
    }

    const fn of(mut self, home: Home) -> Self {
        self.home = home;
        self
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}

/// The flag of that name, or the one that an alias stands for.
pub(crate) fn find(name: &str) -> Option<&'static Flag> {
    let name = ALIASES
        .iter()
        .find_map(|(alias, name_of)| (*alias == name).then_some(*name_of))
        .unwrap_or(name);
    FLAGS.iter().find(|flag| flag.name == name)
}

/// Other spellings that the official proxies take, too.
pub(crate) const ALIASES: [(&str, &str); 1] = [("sql-data-endpoint", "sqldata-api-endpoint")];

/// In the order of the help.
pub(crate) const FLAGS: &[Flag] = &[
    // Listeners
    Flag::text("address", "IP", "The address to listen on (*)").short('a').default("127.0.0.1"),
    Flag::number(
        "port",
        "0",
        "PORT",
        "The first instance's port; each further one gets the next. 0: by engine, 5432 for PostgreSQL, 3306 for MySQL, 1433 for SQL Server, and upwards (*)",
    )
    .short('p')
    .on_alloydb("5432"),
    Flag::text("unix-socket", "DIR", "Listen on Unix sockets in this directory instead of ports (*)").short('u'),
    Flag::text("unix-socket-mode", "MODE", "Permissions of Unix sockets, in octal. Default 0660; 0777 under an official proxy's name"),
    Flag::text("fuse", "DIR", "Make a socket for each instance when it is looked up in this directory (FUSE)"),
    Flag::text("fuse-tmp-dir", "DIR", "Where the sockets of --fuse are. Default: csql-tmp or alloydb-tmp under TMPDIR"),
    Flag::switch("fuse-allow-other", "Let other users see the directory of --fuse"),
    Flag::text("fuse-instances", "PATTERNS", "Instances that may be looked up under --fuse, comma-separated; * stands for any part"),
    Flag::number("max-connections", "0", "COUNT", "The most clients at once, over all instances; 0 means no limit"),
    Flag::switch("skip-failed-instance-config", "Start without the instances that cannot be listened for").of(Home::CloudSql),
    // Who may connect
    Flag::text("allow-from", "CIDRS", "Hosts that may connect from outside this machine, comma-separated, as in 10.8.0.0/16"),
    Flag::text("tls-cert", "FILE", "Offer TLS to applications, with this certificate chain (PEM)"),
    Flag::text("tls-key", "FILE", "The private key of --tls-cert (PEM)"),
    Flag::text("tls-client-ca", "FILE", "Demand client certificates that these authorities signed (PEM)"),
    // Which address, which login
    Flag::switch("auto-iam-authn", "Log in as the IAM principal: clients need no password (*)").short('i'),
    Flag::switch("private-ip", "Dial Cloud SQL instances at their private address (*)").of(Home::CloudSql),
    Flag::switch("public-ip", "Dial AlloyDB instances at their public address (*)").of(Home::AlloyDb),
    Flag::switch("psc", "Dial by Private Service Connect (*)"),
    Flag::switch("auto-ip", "Dial the public address, or the private one where there is no other").of(Home::CloudSql),
    Flag::switch("sql-data", "Tunnel through the SqlData API: no network path to the instance is needed; PostgreSQL only (*)").of(Home::CloudSql),
    Flag::text("sqldata-api-endpoint", "URL", "Another SqlData API").of(Home::CloudSql),
    Flag::duration("resource-exhausted-cooldown-delay", "How long the SqlData API is left alone after it said that it is exhausted").of(Home::CloudSql),
    // Credentials
    Flag::text("token", "TOKEN", "An access token for the Admin API; better given by the environment").short('t').secret(),
    Flag::text("login-token", "TOKEN", "An access token for the database login; better given by the environment").secret(),
    Flag::text("credentials-file", "FILE", "A credentials file").short('c'),
    Flag::text("json-credentials", "JSON", "Credentials as JSON; better given by the environment").short('j').secret(),
    Flag::switch("gcloud-auth", "Use the account that gcloud is logged in with").short('g'),
    Flag::text(
        "impersonate-service-account",
        "ACCOUNTS",
        "Act as this service account; further ones, comma-separated, are the delegates, the last of which we may impersonate",
    ),
    Flag::text("quota-project", "PROJECT", "The project that Admin API calls are charged to").of(Home::CloudSql),
    // Google
    Flag::text("sqladmin-api-endpoint", "URL", "Another Cloud SQL Admin API; tokens are sent there").of(Home::CloudSql),
    Flag::text("alloydbadmin-api-endpoint", "URL", "Another AlloyDB Admin API; tokens are sent there")
        .of(Home::AlloyDb)
        .default("https://alloydb.googleapis.com"),
    Flag::text("universe-domain", "DOMAIN", "The Google Cloud universe. Default googleapis.com").of(Home::CloudSql),
    Flag::text("static-connection-info", "FILE", "Addresses and keys of AlloyDB instances from a file; for development").of(Home::AlloyDb),
    Flag::text("user-agent", "TEXT", "Added to the user agent of Admin API calls"),
    Flag::switch("lazy-refresh", "Renew certificates only when a connection needs it: for machines without CPU between requests"),
    // Configuration
    Flag::text("config-file", "FILE", "A TOML, YAML or JSON file with these flags as keys"),
    Flag::text("product", "NAME", "Whose defaults to take, cloud-sql or alloydb. Default: by the program's name, else by the first instance"),
    Flag::switch("print-config", "Print the effective configuration as JSON and exit; contacts nobody"),
    // Logs
    Flag::switch("structured-logs", "Log JSON in Google's format").short('l'),
    Flag::switch("debug-logs", "Log what the engine does, too"),
    Flag::switch("quiet", "Log errors only"),
    // Life cycle
    Flag::duration("min-sigterm-delay", "How long to go on as if nothing had happened after a signal to stop"),
    Flag::duration("max-sigterm-delay", "How long open connections may go on after that; a second signal ends them at once"),
    Flag::switch("exit-zero-on-sigterm", "Exit with 0 instead of 143 after SIGTERM").of(Home::CloudSql),
    Flag::switch("exit-zero-sigterm", "Exit with 0 instead of 143 after SIGTERM").of(Home::AlloyDb),
    Flag::switch("run-connection-test", "Connect to every instance once at the start; exit if one fails"),
    Flag::switch("allow-core-dumps", "Leave core dumps and debuggers as the system has them; they show tokens and keys"),
    // HTTP
    Flag::switch("health-check", "Serve /startup, /readiness and /liveness"),
    Flag::switch("with-backend-check", "Let /startup dial every instance, too"),
    Flag::switch("prometheus", "Serve /metrics"),
    Flag::text("prometheus-namespace", "NAME", "A prefix for the names of metrics"),
    Flag::text("http-address", "HOST", "Where health checks and metrics are served").default("localhost"),
    Flag::text("http-port", "PORT", "The port of health checks and metrics").default("9090"),
    Flag::text("status-page", "WHO", "Who may read the status page: loopback or all").default("loopback"),
    Flag::switch("quitquitquit", "Let /quitquitquit on the admin port stop the proxy"),
    Flag::switch("debug", "Serve profiles on the admin port"),
    Flag::text("admin-port", "PORT", "The port of /quitquitquit and profiles, on localhost").default("9091"),
    // Telemetry
    Flag::text("telemetry-project", "PROJECT", "Send metrics and traces to Cloud Monitoring and Cloud Trace of this project"),
    Flag::text("telemetry-prefix", "PREFIX", "A prefix for the names of metrics in Cloud Monitoring"),
    Flag::number("telemetry-sample-rate", "10000", "COUNT", "Trace one connection in so many"),
    Flag::switch("disable-traces", "Send no traces"),
    Flag::switch("disable-metrics", "Send no metrics"),
    Flag::switch("disable-built-in-telemetry", "Accepted: nothing is reported to Google unasked").of(Home::AlloyDb),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_and_shorthands_are_unique() {
        let names: HashSet<_> = FLAGS.iter().map(|flag| flag.name).collect();
        assert_eq!(names.len(), FLAGS.len());
        let shorts: Vec<_> = FLAGS.iter().filter_map(|flag| flag.short).collect();
        assert_eq!(shorts.iter().collect::<HashSet<_>>().len(), shorts.len());
        assert_eq!(
            find("sql-data-endpoint").unwrap().name,
            "sqldata-api-endpoint"
        );
        assert!(find("no-such-flag").is_none());
    }
}
