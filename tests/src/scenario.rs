//! The table: what the world is like, what is asked for, and what must come of it.

mod alloydb;

use std::time::Duration;

use iamsql_emulator::{AddressType, Effect, Endpoint, Fault, InstanceSpec, ServerCertificate};

use crate::door::Door;
use crate::outcome::Expected;
use crate::request::Request;
use crate::world::{BUILT_IN_USER, CLIENT, CLIENT_USER, SOMEBODY_ELSES_USER, World};

/// One row of the table.
pub struct Scenario {
    /// What happens, as words joined by hyphens: part of the instance's name too.
    pub name: &'static str,
    /// Which doors can see it.
    pub doors: fn(Door) -> bool,
    /// The instance, unless there is to be none.
    pub instance: fn(&str) -> Option<InstanceSpec>,
    /// What is broken about it.
    pub faults: fn(&str) -> Vec<Fault>,
    /// What the client is asked.
    pub request: fn(&World, &str) -> Request,
    /// What must come of it.
    pub expected: fn(Door) -> Expected,
}

/// Every scenario.
pub fn all() -> Vec<Scenario> {
    let mut table = logins();
    table.extend(bad_calls());
    table.extend(bad_credentials());
    table.extend(refusals_of_the_admin_api());
    table.extend(broken_networks());
    table.extend(alloydb::all());
    table
}

fn logins() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "login-as-the-derived-user",
            doors: derives_users,
            request: |_, name| Request::to(name),
            expected: |_| logged_in(CLIENT_USER),
            ..healthy()
        },
        Scenario {
            name: "login-with-the-database-user",
            request: |_, name| Request::to(name).user(CLIENT_USER).iam(true),
            expected: |_| logged_in(CLIENT_USER),
            ..healthy()
        },
        Scenario {
            name: "login-with-the-full-address",
            doors: derives_users,
            request: |_, name| Request::to(name).user(CLIENT).iam(true),
            expected: |_| logged_in(CLIENT_USER),
            ..healthy()
        },
        Scenario {
            name: "login-with-a-password",
            request: |world, name| {
                Request::to(name)
                    .user(BUILT_IN_USER)
                    .password(&world.password)
                    .iam(false)
            },
            expected: |_| logged_in(BUILT_IN_USER),
            ..healthy()
        },
        Scenario {
            name: "login-with-a-password-beside-iam",
            request: |world, name| {
                Request::to(name)
                    .user(BUILT_IN_USER)
                    .password(&world.password)
                    .iam(true)
            },
            expected: |_| logged_in(BUILT_IN_USER),
            ..healthy()
        },
        Scenario {
            name: "login-as-somebody-else",
            request: |_, name| Request::to(name).user(SOMEBODY_ELSES_USER).iam(true),
            expected: |door| {
                let refusal = format!(
                    "Cloud SQL IAM service account authentication failed for user \"{SOMEBODY_ELSES_USER}\""
                );
                match door {
                    // These drivers own the login: iamsql carries bytes and cannot add to the server's words.
                    Door::Proxy => failure("IAMSQL_LOGIN", &[&refusal]),
                    Door::Node => failure("28000", &[&refusal]),
                    _ => failure("IAMSQL_LOGIN", &[&refusal, CLIENT_USER]),
                }
            },
            ..healthy()
        },
    ]
}

fn bad_calls() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "malformed-instance-name",
            instance: |_| None,
            request: |_, _| {
                Request::to("your-project-id:demo-postgres")
                    .user(CLIENT_USER)
                    .iam(true)
            },
            expected: |_| failure("IAMSQL_CONFIG", &["PROJECT:REGION:INSTANCE"]),
            ..healthy()
        },
        Scenario {
            name: "unknown-driver",
            doors: |door| matches!(door, Door::Python("pg8000")),
            request: |_, name| Request::to(name).driver("sqlite3"),
            expected: |_| failure("IAMSQL_CONFIG", &["sqlite3", "pg8000", "asyncpg"]),
            ..healthy()
        },
        Scenario {
            name: "password-login-without-a-user",
            doors: |door| matches!(door, Door::Rust | Door::Python(_)),
            request: |_, name| Request::to(name).password("not a secret").iam(false),
            expected: |_| failure("IAMSQL_CONFIG", &["user"]),
            ..healthy()
        },
        Scenario {
            name: "wrong-region",
            request: |_, name| {
                Request::to(name.replace("us-central1", "europe-west4"))
                    .user(CLIENT_USER)
                    .iam(true)
            },
            expected: |_| failure("IAMSQL_CONFIG", &["europe-west4", "us-central1"]),
            ..healthy()
        },
        Scenario {
            name: "absent-address-type",
            doors: |door| door != Door::Proxy,
            instance: |name| Some(InstanceSpec::postgres(name).addresses([AddressType::Primary])),
            request: |_, name| {
                Request::to(name)
                    .user(CLIENT_USER)
                    .iam(true)
                    .ip_type("PRIVATE")
            },
            expected: |_| failure("IAMSQL_NOT_FOUND", &["PRIVATE", "PUBLIC"]),
            ..healthy()
        },
        Scenario {
            name: "unknown-instance",
            instance: |_| None,
            request: |_, name| Request::to(name).user(CLIENT_USER).iam(true),
            expected: |_| failure("IAMSQL_NOT_FOUND", &["unknown-instance", "404"]),
            ..healthy()
        },
    ]
}

fn bad_credentials() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "no-credentials-at-all",
            request: |world, name| {
                // Port 1 of loopback refuses: no metadata server, no file in an empty home.
                Request::to(name)
                    .user(CLIENT_USER)
                    .iam(true)
                    .timeout(SHORT)
                    .admin_endpoint(world.admin_endpoint())
                    .variable("IAMSQL_EMULATOR_HOST", "")
                    .variable("GCE_METADATA_HOST", "127.0.0.1:1")
            },
            expected: |_| {
                failure(
                    "IAMSQL_CREDENTIALS",
                    &["gcloud auth application-default login"],
                )
            },
            ..healthy()
        },
        Scenario {
            name: "unreadable-key-file",
            request: |world, name| {
                Request::to(name)
                    .user(CLIENT_USER)
                    .iam(true)
                    .admin_endpoint(world.admin_endpoint())
                    .variable("IAMSQL_EMULATOR_HOST", "")
                    .variable("GOOGLE_APPLICATION_CREDENTIALS", "/nonexistent/key.json")
            },
            expected: |_| failure("IAMSQL_CREDENTIALS", &["/nonexistent/key.json"]),
            ..healthy()
        },
    ]
}

fn refusals_of_the_admin_api() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "forbidden",
            faults: |name| {
                vec![Fault::new(Endpoint::ConnectSettings, Effect::status(403)).instance(name)]
            },
            request: |_, name| Request::to(name).user(CLIENT_USER).iam(true),
            expected: |_| failure("IAMSQL_PERMISSION", &["403", "roles/cloudsql.client"]),
            ..healthy()
        },
        Scenario {
            name: "no-login-role",
            request: |world, name| {
                Request::to(name)
                    .user("no-login@your-project-id.iam")
                    .iam(true)
                    .variable("IAMSQL_EMULATOR_HOST", &world.host_without_login_role)
            },
            expected: |door| {
                let refusal = "Cloud SQL IAM service account authentication failed for user \"no-login@your-project-id.iam\"";
                match door {
                    Door::Node => failure("28000", &[refusal]),
                    _ => failure("IAMSQL_LOGIN", &[refusal]),
                }
            },
            ..healthy()
        },
        Scenario {
            name: "quota-exhausted-for-ever",
            faults: |name| {
                vec![Fault::new(Endpoint::ConnectSettings, Effect::status(429)).instance(name)]
            },
            request: |_, name| Request::to(name).user(CLIENT_USER).iam(true).timeout(SHORT),
            expected: |_| failure("IAMSQL_UNAVAILABLE", &["429"]),
            ..healthy()
        },
    ]
}

fn broken_networks() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "refused-port",
            faults: |name| vec![Fault::new(Endpoint::Tcp, Effect::Refuse).instance(name)],
            request: |_, name| Request::to(name).user(CLIENT_USER).iam(true),
            expected: |_| failure("IAMSQL_NETWORK", &["3307"]),
            ..healthy()
        },
        Scenario {
            name: "black-hole",
            doors: |door| door != Door::Proxy,
            faults: |name| vec![Fault::new(Endpoint::Tcp, Effect::BlackHole).instance(name)],
            request: |_, name| Request::to(name).user(CLIENT_USER).iam(true).timeout(SHORT),
            expected: |_| failure("IAMSQL_TIMEOUT", &["3307"]),
            ..healthy()
        },
        Scenario {
            name: "wrong-server-identity",
            instance: |name| {
                Some(InstanceSpec::postgres(name).certificate(ServerCertificate::WrongName))
            },
            request: |_, name| Request::to(name).user(CLIENT_USER).iam(true),
            expected: |_| {
                failure(
                    "IAMSQL_TLS",
                    &["expected \"your-project-id:wrong-server-identity\""],
                )
            },
            ..healthy()
        },
    ]
}

/// A healthy instance, seen by every door: what the rows above start from.
fn healthy() -> Scenario {
    Scenario {
        name: "",
        doors: |_| true,
        instance: |name| Some(InstanceSpec::postgres(name)),
        faults: |_| Vec::new(),
        request: |_, name| Request::to(name),
        expected: |_| logged_in(CLIENT_USER),
    }
}

/// psql names its user itself, and pg takes what the application passes.
fn derives_users(door: Door) -> bool {
    matches!(door, Door::Rust | Door::Python(_))
}

fn logged_in(user: &str) -> Expected {
    Expected::User(user.to_owned())
}

fn failure(code: &'static str, says: &[&str]) -> Expected {
    Expected::Failure {
        code,
        within: WITHIN,
        says: says.iter().map(ToString::to_string).collect(),
    }
}

/// A deadline short enough to wait for, in seconds.
const SHORT: f64 = 3.0;
/// Room for the deadline, and for a busy machine.
const WITHIN: Duration = Duration::from_secs(12);
