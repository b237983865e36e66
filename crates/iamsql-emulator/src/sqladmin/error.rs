//! Errors in the shape and words of Google's APIs.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// An API error: becomes `{"error": {"code", "message", "errors", "status", "details"}}`.
pub(crate) struct ApiError {
    status: StatusCode,
    message: String,
    reason: &'static str,
    detail: Option<&'static str>,
    challenge: Option<String>,
    service: &'static str,
}

impl ApiError {
    /// 401: there is no bearer token.
    pub(crate) fn missing_credentials() -> Self {
        let message = "Request is missing required authentication credential. Expected OAuth 2 access token, login cookie or \
                       other valid authentication credential. See \
                       https://developers.google.com/identity/sign-in/web/devconsole-project.";
        ApiError {
            detail: Some("CREDENTIALS_MISSING"),
            challenge: Some(r#"Bearer realm="https://accounts.google.com/""#.to_string()),
            ..Self::new(StatusCode::UNAUTHORIZED, "required", message)
        }
    }

    /// 401: the bearer token is unknown, expired or revoked.
    pub(crate) fn bad_credentials() -> Self {
        let message = "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other \
                       valid authentication credential. See \
                       https://developers.google.com/identity/sign-in/web/devconsole-project.";
        ApiError {
            detail: Some("ACCESS_TOKEN_EXPIRED"),
            challenge: Some(
                r#"Bearer realm="https://accounts.google.com/", error="invalid_token""#.to_string(),
            ),
            ..Self::new(StatusCode::UNAUTHORIZED, "authError", message)
        }
    }

    /// 403: the token lacks every one of the scopes that the method takes.
    pub(crate) fn insufficient_scope(scopes: &[&str]) -> Self {
        ApiError {
            detail: Some("ACCESS_TOKEN_SCOPE_INSUFFICIENT"),
            challenge: Some(format!(
                r#"Bearer realm="https://accounts.google.com/", error="insufficient_scope", scope="{}""#,
                scopes.join(" ")
            )),
            ..Self::new(
                StatusCode::FORBIDDEN,
                "insufficientPermissions",
                "Request had insufficient authentication scopes.",
            )
        }
    }

    /// 403: the principal lacks `roles/cloudsql.client`, or the project is nothing to do with it.
    pub(crate) fn not_authorized() -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "notAuthorized",
            "The client is not authorized to make this request.",
        )
    }

    /// 403 in the words of the newer APIs, which name the permission.
    pub(crate) fn denied(permission: &str, resource: &str) -> Self {
        let message = format!(
            "Permission '{permission}' denied on resource '{resource}' (or it may not exist)."
        );
        ApiError {
            detail: Some("IAM_PERMISSION_DENIED"),
            ..Self::new(StatusCode::FORBIDDEN, "forbidden", message)
        }
    }

    /// 403 of IAM, which does not name what was asked for.
    pub(crate) fn denied_somewhere(permission: &str) -> Self {
        let message =
            format!("Permission '{permission}' denied on resource (or it may not exist).");
        ApiError {
            detail: Some("IAM_PERMISSION_DENIED"),
            ..Self::new(StatusCode::FORBIDDEN, "forbidden", message)
        }
    }

    /// 404.
    pub(crate) fn not_found(message: &str, reason: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, reason, message)
    }

    /// 400.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", message)
    }

    /// 500.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internalError", message)
    }

    /// An error that a fault asked for.
    pub(crate) fn scripted(status: StatusCode, message: &str) -> Self {
        let (reason, message) = match status.as_u16() {
            400 => ("invalid", message),
            401 => ("authError", message),
            403 => ("notAuthorized", message),
            404 => ("instanceDoesNotExist", message),
            429 => ("rateLimitExceeded", message),
            500.. => ("backendError", message),
            _ => ("unknown", message),
        };
        Self::new(status, reason, message)
    }

    fn new(status: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        ApiError {
            status,
            message: message.into(),
            reason,
            detail: None,
            challenge: None,
            service: SQL_ADMIN,
        }
    }

    /// The same from another service, such as `alloydb.googleapis.com`.
    pub(crate) fn of(mut self, service: &'static str) -> Self {
        self.service = service;
        self
    }

    /// The same for a gRPC client.
    pub(crate) fn grpc(&self) -> tonic::Status {
        let detail = self.detail.map(|reason| (reason, self.service));
        crate::grpc::status(self.status.as_u16(), &self.message, detail)
    }

    /// The HTTP status.
    pub(crate) fn code(&self) -> u16 {
        self.status.as_u16()
    }

    fn body(&self) -> Value {
        let mut error = json!({
            "code": self.status.as_u16(),
            "message": self.message,
            "status": canonical(self.status),
        });
        // Only the old APIs repeat themselves so.
        if self.service == SQL_ADMIN {
            error["errors"] =
                json!([{ "message": self.message, "domain": "global", "reason": self.reason }]);
        }
        if let Some(reason) = self.detail {
            error["details"] = json!([{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": reason,
                "domain": "googleapis.com",
                "metadata": { "service": self.service },
            }]);
        }
        json!({ "error": error })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, axum::Json(self.body())).into_response();
        if let Some(challenge) = self.challenge {
            let challenge = HeaderValue::try_from(challenge).expect("visible characters");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// The name of a status in Google's vocabulary.
fn canonical(status: StatusCode) -> &'static str {
    match status.as_u16() {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        408 | 504 => "DEADLINE_EXCEEDED",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        500 => "INTERNAL",
        501 => "UNIMPLEMENTED",
        502 | 503 => "UNAVAILABLE",
        _ => "UNKNOWN",
    }
}

const SQL_ADMIN: &str = "sqladmin.googleapis.com";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_googles_shape() {
        let body = ApiError::not_authorized().body();
        assert_eq!(body["error"]["code"], 403);
        assert_eq!(body["error"]["status"], "PERMISSION_DENIED");
        assert_eq!(body["error"]["errors"][0]["reason"], "notAuthorized");
        assert_eq!(
            ApiError::insufficient_scope(&["a"]).body()["error"]["details"][0]["reason"],
            "ACCESS_TOKEN_SCOPE_INSUFFICIENT"
        );
    }

    #[test]
    fn scripted_statuses_get_the_fitting_words() {
        let body = ApiError::scripted(StatusCode::TOO_MANY_REQUESTS, "slow down").body();
        assert_eq!(body["error"]["status"], "RESOURCE_EXHAUSTED");
        assert_eq!(body["error"]["errors"][0]["reason"], "rateLimitExceeded");
    }
}
