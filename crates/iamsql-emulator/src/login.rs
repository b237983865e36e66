//! The gate in front of PostgreSQL: decides who may log in over a connection that passed TLS, then only relays.
//!
//! ```text
//! startup packet ─▶ verdict ─┬─ log in      PostgreSQL trusts the IAM user of the certificate's token
//!                            ├─ password    a built-in user; PostgreSQL asks for the password itself
//!                            ├─ token       an IAM user without a token in the certificate sends one as its password
//!                            └─ refuse      FATAL 28000 in Cloud SQL's words; the reason stays with the emulator
//! ```

mod answer;
mod identity;
pub(crate) mod mysql;
mod relay;
mod startup;
mod verdict;

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use self::answer::Fatal;
use self::startup::{Malformed, Opening, Startup};
use self::verdict::{Bench, Verdict};
use crate::backend::Backend;
use crate::foreign::printable;
use crate::instance::Product;
use crate::principal::PrincipalKind;
use crate::session::LoginRefusal;

/// Whoever connects, as the gate sees it. Each question is answered by what is true at that moment.
pub(crate) trait Applicant {
    /// Whose words and rules hold.
    fn product(&self) -> Product {
        Product::CloudSql
    }
    /// Whether the connection is for the token's own user alone.
    fn is_exclusive(&self) -> bool {
        false
    }
    /// Which kind of IAM principal has this database user; `None` for built-in users and unknown names.
    fn iam_kind(&self, user: &str) -> Option<PrincipalKind>;
    /// The database user of the token inside the client certificate, if that token logs in now.
    fn certificate_user(&self) -> Result<String, LoginRefusal>;
    /// The database user of a token that came as a password, if that token logs in now.
    fn token_user(&self, token: &str) -> Result<String, LoginRefusal>;
    /// Hears that PostgreSQL let the user in to a database.
    fn logged_in(&self, user: &str, database: &str);
    /// Hears why the session ended before or without a login.
    fn refused(&self, reason: &str);
}

/// Serves one client from its first byte to its last.
///
/// # Errors
///
/// Those of the client's or the database's connection. A refusal is no error.
pub(crate) async fn serve_postgres<S>(
    mut stream: S,
    applicant: &impl Applicant,
    backend: &Backend,
) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let admitted = match timeout(STARTUP_LIMIT, admit(&mut stream, applicant, backend)).await {
        Ok(admitted) => admitted?,
        Err(_) => {
            applicant.refused("no login within the time limit");
            return Ok(());
        }
    };
    match admitted {
        Admitted::To(server, startup) => {
            let decided = |decision: Result<(), String>| match decision {
                Ok(()) => applicant.logged_in(startup.user(), startup.database()),
                Err(message) => applicant.refused(&printable(&message)),
            };
            relay::run(stream, server, decided).await
        }
        Admitted::Refused(fatal) => dismiss(stream, &fatal).await,
        Admitted::Nowhere => Ok(()),
    }
}

/// How far a client came.
enum Admitted {
    /// To a server that has its startup packet.
    To(UnixStream, Startup),
    /// Not in.
    Refused(Fatal),
    /// It wanted no session: it cancelled a query, left, or does not speak PostgreSQL.
    Nowhere,
}

async fn admit<S>(
    stream: &mut S,
    applicant: &impl Applicant,
    backend: &Backend,
) -> io::Result<Admitted>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let startup = match read_opening(stream).await? {
        Some(Ok(Opening::Startup(startup))) => startup,
        Some(Ok(Opening::Cancel(packet))) => {
            pass_cancel(&packet, backend).await;
            return Ok(Admitted::Nowhere);
        }
        Some(Err(malformed)) => {
            applicant.refused(&malformed.to_string());
            return Ok(Admitted::Refused(malformed.into()));
        }
        Some(Ok(Opening::Tls | Opening::Gss)) | None => {
            applicant.refused("no PostgreSQL startup packet");
            return Ok(Admitted::Nowhere);
        }
    };
    let user = startup.user();
    let kind = applicant.iam_kind(user);
    let bench = Bench {
        product: applicant.product(),
        exclusive: applicant.is_exclusive(),
    };
    let mut verdict = bench.judge(user, kind, || applicant.certificate_user());
    if let Verdict::AskToken(kind) = verdict {
        stream.write_all(&answer::ask_for_password()).await?;
        stream.flush().await?;
        let Some(token) = read_password(stream).await? else {
            applicant.refused("no password");
            return Ok(Admitted::Nowhere);
        };
        verdict = bench.judge_token(user, kind, applicant.token_user(&token));
    }
    if let Verdict::Refuse(fatal, reason) = verdict {
        applicant.refused(&reason);
        return Ok(Admitted::Refused(fatal));
    }
    let server = async {
        let mut server = backend.connect().await?;
        server.write_all(&startup.encode()).await?;
        io::Result::Ok(server)
    };
    match server.await {
        Ok(server) => Ok(Admitted::To(server, startup)),
        Err(error) => {
            applicant.refused(&format!("PostgreSQL is gone: {error}"));
            Ok(Admitted::Refused(Fatal::unavailable()))
        }
    }
}

/// The first packet that is not an offer to encrypt; those are declined, each at most once.
async fn read_opening<S>(stream: &mut S) -> io::Result<Option<Result<Opening, Malformed>>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut declined = Vec::new();
    loop {
        let Some(packet) = startup::read_packet(stream).await? else {
            return Ok(None);
        };
        match startup::parse(&packet) {
            Ok(offer @ (Opening::Tls | Opening::Gss)) if !declined.contains(&offer) => {
                stream.write_all(b"N").await?;
                stream.flush().await?;
                declined.push(offer);
            }
            Err(Malformed::Frame) => return Ok(None),
            opening => return Ok(Some(opening)),
        }
    }
}

/// Reads a PasswordMessage; `None` if something else comes, or nothing.
async fn read_password(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<String>> {
    let mut header = [0; 5];
    match stream.read_exact(&mut header).await {
        Ok(_) => {}
        // How psql leaves when it has no password to send.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    }
    let [kind, length @ ..] = header;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if kind != b'p' || !(5..=LONGEST_PASSWORD).contains(&length) {
        return Ok(None);
    }
    let mut text = vec![0; length - 4];
    stream.read_exact(&mut text).await?;
    text.truncate(
        text.iter()
            .position(|byte| *byte == 0)
            .unwrap_or(text.len()),
    );
    Ok(String::from_utf8(text).ok())
}

/// Hands a cancel request on. PostgreSQL answers with nothing but the end of the connection, whatever it did.
async fn pass_cancel(packet: &[u8], backend: &Backend) {
    let passed = async {
        let mut server = backend.connect().await?;
        server.write_all(packet).await?;
        server.read(&mut [0]).await
    };
    if let Err(error) = passed.await {
        tracing::debug!(%error, "a cancel request was lost");
    }
}

/// Says why. Closing over unread bytes would reset the connection.
async fn dismiss<S>(mut stream: S, fatal: &Fatal) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(&fatal.encode()).await?;
    linger(stream).await
}

/// Ends the stream, and gives the client time to read what was said last.
async fn linger<S>(mut stream: S) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.shutdown().await?;
    let mut rest = (&mut stream).take(LONGEST_FAREWELL);
    let _ = timeout(
        FAREWELL_LIMIT,
        tokio::io::copy(&mut rest, &mut tokio::io::sink()),
    )
    .await;
    Ok(())
}

/// As PostgreSQL's `authentication_timeout`.
const STARTUP_LIMIT: Duration = Duration::from_secs(60);
const FAREWELL_LIMIT: Duration = Duration::from_secs(2);
const LONGEST_FAREWELL: u64 = 64 * 1024;
/// An access token has one or two kilobytes; Google promises nothing.
const LONGEST_PASSWORD: usize = 64 * 1024;

#[cfg(test)]
mod tests;
