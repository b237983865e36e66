//! The metadata exchange: after TLS and before the database's own protocol, the client says who it is and how it wants to
//! log in.
//!
//! In: one message, its length before it.  Out: whose token it brought, or nothing if it was refused and told so.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use prost::Message as _;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::message::{AuthType, ExchangeRequest, ExchangeResponse, ResponseCode};
use crate::faults::{Effect, Endpoint};
use crate::foreign::printable;
use crate::instance::Product;
use crate::principal::Role;
use crate::server::{Counted, Instance};
use crate::session::SessionHandle;
use crate::token::Token;
use crate::world::World;

/// What a client brought.
pub(crate) struct Exchanged {
    /// Whose the connection is, whoever logs in to the database.
    pub(crate) token: Token,
    /// Whether the token is to log in.
    pub(crate) auto_iam: bool,
}

/// Serves the exchange. `None` if the client was refused, or a fault ended the connection.
///
/// # Errors
/// Those of the connection, and a client that says nothing in time or no message.
pub(crate) async fn serve(
    stream: &mut Counted,
    world: &Arc<World>,
    instance: &Instance,
    session: &SessionHandle,
) -> anyhow::Result<Option<Exchanged>> {
    let request = match timeout(LIMIT, read(stream)).await {
        Ok(request) => request?,
        Err(_) => anyhow::bail!("no metadata exchange within the time limit"),
    };
    let judged = match &request {
        Ok(request) => judge(world, request),
        Err(reason) => Err(*reason),
    };
    let request = request.unwrap_or_default();
    let owner = world.tokens.find(&request.oauth2_token);
    let owner = owner.map(|token| token.principal);
    session.update(|session| {
        session.principal = owner.clone();
        session.auth_type = AuthType::try_from(request.auth_type).ok().map(name);
        session.user_agent = Some(printable(&request.user_agent));
    });
    let effect = world.faults.take(
        Endpoint::MetadataExchange,
        Some(&instance.text),
        owner.as_deref(),
    );
    let answer = match effect {
        None => reply(&judged),
        Some(Effect::Delay { milliseconds }) => {
            tokio::time::sleep(milliseconds).await;
            reply(&judged)
        }
        Some(effect) => {
            let scripted = disturbed(effect, &request);
            session.error("the metadata exchange was disturbed by a fault");
            match scripted {
                Scripted::Silence => std::future::pending().await,
                Scripted::Reset => stream.reset(),
                Scripted::Bytes(bytes) => {
                    stream.write_all(&bytes).await?;
                    stream.shutdown().await?;
                }
            }
            return Ok(None);
        }
    };
    stream.write_all(&answer).await?;
    stream.flush().await?;
    match judged {
        Ok(exchanged) => Ok(Some(exchanged)),
        Err(reason) => {
            session.error(format!("the metadata exchange was refused: {reason}"));
            stream.shutdown().await?;
            Ok(None)
        }
    }
}

/// Reads one message; the inner error is one to answer.
async fn read(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> std::io::Result<Result<ExchangeRequest, &'static str>> {
    let length = stream.read_u32().await? as usize;
    if length > LONGEST {
        return Ok(Err("metadata exchange request is too long"));
    }
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).await?;
    Ok(ExchangeRequest::decode(&bytes[..]).map_err(|_| "malformed metadata exchange request"))
}

/// Whether the token may open this connection. It must, whoever logs in to the database afterwards.
fn judge(world: &World, request: &ExchangeRequest) -> Result<Exchanged, &'static str> {
    let auto_iam = match AuthType::try_from(request.auth_type) {
        Ok(AuthType::AutoIam) => true,
        Ok(AuthType::DbNative) => false,
        _ => return Err("unspecified auth type"),
    };
    if request.oauth2_token.is_empty() {
        return Err("missing OAuth2 token");
    }
    let token = world.tokens.find(&request.oauth2_token);
    let token = token.filter(|token| token.expires > SystemTime::now());
    let token = token.filter(|token| !world.tokens.is_revoked(token));
    let token = token.ok_or("invalid OAuth2 token")?;
    let scopes = Product::AlloyDb.login_scopes();
    if !scopes.iter().any(|scope| token.scopes.contains(*scope)) {
        return Err("OAuth2 token has insufficient scopes");
    }
    let principal = world.principal(&token.principal);
    let may = |role| principal.as_ref().is_some_and(|one| one.has_role(role));
    if !may(Role::AlloyDbClient) && !may(Role::AlloyDbDatabaseUser) {
        return Err("the IAM principal does not have permission to connect to the instance");
    }
    Ok(Exchanged { token, auto_iam })
}

fn reply<T>(judged: &Result<T, &'static str>) -> Vec<u8> {
    framed(&match judged {
        Ok(_) => ExchangeResponse {
            response_code: ResponseCode::Ok.into(),
            error: String::new(),
        },
        Err(reason) => refusal((*reason).to_string()),
    })
}

fn refusal(error: String) -> ExchangeResponse {
    ExchangeResponse {
        response_code: ResponseCode::Error.into(),
        error,
    }
}

fn framed(response: &ExchangeResponse) -> Vec<u8> {
    let length = u32::try_from(response.encoded_len()).expect("a short text");
    [&length.to_be_bytes()[..], &response.encode_to_vec()].concat()
}

/// What a fault makes of an answer.
enum Scripted {
    Silence,
    Reset,
    Bytes(Vec<u8>),
}

fn disturbed(effect: Effect, request: &ExchangeRequest) -> Scripted {
    let good = ExchangeResponse {
        response_code: ResponseCode::Ok.into(),
        error: String::new(),
    };
    Scripted::Bytes(match effect {
        Effect::Hang => return Scripted::Silence,
        Effect::Reset => return Scripted::Reset,
        Effect::RefuseExchange { message } => {
            let echoed = || Effect::echoed(std::slice::from_ref(&request.oauth2_token));
            framed(&refusal(message.unwrap_or_else(echoed)))
        }
        Effect::Malformed => b"\0\0\0\x04\xff\xff\xff\xff".to_vec(),
        Effect::Huge { bytes } => {
            let length = u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
            let mut answer = length.to_vec();
            answer.resize(4 + bytes, b'x');
            answer
        }
        Effect::ResetMidBody => {
            let whole = framed(&good);
            whole[..whole.len() - 1].to_vec()
        }
        other => unreachable!("{other:?} is no effect of an exchange"),
    })
}

fn name(kind: AuthType) -> String {
    match kind {
        AuthType::Unspecified => "AUTH_TYPE_UNSPECIFIED",
        AuthType::DbNative => "DB_NATIVE",
        AuthType::AutoIam => "AUTO_IAM",
    }
    .to_string()
}

/// As long as Google's clients wait.
const LIMIT: Duration = Duration::from_secs(30);
const LONGEST: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_is_read_up_to_its_limit() {
        let request = ExchangeRequest {
            user_agent: "me".to_string(),
            auth_type: AuthType::DbNative.into(),
            oauth2_token: "t".repeat(LONGEST - 100),
        };
        let framed =
            |length: usize, bytes: &[u8]| [&(length as u32).to_be_bytes()[..], bytes].concat();
        let bytes = request.encode_to_vec();
        let outcome = async |bytes: Vec<u8>| {
            let (mut near, mut far) = tokio::io::duplex(2 * LONGEST);
            near.write_all(&bytes).await.unwrap();
            drop(near);
            read(&mut far).await
        };
        assert_eq!(
            outcome(framed(bytes.len(), &bytes)).await.unwrap(),
            Ok(request)
        );
        assert!(outcome(framed(LONGEST + 1, &[])).await.unwrap().is_err());
        assert!(outcome(framed(2, &[0xff, 0xff])).await.unwrap().is_err());
        assert!(outcome(framed(9, b"short")).await.is_err());
    }
}
