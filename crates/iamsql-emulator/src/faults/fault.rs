//! One scripted failure: which endpoint fails, for whom, how often, and in what way.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One scripted failure.
///
/// Without [`Fault::instance`] and [`Fault::principal`] it meets every call to the endpoint; without [`Fault::times`] it
/// stays until it is cleared. The oldest matching fault wins.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// What fails.
    pub endpoint: Endpoint,
    /// In what way.
    pub effect: Effect,
    /// Only for this instance (`project:region:instance`). Metadata and token calls concern no instance.
    #[serde(default)]
    pub instance: Option<String>,
    /// Only for this principal (e-mail address). Unknown to [`Endpoint::Tcp`].
    #[serde(default)]
    pub principal: Option<String>,
    /// Only for this DNS name. For [`Endpoint::Dns`] alone.
    #[serde(default)]
    pub dns_name: Option<String>,
    /// Only the next so many calls.
    #[serde(default)]
    pub times: Option<u32>,
}

/// What a fault or a counted call concerns.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Endpoint {
    /// `/computeMetadata/v1/…`: everything but tokens.
    Metadata,
    /// `/computeMetadata/v1/instance/service-accounts/…/token`.
    MetadataToken,
    /// `/token`: JWT-bearer and refresh grants.
    Token,
    /// `/tokeninfo`.
    TokenInfo,
    /// `/v1/token` of STS: token exchange.
    StsToken,
    /// `/v1/oauthtoken` of STS: refresh grants of workforce pools.
    WorkforceToken,
    /// The URL of a subject token.
    SubjectToken,
    /// The metadata server of an AWS machine.
    AwsMetadata,
    /// `POST …:generateAccessToken`.
    GenerateAccessToken,
    /// `GET …/connectSettings`.
    ConnectSettings,
    /// `POST …:generateEphemeralCert`.
    GenerateEphemeralCert,
    /// A session of the data service (gRPC).
    SqlData,
    /// `GET …:resolveConnectSettings`.
    ResolveConnectSettings,
    /// AlloyDB's `GET …/connectionInfo` and `GetConnectionInfo`.
    ConnectionInfo,
    /// AlloyDB's `POST …:generateClientCertificate` and `GenerateClientCertificate`.
    GenerateClientCertificate,
    /// The metadata exchange with which an AlloyDB connection begins, and a Cloud SQL connection may, after the request was
    /// read.
    MetadataExchange,
    /// Accepting connections on port 3307, or AlloyDB's 5433.
    Tcp,
    /// What happens on an accepted connection to such a port.
    Tls,
    /// A question to the DNS server. Understands `Delay`, `Hang` (no answer), `DnsError` and `Truncate`.
    Dns,
}

/// The way of failing.
///
/// HTTP stands for gRPC too. All endpoints understand `Delay`, `Hang` and `Reset`; the other effects
/// say where they apply. An effect that means nothing at its endpoint is refused by [`Faults::inject`](crate::Faults::inject).
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Effect {
    /// HTTP: answers with this status.
    Status {
        /// The status code.
        status: u16,
        /// The body; `None` means an error shaped like Google's.
        #[serde(default)]
        body: Option<String>,
        /// A `Retry-After` header.
        #[serde(default)]
        retry_after: Option<String>,
    },
    /// Waits, then goes on as usual.
    Delay {
        /// How long.
        #[serde(with = "milliseconds")]
        milliseconds: Duration,
    },
    /// Never answers; the connection stays open. At [`Endpoint::Tcp`] the connection is accepted and then ignored.
    Hang,
    /// Resets the connection (RST) instead of answering.
    Reset,
    /// HTTP: status 200 with a body that is not JSON, cut off in the middle. [`Endpoint::MetadataExchange`]: an answer
    /// that is no message.
    Malformed,
    /// HTTP: status 200 with a valid JSON body of about this many bytes. [`Endpoint::MetadataExchange`]: an answer of
    /// so many bytes.
    Huge {
        /// Size of the body.
        bytes: usize,
    },
    /// HTTP and [`Endpoint::MetadataExchange`]: the beginning of a good answer; then the connection ends.
    ResetMidBody,
    /// HTTP: redirects.
    Redirect {
        /// 301, 302, 303, 307 or 308.
        status: u16,
        /// Where to.
        location: String,
    },
    /// HTTP: an error whose text repeats the caller's own bearer token, `access_token`, assertion or refresh token, with
    /// line breaks, terminal escapes and bidirectional marks around a forged log line.
    EchoSecrets {
        /// The status code.
        status: u16,
    },
    /// [`Endpoint::MetadataExchange`]: the answer is an error.
    RefuseExchange {
        /// The text. `None` means one that repeats the token of the request, as [`Effect::EchoSecrets`] does.
        #[serde(default)]
        message: Option<String>,
    },
    /// [`Endpoint::Tcp`]: the port is closed, connecting is refused. Until cleared; cannot be counted.
    Refuse,
    /// [`Endpoint::Tcp`]: connecting is never answered. Until cleared; cannot be counted. On Linux the kernel drops the
    /// request; elsewhere the connection is accepted and ignored.
    BlackHole,
    /// [`Endpoint::Tls`]: the client certificate is refused. In TLS 1.3 the client learns it after its own handshake.
    RefuseCertificate {
        /// The alert that says so.
        #[serde(default)]
        alert: CertificateAlert,
    },
    /// [`Endpoint::Tls`]: the handshake completes, then nothing is read or answered.
    Stall,
    /// [`Endpoint::Tls`]: the startup packet of a PostgreSQL client is answered with a FATAL, by an echo too.
    Fatal {
        /// The SQLSTATE, such as `28000`.
        code: String,
        /// The text. `None` means one that repeats the certificate's login token, as [`Effect::EchoSecrets`] does.
        #[serde(default)]
        message: Option<String>,
    },
    /// [`Endpoint::Dns`]: answered with this code and no records.
    DnsError {
        /// The code.
        code: DnsCode,
    },
    /// [`Endpoint::Dns`]: an answer over UDP says that it is cut off, so that the client asks over TCP.
    Truncate,
    /// [`Endpoint::Tls`], [`Endpoint::SqlData`]: the connection is reset once this many bytes of application data were sent to the client.
    ResetAfter {
        /// How many.
        bytes: u64,
    },
}

/// The TLS alert that refuses a client certificate.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateAlert {
    /// `bad_certificate` (42).
    #[default]
    Bad,
    /// `certificate_revoked` (44).
    Revoked,
    /// `certificate_expired` (45).
    Expired,
    /// `unknown_ca` (48).
    UnknownCa,
    /// `access_denied` (49).
    AccessDenied,
}

/// How a DNS question fails.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DnsCode {
    /// SERVFAIL.
    ServerFailure,
    /// NXDOMAIN.
    NoSuchName,
    /// REFUSED.
    Refused,
    /// NOERROR without records of the type asked for.
    NoData,
}

impl Fault {
    /// A fault for everybody, until cleared.
    pub fn new(endpoint: Endpoint, effect: Effect) -> Self {
        Fault {
            endpoint,
            effect,
            instance: None,
            principal: None,
            dns_name: None,
            times: None,
        }
    }

    /// Only for this instance.
    pub fn instance(mut self, name: impl Into<String>) -> Self {
        self.instance = Some(name.into());
        self
    }

    /// Only for this principal.
    pub fn principal(mut self, email: impl Into<String>) -> Self {
        self.principal = Some(email.into());
        self
    }

    /// Only for this DNS name.
    pub fn dns_name(mut self, name: impl Into<String>) -> Self {
        self.dns_name = Some(name.into());
        self
    }

    /// Only the next `n` calls.
    pub fn times(mut self, n: u32) -> Self {
        self.times = Some(n);
        self
    }

    pub(super) fn concerns(
        &self,
        endpoint: Endpoint,
        instance: Option<&str>,
        principal: Option<&str>,
    ) -> bool {
        self.endpoint == endpoint
            && self
                .instance
                .as_deref()
                .is_none_or(|wanted| Some(wanted) == instance)
            && self
                .principal
                .as_deref()
                .is_none_or(|wanted| Some(wanted) == principal)
    }

    pub(super) fn concerns_name(&self, name: &str) -> bool {
        self.endpoint == Endpoint::Dns
            && self
                .dns_name
                .as_deref()
                .is_none_or(|wanted| crate::dns::key(wanted) == name)
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        let (tcp, tls) = (
            self.endpoint == Endpoint::Tcp,
            self.endpoint == Endpoint::Tls,
        );
        let dns = self.endpoint == Endpoint::Dns;
        let exchange = self.endpoint == Endpoint::MetadataExchange;
        let session = self.endpoint == Endpoint::SqlData;
        let http = !tcp && !tls && !dns && !exchange && !session;
        let fits = match self.effect {
            Effect::DnsError { .. } | Effect::Truncate => dns,
            Effect::Reset => !dns,
            Effect::Delay { .. } | Effect::Hang => true,
            Effect::Refuse | Effect::BlackHole => tcp,
            Effect::RefuseCertificate { .. } | Effect::Stall | Effect::Fatal { .. } => tls,
            Effect::ResetAfter { .. } => tls || session,
            Effect::RefuseExchange { .. } => exchange,
            Effect::Status { status, .. } | Effect::EchoSecrets { status } => {
                (http || session) && (200..600).contains(&status)
            }
            Effect::Redirect { status, .. } => http && (300..400).contains(&status),
            Effect::Malformed | Effect::ResetMidBody | Effect::Huge { .. } => http || exchange,
        };
        if !fits {
            return Err(format!(
                "{:?} means nothing at {:?}",
                self.effect, self.endpoint
            ));
        }
        if matches!(self.effect, Effect::Refuse | Effect::BlackHole) && self.times.is_some() {
            return Err(format!(
                "{:?} lasts until it is cleared: refused connections cannot be counted",
                self.effect
            ));
        }
        if self.dns_name.is_some() && !dns {
            return Err("only questions to the DNS server concern a DNS name".to_string());
        }
        if dns && (self.instance.is_some() || self.principal.is_some()) {
            return Err("a question to the DNS server concerns a dns_name alone".to_string());
        }
        if tcp && self.principal.is_some() {
            return Err("nobody's identity is known before TLS: use Endpoint::Tls".to_string());
        }
        if tls
            && self.principal.is_some()
            && matches!(
                self.effect,
                Effect::Delay { .. } | Effect::Hang | Effect::Reset
            )
        {
            return Err(
                "the handshake is disturbed before the client says who it is: scope it to an instance".to_string(),
            );
        }
        Ok(())
    }
}

impl Effect {
    /// Answers with `status` and an error shaped like Google's.
    pub fn status(status: u16) -> Self {
        Effect::Status {
            status,
            body: None,
            retry_after: None,
        }
    }

    /// Waits, then goes on as usual.
    pub fn delay(time: Duration) -> Self {
        Effect::Delay { milliseconds: time }
    }

    /// Refuses a PostgreSQL login with this SQLSTATE and text.
    pub fn fatal(code: impl Into<String>, message: impl Into<String>) -> Self {
        Effect::Fatal {
            code: code.into(),
            message: Some(message.into()),
        }
    }

    /// Answers a metadata exchange with this error.
    pub fn refuse_exchange(message: impl Into<String>) -> Self {
        Effect::RefuseExchange {
            message: Some(message.into()),
        }
    }

    /// The text of an error that repeats what a client sent in confidence, around a forged log line.
    pub(crate) fn echoed(secrets: &[String]) -> String {
        format!(
            "refused: {}\r\n2026-01-01T00:00:00Z ERROR forged line\u{1b}[31m\u{202e}\u{2028}end",
            secrets.join(" and ")
        )
    }

    /// Adds a `Retry-After` header to a status; other effects stay as they are.
    pub fn retry_after(mut self, value: impl Into<String>) -> Self {
        if let Effect::Status { retry_after, .. } = &mut self {
            *retry_after = Some(value.into());
        }
        self
    }

    /// Gives a status this body; other effects stay as they are.
    pub fn body(mut self, text: impl Into<String>) -> Self {
        if let Effect::Status { body, .. } = &mut self {
            *body = Some(text.into());
        }
        self
    }
}

mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        value: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        (value.as_millis() as u64).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}
