//! What token endpoints answer: a token, or an error in one of two shapes.

use std::time::SystemTime;

use serde::Deserialize;

use crate::control::credentials::token::{Token, expiry};
use crate::control::http::{Answer, retry};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::{Secret, foreign};

/// Reads `{"access_token": …, "expires_in": …}`.
pub(super) fn token(answer: &Answer, service: &str, now: SystemTime) -> Result<Token> {
    #[derive(Deserialize)]
    struct Granted {
        access_token: String,
        expires_in: Option<u64>,
    }
    let malformed = || {
        // The body may hold a token, so neither it nor the parser's complaint about it is shown.
        Error::new(
            ErrorKind::Unavailable,
            format!("{service} sent no token in its answer"),
        )
    };
    let granted: Granted = serde_json::from_slice(&answer.body).map_err(|_| malformed())?;
    if granted.access_token.is_empty() {
        return Err(malformed());
    }
    let token = Token::new(Secret::new(granted.access_token));
    Ok(match granted.expires_in {
        Some(seconds) => token.expires_at(expiry(now, seconds)),
        None => token,
    })
}

/// An error for an answer that is no token: what may pass by itself is `Unavailable`, the rest `Credentials`.
pub(super) fn refusal(answer: &Answer, service: &str) -> Error {
    let kind = match retry::is_transient(Some(answer.status)) {
        true => ErrorKind::Unavailable,
        false => ErrorKind::Credentials,
    };
    let said = match OAuthError::read(answer) {
        Some(error) => format!(": {}", error.text()),
        None => String::new(),
    };
    Error::new(
        kind,
        format!("{service} answered HTTP {}{said}", answer.status),
    )
    .with_http_status(answer.status)
}

/// The OAuth error code of a refusal, `invalid_grant` for instance.
pub(super) fn error_code(answer: &Answer) -> Option<String> {
    OAuthError::read(answer).map(|error| error.code)
}

struct OAuthError {
    code: String,
    description: Option<String>,
}

impl OAuthError {
    fn read(answer: &Answer) -> Option<Self> {
        #[derive(Deserialize)]
        struct Body {
            error: Shape,
            error_description: Option<String>,
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Shape {
            OAuth(String),
            Google {
                status: Option<String>,
                message: Option<String>,
            },
        }
        let body: Body = serde_json::from_slice(&answer.body).ok()?;
        Some(match body.error {
            Shape::OAuth(code) => OAuthError {
                code,
                description: body.error_description,
            },
            Shape::Google { status, message } => OAuthError {
                code: status.unwrap_or_default(),
                description: message,
            },
        })
    }

    fn text(&self) -> String {
        match &self.description {
            Some(description) => foreign(&format!("{}: {description}", self.code)),
            None => foreign(&self.code),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer::new(status, body)
    }

    #[test]
    fn a_grant_is_a_token_with_an_expiry_of_twelve_hours_at_most() {
        let now = SystemTime::UNIX_EPOCH;
        let granted = answer(
            200,
            r#"{"access_token":"ya29.token-text","expires_in":99999999,"token_type":"Bearer"}"#,
        );
        let token = token(&granted, "x", now).unwrap();
        assert_eq!(token.expires(), Some(now + Duration::from_secs(12 * 3600)));
        assert_eq!(token.secret().expose(), "ya29.token-text");
    }

    #[test]
    fn a_malformed_grant_is_not_shown() {
        for body in [
            r#"{"access_token":"ya29.half"#,
            r#"{"access_token":""}"#,
            "<html>",
        ] {
            let error = token(&answer(200, body), "x", SystemTime::UNIX_EPOCH).unwrap_err();
            assert_eq!(error.chain(), "x sent no token in its answer");
        }
    }

    #[test]
    fn both_shapes_of_refusal_are_read_and_a_raw_body_is_not_shown() {
        for (status, body, text, kind) in [
            (
                400,
                r#"{"error":"invalid_grant","error_description":"Bad Request"}"#,
                "x answered HTTP 400: invalid_grant: Bad Request",
                ErrorKind::Credentials,
            ),
            (
                403,
                r#"{"error":{"code":403,"message":"no","status":"PERMISSION_DENIED"}}"#,
                "x answered HTTP 403: PERMISSION_DENIED: no",
                ErrorKind::Credentials,
            ),
            (
                404,
                "<html>secret</html>",
                "x answered HTTP 404",
                ErrorKind::Credentials,
            ),
            (503, "", "x answered HTTP 503", ErrorKind::Unavailable),
            (302, "", "x answered HTTP 302", ErrorKind::Credentials),
        ] {
            let error = refusal(&answer(status, body), "x");
            assert_eq!((error.to_string().as_str(), error.kind()), (text, kind));
        }
    }
}
