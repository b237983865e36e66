//! Errors as gRPC words them: the code that fits an HTTP status, and the reason as a detail.

use std::collections::HashMap;

use bytes::Bytes;
use prost::Message;
use tonic::Code;

/// The gRPC form of an API error. `detail` is the reason of an `ErrorInfo` and the service that gives it.
pub(crate) fn status(http: u16, message: &str, detail: Option<(&str, &str)>) -> tonic::Status {
    let code = code(http);
    let details = detail.map(|(reason, service)| {
        let info = ErrorInfo {
            reason: reason.to_string(),
            domain: "googleapis.com".to_string(),
            metadata: HashMap::from([("service".to_string(), service.to_string())]),
        };
        Any {
            type_url: "type.googleapis.com/google.rpc.ErrorInfo".to_string(),
            value: info.encode_to_vec(),
        }
    });
    let whole = Rpc {
        code: code as i32,
        message: message.to_string(),
        details: details.into_iter().collect(),
    };
    tonic::Status::with_details(code, message, Bytes::from(whole.encode_to_vec()))
}

/// The code that fits an HTTP status.
fn code(http: u16) -> Code {
    match http {
        200..300 => Code::Ok,
        400 => Code::InvalidArgument,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        408 | 504 => Code::DeadlineExceeded,
        409 => Code::Aborted,
        429 => Code::ResourceExhausted,
        500 => Code::Internal,
        501 => Code::Unimplemented,
        502 | 503 => Code::Unavailable,
        _ => Code::Unknown,
    }
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct Rpc {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.ErrorInfo`.
#[derive(Clone, PartialEq, Message)]
struct ErrorInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(map = "string, string", tag = "3")]
    metadata: HashMap<String, String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_travels_in_the_details() {
        let status = status(
            403,
            "no",
            Some(("IAM_PERMISSION_DENIED", "alloydb.googleapis.com")),
        );
        assert_eq!(
            (status.code(), status.message()),
            (Code::PermissionDenied, "no")
        );
        let whole = Rpc::decode(status.details()).unwrap();
        let info = ErrorInfo::decode(&whole.details[0].value[..]).unwrap();
        assert_eq!(info.reason, "IAM_PERMISSION_DENIED");
        assert_eq!(whole.code, 7);
    }
}
