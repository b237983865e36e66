//! tokio-postgres: the glue connects, logs in and explains a refused login.

use iamsql::{Connector, PostgresBuilder};

use crate::Target;

/// A connection in the making; without a user and password the login is by IAM.
pub fn builder(connector: &Connector, target: &Target) -> PostgresBuilder {
    let builder = connector
        .postgres(&target.instance)
        .dbname(&target.database);
    match &target.user {
        Some(user) => builder.user(&user.name).password(user.password.clone()),
        None => builder,
    }
}

/// Connects and asks the database who it thinks we are.
pub async fn who_am_i(connector: &Connector, target: &Target) -> anyhow::Result<String> {
    let (client, connection) = builder(connector, target).connect().await?;
    tokio::spawn(connection);
    let row = client.query_one("SELECT current_user::text", &[]).await?;
    Ok(row.get(0))
}
