//! Answers the gate's questions from the emulator's own records: tokens, principals, roles and settings.

use super::Applicant;
use crate::instance::Product;
use crate::principal::PrincipalKind;
use crate::session::{LoginRefusal, SessionIdentity};

impl Applicant for SessionIdentity {
    fn product(&self) -> Product {
        self.product
    }

    fn is_exclusive(&self) -> bool {
        self.exclusive
    }

    fn iam_kind(&self, user: &str) -> Option<PrincipalKind> {
        self.iam_user(user)
    }

    fn certificate_user(&self) -> Result<String, LoginRefusal> {
        self.check()?;
        self.database_user().ok_or(LoginRefusal::NoToken)
    }

    fn token_user(&self, token: &str) -> Result<String, LoginRefusal> {
        self.check_password(token)
    }

    fn logged_in(&self, user: &str, database: &str) {
        self.handle.logged_in(user, database);
    }

    fn refused(&self, reason: &str) {
        self.handle.error(reason);
    }
}
