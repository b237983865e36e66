//! bb8 over the tokio-postgres glue: a builder makes any number of connections.

use ::bb8::ManageConnection;
use ::tokio_postgres::Client;

use super::tokio_postgres::{PostgresBuilder, drive};
use crate::error::{Error, ErrorKind, Result};

/// A pool's source of connections.
///
/// ```no_run
/// # async fn example() -> iamsql::Result<()> {
/// let connector = iamsql::Connector::builder().build().await?;
/// let manager = connector.postgres("your-project-id:us-central1:demo-postgres").dbname("mydb");
/// let pool = bb8::Pool::builder().max_size(8).build(manager).await?;
/// # drop(pool); Ok(()) }
/// ```
impl ManageConnection for PostgresBuilder {
    type Connection = Client;
    type Error = Error;

    async fn connect(&self) -> Result<Client> {
        let (client, connection) = self.clone().connect().await?;
        tokio::spawn(drive(connection));
        Ok(client)
    }

    async fn is_valid(&self, client: &mut Client) -> Result<()> {
        client.simple_query("").await.map(drop).map_err(|error| {
            Error::new(ErrorKind::Network, "the connection is no longer usable").with_source(error)
        })
    }

    fn has_broken(&self, client: &mut Client) -> bool {
        client.is_closed()
    }
}
