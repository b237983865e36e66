//! What every fallible call returns: what failed, whose move it is, whether to retry, at which instance.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

use crate::instance::short;
use crate::options::IpType;

/// What iamsql's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a call failed. Cheap to clone: refresh failures are handed to every waiter.
///
/// `Display` prints one line without the cause; [`Error::chain`] joins the causes for an edge (a log, another language).
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    instance: Option<String>,
    detail: Option<Detail>,
    advice: Option<String>,
    status: Option<u16>,
    retryable: Option<bool>,
    retry_at: Option<SystemTime>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// The kinds of failure, the one vocabulary of every door.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The name, an option or an environment variable cannot mean anything. Fix the call.
    Config,
    /// No usable Google credentials. Run `gcloud auth application-default login`, or mount a service account.
    Credentials,
    /// The Admin API refused: 401 or 403. Grant the role named in the advice.
    Permission,
    /// No such instance, or it lacks the address type asked for.
    NotFound,
    /// The Admin API or metadata server could not be reached, or answered 429 or 5xx.
    Unavailable,
    /// A domain name did not resolve to an instance.
    Dns,
    /// TCP never connected.
    Network,
    /// TLS failed: wrong server identity, or the certificate was refused.
    Tls,
    /// The server refused the metadata exchange.
    Handshake,
    /// The database refused the login; names the principal and the user that would work.
    Login,
    /// The deadline passed.
    Timeout,
    /// The connector was closed.
    Closed,
}

/// Particulars for which the official connectors have a code or class of their own; compatibility layers translate by them.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detail {
    /// The text does not read as an instance connection name.
    MalformedName,
    /// The instance runs in another region than its connection name says.
    WrongRegion {
        /// The region in the connection name.
        named: String,
        /// The region that the Admin API reports.
        actual: String,
    },
    /// The instance has no address of the type asked for.
    NoAddress(IpType),
    /// The server's certificate is not the instance's.
    WrongServer {
        /// The name that the certificate bears, as far as it could be read.
        presented: String,
        /// The name that it had to bear.
        expected: String,
    },
}

impl Error {
    /// An error of `kind` whose `message` is one lower-case line, the most specific fact first, without the cause.
    ///
    /// Public because a [`TokenSource`](crate::TokenSource) of your own reports failures with it.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Arc::new(Inner {
            kind,
            message: message.into(),
            instance: None,
            detail: None,
            advice: None,
            status: None,
            retryable: None,
            retry_at: None,
            source: None,
        }))
    }

    /// What sort of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The kind as text, `"IAMSQL_TLS"` for [`ErrorKind::Tls`]: what other languages and logs see.
    pub fn code(&self) -> &'static str {
        self.0.kind.code()
    }

    /// Whether the same call may succeed later with nothing changed by the caller.
    pub fn is_retryable(&self) -> bool {
        self.0
            .retryable
            .unwrap_or_else(|| self.0.kind.is_retryable())
    }

    /// What to do about it: a sentence, often with the command to run.
    pub fn advice(&self) -> Option<&str> {
        self.0.advice.as_deref().or_else(|| self.0.kind.advice())
    }

    /// The instance that the call was for, as the caller spelled it.
    pub fn instance(&self) -> Option<&str> {
        self.0.instance.as_deref()
    }

    /// What exactly was wrong, where the official connectors distinguish it.
    pub fn detail(&self) -> Option<&Detail> {
        self.0.detail.as_ref()
    }

    /// The HTTP status of the answer that caused this, if one did.
    pub fn http_status(&self) -> Option<u16> {
        self.0.status
    }

    /// When the server said to come back, if it did.
    pub fn retry_at(&self) -> Option<SystemTime> {
        self.0.retry_at
    }

    /// The kind of the input/output error below this one, if there is one.
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        self.io_error().map(io::Error::kind)
    }

    /// The operating system's error number below this one, if there is one.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.io_error().and_then(io::Error::raw_os_error)
    }

    /// The message and each cause, joined by `": "`; a cause whose text the previous one already ends with is left out.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut next = self.source();
        while let Some(cause) = next {
            let cause_text = cause.to_string();
            if !text.ends_with(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            next = cause.source();
        }
        text
    }

    pub(crate) fn config(message: impl Into<String>) -> Self {
        Error::new(ErrorKind::Config, message)
    }

    /// The same error, with its cause.
    pub fn with_source(self, source: impl StdError + Send + Sync + 'static) -> Self {
        self.edit(|inner| inner.source = Some(Arc::new(source)))
    }

    /// The same error, naming the instance; the first name given stays.
    pub fn with_instance(self, instance: impl fmt::Display) -> Self {
        self.edit(|inner| {
            inner.instance.get_or_insert_with(|| instance.to_string());
        })
    }

    pub(crate) fn with_detail(self, detail: Detail) -> Self {
        self.edit(|inner| inner.detail = Some(detail))
    }

    /// The same error, with its own advice instead of the kind's.
    pub fn with_advice(self, advice: impl Into<String>) -> Self {
        self.edit(|inner| inner.advice = Some(advice.into()))
    }

    pub(crate) fn with_http_status(self, status: u16) -> Self {
        self.edit(|inner| inner.status = Some(status))
    }

    pub(crate) fn with_retryable(self, retryable: bool) -> Self {
        self.edit(|inner| inner.retryable = Some(retryable))
    }

    pub(crate) fn with_retry_at(self, at: SystemTime) -> Self {
        self.edit(|inner| inner.retry_at = Some(at))
    }

    fn edit(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    fn io_error(&self) -> Option<&io::Error> {
        let mut next = self.source();
        while let Some(cause) = next {
            if let Some(error) = cause.downcast_ref::<io::Error>() {
                return Some(error);
            }
            next = cause.source();
        }
        None
    }
}

impl ErrorKind {
    /// Every kind, for tables in other languages that must be complete.
    pub const ALL: &'static [ErrorKind] = &[
        ErrorKind::Config,
        ErrorKind::Credentials,
        ErrorKind::Permission,
        ErrorKind::NotFound,
        ErrorKind::Unavailable,
        ErrorKind::Dns,
        ErrorKind::Network,
        ErrorKind::Tls,
        ErrorKind::Handshake,
        ErrorKind::Login,
        ErrorKind::Timeout,
        ErrorKind::Closed,
    ];

    /// The kind as text, the same in every language.
    pub fn code(self) -> &'static str {
        match self {
            ErrorKind::Config => "IAMSQL_CONFIG",
            ErrorKind::Credentials => "IAMSQL_CREDENTIALS",
            ErrorKind::Permission => "IAMSQL_PERMISSION",
            ErrorKind::NotFound => "IAMSQL_NOT_FOUND",
            ErrorKind::Unavailable => "IAMSQL_UNAVAILABLE",
            ErrorKind::Dns => "IAMSQL_DNS",
            ErrorKind::Network => "IAMSQL_NETWORK",
            ErrorKind::Tls => "IAMSQL_TLS",
            ErrorKind::Handshake => "IAMSQL_HANDSHAKE",
            ErrorKind::Login => "IAMSQL_LOGIN",
            ErrorKind::Timeout => "IAMSQL_TIMEOUT",
            ErrorKind::Closed => "IAMSQL_CLOSED",
        }
    }

    /// Whether failures of this kind usually pass by themselves. One error may know better: [`Error::is_retryable`].
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            ErrorKind::Unavailable | ErrorKind::Dns | ErrorKind::Network | ErrorKind::Timeout
        )
    }

    fn advice(self) -> Option<&'static str> {
        Some(match self {
            ErrorKind::Config => return None,
            ErrorKind::Credentials => {
                "run `gcloud auth application-default login`, or run where a service account is attached"
            }
            ErrorKind::Permission => {
                "grant the principal roles/cloudsql.client and roles/cloudsql.instanceUser on the project"
            }
            ErrorKind::NotFound => {
                "check the instance connection name with `gcloud sql instances describe`"
            }
            ErrorKind::Unavailable => {
                "try again; if it lasts, check the way to the Admin API and its quota"
            }
            ErrorKind::Dns => "check the name's DNS records from this machine",
            ErrorKind::Network => {
                "check that this machine may reach the instance's address on port 3307 (AlloyDB: 5433), and that the address type is right"
            }
            ErrorKind::Tls => {
                "check that the connection name and the address belong to the same instance"
            }
            ErrorKind::Handshake => return None,
            ErrorKind::Login => {
                "check that the database user exists and is spelled as the instance spells it"
            }
            ErrorKind::Timeout => {
                "try again; if it lasts, check the network path, or raise the timeout"
            }
            ErrorKind::Closed => "make a new connector",
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(instance) = &self.0.instance {
            write!(f, "{}: ", short(instance))?;
        }
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({:?})", self.code(), self.chain())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|cause| cause as &(dyn StdError + 'static))
    }
}

impl From<Error> for io::Error {
    /// For faces whose traits speak `io::Error`; the error itself stays reachable by downcast.
    fn from(error: Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Timeout => io::ErrorKind::TimedOut,
            ErrorKind::Closed => io::ErrorKind::NotConnected,
            ErrorKind::Config => io::ErrorKind::InvalidInput,
            _ => error.io_kind().unwrap_or(io::ErrorKind::Other),
        };
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_code() {
        let codes: std::collections::HashSet<_> =
            ErrorKind::ALL.iter().map(|kind| kind.code()).collect();
        assert_eq!(codes.len(), ErrorKind::ALL.len());
        assert!(codes.iter().all(|code| code.starts_with("IAMSQL_")));
    }

    #[test]
    fn the_line_names_the_instance_and_leaves_the_cause_to_the_chain() {
        let error = Error::new(ErrorKind::Network, "connecting to 203.0.113.9:3307 failed")
            .with_source(io::Error::from_raw_os_error(111))
            .with_instance("p:r:i")
            .with_instance("another");
        assert_eq!(
            error.to_string(),
            "p:r:i: connecting to 203.0.113.9:3307 failed"
        );
        assert!(
            error
                .chain()
                .starts_with("p:r:i: connecting to 203.0.113.9:3307 failed: Connection refused")
        );
        assert_eq!(error.io_kind(), Some(io::ErrorKind::ConnectionRefused));
        assert_eq!(error.raw_os_error(), Some(111));
    }

    #[test]
    fn a_repeated_cause_is_printed_once() {
        let error = Error::new(ErrorKind::Tls, "no").with_source(Error::new(ErrorKind::Tls, "no"));
        assert_eq!(error.chain(), "no");
    }
}
