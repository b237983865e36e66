//! What the gate itself says to a client: refusals, and the request for a password.

use crate::instance::Product;
use crate::login::startup::Malformed;
use crate::principal::PrincipalKind;

/// An ErrorResponse that ends the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fatal {
    sqlstate: &'static str,
    message: String,
}

impl Fatal {
    /// The refusal of an IAM user, in the words of the real service, which keeps the reason to its log.
    pub(super) fn iam(product: Product, kind: PrincipalKind, user: &str) -> Fatal {
        let kind = match (product, kind) {
            (Product::CloudSql, PrincipalKind::Human) => "Cloud SQL IAM user",
            (Product::CloudSql, PrincipalKind::ServiceAccount) => "Cloud SQL IAM service account",
            // AlloyDB does not tell them apart.
            (Product::AlloyDb, _) => "AlloyDB IAM user",
        };
        let message = format!("{kind} authentication failed for user \"{user}\"");
        Fatal {
            sqlstate: INVALID_AUTHORIZATION,
            message,
        }
    }

    /// The refusal of a user that nobody logs in as.
    pub(super) fn reserved(user: &str) -> Fatal {
        let message = format!("pg_hba.conf rejects connection for user \"{user}\"");
        Fatal {
            sqlstate: INVALID_AUTHORIZATION,
            message,
        }
    }

    /// The refusal when there is no server to connect to.
    pub(super) fn unavailable() -> Fatal {
        Fatal {
            sqlstate: CANNOT_CONNECT_NOW,
            message: "the database system is shutting down".to_owned(),
        }
    }

    /// The ErrorResponse message.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut message = vec![b'E', 0, 0, 0, 0];
        for (field, text) in [
            (b'S', "FATAL"),
            (b'V', "FATAL"),
            (b'C', self.sqlstate),
            (b'M', &self.message),
        ] {
            message.push(field);
            message.extend(text.bytes().filter(|byte| *byte != 0));
            message.push(0);
        }
        message.push(0);
        let length = (message.len() - 1) as u32;
        message[1..5].copy_from_slice(&length.to_be_bytes());
        message
    }
}

impl From<Malformed> for Fatal {
    fn from(malformed: Malformed) -> Fatal {
        let sqlstate = match malformed {
            Malformed::Frame | Malformed::Parameters => PROTOCOL_VIOLATION,
            Malformed::NoUser => INVALID_AUTHORIZATION,
            Malformed::LongName => NAME_TOO_LONG,
            Malformed::Version(_) => FEATURE_NOT_SUPPORTED,
        };
        Fatal {
            sqlstate,
            message: malformed.to_string(),
        }
    }
}

/// AuthenticationCleartextPassword. The client is inside TLS, though it may not know.
pub(super) fn ask_for_password() -> [u8; 9] {
    [b'R', 0, 0, 0, 8, 0, 0, 0, 3]
}

const INVALID_AUTHORIZATION: &str = "28000";
const PROTOCOL_VIOLATION: &str = "08P01";
const FEATURE_NOT_SUPPORTED: &str = "0A000";
const NAME_TOO_LONG: &str = "42622";
const CANNOT_CONNECT_NOW: &str = "57P03";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_an_error_response() {
        let message =
            Fatal::iam(Product::CloudSql, PrincipalKind::Human, "jane@example.com").encode();
        let text = "SFATAL\0VFATAL\0C28000\0MCloud SQL IAM user authentication failed for user \"jane@example.com\"\0\0";
        let length = (4 + text.len()) as u32;
        assert_eq!(
            message,
            [b"E", &length.to_be_bytes()[..], text.as_bytes()].concat()
        );
    }

    #[test]
    fn service_accounts_are_called_so() {
        let fatal = Fatal::iam(
            Product::CloudSql,
            PrincipalKind::ServiceAccount,
            "app@p.iam",
        );
        assert_eq!(
            fatal.message,
            "Cloud SQL IAM service account authentication failed for user \"app@p.iam\""
        );
        let fatal = Fatal::iam(Product::AlloyDb, PrincipalKind::ServiceAccount, "app@p.iam");
        assert_eq!(
            fatal.message,
            "AlloyDB IAM user authentication failed for user \"app@p.iam\""
        );
    }
}
