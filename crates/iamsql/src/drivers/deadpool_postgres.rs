//! deadpool over the tokio-postgres glue: a builder makes any number of connections.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use ::deadpool_postgres::{Connect, Manager, ManagerConfig};
use ::tokio_postgres::{Client, Config, NoTls};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinHandle;

use super::tokio_postgres::{PostgresBuilder, drive};
use crate::error::Error;

impl PostgresBuilder {
    /// A pool's source of connections, for [`deadpool_postgres::Pool`].
    ///
    /// deadpool knows only tokio-postgres' errors: ours is the `io::Error` below one, as its
    /// [`get_ref`](std::io::Error::get_ref).
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let connector = iamsql::Connector::builder().build().await?;
    /// let manager = connector
    ///     .postgres("your-project-id:us-central1:demo-postgres")
    ///     .dbname("mydb")
    ///     .deadpool(deadpool_postgres::ManagerConfig::default());
    /// let pool = deadpool_postgres::Pool::builder(manager).max_size(8).build()?;
    /// # drop(pool); Ok(()) }
    /// ```
    pub fn deadpool(self, config: ManagerConfig) -> Manager {
        // What to connect with is the builder's matter; deadpool only hands its own settings back.
        Manager::from_connect(Config::new(), Dialler(self), config)
    }
}

struct Dialler(PostgresBuilder);

type Connecting<'a> = Pin<
    Box<dyn Future<Output = Result<(Client, JoinHandle<()>), ::tokio_postgres::Error>> + Send + 'a>,
>;

impl Connect for Dialler {
    fn connect(&self, _: &Config) -> Connecting<'_> {
        let builder = self.0.clone();
        Box::pin(async move {
            match builder.connect().await {
                Ok((client, connection)) => Ok((client, tokio::spawn(drive(connection)))),
                Err(error) => Err(in_their_words(error).await),
            }
        })
    }
}

impl fmt::Debug for Dialler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// tokio-postgres makes its errors itself; this is the one that it makes of a stream that fails with ours.
async fn in_their_words(error: Error) -> ::tokio_postgres::Error {
    let mut settings = Config::new();
    settings.user("nobody");
    match settings.connect_raw(Broken(error), NoTls).await {
        Err(error) => error,
        Ok(_) => unreachable!("a stream that only fails carries no login"),
    }
}

struct Broken(Error);

impl Broken {
    fn fail<T>(&self) -> Poll<io::Result<T>> {
        Poll::Ready(Err(self.0.clone().into()))
    }
}

impl AsyncRead for Broken {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.fail()
    }
}

impl AsyncWrite for Broken {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        self.fail()
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.fail()
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.fail()
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;
    use crate::error::ErrorKind;

    #[tokio::test]
    async fn our_error_is_found_below_theirs() {
        let ours = Error::new(ErrorKind::Permission, "no such luck").with_instance("p:r:i");
        let theirs = in_their_words(ours).await;
        let below = theirs
            .source()
            .unwrap()
            .downcast_ref::<io::Error>()
            .unwrap();
        let ours = below.get_ref().unwrap().downcast_ref::<Error>().unwrap();
        assert_eq!(ours.kind(), ErrorKind::Permission);
        assert!(below.to_string().contains("no such luck"));
    }
}
