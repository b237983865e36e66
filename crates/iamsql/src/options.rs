//! What a caller may choose, with every default, unit and range in one place.

use std::str::FromStr;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::instance::Product;
use crate::secret::foreign;
use crate::user::DatabaseEngine;

/// Which of an instance's addresses to dial. Default: [`Public`](Self::Public) for Cloud SQL, [`Private`](Self::Private)
/// for AlloyDB.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IpType {
    /// The public address.
    Public,
    /// The private address, inside the VPC network.
    Private,
    /// A Private Service Connect endpoint in the caller's own network, found by its DNS name.
    Psc,
    /// The public address if the instance has one, else the private.
    Auto,
    /// No address at all: a stream through Cloud SQL's API, where no network path leads to the instance.
    SqlData,
}

impl IpType {
    /// What is dialled where nobody chose.
    pub(crate) fn usual(product: Product) -> Self {
        match product {
            Product::CloudSql => IpType::Public,
            Product::AlloyDb => IpType::Private,
        }
    }

    /// The name that options and messages use.
    pub fn as_str(self) -> &'static str {
        match self {
            IpType::Public => "PUBLIC",
            IpType::Private => "PRIVATE",
            IpType::Psc => "PSC",
            IpType::Auto => "AUTO",
            IpType::SqlData => "SQL_DATA",
        }
    }
}

/// How the database login happens.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AuthMode {
    /// The server logs in as the IAM principal: the client certificate carries a login token, and no password is sent.
    Iam,
    /// The driver sends a user and a password of its own.
    Password,
}

/// Whether a database login may ever use a token that can do more than log in. Default [`LoginScope::Narrow`].
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LoginScope {
    /// Tokens that only log in. Where a human's login was never granted that scope, an AlloyDB metadata exchange falls back
    /// to the whole grant, over a connection whose server has proved its identity, with one warning. Token sources of yours
    /// that cannot be narrowed are used with the same warning.
    #[default]
    Narrow,
    /// Tokens that only log in, or none.
    Strict,
}

/// When certificates are renewed. Default [`RefreshStrategy::Auto`].
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RefreshStrategy {
    /// Ahead of expiry while the instance is in use, asleep while it is not.
    #[default]
    Auto,
    /// Ahead of expiry, always.
    Background,
    /// Only when a connect needs it: for machines that get no CPU between requests.
    Lazy,
}

/// How a driver believes that it reaches the server, which decides whether it sends a MySQL password in the clear (inside our
/// TLS) or asks for a key to encrypt it with first.
///
/// Told to servers that ask for it, so that both sides choose the same way of `caching_sha2_password`.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ClientProtocol {
    /// Over TLS of the driver's own, or a socket that it was told is safe.
    Tls,
    /// Over plain TCP.
    Tcp,
    /// Over a Unix socket.
    Uds,
}

/// What one connect may override; what is unset comes from the [`Connector`](crate::Connector).
#[non_exhaustive]
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// Which address to dial.
    pub ip_type: Option<IpType>,
    /// How the database login happens.
    pub auth_mode: Option<AuthMode>,
    /// How long the whole connect may take. At least 1 ms, at most an hour.
    pub timeout: Option<Duration>,
    /// What the driver speaks.
    pub engine: Option<DatabaseEngine>,
    /// How the driver reaches us, where that is not as the door usually has it.
    pub client_protocol: Option<ClientProtocol>,
}

impl ConnectOptions {
    /// Nothing overridden.
    pub fn new() -> Self {
        Self::default()
    }

    /// Which address to dial.
    pub fn ip_type(mut self, ip_type: IpType) -> Self {
        self.ip_type = Some(ip_type);
        self
    }

    /// How the database login happens.
    pub fn auth_mode(mut self, auth_mode: AuthMode) -> Self {
        self.auth_mode = Some(auth_mode);
        self
    }

    /// How long the whole connect may take. At least 1 ms, at most an hour; anything else is a
    /// [`Config`](crate::ErrorKind::Config) error when connecting.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// What the driver speaks: connecting to an instance that runs something else is then a
    /// [`Config`](crate::ErrorKind::Config) error, before anything is dialled. Default: not checked.
    pub fn engine(mut self, engine: DatabaseEngine) -> Self {
        self.engine = Some(engine);
        self
    }

    /// How the driver believes that it reaches the server. Default: [`ClientProtocol::Uds`] behind a private listener,
    /// [`ClientProtocol::Tcp`] everywhere else.
    pub fn client_protocol(mut self, protocol: ClientProtocol) -> Self {
        self.client_protocol = Some(protocol);
        self
    }
}

impl FromStr for IpType {
    type Err = Error;

    /// `PUBLIC` (or its API name `PRIMARY`), `PRIVATE`, `PSC`, `AUTO` or `SQL_DATA`, in any case.
    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_uppercase().as_str() {
            "PUBLIC" | "PRIMARY" => Ok(IpType::Public),
            "PRIVATE" => Ok(IpType::Private),
            "PSC" => Ok(IpType::Psc),
            "AUTO" => Ok(IpType::Auto),
            "SQL_DATA" => Ok(IpType::SqlData),
            _ => Err(unknown(
                "ip_type",
                text,
                "PUBLIC, PRIVATE, PSC, AUTO or SQL_DATA",
            )),
        }
    }
}

impl FromStr for AuthMode {
    type Err = Error;

    /// `IAM` or `PASSWORD`, in any case.
    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_uppercase().as_str() {
            "IAM" => Ok(AuthMode::Iam),
            "PASSWORD" => Ok(AuthMode::Password),
            _ => Err(unknown("auth_mode", text, "IAM or PASSWORD")),
        }
    }
}

impl FromStr for LoginScope {
    type Err = Error;

    /// Reads `narrow` or `strict`, in any case.
    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "narrow" => Ok(LoginScope::Narrow),
            "strict" => Ok(LoginScope::Strict),
            _ => Err(unknown("login_scope", text, "NARROW or STRICT")),
        }
    }
}

impl FromStr for ClientProtocol {
    type Err = Error;

    /// `TLS`, `TCP` or `UDS`, in any case.
    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_uppercase().as_str() {
            "TLS" => Ok(ClientProtocol::Tls),
            "TCP" => Ok(ClientProtocol::Tcp),
            "UDS" => Ok(ClientProtocol::Uds),
            _ => Err(unknown("client_protocol", text, "TLS, TCP or UDS")),
        }
    }
}

impl FromStr for RefreshStrategy {
    type Err = Error;

    /// `AUTO`, `BACKGROUND` or `LAZY`, in any case.
    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_uppercase().as_str() {
            "AUTO" => Ok(RefreshStrategy::Auto),
            "BACKGROUND" => Ok(RefreshStrategy::Background),
            "LAZY" => Ok(RefreshStrategy::Lazy),
            _ => Err(unknown(
                "refresh_strategy",
                text,
                "AUTO, BACKGROUND or LAZY",
            )),
        }
    }
}

/// Refuses a timeout outside its range.
pub(crate) fn checked_timeout(timeout: Duration) -> Result<Duration> {
    match timeout >= MIN_TIMEOUT && timeout <= MAX_TIMEOUT {
        true => Ok(timeout),
        false => Err(Error::config(format!(
            "timeout of {timeout:?} is out of range: 1 ms to 1 h"
        ))),
    }
}

fn unknown(option: &str, given: &str, wanted: &str) -> Error {
    Error::config(format!(
        "{option} {:?} is not known: want {wanted}",
        foreign(given)
    ))
}

/// How long a connect may take from name to ready stream, unless said otherwise.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long TCP may take for each address.
pub(crate) const TCP_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the TLS handshake, and the metadata exchange after it, may take.
pub(crate) const TLS_TIMEOUT: Duration = Duration::from_secs(10);

/// How often a domain name in use is looked up again, unless said otherwise.
pub(crate) const DEFAULT_FAILOVER_PERIOD: Duration = Duration::from_secs(30);

/// Keep-alive on every socket to an instance: idle time before the first probe.
pub(crate) const TCP_KEEPALIVE: Duration = Duration::from_secs(30);

/// The port of Cloud SQL's server-side proxy.
pub(crate) const CLOUD_SQL_PORT: u16 = 3307;

/// The port of AlloyDB's server-side proxy.
pub(crate) const ALLOYDB_PORT: u16 = 5433;

const MIN_TIMEOUT: Duration = Duration::from_millis(1);
const MAX_TIMEOUT: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn names_are_read_in_any_case() {
        assert_eq!("primary".parse::<IpType>().unwrap(), IpType::Public);
        assert_eq!("Auto".parse::<IpType>().unwrap(), IpType::Auto);
        assert_eq!("strict".parse::<LoginScope>().unwrap(), LoginScope::Strict);
        for ip_type in ["PUBLIC", "PRIVATE", "PSC", "AUTO", "SQL_DATA"] {
            let read: IpType = ip_type.to_lowercase().parse().unwrap();
            assert_eq!(read.as_str(), ip_type);
        }
        assert_eq!("iam".parse::<AuthMode>().unwrap(), AuthMode::Iam);
        assert_eq!(
            "LAZY".parse::<RefreshStrategy>().unwrap(),
            RefreshStrategy::Lazy
        );
        let error = "fast".parse::<RefreshStrategy>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(
            error.to_string(),
            "refresh_strategy \"fast\" is not known: want AUTO, BACKGROUND or LAZY"
        );
    }

    #[test]
    fn a_timeout_of_zero_or_of_days_is_refused() {
        assert!(checked_timeout(Duration::ZERO).is_err());
        assert!(checked_timeout(Duration::from_secs(86_400)).is_err());
        assert!(checked_timeout(DEFAULT_TIMEOUT).is_ok());
    }
}
