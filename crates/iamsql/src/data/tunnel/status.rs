//! What a gRPC status means: the end, another way to go, or an error of a kind.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::message::Status;
use crate::error::{Error, ErrorKind};
use crate::secret::foreign;

/// The status that stands in headers or trailers, if one does.
pub(super) fn read(headers: &HeaderMap) -> Option<Status> {
    let code = headers.get("grpc-status")?;
    let code = code.to_str().ok().and_then(|code| code.parse().ok());
    let details = headers
        .get("grpc-status-details-bin")
        .and_then(|encoded| {
            let encoded = encoded.as_bytes();
            let unpadded = STANDARD_NO_PAD.decode(encoded);
            unpadded.or_else(|_| STANDARD.decode(encoded)).ok()
        })
        .and_then(|bytes| Status::read(Bytes::from(bytes)).ok())
        .unwrap_or_default();
    let message = headers.get("grpc-message").map(|encoded| {
        let decoded = percent_encoding::percent_decode(encoded.as_bytes());
        decoded.decode_utf8_lossy().into_owned()
    });
    Some(Status {
        code: code.unwrap_or(UNKNOWN),
        message: message.unwrap_or(details.message),
        reason: details.reason,
    })
}

/// The status of an answer that is not gRPC at all, from a proxy perhaps.
pub(super) fn of_http(status: StatusCode) -> Status {
    let code = match status.as_u16() {
        400 => INTERNAL,
        401 => UNAUTHENTICATED,
        403 => PERMISSION_DENIED,
        404 => UNIMPLEMENTED,
        429 | 502..=504 => UNAVAILABLE,
        _ => UNKNOWN,
    };
    Status {
        code,
        message: format!("HTTP {}", status.as_u16()),
        reason: None,
    }
}

/// Whether the instance has no such service, so that it must be reached in another way.
pub(super) fn is_unsupported(status: &Status) -> bool {
    status.code == FAILED_PRECONDITION
        && status.message.starts_with("unsupported instance edition:")
}

/// Whether the session came to its regular end.
pub(super) fn is_regular(status: &Status) -> bool {
    status.code == OK
        || matches!(
            reason(status),
            Some("DB_CLIENT_CLOSED" | "DB_SERVER_CLOSED")
        )
}

/// Among the details, or as the message's first word.
fn reason(status: &Status) -> Option<&str> {
    let first = || status.message.split_once(": ").map(|(first, _)| first);
    let reason = status.reason.as_deref().or_else(first)?;
    REASONS.contains(&reason).then_some(reason)
}

/// The error that a status is.
pub(super) fn error(status: &Status) -> Error {
    let kind = match status.code {
        INVALID_ARGUMENT | FAILED_PRECONDITION | UNIMPLEMENTED => ErrorKind::Config,
        NOT_FOUND => ErrorKind::NotFound,
        PERMISSION_DENIED | UNAUTHENTICATED => ErrorKind::Permission,
        DEADLINE_EXCEEDED | RESOURCE_EXHAUSTED | INTERNAL | UNAVAILABLE => ErrorKind::Unavailable,
        _ => ErrorKind::Network,
    };
    let name = NAMES
        .get(status.code as usize)
        .copied()
        .unwrap_or("UNKNOWN");
    let told = match &status.reason {
        Some(reason) => format!(" ({})", foreign(reason)),
        None => String::new(),
    };
    let message = format!(
        "SqlData answered {name}{told}: {}",
        foreign(&status.message)
    );
    match reason(status) {
        Some("DISCONNECTED") => Error::new(ErrorKind::Network, message).with_retryable(true),
        _ => Error::new(kind, message),
    }
}

const REASONS: [&str; 6] = [
    "UNSUPPORTED_INSTANCE_TYPE",
    "RECONNECT_FAILED",
    "DB_CLIENT_CLOSED",
    "DB_SERVER_CLOSED",
    "INVALID_ACK",
    "DISCONNECTED",
];
const OK: u32 = 0;
const UNKNOWN: u32 = 2;
const INVALID_ARGUMENT: u32 = 3;
const DEADLINE_EXCEEDED: u32 = 4;
const NOT_FOUND: u32 = 5;
const PERMISSION_DENIED: u32 = 7;
const RESOURCE_EXHAUSTED: u32 = 8;
const FAILED_PRECONDITION: u32 = 9;
const UNIMPLEMENTED: u32 = 12;
const INTERNAL: u32 = 13;
const UNAVAILABLE: u32 = 14;
const UNAUTHENTICATED: u32 = 16;
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u32, message: &str, reason: Option<&str>) -> Status {
        Status {
            code,
            message: message.to_owned(),
            reason: reason.map(str::to_owned),
        }
    }

    #[test]
    fn each_status_says_whose_move_it_is() {
        for (code, kind) in [
            (INVALID_ARGUMENT, ErrorKind::Config),
            (NOT_FOUND, ErrorKind::NotFound),
            (PERMISSION_DENIED, ErrorKind::Permission),
            (UNAUTHENTICATED, ErrorKind::Permission),
            (UNAVAILABLE, ErrorKind::Unavailable),
            (UNKNOWN, ErrorKind::Network),
            (99, ErrorKind::Network),
        ] {
            assert_eq!(
                error(&status(code, "no\nforged", None)).kind(),
                kind,
                "{code}"
            );
        }
        let shown = error(&status(UNAVAILABLE, "no\nforged", Some("A\nB"))).to_string();
        assert_eq!(
            shown,
            "SqlData answered UNAVAILABLE (A\\u{a}B): no\\u{a}forged"
        );
        let lost = error(&status(UNKNOWN, "gone", Some("DISCONNECTED")));
        assert!(lost.is_retryable() && lost.kind() == ErrorKind::Network);
        assert!(is_regular(&status(
            UNAVAILABLE,
            "",
            Some("DB_SERVER_CLOSED")
        )));
        assert!(!is_regular(&status(UNAVAILABLE, "", None)));
    }

    #[test]
    fn only_the_very_words_lead_another_way() {
        let message = "unsupported instance edition: ENTERPRISE";
        assert!(is_unsupported(&status(FAILED_PRECONDITION, message, None)));
        assert!(!is_unsupported(&status(UNAVAILABLE, message, None)));
        assert!(!is_unsupported(&status(
            FAILED_PRECONDITION,
            "an unsupported instance edition:",
            None
        )));
    }

    #[test]
    fn a_status_is_read_from_trailers_with_its_message_decoded() {
        let mut headers = HeaderMap::new();
        assert_eq!(read(&headers), None);
        headers.insert("grpc-status", "9".parse().unwrap());
        headers.insert(
            "grpc-message",
            "unsupported instance edition%3A x".parse().unwrap(),
        );
        let read = read(&headers).unwrap();
        assert!(is_unsupported(&read), "{read:?}");
    }
}
