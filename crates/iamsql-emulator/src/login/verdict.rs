//! Whether a user may log in: names, kinds and tokens in, one decision out.

use super::answer::Fatal;
use crate::backend::ADMINISTRATOR;
use crate::instance::Product;
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

/// Who decides: a product's rules, on one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bench {
    pub(super) product: Product,
    /// Whether the connection is for the token's own user alone.
    pub(super) exclusive: bool,
}

impl Bench {
    /// Decides on a user, given what kind of IAM principal it is and whom the connection's token logs in.
    ///
    /// As on Cloud SQL, a token in the certificate binds IAM users only: a built-in user still has its password. A name
    /// that is nobody's is treated as a built-in user's, so that PostgreSQL does not tell which names exist. A token of
    /// AlloyDB's metadata exchange binds everybody.
    pub(super) fn judge(
        self,
        user: &str,
        kind: Option<PrincipalKind>,
        token_user: impl FnOnce() -> Result<String, LoginRefusal>,
    ) -> Verdict {
        if user == ADMINISTRATOR {
            return Verdict::Refuse(
                Fatal::reserved(user),
                format!("{user} is the emulator's own"),
            );
        }
        let kind = match kind {
            Some(kind) => kind,
            None if self.exclusive => PrincipalKind::Human,
            None => return Verdict::AskPassword,
        };
        match token_user() {
            Err(LoginRefusal::NoToken) => Verdict::AskToken(kind),
            other => self.judge_token(user, kind, other),
        }
    }

    /// Decides on an IAM user, given whom a token logs in.
    pub(super) fn judge_token(
        self,
        user: &str,
        kind: PrincipalKind,
        token_user: Result<String, LoginRefusal>,
    ) -> Verdict {
        let reason = match token_user {
            Ok(token_user) if token_user == user => return Verdict::LogIn,
            Ok(token_user) => format!("the token logs in {token_user}, not {user}"),
            Err(refusal) => reason(self.product, refusal),
        };
        Verdict::Refuse(Fatal::iam(self.product, kind, user), reason)
    }
}

/// Why, for the emulator's records.
pub(crate) fn reason(product: Product, refusal: LoginRefusal) -> String {
    match refusal {
        LoginRefusal::NoToken => "no login token".to_owned(),
        LoginRefusal::UnknownToken => "the token is not the emulator's".to_owned(),
        LoginRefusal::Expired => "the token has expired".to_owned(),
        LoginRefusal::Revoked => "the token was revoked".to_owned(),
        LoginRefusal::Scope => {
            let scope = product.login_scopes()[0];
            format!(
                "the token lacks the scope {}",
                scope.rsplit('/').next().unwrap_or(scope)
            )
        }
        LoginRefusal::InstanceFlag => {
            format!("the instance's flag {} is off", product.iam_flag())
        }
        LoginRefusal::Role => format!("the principal lacks {}", product.login_role().name()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOUD_SQL: Bench = Bench {
        product: Product::CloudSql,
        exclusive: false,
    };
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
                CLOUD_SQL.judge(user, kind, || certificate.clone()),
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
                let Verdict::Refuse(fatal, _) = CLOUD_SQL.judge(user, kind, || token.clone())
                else {
                    panic!("{user} {token:?}")
                };
                assert_eq!(fatal, Fatal::iam(Product::CloudSql, kind.unwrap(), user));
            }
        }
    }

    #[test]
    fn an_exclusive_connection_is_for_the_tokens_user_alone() {
        let alloydb = Bench {
            product: Product::AlloyDb,
            exclusive: true,
        };
        let token = || of("app@p.iam");
        assert_eq!(alloydb.judge("app@p.iam", SERVICE, token), Verdict::LogIn);
        for (user, kind) in [("legacy", None), ("jane@example.com", HUMAN), ("", None)] {
            let Verdict::Refuse(fatal, _) = alloydb.judge(user, kind, token) else {
                panic!("{user}")
            };
            assert_eq!(
                fatal,
                Fatal::iam(Product::AlloyDb, PrincipalKind::Human, user)
            );
        }
    }

    #[test]
    fn nobody_is_the_administrator() {
        for kind in [None, SERVICE, HUMAN] {
            let verdict = CLOUD_SQL.judge(ADMINISTRATOR, kind, || of(ADMINISTRATOR));
            assert!(matches!(verdict, Verdict::Refuse(..)), "{kind:?}");
        }
    }

    #[test]
    fn a_missing_token_is_asked_for_only_once() {
        let verdict = CLOUD_SQL.judge_token(
            "app@p.iam",
            PrincipalKind::ServiceAccount,
            Err(LoginRefusal::NoToken),
        );
        assert!(matches!(verdict, Verdict::Refuse(..)));
    }
}
