//! The emulator that all scenarios share, with the people and the ways to fail that they need.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use iamsql_emulator::{Emulator, Principal, Role};

/// One emulator on a real PostgreSQL. Each scenario adds an instance of its own, so that they may run at once.
pub struct World {
    /// The emulator.
    pub emulator: Emulator,
}

impl World {
    /// Starts the emulator; what it issues is noted in `issued`, a directory that only we can read.
    pub async fn start(issued: &Path) -> Result<Self> {
        let emulator = Emulator::builder()
            .principal(Principal::service_account(CLIENT))
            .principal(Principal::service_account(SOMEBODY_ELSE))
            .principal(Principal::human(HUMAN))
            .principal(Principal::service_account(WITHOUT_LOGIN_ROLE).without_role(Role::CloudSqlInstanceUser))
            .issued_log(issued)
            .start()
            .await
            .context("the emulator")?;
        Ok(World { emulator })
    }

    /// The environment of a client on a machine whose service account is [`CLIENT`].
    pub fn environment(&self) -> BTreeMap<String, String> {
        BTreeMap::from([("IAMSQL_EMULATOR_HOST".to_owned(), self.emulator.host().to_string())])
    }

    /// The Admin API's address, for clients that are not told of the emulator.
    pub fn admin_endpoint(&self) -> String {
        format!("http://{}", self.emulator.host())
    }
}

/// Who every client is, unless its scenario says otherwise.
pub const CLIENT: &str = "cloudsql-client@your-project-id.iam.gserviceaccount.com";
/// The database user of [`CLIENT`].
pub const CLIENT_USER: &str = "cloudsql-client@your-project-id.iam";
/// Another service account with a database user.
pub const SOMEBODY_ELSE: &str = "somebody-else@your-project-id.iam.gserviceaccount.com";
/// The database user of [`SOMEBODY_ELSE`].
pub const SOMEBODY_ELSES_USER: &str = "somebody-else@your-project-id.iam";
/// A person with a database user.
pub const HUMAN: &str = "jane@example.com";
/// A service account that may connect but not log in.
pub const WITHOUT_LOGIN_ROLE: &str = "no-login@your-project-id.iam.gserviceaccount.com";
