//! The rows on AlloyDB: what differs from Cloud SQL, through the same doors.

use iamsql_emulator::{AddressType, Effect, Endpoint, Fault, InstanceSpec, ServerCertificate};

use super::{Scenario, derives_users, failure, healthy, logged_in};
use crate::door::Door;
use crate::request::Request;
use crate::world::{BUILT_IN_USER, CLIENT_USER, SOMEBODY_ELSES_USER};

pub(super) fn all() -> Vec<Scenario> {
    vec![
        Scenario {
            name: "alloydb-login-as-the-derived-user",
            doors: derives_users,
            request: |_, name| Request::to(uri(name)),
            ..primary()
        },
        Scenario {
            name: "alloydb-login-with-the-database-user",
            request: |_, name| Request::to(uri(name)).user(CLIENT_USER).iam(true),
            ..primary()
        },
        Scenario {
            name: "alloydb-login-with-a-password",
            request: |world, name| {
                Request::to(uri(name))
                    .user(BUILT_IN_USER)
                    .password(&world.password)
                    .iam(false)
            },
            expected: |_| logged_in(BUILT_IN_USER),
            ..primary()
        },
        Scenario {
            name: "alloydb-login-as-somebody-else",
            request: |_, name| Request::to(uri(name)).user(SOMEBODY_ELSES_USER).iam(true),
            expected: |door| match door {
                Door::Node => failure("28000", &[SOMEBODY_ELSES_USER]),
                _ => failure("IAMSQL_LOGIN", &[SOMEBODY_ELSES_USER]),
            },
            ..primary()
        },
        Scenario {
            name: "alloydb-at-its-public-address",
            doors: |door| door != Door::Proxy,
            instance: |name| {
                Some(InstanceSpec::postgres(uri(name)).addresses([AddressType::Primary]))
            },
            request: |_, name| {
                Request::to(uri(name))
                    .user(CLIENT_USER)
                    .iam(true)
                    .ip_type("PUBLIC")
            },
            ..primary()
        },
        Scenario {
            name: "alloydb-unknown-instance",
            instance: |_| None,
            request: |_, name| Request::to(uri(name)).user(CLIENT_USER).iam(true),
            expected: |_| failure("IAMSQL_NOT_FOUND", &["alloydb-unknown-instance", "404"]),
            ..primary()
        },
        Scenario {
            name: "alloydb-forbidden",
            faults: |name| {
                vec![Fault::new(Endpoint::ConnectionInfo, Effect::status(403)).instance(uri(name))]
            },
            request: |_, name| Request::to(uri(name)).user(CLIENT_USER).iam(true),
            expected: |_| failure("IAMSQL_PERMISSION", &["403", "roles/alloydb.client"]),
            ..primary()
        },
        Scenario {
            name: "alloydb-exchange-refused",
            faults: |name| {
                let refusal = Effect::refuse_exchange("the caller does not have permission");
                vec![Fault::new(Endpoint::MetadataExchange, refusal).instance(uri(name))]
            },
            request: |_, name| Request::to(uri(name)).user(CLIENT_USER).iam(true),
            expected: |_| failure("IAMSQL_HANDSHAKE", &["the caller does not have permission"]),
            ..primary()
        },
        Scenario {
            name: "alloydb-wrong-server-identity",
            instance: |name| {
                Some(InstanceSpec::postgres(uri(name)).certificate(ServerCertificate::WrongName))
            },
            request: |_, name| Request::to(uri(name)).user(CLIENT_USER).iam(true),
            expected: |_| failure("IAMSQL_TLS", &["expected"]),
            ..primary()
        },
    ]
}

/// A healthy instance of a cluster, seen by every door.
fn primary() -> Scenario {
    Scenario {
        instance: |name| Some(InstanceSpec::postgres(uri(name))),
        ..healthy()
    }
}

/// Each row has an instance of its own, called like the row.
fn uri(name: &str) -> String {
    let row = name.rsplit(':').next().unwrap_or(name);
    format!("projects/your-project-id/locations/us-central1/clusters/{row}/instances/{row}")
}
