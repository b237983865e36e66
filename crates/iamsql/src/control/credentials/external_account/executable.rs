//! A subject token that a program prints, which runs only where `GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1` says so.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use super::subject::{About, Asker};
use super::{malformed, text, unusable};
use crate::control::credentials::file;
use crate::control::credentials::program::Program;
use crate::control::environment::{self, Environment};
use crate::error::{Error, Result};
use crate::secret::{Secret, foreign};

#[derive(Clone)]
pub(super) struct Executable {
    program: Program,
    limit: Duration,
    /// Where the program leaves its answer for the next time.
    output: Option<PathBuf>,
    token_type: String,
}

impl Executable {
    pub(super) fn read(json: &Value, about: &About<'_>, environment: &Environment) -> Result<Self> {
        if !environment.is_on(environment::ALLOW_EXECUTABLES)? {
            return Err(Error::config(
                "the external account runs a program to get its tokens",
            )
            .with_advice(
                "set GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES=1 if you trust the file and the program",
            ));
        }
        let command = text(json, "command").ok_or_else(|| unusable("names no command"))?;
        let mut words = command.split_ascii_whitespace();
        let path = words.next().map(Path::new);
        let path = path
            .filter(|path| path.is_absolute())
            .ok_or_else(|| unusable("names a command that is no absolute path"))?;
        let limit = match json.get("timeout_millis") {
            None | Some(Value::Null) => DEFAULT_LIMIT,
            Some(millis) => millis
                .as_u64()
                .map(Duration::from_millis)
                .filter(|limit| (MIN_LIMIT..=MAX_LIMIT).contains(limit))
                .ok_or_else(|| {
                    unusable("gives its program less than 5 or more than 120 seconds")
                })?,
        };
        let output = text(json, "output_file").map(PathBuf::from);
        let mut program = Program::new("the external account's program", path, words, environment);
        let mut tell = |name: &str, value: &std::ffi::OsStr| {
            program.environment.push((name.into(), value.to_owned()));
        };
        tell("GOOGLE_EXTERNAL_ACCOUNT_AUDIENCE", about.audience.as_ref());
        tell(
            "GOOGLE_EXTERNAL_ACCOUNT_TOKEN_TYPE",
            about.token_type.as_ref(),
        );
        tell("GOOGLE_EXTERNAL_ACCOUNT_INTERACTIVE", "0".as_ref());
        if let Some(email) = about.impersonated {
            tell("GOOGLE_EXTERNAL_ACCOUNT_IMPERSONATED_EMAIL", email.as_ref());
        }
        if let Some(output) = &output {
            tell("GOOGLE_EXTERNAL_ACCOUNT_OUTPUT_FILE", output.as_os_str());
        }
        Ok(Executable {
            program,
            limit,
            output,
            token_type: about.token_type.to_owned(),
        })
    }

    pub(super) async fn token(&self, asker: &Asker<'_>) -> Result<Secret> {
        if let Some(kept) = self.kept(asker.now) {
            return Ok(kept);
        }
        asker.patience.begin(self.program.who);
        let limit = self.limit.min(asker.patience.remaining());
        let printed = self.program.run(limit).await?;
        let answer = Answer::read(&printed)?;
        if answer.expires.is_none() && self.output.is_some() {
            return Err(malformed(
                "the external account's program keeps its answer in a file, and does not say until when",
            ));
        }
        match answer.is_over(asker.now) {
            false => answer.token(&self.token_type),
            true => Err(malformed(
                "the external account's program printed a token that has expired",
            )),
        }
    }

    /// What the program left, if that is still good. A file that is not is the program's business.
    fn kept(&self, now: SystemTime) -> Option<Secret> {
        let bytes = file::bytes(self.output.as_deref()?).ok()?;
        let answer = Answer::read(&bytes).ok()?;
        match answer.expires.is_some() && !answer.is_over(now) {
            true => answer.token(&self.token_type).ok(),
            false => None,
        }
    }
}

/// What the program printed, in the form that Google's libraries ask for.
struct Answer {
    token_type: String,
    token: Option<Secret>,
    expires: Option<SystemTime>,
}

impl Answer {
    fn read(bytes: &Zeroizing<Vec<u8>>) -> Result<Self> {
        #[derive(Deserialize)]
        struct Printed {
            version: u64,
            success: bool,
            token_type: Option<String>,
            id_token: Option<String>,
            saml_response: Option<String>,
            expiration_time: Option<u64>,
            code: Option<String>,
            message: Option<String>,
        }
        // It may hold a token, so neither it nor the parser's complaint about it is shown.
        let printed: Printed = serde_json::from_slice(bytes).map_err(|_| {
            malformed(
                "the external account's program printed something else than its answer in JSON",
            )
        })?;
        if printed.version > 1 {
            return Err(malformed(
                "the external account's program answers in a version that is not known",
            ));
        }
        if !printed.success {
            return Err(malformed(&format!(
                "the external account's program refused: {} {}",
                printed.code.unwrap_or_default(),
                printed.message.unwrap_or_default()
            )));
        }
        Ok(Answer {
            token: printed.id_token.or(printed.saml_response).map(Secret::new),
            token_type: printed.token_type.unwrap_or_default(),
            expires: printed
                .expiration_time
                .and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds))),
        })
    }

    fn is_over(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }

    fn token(self, wanted: &str) -> Result<Secret> {
        if self.token_type != wanted {
            return Err(malformed(&format!(
                "the external account's program printed a token of type {:?}, not {wanted:?}",
                foreign(&self.token_type)
            )));
        }
        self.token
            .filter(|token| !token.expose().is_empty())
            .ok_or_else(|| malformed("the external account's program printed no token"))
    }
}

const DEFAULT_LIMIT: Duration = Duration::from_secs(30);
const MIN_LIMIT: Duration = Duration::from_secs(5);
const MAX_LIMIT: Duration = Duration::from_secs(120);
