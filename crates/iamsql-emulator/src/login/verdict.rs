//! Whether a user may log in: names, kinds and tokens in, one decision out.

use super::answer::Fatal;
use crate::backend::ADMINISTRATOR;
use crate::principal::PrincipalKind;
use crate::session::LoginRefusal;

/// What happens to a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// PostgreSQL lets this IAM user in without a question.
    LogIn,
    /// PostgreSQL asks for the user's own password.
    AskPassword,
    /// The gate asks for a token as password.
    AskToken(PrincipalKind),
    /// The client hears the first, the emulator's records the second.
    Refuse(Fatal, String),
}

/// Decides on a user, given what kind of IAM principal it is and whom the certificate's token logs in.
///
/// As on Cloud SQL, a token in the certificate binds IAM users only: a built-in user still has its password. A name that
/// is nobody's is treated as a built-in user's, so that PostgreSQL does not tell which names exist.
pub(super) fn judge(
    user: &str,
    kind: Option<PrincipalKind>,
    certificate_user: impl FnOnce() -> Result<String, LoginRefusal>,
) -> Verdict {
    if user == ADMINISTRATOR {
        return Verdict::Refuse(
            Fatal::reserved(user),
            format!("{user} is the emulator's own"),
        );
    }
    let Some(kind) = kind else {
        return Verdict::AskPassword;
    };
    match certificate_user() {
        Err(LoginRefusal::NoToken) => Verdict::AskToken(kind),
        other => judge_token(user, kind, other),
    }
}

/// Decides on an IAM user, given whom a token logs in.
pub(super) fn judge_token(
    user: &str,
    kind: PrincipalKind,
    token_user: Result<String, LoginRefusal>,
) -> Verdict {
    let reason = match token_user {
        Ok(token_user) if token_user == user => return Verdict::LogIn,
        Ok(token_user) => format!("the token logs in {token_user}, not {user}"),
        Err(refusal) => reason(refusal).to_owned(),
    };
    Verdict::Refuse(Fatal::iam(kind, user), reason)
}

fn reason(refusal: LoginRefusal) -> &'static str {
    match refusal {
        LoginRefusal::NoToken => "no login token",
        LoginRefusal::UnknownToken => "the token is not the emulator's",
        LoginRefusal::Expired => "the token has expired",
        LoginRefusal::Revoked => "the token was revoked",
        LoginRefusal::Scope => "the token lacks the scope sqlservice.login",
        LoginRefusal::InstanceFlag => "the instance's flag cloudsql.iam_authentication is off",
        LoginRefusal::Role => "the principal lacks roles/cloudsql.instanceUser",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: Option<PrincipalKind> = Some(PrincipalKind::ServiceAccount);
    const HUMAN: Option<PrincipalKind> = Some(PrincipalKind::Human);

    fn of(user: &str) -> Result<String, LoginRefusal> {
        Ok(user.to_owned())
    }

    #[test]
    fn the_certificate_binds_iam_users_only() {
        let cases = [
            ("app@p.iam", SERVICE, of("app@p.iam"), Verdict::LogIn),
            (
                "jane@example.com",
                HUMAN,
                of("jane@example.com"),
                Verdict::LogIn,
            ),
            (
                "app@p.iam",
                SERVICE,
                Err(LoginRefusal::NoToken),
                Verdict::AskToken(PrincipalKind::ServiceAccount),
            ),
            ("legacy", None, of("app@p.iam"), Verdict::AskPassword),
            (
                "legacy",
                None,
                Err(LoginRefusal::Expired),
                Verdict::AskPassword,
            ),
            (
                "app@p.iam.gserviceaccount.com",
                None,
                of("app@p.iam"),
                Verdict::AskPassword,
            ),
        ];
        for (user, kind, certificate, expected) in cases {
            assert_eq!(
                judge(user, kind, || certificate.clone()),
                expected,
                "{user} {certificate:?}"
            );
        }
    }

    #[test]
    fn refusals_speak_of_the_user_asked_for() {
        use LoginRefusal::*;
        let tokens = [
            of("other@p.iam"),
            of("APP@p.iam"),
            Err(UnknownToken),
            Err(Expired),
            Err(Revoked),
            Err(Scope),
        ];
        for token in tokens.into_iter().chain([Err(InstanceFlag), Err(Role)]) {
            for (user, kind) in [("app@p.iam", SERVICE), ("jane@example.com", HUMAN)] {
                let Verdict::Refuse(fatal, _) = judge(user, kind, || token.clone()) else {
                    panic!("{user} {token:?}")
                };
                assert_eq!(fatal, Fatal::iam(kind.unwrap(), user));
            }
        }
    }

    #[test]
    fn nobody_is_the_administrator() {
        for kind in [None, SERVICE, HUMAN] {
            let verdict = judge(ADMINISTRATOR, kind, || of(ADMINISTRATOR));
            assert!(matches!(verdict, Verdict::Refuse(..)), "{kind:?}");
        }
    }

    #[test]
    fn a_missing_token_is_asked_for_only_once() {
        let verdict = judge_token(
            "app@p.iam",
            PrincipalKind::ServiceAccount,
            Err(LoginRefusal::NoToken),
        );
        assert!(matches!(verdict, Verdict::Refuse(..)));
    }
}
