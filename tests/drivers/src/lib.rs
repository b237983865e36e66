//! How each Rust driver connects over iamsql. Every file is a whole example; `tests/matrix.rs` runs it.
//!
//! Drivers that take a stream of ours get one; those that open their own socket get the path of a private listener.

pub mod bb8;
pub mod deadpool_postgres;
pub mod diesel_async;
pub mod mysql_async;
pub mod sea_orm;
pub mod sqlx;
pub mod tiberius;
pub mod tokio_postgres;

/// What to connect to, and as whom.
#[derive(Clone, Debug)]
pub struct Target {
    /// The instance's connection name, AlloyDB URI, or domain name.
    pub instance: String,
    /// The database in it.
    pub database: String,
    /// A user with a password of its own; without one, the login is by IAM.
    pub user: Option<User>,
}

/// A built-in database user.
#[derive(Clone, Debug)]
pub struct User {
    /// The user's name.
    pub name: String,
    /// The user's password.
    pub password: String,
}

impl Target {
    /// Who logs in and with what: the user given, or whoever we are.
    pub async fn login(
        &self,
        connector: &iamsql::Connector,
    ) -> iamsql::Result<(String, Option<String>, iamsql::AuthMode)> {
        Ok(match &self.user {
            Some(user) => (
                user.name.clone(),
                Some(user.password.clone()),
                iamsql::AuthMode::Password,
            ),
            None => (
                connector.user(&self.instance).await?,
                None,
                iamsql::AuthMode::Iam,
            ),
        })
    }
}
