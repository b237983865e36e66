//! bb8: the builder of a tokio-postgres connection is a manager of many.

use std::time::Duration;

use iamsql::Connector;

use crate::{Target, tokio_postgres::builder};

/// Connects through a pool and asks the database who it thinks we are.
pub async fn who_am_i(connector: &Connector, target: &Target) -> anyhow::Result<String> {
    let pool = bb8::Pool::builder()
        .max_size(2)
        .connection_timeout(Duration::from_secs(15))
        .retry_connection(false)
        .build(builder(connector, target))
        .await?;
    let client = pool.get().await?;
    let row = client.query_one("SELECT current_user::text", &[]).await?;
    Ok(row.get(0))
}
