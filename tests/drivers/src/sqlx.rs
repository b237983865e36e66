//! sqlx: it opens its own sockets, so it gets the path of a private listener. The listener must outlive the pool.

use iamsql::{
    ClientProtocol, ConnectOptions, Connector, DatabaseEngine, ListenOptions, PrivateListener,
};
use sqlx::mysql::{MySqlConnectOptions, MySqlPoolOptions, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{MySqlPool, PgPool};

use crate::Target;

/// A pool of PostgreSQL connections, and what it connects through.
pub async fn postgres(
    connector: &Connector,
    target: &Target,
) -> anyhow::Result<(PgPool, PrivateListener)> {
    let (user, password, mode) = target.login(connector).await?;
    let connect = ConnectOptions::new()
        .auth_mode(mode)
        .engine(DatabaseEngine::Postgres);
    let listener = connector.listen(&target.instance, &ListenOptions::new().connect(connect))?;
    let options = PgConnectOptions::new_without_pgpass()
        .socket(listener.directory()?)
        .ssl_mode(PgSslMode::Disable)
        .username(&user)
        .database(&target.database);
    let options = match &password {
        Some(password) => options.password(password),
        None => options,
    };
    let pool = PgPoolOptions::new().max_connections(2);
    Ok((pool.connect_with(options).await?, listener))
}

/// A pool of MySQL connections, and what it connects through.
pub async fn mysql(
    connector: &Connector,
    target: &Target,
) -> anyhow::Result<(MySqlPool, PrivateListener)> {
    let (user, password, mode) = target.login(connector).await?;
    // Over a Unix socket, too, sqlx encrypts passwords as if others could listen, and the server is told so.
    let connect = ConnectOptions::new()
        .auth_mode(mode)
        .engine(DatabaseEngine::MySql)
        .client_protocol(ClientProtocol::Tcp);
    let listener = connector.listen(&target.instance, &ListenOptions::new().connect(connect))?;
    let options = MySqlConnectOptions::new()
        .socket(listener.socket_path()?)
        .ssl_mode(MySqlSslMode::Disabled)
        .username(&user)
        .database(&target.database);
    let options = match &password {
        Some(password) => options.password(password),
        None => options,
    };
    let pool = MySqlPoolOptions::new().max_connections(2);
    Ok((pool.connect_with(options).await?, listener))
}

/// Connects to PostgreSQL and asks it who it thinks we are.
pub async fn who_am_i(connector: &Connector, target: &Target) -> anyhow::Result<String> {
    let (pool, listener) = postgres(connector, target).await?;
    let me = sqlx::query_scalar("SELECT current_user::text")
        .fetch_one(&pool)
        .await?;
    pool.close().await;
    drop(listener);
    Ok(me)
}

/// Connects to MySQL and asks it who it thinks we are.
pub async fn who_am_i_in_mysql(connector: &Connector, target: &Target) -> anyhow::Result<String> {
    let (pool, listener) = mysql(connector, target).await?;
    let me = sqlx::query_scalar("SELECT CURRENT_USER()")
        .fetch_one(&pool)
        .await?;
    pool.close().await;
    drop(listener);
    Ok(me)
}
