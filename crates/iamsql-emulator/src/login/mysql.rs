//! The gate in front of MariaDB: decides who may log in over a connection that passed TLS, then only relays.
//!
//! ```text
//! MariaDB's greeting, without what the tunnel hides
//! the client's response ─▶ verdict ─┬─ log in    the principal's own user; the gate knows its password
//!                                   ├─ password  a built-in user: caching_sha2_password or mysql_native_password
//!                                   ├─ token     an IAM user over a connection without one: mysql_clear_password
//!                                   └─ refuse    ERR 1045 in Cloud SQL's words; the reason stays with the emulator
//! ```
//!
//! MariaDB has the last word on every password: the gate turns what the client sent into MariaDB's own
//! `mysql_native_password`, for the same nonce.

mod commands;
mod identity;
mod proof;
mod scripted;
mod verdict;

use std::io;
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

pub(crate) use self::identity::AsMySql;
pub(crate) use self::scripted::refuse;

use self::proof::{Login, Offered};
use self::verdict::{Verdict, judge, judge_token};
use super::{Applicant, linger};
use crate::backend::mariadb::MariaDb;
use crate::foreign::printable;
use crate::instance::PasswordPlugin;
use crate::mysql::answer::{ACCESS_DENIED, Refusal};
use crate::mysql::client::{Answer, Proof, greeting, log_in};
use crate::mysql::greeting::Greeting;
use crate::mysql::packet::{Packet, frame, read};
use crate::mysql::response::Response;
use crate::server::client_protocol::{self, ClientProtocol, Request};
use crate::server::{Ahead, Declarations, Taken};

/// What the gate in front of one instance has to know.
pub(crate) struct Gate<'a, A> {
    pub(crate) applicant: &'a A,
    pub(crate) mariadb: &'a MariaDb,
    /// What MySQL calls the client's side of the connection.
    pub(crate) host: String,
    /// What proves built-in users.
    pub(crate) plugin: PasswordPlugin,
    /// Hears what the client declares, where the settings say that it may.
    pub(crate) declarations: Option<Declarations<'a>>,
}

/// How a client's login ends.
enum Admitted {
    /// At a server that waits for its commands.
    To(UnixStream, Response),
    Refused(u8, Refusal),
    /// It left.
    Nowhere,
}

impl<A: Applicant> Gate<'_, A> {
    /// Serves one client from its first byte to its last.
    ///
    /// # Errors
    /// Those of the client's or the database's connection. A refusal is no error.
    pub(crate) async fn serve<S>(&self, stream: S) -> anyhow::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut stream = Ahead::new(stream);
        let Ok(admitted) = timeout(LOGIN_LIMIT, self.admit(&mut stream)).await else {
            self.applicant.refused("no login within the time limit");
            return Ok(());
        };
        match admitted? {
            Admitted::To(server, response) => {
                let database = String::from_utf8_lossy(&response.database);
                self.applicant.logged_in(&response.user, &database);
                commands::relay(stream, server).await?;
            }
            Admitted::Refused(sequence, refusal) => {
                stream
                    .write_all(&frame(sequence, &refusal.encode()))
                    .await?;
                linger(stream).await?;
            }
            Admitted::Nowhere => {}
        }
        Ok(())
    }

    async fn admit<S>(&self, stream: &mut Ahead<S>) -> anyhow::Result<Admitted>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let connected = async {
            let mut server = self.mariadb.connect().await?;
            let greeting = greeting(&mut server).await?;
            anyhow::Ok((server, greeting))
        };
        tokio::pin!(connected);
        let mut declared = None;
        let mut expected = self.declarations.is_some();
        let connected = loop {
            tokio::select! {
                biased;
                request = client_protocol::read(stream), if expected => {
                    expected = false;
                    match self.declaration(stream, request?, true).await? {
                        Ok(protocol) => declared = protocol,
                        Err(admitted) => return Ok(admitted),
                    }
                }
                connected = &mut connected => break connected,
            }
        };
        let (server, greeting) = match connected {
            Ok(connected) => connected,
            Err(error) => {
                self.applicant
                    .refused(&format!("MariaDB is gone: {error:#}"));
                let own = error.downcast().unwrap_or_else(|_| Refusal::unavailable());
                return Ok(Admitted::Refused(0, own));
            }
        };
        let shown = greeting.behind_tunnel(self.plugin.name());
        stream.write_all(&frame(0, &shown.encode())).await?;
        stream.flush().await?;
        if expected {
            let request = client_protocol::read(stream).await?;
            match self.declaration(stream, request, false).await? {
                Ok(protocol) => declared = protocol,
                Err(admitted) => return Ok(admitted),
            }
        }
        let Some(packet) = read(stream, LONGEST_RESPONSE).await? else {
            self.applicant.refused("no response to the greeting");
            return Ok(Admitted::Nowhere);
        };
        let secure = declared.is_some_and(ClientProtocol::is_secure);
        self.decide(stream, secure, packet, server, greeting).await
    }

    /// Takes note of what the client declares. Behind the greeting a request is not answered: the client would take that
    /// for the database's answer.
    async fn declaration<S>(
        &self,
        stream: &mut Ahead<S>,
        request: Request,
        early: bool,
    ) -> io::Result<Result<Option<ClientProtocol>, Admitted>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Some(declarations) = &self.declarations else {
            return Ok(Ok(None));
        };
        Ok(match declarations.take(stream, request, early).await? {
            Taken::Allowed(protocol) => Ok(protocol),
            Taken::Refused(_) if early => Err(Admitted::Nowhere),
            Taken::Refused(reason) => Err(Admitted::Refused(
                1,
                Refusal::other(UNKNOWN_ERROR, "HY000", reason),
            )),
            Taken::Ended => Err(Admitted::Nowhere),
        })
    }

    async fn decide<S>(
        &self,
        stream: &mut S,
        secure: bool,
        packet: Packet,
        mut server: UnixStream,
        greeting: Greeting,
    ) -> anyhow::Result<Admitted>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let next = packet.sequence.wrapping_add(1);
        let response = match Response::parse(&packet.body) {
            Ok(response) => response,
            Err(malformed) => {
                self.applicant
                    .refused(&format!("its response is malformed: {malformed:?}"));
                return Ok(Admitted::Refused(next, Refusal::bad_handshake()));
            }
        };
        let mut login = Login {
            stream,
            response,
            nonce: greeting.nonce,
            sequence: packet.sequence,
        };
        let user = login.response.user.clone();
        let offered = match self.question(&mut login, &user, secure).await? {
            Ok(offered) => offered,
            Err((refusal, reason)) => {
                self.applicant.refused(&reason);
                return Ok(Admitted::Refused(login.sequence.wrapping_add(1), refusal));
            }
        };
        let (proof, learnt, recognised) = match offered {
            Offered::Proof(proof) => (proof, None, false),
            Offered::Learnt(proof, known) => (proof, Some(known), false),
            Offered::Recognised(proof) => (proof, None, true),
            Offered::Nothing { password } => {
                self.applicant.refused("no password that could be right");
                let refusal = Refusal::denied(&user, &self.host, password);
                return Ok(Admitted::Refused(login.sequence.wrapping_add(1), refusal));
            }
            Offered::Unable => {
                self.applicant
                    .refused("the client knows no plugin that proves this user");
                let refusal = Refusal::no_such_proof();
                return Ok(Admitted::Refused(login.sequence.wrapping_add(1), refusal));
            }
        };
        let is_iam = self.applicant.iam_kind(&user).is_some();
        let mut answer = log_in(&mut server, &greeting, &login.response, &proof).await;
        if let (true, Ok(Answer::Refused(refusal))) = (is_iam, &answer)
            && refusal.code == ACCESS_DENIED
        {
            // It has given itself a password, which an IAM user does not have.
            self.mariadb.restore_iam_user(&user).await?;
            server = self.mariadb.connect().await?;
            let greeting = crate::mysql::client::greeting(&mut server).await?;
            answer = log_in(&mut server, &greeting, &login.response, &proof).await;
        }
        match answer.context("MariaDB broke off the login")? {
            Answer::Accepted(ok) => {
                if recognised {
                    login.recognised().await?;
                }
                if let Some(known) = learnt {
                    self.mariadb.remember(&user, known);
                }
                login.send(&ok).await?;
                Ok(Admitted::To(server, login.response))
            }
            Answer::Refused(refusal) => {
                self.applicant.refused(&printable(&refusal.to_string()));
                let refusal = if refusal.code == ACCESS_DENIED {
                    if recognised {
                        // The user has changed it since.
                        self.mariadb.forget(&user);
                    }
                    Refusal::denied(&user, &self.host, true)
                } else {
                    refusal
                };
                Ok(Admitted::Refused(login.sequence.wrapping_add(1), refusal))
            }
        }
    }

    /// Judges the user, and asks for what its login takes.
    async fn question<S>(
        &self,
        login: &mut Login<'_, S>,
        user: &str,
        secure: bool,
    ) -> io::Result<Result<Offered, (Refusal, String)>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let is_iam = self.applicant.iam_kind(user).is_some();
        let mut verdict = judge(user, &self.host, is_iam, || {
            self.applicant.certificate_user()
        });
        if verdict == Verdict::AskToken {
            verdict = match login.token().await? {
                Ok(Some(token)) => judge_token(user, &self.host, self.applicant.token_user(&token)),
                Ok(None) => Verdict::Refuse(
                    Refusal::denied(user, &self.host, false),
                    "no token was sent as the password".to_owned(),
                ),
                Err(refusal) => Verdict::Refuse(
                    refusal,
                    "the client knows no mysql_clear_password".to_owned(),
                ),
            };
        }
        Ok(match verdict {
            Verdict::LogIn => Ok(Offered::Proof(Proof::Key(self.mariadb.iam_key()))),
            Verdict::AskPassword => Ok(match self.plugin {
                PasswordPlugin::CachingSha2 => login.caching_sha2(self.mariadb, secure).await?,
                PasswordPlugin::Native => login.native().await?,
            }),
            Verdict::Refuse(refusal, reason) => Err((refusal, reason)),
            Verdict::AskToken => unreachable!("a token was asked for"),
        })
    }
}

/// As PostgreSQL's `authentication_timeout`; MariaDB is told to wait longer.
const LOGIN_LIMIT: Duration = Duration::from_secs(60);
/// Attributes may have 64 KiB.
const LONGEST_RESPONSE: usize = 128 * 1024;
const UNKNOWN_ERROR: u16 = 1105;
