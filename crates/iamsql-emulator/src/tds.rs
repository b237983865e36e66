//! A stand-in for SQL Server: it speaks enough TDS 7.2 to 7.4 for a driver to log in, ask who it is and get its own
//! parameters back. It shows that a tunnel carries a driver; it stores nothing and is no database.
//!
//! ```text
//! PRELOGIN ─▶ LOGIN7 (user, password, database) ─▶ batches, procedures, transactions, attention
//! packet         login                               statement, procedure ─▶ token
//! ```

mod cell;
mod login;
mod packet;
mod procedure;
mod session;
mod statement;
mod token;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use self::login::Login;
use self::packet::{Kind, Wire};
use self::session::Session;
use self::token::Tokens;
use crate::foreign::printable;
use crate::session::SessionHandle;

/// What a server knows: who may log in to what.
pub(crate) struct Server {
    /// Built-in users and their passwords.
    pub(crate) users: BTreeMap<String, String>,
    pub(crate) databases: Vec<String>,
    /// `@@SERVERNAME`.
    pub(crate) name: String,
}

/// Serves one client from its first byte to its last.
///
/// # Errors
/// Those of the connection, and of a client that does not speak TDS. A refused login is no error.
pub(crate) async fn serve<S>(stream: S, server: &Server, record: &SessionHandle) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut wire = Wire::new(stream);
    let Ok(greeted) = timeout(LOGIN_LIMIT, greet(&mut wire, server, record)).await else {
        record.error("no login within the time limit");
        return Ok(());
    };
    let Some(mut session) = greeted? else {
        return Ok(());
    };
    while let Some(message) = wire.receive().await? {
        session.answer(&mut wire, message).await?;
    }
    Ok(())
}

/// Up to a login; `None` if there is none.
async fn greet<S>(
    wire: &mut Wire<S>,
    server: &Server,
    record: &SessionHandle,
) -> io::Result<Option<Session>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let Some(message) = wire.receive().await? else {
            return Ok(None);
        };
        match message.kind {
            Kind::PreLogin => wire.send(&login::prelogin()).await?,
            Kind::Login => {
                let login = Login::parse(&message.body).ok_or(io::ErrorKind::InvalidData)?;
                return admit(wire, server, record, login).await;
            }
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

async fn admit<S>(
    wire: &mut Wire<S>,
    server: &Server,
    record: &SessionHandle,
    login: Login,
) -> io::Result<Option<Session>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let database = login.database.clone();
    let database = Some(database).filter(|name| !name.is_empty());
    let database = database.unwrap_or_else(|| MASTER.to_string());
    let known = [MASTER.to_string()];
    let found = known
        .iter()
        .chain(&server.databases)
        .find(|name| name.eq_ignore_ascii_case(&database));
    let mut tokens = Tokens::default();
    let user = printable(&login.user);
    let refused = if !login.may(&server.users) {
        Some(Vec::new())
    } else if found.is_none() {
        let shown = printable(&database);
        let message =
            format!("Cannot open database \"{shown}\" requested by the login. The login failed.");
        Some(vec![(4060, message)])
    } else {
        None
    };
    let (Some(database), None) = (found, &refused) else {
        let mut reasons = refused.unwrap_or_default();
        reasons.push((18456, format!("Login failed for user '{user}'.")));
        record.error(&reasons[0].1);
        for (number, message) in reasons {
            tokens.error(number, 14, &message);
        }
        tokens.done(token::ERROR, 0);
        wire.send(&tokens.take()).await?;
        wire.stream().shutdown().await?;
        return Ok(None);
    };
    let session = Session::new(server, &login, database);
    session.greet(&mut tokens, &login);
    wire.send(&tokens.take()).await?;
    wire.packet_size(login.packet_size());
    record.logged_in(&login.user, database);
    Ok(Some(session))
}

const MASTER: &str = "master";
const LOGIN_LIMIT: Duration = Duration::from_secs(30);
