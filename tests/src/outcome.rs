//! What came of a request, as the client's process told it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A client's answer: the last line of its standard output.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Outcome {
    /// The query answered.
    LoggedIn {
        /// `current_user`.
        user: String,
        /// `server_version`.
        version: String,
        /// Seconds from the first call to the first row.
        seconds: f64,
    },
    /// The connect or the login failed.
    Refused {
        /// The kind, such as `IAMSQL_TLS`; absent where the door speaks only text (`psql`).
        code: Option<String>,
        /// What the application sees.
        message: String,
        /// What it is told to do, if that is not part of the message.
        advice: Option<String>,
        /// Seconds from the first call to the failure.
        seconds: f64,
    },
}

/// What a scenario demands.
#[derive(Clone, Debug)]
pub enum Expected {
    /// A login as this database user.
    User(String),
    /// A failure of this kind, within the time, in a text that says all of these.
    Failure {
        /// The kind, such as `IAMSQL_TLS`.
        code: &'static str,
        /// The longest that it may take.
        within: Duration,
        /// Parts of the message or advice.
        says: Vec<String>,
    },
}

impl Expected {
    /// Why the outcome is not what was demanded, or nothing if it is.
    pub fn contradicts(&self, outcome: &Outcome) -> Option<String> {
        match (self, outcome) {
            (Expected::User(wanted), Outcome::LoggedIn { user, .. }) if user == wanted => None,
            (Expected::User(wanted), other) => {
                Some(format!("wanted a login as {wanted}, got {other:?}"))
            }
            (Expected::Failure { code, .. }, other @ Outcome::LoggedIn { .. }) => {
                Some(format!("wanted {code}, got {other:?}"))
            }
            (
                Expected::Failure { code, within, says },
                Outcome::Refused {
                    code: got,
                    message,
                    advice,
                    seconds,
                },
            ) => {
                let text = format!("{message}\n{}", advice.as_deref().unwrap_or_default());
                if got.as_deref().is_some_and(|got| got != *code) {
                    return Some(format!("wanted {code}, got {got:?}: {text}"));
                }
                if Duration::from_secs_f64(*seconds) > *within {
                    return Some(format!("took {seconds:.1} s, more than {within:?}: {text}"));
                }
                says.iter()
                    .find(|part| !text.contains(part.as_str()))
                    .map(|part| format!("{text:?} does not say {part:?}"))
            }
        }
    }
}
