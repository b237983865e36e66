//! tiberius: it takes any stream. SQL Server has no IAM login.

use iamsql::{AuthMode, ConnectOptions, Connector, DatabaseEngine};
use tiberius::{AuthMethod, Client, Config, EncryptionLevel};
use tokio_util::compat::TokioAsyncWriteCompatExt;

use crate::Target;

/// Connects and asks the database who it thinks we are.
pub async fn who_am_i(connector: &Connector, target: &Target) -> anyhow::Result<String> {
    let options = ConnectOptions::new()
        .auth_mode(AuthMode::Password)
        .engine(DatabaseEngine::SqlServer);
    let stream = connector.connect_with(&target.instance, &options).await?;
    let mut config = Config::new();
    config.database(&target.database);
    // The stream is encrypted already.
    config.encryption(EncryptionLevel::NotSupported);
    if let Some(user) = &target.user {
        config.authentication(AuthMethod::sql_server(&user.name, &user.password));
    }
    let mut client = Client::connect(config, stream.compat_write()).await?;
    let rows = client.simple_query("SELECT SUSER_SNAME()").await?;
    let row = rows.into_row().await?;
    let me = row.and_then(|row| row.get::<&str, _>(0).map(str::to_owned));
    me.ok_or_else(|| anyhow::anyhow!("no row"))
}
