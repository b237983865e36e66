//! Answers the gate's questions by MySQL's rule: a principal's user is what stands before the `@`.

use crate::login::Applicant;
use crate::principal::{Principal, PrincipalKind};
use crate::session::{LoginRefusal, SessionIdentity};

/// An identity whose database users are MySQL's.
pub(crate) struct AsMySql<'a>(pub(crate) &'a SessionIdentity);

impl Applicant for AsMySql<'_> {
    fn iam_kind(&self, user: &str) -> Option<PrincipalKind> {
        let principals = self.0.world.principals();
        let mut owners = principals
            .iter()
            .filter(|one| one.mysql_user().as_deref() == Some(user));
        owners.next().map(Principal::kind)
    }

    fn certificate_user(&self) -> Result<String, LoginRefusal> {
        self.0.check()?;
        let principal = self.0.login.principal().ok_or(LoginRefusal::NoToken)?;
        Ok(database_user(principal))
    }

    fn token_user(&self, token: &str) -> Result<String, LoginRefusal> {
        self.0
            .check_token_text(token)
            .map(|principal| database_user(&principal))
    }

    fn logged_in(&self, user: &str, database: &str) {
        self.0.handle.logged_in(user, database);
    }

    fn refused(&self, reason: &str) {
        self.0.handle.error(reason);
    }
}

/// A name too long for MySQL stays as it is, and is nobody's.
fn database_user(principal: &str) -> String {
    let user = Principal::human(principal).mysql_user();
    user.unwrap_or_else(|| principal.to_owned())
}
