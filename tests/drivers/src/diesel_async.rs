//! diesel-async: its PostgreSQL connection is made from a tokio-postgres client.

use diesel::dsl::sql;
use diesel::sql_types::Text;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use iamsql::Connector;

use crate::{Target, tokio_postgres::builder};

/// Connects and asks the database who it thinks we are.
pub async fn who_am_i(connector: &Connector, target: &Target) -> anyhow::Result<String> {
    let (client, connection) = builder(connector, target).connect().await?;
    tokio::spawn(connection);
    let mut database = AsyncPgConnection::try_from(client).await?;
    let me = diesel::select(sql::<Text>("current_user::text"))
        .get_result(&mut database)
        .await?;
    Ok(me)
}
