//! Answers the gate's questions from the emulator's own records: tokens, principals, roles and settings.

use super::Applicant;
use crate::principal::PrincipalKind;
use crate::session::{Login, LoginRefusal, SessionIdentity};

impl Applicant for SessionIdentity {
    fn iam_kind(&self, user: &str) -> Option<PrincipalKind> {
        self.iam_user(user)
    }

    fn certificate_user(&self) -> Result<String, LoginRefusal> {
        self.check()?;
        self.database_user().ok_or(LoginRefusal::NoToken)
    }

    fn token_user(&self, token: &str) -> Result<String, LoginRefusal> {
        let login = self.world.tokens.find(token).map_or(Login::Unknown, Login::Token);
        let with_token = SessionIdentity { login, ..self.clone() };
        let user = with_token.certificate_user()?;
        let principal = with_token.principal().map(str::to_owned);
        self.handle.update(|session| session.principal = principal);
        Ok(user)
    }

    fn logged_in(&self, user: &str) {
        self.handle.user(user);
    }

    fn refused(&self, reason: &str) {
        self.handle.error(reason);
    }
}
