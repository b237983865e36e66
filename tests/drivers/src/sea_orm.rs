//! SeaORM: a connection is made from a pool of sqlx.

use iamsql::Connector;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, SqlxMySqlConnector, SqlxPostgresConnector, Statement,
};

use crate::{Target, sqlx};

/// Connects to PostgreSQL and asks it who it thinks we are.
pub async fn who_am_i(connector: &Connector, target: &Target) -> anyhow::Result<String> {
    let (pool, listener) = sqlx::postgres(connector, target).await?;
    let database = SqlxPostgresConnector::from_sqlx_postgres_pool(pool);
    let me = ask(&database, "SELECT current_user::text AS me").await?;
    drop(listener);
    Ok(me)
}

/// Connects to MySQL and asks it who it thinks we are.
pub async fn who_am_i_in_mysql(connector: &Connector, target: &Target) -> anyhow::Result<String> {
    let (pool, listener) = sqlx::mysql(connector, target).await?;
    let database = SqlxMySqlConnector::from_sqlx_mysql_pool(pool);
    let me = ask(&database, "SELECT CURRENT_USER() AS me").await?;
    drop(listener);
    Ok(me)
}

async fn ask(database: &DatabaseConnection, question: &str) -> anyhow::Result<String> {
    let question = Statement::from_string(database.get_database_backend(), question);
    let row = database.query_one_raw(question).await?;
    let row = row.ok_or_else(|| anyhow::anyhow!("no row"))?;
    Ok(row.try_get("", "me")?)
}
