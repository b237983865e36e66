//! The messages of `google.cloud.alloydb.v1beta` and of the metadata exchange, field by field.

use std::time::Duration;

use prost::Message;
use serde_json::{Value, json};

/// `GetConnectionInfoRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct GetConnectionInfo {
    #[prost(string, tag = "1")]
    pub(super) parent: String,
    #[prost(string, tag = "2")]
    pub(super) request_id: String,
}

/// `ConnectionInfo`. An empty address is one that the instance does not have.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ConnectionInfo {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) ip_address: String,
    #[prost(string, repeated, tag = "3")]
    pub(super) pem_certificate_chain: Vec<String>,
    #[prost(string, tag = "4")]
    pub(super) instance_uid: String,
    #[prost(string, tag = "5")]
    pub(super) public_ip_address: String,
    #[prost(string, tag = "6")]
    pub(super) psc_dns_name: String,
}

/// `GenerateClientCertificateRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct GenerateClientCertificate {
    #[prost(string, tag = "1")]
    pub(super) parent: String,
    #[prost(string, tag = "2")]
    pub(super) request_id: String,
    /// No longer used.
    #[prost(string, tag = "3")]
    pub(super) pem_csr: String,
    #[prost(message, optional, tag = "4")]
    pub(super) cert_duration: Option<Span>,
    #[prost(string, tag = "5")]
    pub(super) public_key: String,
    #[prost(bool, tag = "6")]
    pub(super) use_metadata_exchange: bool,
}

/// `GenerateClientCertificateResponse`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ClientCertificate {
    #[prost(string, tag = "1")]
    pub(super) pem_certificate: String,
    #[prost(string, repeated, tag = "2")]
    pub(super) pem_certificate_chain: Vec<String>,
    #[prost(string, tag = "3")]
    pub(super) ca_cert: String,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Span {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// `google.cloud.alloydb.connectors.v1.MetadataExchangeRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ExchangeRequest {
    #[prost(string, tag = "1")]
    pub(super) user_agent: String,
    #[prost(enumeration = "AuthType", tag = "2")]
    pub(super) auth_type: i32,
    #[prost(string, tag = "3")]
    pub(super) oauth2_token: String,
}

/// How the client wants to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(super) enum AuthType {
    Unspecified = 0,
    DbNative = 1,
    AutoIam = 2,
}

/// `google.cloud.alloydb.connectors.v1.MetadataExchangeResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ExchangeResponse {
    #[prost(enumeration = "ResponseCode", tag = "1")]
    pub(super) response_code: i32,
    #[prost(string, tag = "2")]
    pub(super) error: String,
}

/// What the server thinks of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub(super) enum ResponseCode {
    Unspecified = 0,
    Ok = 1,
    Error = 2,
}

impl ConnectionInfo {
    /// As REST words it: what is empty is left out.
    pub(super) fn json(&self) -> Value {
        let fields = [
            ("name", &self.name),
            ("ipAddress", &self.ip_address),
            ("publicIpAddress", &self.public_ip_address),
            ("pscDnsName", &self.psc_dns_name),
            ("instanceUid", &self.instance_uid),
        ];
        fields
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.to_string(), Value::from(value.as_str())))
            .collect()
    }
}

impl ClientCertificate {
    pub(super) fn json(&self) -> Value {
        json!({
            "pemCertificate": self.pem_certificate,
            "pemCertificateChain": self.pem_certificate_chain,
            "caCert": self.ca_cert,
        })
    }
}

impl Span {
    /// Reads what JSON has for it, such as `3600s` or `1.5s`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
        let duration = Duration::try_from_secs_f64(seconds).ok()?;
        Some(Span {
            seconds: i64::try_from(duration.as_secs()).ok()?,
            nanos: duration.subsec_nanos() as i32,
        })
    }

    /// The duration, unless it is negative.
    pub(super) fn duration(&self) -> Option<Duration> {
        let nanos = u32::try_from(self.nanos).ok()?;
        Some(Duration::new(
            u64::try_from(self.seconds).ok()?,
            nanos.min(999_999_999),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read() {
        let read = |text| Span::parse(text).and_then(|span| span.duration());
        assert_eq!(read("3600s"), Some(Duration::from_secs(3600)));
        assert_eq!(read("1.5s"), Some(Duration::from_millis(1500)));
        for bad in ["", "s", "3600", "-1s", "1h", "NaNs"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn messages_have_the_numbers_of_the_api() {
        let request = GenerateClientCertificate {
            parent: "p".to_string(),
            cert_duration: Span::parse("1s"),
            public_key: "k".to_string(),
            use_metadata_exchange: true,
            ..Default::default()
        };
        let bytes = [10, 1, b'p', 34, 2, 8, 1, 42, 1, b'k', 48, 1];
        assert_eq!(request.encode_to_vec(), bytes);
        let request = ExchangeRequest {
            user_agent: "u".to_string(),
            auth_type: AuthType::AutoIam.into(),
            oauth2_token: "t".to_string(),
        };
        assert_eq!(request.encode_to_vec(), [10, 1, b'u', 16, 2, 26, 1, b't']);
    }
}
