//! AlloyDB's exchange: how the login happens, and a token that says who we are. Always, for a login by password too.

use zeroize::Zeroizing;

use super::wire::{Field, put_number, put_text, take_field};
use crate::control::credentials::Token;
use crate::data::line::Line;
use crate::error::{Error, ErrorKind, Result};
use crate::options::AuthMode;
use crate::secret::foreign;

/// Introduces us to the server at the other end of `line`, whose identity the handshake has verified.
///
/// # Errors
/// [`ErrorKind::Handshake`] if the server refuses, or answers what is no answer.
pub(crate) async fn exchange(
    line: &mut Line,
    mode: AuthMode,
    user_agent: &str,
    token: &Token,
) -> Result<()> {
    line.send(&request(mode, user_agent, token), STEP).await?;
    let mut length = [0; 4];
    line.receive(&mut length, STEP).await?;
    let length = u32::from_be_bytes(length);
    if length > MAX_ANSWER {
        return Err(Error::new(
            ErrorKind::Handshake,
            format!(
                "the server announced an answer of {length} bytes to the metadata exchange, more than 16 KiB"
            ),
        ));
    }
    let mut answer = vec![0; length as usize];
    line.receive(&mut answer, STEP).await?;
    match Answer::read(&answer) {
        Some(Answer { code: OK, .. }) => Ok(()),
        Some(refused) => Err(refused.into_error(mode)),
        None => Err(Error::new(
            ErrorKind::Handshake,
            "the server's answer to the metadata exchange cannot be read",
        )),
    }
}

/// `MetadataExchangeRequest` behind its length: user agent, kind of login, token.
fn request(mode: AuthMode, user_agent: &str, token: &Token) -> Zeroizing<Vec<u8>> {
    let token = token.secret().expose();
    // All at once, so that no smaller copy of the token is left behind.
    let mut frame = Zeroizing::new(Vec::with_capacity(64 + user_agent.len() + token.len()));
    frame.extend([0; 4]);
    put_text(&mut frame, 1, user_agent);
    let login = match mode {
        AuthMode::Password => DB_NATIVE,
        AuthMode::Iam => AUTO_IAM,
    };
    put_number(&mut frame, 2, login);
    put_text(&mut frame, 3, token);
    let length = (frame.len() - 4) as u32;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

/// `MetadataExchangeResponse`.
#[derive(Debug, Default, PartialEq)]
struct Answer {
    code: u64,
    error: String,
}

impl Answer {
    fn read(mut message: &[u8]) -> Option<Self> {
        let mut answer = Answer::default();
        while !message.is_empty() {
            match take_field(&mut message)? {
                (1, Field::Number(code)) => answer.code = code,
                (2, Field::Bytes(text)) => {
                    answer.error = String::from_utf8_lossy(text).into_owned()
                }
                (1 | 2, _) => return None,
                _ => {}
            }
        }
        Some(answer)
    }

    fn into_error(self, mode: AuthMode) -> Error {
        let reason = match self.error.is_empty() {
            true => "without a reason".to_owned(),
            false => foreign(&self.error),
        };
        Error::new(
            ErrorKind::Handshake,
            format!("the server refused the metadata exchange: {reason}"),
        )
        .with_advice(match mode {
            AuthMode::Iam => {
                "grant the principal roles/alloydb.client, roles/alloydb.databaseUser and roles/serviceusage.serviceUsageConsumer, and check that IAM authentication is on for the instance"
            }
            AuthMode::Password => {
                "grant the principal roles/alloydb.client and roles/serviceusage.serviceUsageConsumer: a login by password is checked for them too"
            }
        })
    }
}

const DB_NATIVE: u64 = 1;
const AUTO_IAM: u64 = 2;
const OK: u64 = 1;
const STEP: &str = "the metadata exchange";
const MAX_ANSWER: u32 = 16 << 10;

#[cfg(test)]
mod tests;
