//! Whether a MySQL user may log in: names and tokens in, one decision out.

use crate::backend::mariadb::is_reserved;
use crate::instance::Product;
use crate::login::verdict::reason;
use crate::mysql::answer::Refusal;
use crate::session::LoginRefusal;

/// What happens to a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The principal's own user: nothing is asked.
    LogIn,
    /// A built-in user, who has a password.
    AskPassword,
    /// An IAM user over a connection without a token: a token is asked for.
    AskToken,
    /// The client hears the first, the emulator's records the second.
    Refuse(Refusal, String),
}

/// Decides on a user, given whether it is an IAM principal's and whom the certificate's token logs in.
///
/// Unlike on PostgreSQL, a token in the certificate shuts everybody else out. A name that is nobody's is treated as a
/// built-in user's, so that it does not show which names exist.
pub(super) fn judge(
    user: &str,
    host: &str,
    is_iam: bool,
    certificate_user: impl FnOnce() -> Result<String, LoginRefusal>,
) -> Verdict {
    let denied = || Refusal::denied(user, host, false);
    if is_reserved(user) {
        let reason = if user.is_empty() {
            "no user was named".to_owned()
        } else {
            format!("{user} is the server's own")
        };
        return Verdict::Refuse(denied(), reason);
    }
    match certificate_user() {
        Err(LoginRefusal::NoToken) if is_iam => Verdict::AskToken,
        Err(LoginRefusal::NoToken) => Verdict::AskPassword,
        Ok(token_user) if is_iam && token_user == user => Verdict::LogIn,
        Ok(token_user) => Verdict::Refuse(
            Refusal::not_the_principal(),
            format!("the certificate's token logs in {token_user}, not {user}"),
        ),
        Err(refusal) if is_iam => Verdict::Refuse(denied(), reason(Product::CloudSql, refusal)),
        Err(refusal) => Verdict::Refuse(
            Refusal::not_the_principal(),
            reason(Product::CloudSql, refusal),
        ),
    }
}

/// Decides on an IAM user that sent a token as its password.
pub(super) fn judge_token(
    user: &str,
    host: &str,
    token_user: Result<String, LoginRefusal>,
) -> Verdict {
    let reason = match token_user {
        Ok(token_user) if token_user == user => return Verdict::LogIn,
        Ok(token_user) => format!("the token logs in {token_user}, not {user}"),
        Err(refusal) => reason(Product::CloudSql, refusal),
    };
    Verdict::Refuse(Refusal::denied(user, host, true), reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "cloudsqlproxy~127.0.0.1";

    fn of(user: &str) -> Result<String, LoginRefusal> {
        Ok(user.to_owned())
    }

    #[test]
    fn the_certificate_admits_its_principal_alone() {
        use LoginRefusal::*;
        let theirs = Refusal::not_the_principal;
        let cases = [
            ("app", true, of("app"), Ok(Verdict::LogIn)),
            ("jane", true, of("app"), Err(theirs())),
            ("App", false, of("app"), Err(theirs())),
            ("legacy", false, of("app"), Err(theirs())),
            ("legacy", false, Err(Expired), Err(theirs())),
            (
                "app",
                true,
                Err(Expired),
                Err(Refusal::denied("app", HOST, false)),
            ),
            (
                "app",
                true,
                Err(InstanceFlag),
                Err(Refusal::denied("app", HOST, false)),
            ),
            ("app", true, Err(NoToken), Ok(Verdict::AskToken)),
            ("legacy", false, Err(NoToken), Ok(Verdict::AskPassword)),
            // A token whose principal has no user here.
            ("app", false, of("app"), Err(theirs())),
        ];
        for (user, is_iam, certificate, expected) in cases {
            let verdict = judge(user, HOST, is_iam, || certificate.clone());
            let verdict = match verdict {
                Verdict::Refuse(refusal, _) => Err(refusal),
                other => Ok(other),
            };
            assert_eq!(verdict, expected, "{user} {certificate:?}");
        }
    }

    #[test]
    fn nobody_is_the_server() {
        for user in ["cloudsqladmin", "mariadb.sys", ""] {
            for is_iam in [true, false] {
                let verdict = judge(user, HOST, is_iam, || of(user));
                assert!(matches!(verdict, Verdict::Refuse(..)), "{user}");
            }
        }
    }

    #[test]
    fn a_token_as_password_is_for_its_owner() {
        assert_eq!(judge_token("app", HOST, of("app")), Verdict::LogIn);
        for token in [of("jane"), of("App"), Err(LoginRefusal::UnknownToken)] {
            let Verdict::Refuse(refusal, _) = judge_token("app", HOST, token) else {
                panic!()
            };
            assert_eq!(refusal, Refusal::denied("app", HOST, true));
        }
    }
}
