//! How each side opens a session: the engine's stream, or a bare rustls stream, under the same driver.

use anyhow::{Result, bail};
use iamsql::Connector;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls};

use crate::floor::Floor;
use crate::setting;

/// One side of the comparison.
pub(crate) enum Door {
    /// `iamsql::Connector`, as an application uses it.
    Ours(Connector),
    /// TCP and rustls with a certificate made beforehand.
    Floor(Floor),
}

/// A logged-in session; ends when dropped.
pub(crate) struct Session {
    pub(crate) client: Client,
    pump: JoinHandle<()>,
}

impl Door {
    pub(crate) async fn open(side: &str) -> Result<Self> {
        match side {
            "ours" => Ok(Self::Ours(
                Connector::builder().iam_auth(true).build().await?,
            )),
            "floor" => Ok(Self::Floor(Floor::from_settings()?)),
            other => bail!("no such side: {other}"),
        }
    }

    pub(crate) async fn connect(&self) -> Result<Session> {
        match self {
            Self::Ours(connector) => {
                login(connector.connect(&setting("BENCH_INSTANCE")?).await?).await
            }
            Self::Floor(floor) => login(floor.connect().await?).await,
        }
    }
}

impl Session {
    pub(crate) async fn close(self) {
        drop(self.client);
        let _ = self.pump.await;
    }
}

async fn login<S>(stream: S) -> Result<Session>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (client, connection) = Config::new()
        .user(setting("BENCH_USER")?)
        .dbname(setting("BENCH_DATABASE")?)
        .connect_raw(stream, NoTls)
        .await?;
    let pump = tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok(Session { client, pump })
}
