//! mysql_async: it opens its own sockets, so it gets the path of a private listener. The listener must outlive the pool.

use iamsql::{ConnectOptions, Connector, DatabaseEngine, ListenOptions};
use mysql_async::prelude::Queryable;
use mysql_async::{OptsBuilder, Pool};

use crate::Target;

/// Connects through a pool and asks the database who it thinks we are.
pub async fn who_am_i(connector: &Connector, target: &Target) -> anyhow::Result<String> {
    let (user, password, mode) = target.login(connector).await?;
    let connect = ConnectOptions::new()
        .auth_mode(mode)
        .engine(DatabaseEngine::MySql);
    let listener = connector.listen(&target.instance, &ListenOptions::new().connect(connect))?;
    let path = listener.socket_path()?;
    let options = OptsBuilder::default()
        .socket(path.to_str())
        .user(Some(user))
        .pass(password)
        .db_name(Some(&target.database));
    let pool = Pool::new(options);
    let mut connection = pool.get_conn().await?;
    let me: Option<String> = connection.query_first("SELECT CURRENT_USER()").await?;
    drop(connection);
    pool.disconnect().await?;
    me.ok_or_else(|| anyhow::anyhow!("no row"))
}
