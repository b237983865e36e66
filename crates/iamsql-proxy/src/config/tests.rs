//! Each flag in each source, each conflict, and what the official proxies made of the same command line.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::flag::{FLAGS, Home, Kind};
use super::*;

const ALLOYDB: &str = "projects/p/locations/r/clusters/c/instances/i";

struct Given<'a> {
    program: &'a str,
    environment: HashMap<String, String>,
}

impl<'a> Given<'a> {
    fn called(program: &'a str) -> Self {
        Given {
            program,
            environment: HashMap::new(),
        }
    }

    fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    fn read(&self, arguments: &[&str]) -> Result<Config, Refusal> {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned());
        Config::from(self.program, arguments, &|name| {
            self.environment.get(name).cloned()
        })
    }

    fn refused(&self, arguments: &[&str]) -> String {
        match self.read(arguments) {
            Ok(config) => panic!("accepted: {config:?}"),
            Err(Refusal::CommandLine(error)) => error.to_string(),
            Err(Refusal::Meaning(message)) => message,
            Err(Refusal::Printed(text)) => panic!("printed: {text}"),
        }
    }

    fn printed(&self, arguments: &[&str]) -> Value {
        match self.read(&[arguments, &["--print-config"]].concat()) {
            Err(Refusal::Printed(text)) => serde_json::from_str(&text).unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

fn ours() -> Given<'static> {
    Given::called("/usr/bin/iamsql-proxy")
}

/// A text that the flag takes, and what `--print-config` shows for it.
fn sample(name: &str, kind: Kind) -> (String, Value) {
    match (name, kind) {
        (_, Kind::Bool) => ("true".into(), json!(true)),
        ("port", _) => ("5555".into(), json!(5555)),
        (_, Kind::Integer) => ("7".into(), json!(7)),
        (_, Kind::Duration) => ("90s".into(), json!("1m30s")),
        ("address", _) => ("::1".into(), json!("::1")),
        ("http-port" | "admin-port", _) => ("8080".into(), json!("8080")),
        ("unix-socket-mode", _) => ("0600".into(), json!("0600")),
        ("allow-from", _) => ("10.8.0.0/16".into(), json!("10.8.0.0/16")),
        ("status-page", _) => ("all".into(), json!("all")),
        ("product", _) => ("cloud-sql".into(), json!("cloud-sql")),
        ("token" | "login-token" | "json-credentials", _) => {
            ("a-secret".into(), json!("[redacted]"))
        }
        (name, _) if name.ends_with("endpoint") => {
            ("https://example.com".into(), json!("https://example.com"))
        }
        _ => ("some-text".into(), json!("some-text")),
    }
}

/// Flags that cannot stand alone, with what they need.
fn companions(name: &str) -> &'static [&'static str] {
    match name {
        "login-token" => &["--token=t", "--auto-iam-authn"],
        "token" => &[],
        _ => &[],
    }
}

/// Flags whose value names files that must exist, tested on their own.
const FILES: [&str; 4] = ["config-file", "tls-cert", "tls-key", "tls-client-ca"];

#[test]
fn every_flag_is_read_from_command_line_environment_and_file_in_this_order() {
    for flag in FLAGS.iter().filter(|flag| !FILES.contains(&flag.name)) {
        if ["product", "print-config", "fuse"].contains(&flag.name) {
            continue;
        }
        let (program, instance, prefix) = match flag.home {
            Home::AlloyDb => ("alloydb-auth-proxy", ALLOYDB, "ALLOYDB_PROXY"),
            _ => ("cloud-sql-proxy", "p:r:i", "CSQL_PROXY"),
        };
        let (text, wanted) = sample(flag.name, flag.kind);
        let variable = format!("{prefix}_{}", flag.name.to_uppercase().replace('-', "_"));
        let mut file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
        serde_json::to_writer(&mut file, &json!({ flag.name: text })).unwrap();
        let in_file = format!("--config-file={}", file.path().display());

        let extra = companions(flag.name);
        let on_line = format!("--{}={text}", flag.name);
        let printed = Given::called(program).printed(&[extra, &[instance, &on_line]].concat());
        assert_eq!(
            printed[flag.name], wanted,
            "--{} on the command line",
            flag.name
        );
        let printed = Given::called(program)
            .with(&variable, &text)
            .printed(&[extra, &[instance]].concat());
        assert_eq!(printed[flag.name], wanted, "{variable}");
        let printed = Given::called(program).printed(&[extra, &[instance, &in_file]].concat());
        assert_eq!(printed[flag.name], wanted, "{} in a file", flag.name);
    }
}

#[test]
fn a_flag_comes_before_the_environment_and_the_environment_before_the_file() {
    let mut file = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    std::io::Write::write_all(&mut file, b"port: 1\nmax-connections: 1\nquiet: true\n").unwrap();
    let path = file.path().display().to_string();
    let given = ours()
        .with("CSQL_PROXY_PORT", "2")
        .with("CSQL_PROXY_MAX_CONNECTIONS", "2")
        .with("CSQL_PROXY_QUIET", "")
        .with("CSQL_PROXY_CONFIG_FILE", &path);
    let printed = given.printed(&["--port=3", "p:r:i"]);
    assert_eq!(
        (
            &printed["port"],
            &printed["max-connections"],
            &printed["quiet"]
        ),
        (&json!(3), &json!(2), &json!(true))
    );
}

#[test]
fn defaults_follow_the_products() {
    let cloud_sql = ours().printed(&["p:r:i"]);
    assert_eq!(cloud_sql["product"], "cloud-sql");
    assert_eq!(
        (&cloud_sql["port"], &cloud_sql["address"]),
        (&json!(0), &json!("127.0.0.1"))
    );
    assert_eq!(
        (&cloud_sql["http-port"], &cloud_sql["admin-port"]),
        (&json!("9090"), &json!("9091"))
    );
    assert_eq!(cloud_sql["unix-socket-mode"], "0660");
    assert_eq!(cloud_sql["max-sigterm-delay"], "0s");
    assert_eq!(cloud_sql["telemetry-sample-rate"], 10000);
    assert!(cloud_sql.get("public-ip").is_none() && cloud_sql.get("exit-zero-sigterm").is_none());
    let alloydb = ours().printed(&[ALLOYDB]);
    assert_eq!(alloydb["product"], "alloydb");
    assert_eq!(alloydb["port"], 5432);
    assert_eq!(
        alloydb["alloydbadmin-api-endpoint"],
        "https://alloydb.googleapis.com"
    );
    assert!(alloydb.get("private-ip").is_none() && alloydb.get("quota-project").is_none());
    for (program, product) in [
        ("cloud-sql-proxy", "cloud-sql"),
        ("/opt/cloud_sql_proxy", "cloud-sql"),
        ("alloydb-auth-proxy", "alloydb"),
    ] {
        let printed = Given::called(program).printed(&[ALLOYDB]);
        assert_eq!(printed["product"], product, "{program}");
        assert_eq!(printed["unix-socket-mode"], "0777");
    }
    assert_eq!(
        ours().printed(&["--product=alloydb", "p:r:i"])["product"],
        "alloydb"
    );
}

#[test]
fn instances_come_from_the_first_place_that_names_any() {
    let names = |printed: &Value| -> Vec<String> {
        let instances = printed["instances"].as_array().unwrap();
        instances
            .iter()
            .map(|instance| instance["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let given = ours()
        .with("CSQL_PROXY_INSTANCE_CONNECTION_NAME_0", "p:r:zero")
        .with("CSQL_PROXY_INSTANCE_CONNECTION_NAME_1", "p:r:one?port=1")
        .with("CSQL_PROXY_INSTANCE_CONNECTION_NAME_3", "p:r:three");
    assert_eq!(names(&given.printed(&[])), ["p:r:zero", "p:r:one"]);
    assert_eq!(names(&given.printed(&["p:r:i"])), ["p:r:i"]);
    let bare = given.with("CSQL_PROXY_INSTANCE_CONNECTION_NAME", "p:r:bare");
    assert_eq!(names(&bare.printed(&[])), ["p:r:bare", "p:r:one"]);
    let alloydb = ours()
        .with("ALLOYDB_PROXY_INSTANCE_URI", ALLOYDB)
        .with("ALLOYDB_PROXY_PORT", "6000")
        .printed(&[]);
    assert_eq!(
        (names(&alloydb), &alloydb["port"]),
        (vec![ALLOYDB.to_owned()], &json!(6000))
    );
    let mut file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::io::Write::write_all(
        &mut file,
        b"instance-connection-name-0 = \"p:r:a\"\ninstance-connection-name-1 = \"p:r:b\"\n",
    )
    .unwrap();
    let in_file = format!("--config-file={}", file.path().display());
    assert_eq!(names(&ours().printed(&[&in_file])), ["p:r:a", "p:r:b"]);
}

#[test]
fn only_the_parameters_that_were_given_are_printed() {
    let printed = ours().printed(&["p:r:i?private-ip=false&port=5433", "p:r:j"]);
    assert_eq!(
        printed["instances"],
        json!([{"name": "p:r:i", "port": 5433, "private-ip": false}, {"name": "p:r:j"}])
    );
}

#[test]
fn what_excludes_each_other_is_refused_with_both_names() {
    for (arguments, said) in [
        (
            &["--unix-socket=/s", "--address=127.0.0.1", "p:r:i"][..],
            "--unix-socket and --address exclude",
        ),
        (
            &["--unix-socket=/s", "--port=1", "p:r:i"],
            "--unix-socket and --port exclude",
        ),
        (
            &["--private-ip=false", "--auto-ip", "p:r:i"],
            "--private-ip and --auto-ip exclude",
        ),
        (
            &["--private-ip", "--psc", "p:r:i"],
            "--private-ip and --psc exclude",
        ),
        (
            &["--psc", "--sql-data", "p:r:i"],
            "--psc and --sql-data exclude",
        ),
        (
            &["--token=t", "--credentials-file=f", "p:r:i"],
            "--token and --credentials-file exclude",
        ),
        (
            &["--credentials-file=f", "--json-credentials={}", "p:r:i"],
            "--credentials-file and --json-credentials exclude",
        ),
        (
            &["--json-credentials={}", "--gcloud-auth", "p:r:i"],
            "--json-credentials and --gcloud-auth exclude",
        ),
        (
            &["--token=t", "--gcloud-auth", "p:r:i"],
            "--token and --gcloud-auth exclude",
        ),
        (&["--login-token=t", "p:r:i"], "--login-token needs --token"),
        (
            &["--token=t", "--login-token=t", "p:r:i"],
            "--login-token needs --token and --auto-iam-authn",
        ),
        (
            &["--token=t", "--auto-iam-authn", "p:r:i"],
            "needs --login-token",
        ),
        (
            &["--token=t", "p:r:i?auto-iam-authn=true"],
            "needs --login-token",
        ),
        (
            &["--gcloud-auth", "--auto-iam-authn", "p:r:i"],
            "--gcloud-auth and --auto-iam-authn exclude",
        ),
        (
            &[
                "--sqladmin-api-endpoint=https://e",
                "--universe-domain=u",
                "p:r:i",
            ],
            "--sqladmin-api-endpoint and --universe-domain exclude",
        ),
        (&["--sqladmin-api-endpoint=nowhere", "p:r:i"], "is no URL"),
        (
            &["--fuse=/f", "--run-connection-test"],
            "--fuse and --run-connection-test exclude",
        ),
        (
            &["--tls-cert=/c", "p:r:i"],
            "--tls-cert and --tls-key belong together",
        ),
        (
            &["--tls-client-ca=/c", "p:r:i"],
            "--tls-client-ca needs both",
        ),
        (
            &["--tls-cert=/nowhere/c", "--tls-key=/nowhere/k", "p:r:i"],
            "cannot read /nowhere/c",
        ),
    ] {
        let message = ours().refused(arguments);
        assert!(message.contains(said), "{arguments:?}: {message}");
    }
}

#[test]
fn a_value_that_cannot_be_is_refused_with_its_flag_and_source() {
    for (arguments, said) in [
        (&["--port=70000", "p:r:i"][..], "--port: 70000 is no port"),
        (&["--port=x", "p:r:i"], "--port: \"x\" is no whole number"),
        (
            &["--address=localhost", "p:r:i"],
            "--address: \"localhost\" is no IP address",
        ),
        (
            &["--max-sigterm-delay=30", "p:r:i"],
            "want a number and its unit",
        ),
        (&["--quiet=maybe", "p:r:i"], "--quiet: \"maybe\""),
        (&["--unix-socket-mode=rw", "p:r:i"], "no file mode"),
        (&["--allow-from=10.0.0.0/40", "p:r:i"], "no network"),
        (&["--product=spanner", "p:r:i"], "no product"),
        (
            &["--port=65535", "p:r:i", "p:r:j"],
            "the last port is 65535",
        ),
        (&["--no-such-flag", "p:r:i"], "--no-such-flag"),
        (&["p:r"], "PROJECT:REGION:INSTANCE"),
        (
            &["--config-file=/nowhere/c.toml", "p:r:i"],
            "failed to load configuration",
        ),
        (&[], "no instance given"),
    ] {
        let message = ours().refused(arguments);
        assert!(message.contains(said), "{arguments:?}: {message}");
    }
    let message = ours().with("CSQL_PROXY_PORT", "five").refused(&["p:r:i"]);
    assert!(
        message.contains("--port (environment variable CSQL_PROXY_PORT): \"five\""),
        "{message}"
    );
    assert!(
        Given::called("alloydb-auth-proxy")
            .refused(&[])
            .contains("ALLOYDB_PROXY_INSTANCE_URI")
    );
}

#[test]
fn alloydb_reuses_its_token_and_says_so() {
    let config = Given::called("alloydb-auth-proxy")
        .read(&["--token=t", "--auto-iam-authn", ALLOYDB])
        .unwrap();
    let said = |text: &str| {
        config
            .notes
            .iter()
            .any(|note| matches!(note, Note::Info(line) if line.contains(text)))
    };
    assert!(
        said("reusing the configured API credential"),
        "{:?}",
        config.notes
    );
    let config = Given::called("alloydb-auth-proxy")
        .read(&["--token=t", "--login-token=l", ALLOYDB])
        .unwrap();
    assert!(format!("{:?}", config.notes).contains("Ignoring --login-token"));
}

#[test]
fn what_has_no_effect_and_what_is_seen_by_others_is_said() {
    let config = ours()
        .read(&[
            "--http-port=1",
            "--disable-traces",
            "--token=ya29.x",
            "p:r:i",
        ])
        .unwrap();
    let notes = format!("{:?}", config.notes);
    for said in [
        "Ignoring --http-port because --prometheus or --health-check was not set",
        "Ignoring --disable-traces because --telemetry-project was not set",
        "set CSQL_PROXY_TOKEN instead",
    ] {
        assert!(notes.contains(said), "{notes}");
    }
    assert!(!notes.contains("ya29") && !format!("{config:?}").contains("ya29"));
}

#[test]
fn the_old_spelling_shows_the_new_one_without_its_secrets() {
    let config = ours()
        .read(&["-instances=p:r:i=tcp:5432", "-token=ya29.x", "--projects=P"])
        .unwrap();
    let warnings: Vec<_> = config
        .notes
        .iter()
        .filter_map(|note| match note {
            Note::Warning(line) => Some(line.as_str()),
            Note::Info(_) => None,
        })
        .collect();
    assert!(
        warnings
            .iter()
            .any(|line| line.ends_with("iamsql-proxy 'p:r:i?port=5432' --token=[redacted]")),
        "{warnings:?}"
    );
    assert!(
        warnings
            .iter()
            .any(|line| line.contains("--projects has no effect")),
        "{warnings:?}"
    );
    assert!(!warnings.concat().contains("ya29"));
    assert_eq!(config.instances[0].port, Some(5432));
    // Seed manifests of the old image name no instance at all: one clear line.
    let message = Given::called("cloud_sql_proxy").refused(&[
        "--port=5432",
        "--address=127.0.0.1",
        "--enable_iam_login",
        "--projects=P",
        "--auto_iam_authn",
    ]);
    assert!(
        message.starts_with("no instance given for cloud-sql"),
        "{message}"
    );
}

#[test]
fn an_address_type_of_the_instance_comes_before_the_flags() {
    for (arguments, wanted) in [
        (&["p:r:i"][..], Some(IpType::Public)),
        (&["--private-ip", "p:r:i"], Some(IpType::Private)),
        (
            &["--private-ip", "p:r:i?private-ip=false"],
            Some(IpType::Public),
        ),
        (&["--psc", "p:r:i?private-ip=true"], Some(IpType::Private)),
        (&["--private-ip", "p:r:i?psc=true"], Some(IpType::Psc)),
        (&["--auto-ip", "p:r:i"], Some(IpType::Auto)),
        (&["--sql-data", "p:r:i"], Some(IpType::SqlData)),
        (
            &["--sql-data", "p:r:i?sql-data=false"],
            Some(IpType::Public),
        ),
        (
            &["--private-ip", "p:r:i?sql-data=true"],
            Some(IpType::SqlData),
        ),
        (&[ALLOYDB], None),
        (&["--public-ip", ALLOYDB], Some(IpType::Public)),
        (&["--public-ip", "--psc", ALLOYDB], Some(IpType::Psc)),
    ] {
        let config = ours().read(arguments).unwrap();
        assert_eq!(
            config.ip_type(&config.instances[0]),
            wanted,
            "{arguments:?}"
        );
    }
}
