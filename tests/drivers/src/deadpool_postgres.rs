//! deadpool: the builder of a tokio-postgres connection becomes a manager of many.

use deadpool_postgres::{ManagerConfig, Pool};
use iamsql::Connector;

use crate::{Target, tokio_postgres::builder};

/// Connects through a pool and asks the database who it thinks we are.
pub async fn who_am_i(connector: &Connector, target: &Target) -> anyhow::Result<String> {
    let manager = builder(connector, target).deadpool(ManagerConfig::default());
    let pool = Pool::builder(manager).max_size(2).build()?;
    let client = pool.get().await?;
    let row = client.query_one("SELECT current_user::text", &[]).await?;
    Ok(row.get(0))
}
