//! The emulator that all scenarios share, with the people that they need.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use iamsql_emulator::{Emulator, Principal, Role, SERVICE_ACCOUNT, random_password};

/// One emulator on a real PostgreSQL. Each scenario adds an instance of its own, so that they may run at once.
pub struct World {
    /// The emulator.
    pub emulator: Emulator,
    /// The password of [`BUILT_IN_USER`].
    pub password: String,
    /// The emulator's host for clients on a machine whose service account is [`WITHOUT_LOGIN_ROLE`].
    pub host_without_login_role: String,
}

impl World {
    /// Starts the emulator; what it issues is noted in `issued`, a directory that only we can read.
    ///
    /// # Errors
    /// If the emulator cannot start.
    pub async fn start(issued: &Path) -> Result<Self> {
        let password = random_password();
        let emulator = Emulator::builder()
            .principal(Principal::service_account(SOMEBODY_ELSE))
            .principal(
                Principal::service_account(WITHOUT_LOGIN_ROLE)
                    .without_role(Role::CloudSqlInstanceUser),
            )
            .user(BUILT_IN_USER, &password)
            .issued_log(issued)
            .start()
            .await
            .context("the emulator")?;
        let host_without_login_role = emulator.host_as(WITHOUT_LOGIN_ROLE).await?;
        Ok(World {
            emulator,
            password,
            host_without_login_role,
        })
    }

    /// The environment of a client on a machine whose service account is [`CLIENT`].
    pub fn environment(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(
            "IAMSQL_EMULATOR_HOST".to_owned(),
            self.emulator.host().to_owned(),
        )])
    }

    /// The Admin API's address, for clients that are not told of the emulator.
    pub fn admin_endpoint(&self) -> String {
        self.emulator.url()
    }
}

/// Who every client is, unless its scenario says otherwise.
pub const CLIENT: &str = SERVICE_ACCOUNT;
/// The database user of [`CLIENT`].
pub const CLIENT_USER: &str = "cloudsql-client@your-project-id.iam";
/// Another service account with a database user.
pub const SOMEBODY_ELSE: &str = "somebody-else@your-project-id.iam.gserviceaccount.com";
/// The database user of [`SOMEBODY_ELSE`].
pub const SOMEBODY_ELSES_USER: &str = "somebody-else@your-project-id.iam";
/// A service account that may connect but not log in.
pub const WITHOUT_LOGIN_ROLE: &str = "no-login@your-project-id.iam.gserviceaccount.com";
/// A user with a password.
pub const BUILT_IN_USER: &str = "reporting";
