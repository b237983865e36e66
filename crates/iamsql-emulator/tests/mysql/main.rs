//! MySQL over the emulator's own TLS, with a driver that shares nothing with the engine.

#[allow(dead_code)]
#[path = "../google/client.rs"]
mod client;
mod exchange;
mod logins;
mod server;
mod tunnel;

use iamsql_emulator::backend::BackendOptions;
use iamsql_emulator::backend::mariadb::Installation;
use iamsql_emulator::{Emulator, InstanceSpec, MYSQL_INSTANCE};

const BUILT_IN: (&str, &str) = ("app-user", "its own");

/// The options of this machine, unless it has no MariaDB: a failure in CI, a skip elsewhere.
async fn options() -> Option<BackendOptions> {
    let options = BackendOptions::from_environment();
    match Installation::find(&options).await {
        Ok(_) => Some(options),
        Err(missing) => {
            assert!(std::env::var_os("CI").is_none(), "{missing:#}");
            eprintln!("skipped, no MariaDB: {missing:#}");
            None
        }
    }
}

/// An emulator with these MySQL instances, unless there is no MariaDB.
async fn emulator_with(specs: impl IntoIterator<Item = InstanceSpec>) -> Option<Emulator> {
    options().await?;
    let mut builder = Emulator::builder()
        .user(BUILT_IN.0, BUILT_IN.1)
        .rsa_keys(false);
    for spec in specs {
        builder = builder.instance(spec);
    }
    Some(builder.start().await.unwrap())
}

async fn emulator() -> Option<Emulator> {
    emulator_with([InstanceSpec::mysql(MYSQL_INSTANCE)]).await
}
