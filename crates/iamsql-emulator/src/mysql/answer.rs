//! ERR packets: what a refused client reads.

use std::fmt;

use super::packet::Fields;

/// An ERR packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    /// Five characters.
    pub(crate) state: String,
    pub(crate) message: String,
}

impl Refusal {
    fn new(code: u16, state: &str, message: impl Into<String>) -> Refusal {
        Refusal {
            code,
            state: state.to_owned(),
            message: message.into(),
        }
    }

    /// Access denied, in MySQL's words. Cloud SQL calls the proxy's side of a connection `cloudsqlproxy~ADDRESS`.
    pub(crate) fn denied(user: &str, host: &str, password: bool) -> Refusal {
        let used = if password { "YES" } else { "NO" };
        let message = format!("Access denied for user '{user}'@'{host}' (using password: {used})");
        Refusal::new(ACCESS_DENIED, "28000", message)
    }

    /// The refusal of everybody but the principal's own user, in Cloud SQL's words.
    pub(crate) fn not_the_principal() -> Refusal {
        let message = "Cloud SQL MySQL: Automatic IAM authentication via the auth-proxy requires an IAM-authenticated user. \
                       Access denied for other users.";
        Refusal::new(ACCESS_DENIED, "28000", message)
    }

    pub(crate) fn bad_handshake() -> Refusal {
        Refusal::new(BAD_HANDSHAKE, "08S01", "Bad handshake")
    }

    /// For clients that cannot prove themselves the way the user's account asks for.
    pub(crate) fn no_such_proof() -> Refusal {
        let message = "Client does not support authentication protocol requested by server; consider upgrading MySQL client";
        Refusal::new(UNSUPPORTED_PROOF, "08004", message)
    }

    pub(crate) fn unavailable() -> Refusal {
        Refusal::new(SHUTTING_DOWN, "08S01", "Server shutdown in progress")
    }

    /// A scripted one.
    pub(crate) fn other(code: u16, state: &str, message: impl Into<String>) -> Refusal {
        Refusal::new(code, state, message)
    }

    /// Reads an ERR packet, with or without a SQLSTATE; `None` if it is another packet.
    pub(crate) fn parse(body: &[u8]) -> Option<Refusal> {
        let mut fields = Fields(body);
        if fields.u8()? != ERR {
            return None;
        }
        let code = fields.u16()?;
        let state = match fields.0 {
            [b'#', state @ ..] if state.len() >= 5 => {
                fields.take(6)?;
                &state[..5]
            }
            _ => b"HY000",
        };
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        Some(Refusal {
            code,
            state: text(state),
            message: text(fields.rest()),
        })
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut state = self.state.clone().into_bytes();
        state.resize(5, b'0');
        let message = self.message.as_bytes();
        let message = &message[..message.len().min(LONGEST_MESSAGE)];
        [&[ERR], &self.code.to_le_bytes()[..], b"#", &state, message].concat()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.code, self.state, self.message)
    }
}

impl std::error::Error for Refusal {}

/// Bytes for a plugin of the client, within a login.
pub(crate) fn more(bytes: &[u8]) -> Vec<u8> {
    [&[MORE], bytes].concat()
}

/// The first byte of an ERR packet.
pub(crate) const ERR: u8 = 0xff;
/// The first byte of an OK packet.
pub(crate) const OK: u8 = 0;
const MORE: u8 = 1;
pub(crate) const ACCESS_DENIED: u16 = 1045;
const BAD_HANDSHAKE: u16 = 1043;
const UNSUPPORTED_PROOF: u16 = 1251;
const SHUTTING_DOWN: u16 = 1053;
/// MySQL's `MYSQL_ERRMSG_SIZE`.
const LONGEST_MESSAGE: usize = 512;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_refusal_has_mysqls_shape() {
        let refusal = Refusal::denied("app", "cloudsqlproxy~127.0.0.1", true);
        assert_eq!(
            refusal.encode(),
            b"\xff\x15\x04#28000Access denied for user 'app'@'cloudsqlproxy~127.0.0.1' (using password: YES)"
        );
        assert_eq!(Refusal::parse(&refusal.encode()), Some(refusal));
        let early = Refusal::parse(b"\xff\x10\x04Too many connections").unwrap();
        assert_eq!((early.code, &early.state[..]), (1040, "HY000"));
        assert_eq!(early.message, "Too many connections");
        assert_eq!(Refusal::parse(b"\0\0\0"), None);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..40), err: bool) {
            let body = if err { [&[ERR], &body[..]].concat() } else { body };
            if let Some(refusal) = Refusal::parse(&body) {
                prop_assert!(refusal.encode().len() >= 9);
            }
        }
    }
}
