//! The environment variables with which clients find an emulator.

use std::collections::BTreeMap;

use crate::world::World;

/// Names and values; an empty value means that the variable is to be unset.
pub(crate) fn variables(world: &World) -> BTreeMap<String, String> {
    let host = &world.host;
    let pairs = [
        // All that iamsql needs.
        ("IAMSQL_EMULATOR_HOST", host.clone()),
        // Google's clients find their credentials with these,
        ("GCE_METADATA_HOST", host.clone()),
        ("GCE_METADATA_IP", host.clone()),
        ("GCE_METADATA_ROOT", host.clone()),
        ("METADATA_SERVER_DETECTION", "assume-present".to_string()),
        ("NO_GCE_CHECK", "false".to_string()),
        ("GOOGLE_CLOUD_PROJECT", world.settings.project.clone()),
        // and must not find anybody's real ones.
        ("GOOGLE_APPLICATION_CREDENTIALS", String::new()),
        ("CLOUDSDK_CONFIG", NOWHERE.to_string()),
        // The argument `sqladmin_api_endpoint` (Python), `sqlAdminAPIEndpoint` (Node) or WithAdminAPIEndpoint (Go).
        (
            "IAMSQL_EMULATOR_SQLADMIN_ENDPOINT",
            format!("http://{host}"),
        ),
        // The same of AlloyDB over REST, as in Go.
        ("IAMSQL_EMULATOR_ALLOYDB_ENDPOINT", format!("http://{host}")),
    ];
    let grpc = world.grpc.get().into_iter().flat_map(|grpc| {
        [
            // What a gRPC client needs, such as AlloyDB's for Python: `alloydb_api_endpoint`, and whom to trust.
            ("IAMSQL_EMULATOR_GRPC_ENDPOINT", grpc.address.to_string()),
            ("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", grpc.roots.path()),
        ]
    });
    pairs
        .into_iter()
        .chain(grpc)
        .map(|(name, value)| (name.to_string(), value))
        .collect()
}

/// A directory that does not exist, so that nobody's own `gcloud` login is found.
const NOWHERE: &str = "/nonexistent/iamsql-emulator";
