//! Who may ask the emulator for tokens: service accounts and humans, their roles, and the database user each one is.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// An identity that the emulator knows, with its roles.
///
/// Every role is held unless taken away with [`Principal::without_role`].
///
/// ```
/// use iamsql_emulator::{Principal, Role};
///
/// let reader = Principal::service_account("reader@your-project-id.iam.gserviceaccount.com")
///     .without_role(Role::CloudSqlInstanceUser);
/// assert_eq!(reader.database_user(), "reader@your-project-id.iam");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Principal {
    pub(crate) email: String,
    #[serde(default = "all_roles")]
    pub(crate) roles: BTreeSet<Role>,
    #[serde(default)]
    pub(crate) scopes: Option<BTreeSet<String>>,
    /// Who may act as this service account: addresses, and `principal://…` or `principalSet://…/*`.
    #[serde(default)]
    pub(crate) token_creators: BTreeSet<String>,
    /// Whether borrowed tokens may live twelve hours.
    #[serde(default)]
    pub(crate) long_tokens: bool,
}

/// What a principal may do.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Role {
    /// `roles/cloudsql.client`: may read an instance's settings and ask for client certificates.
    #[serde(rename = "roles/cloudsql.client")]
    CloudSqlClient,
    /// `roles/cloudsql.instanceUser`: may log in to a database.
    #[serde(rename = "roles/cloudsql.instanceUser")]
    CloudSqlInstanceUser,
    /// `roles/alloydb.client`: may ask where an AlloyDB instance is, for client certificates, and connect.
    #[serde(rename = "roles/alloydb.client")]
    AlloyDbClient,
    /// `roles/alloydb.databaseUser`: may log in to an AlloyDB database.
    #[serde(rename = "roles/alloydb.databaseUser")]
    AlloyDbDatabaseUser,
}

/// The two kinds of IAM principal, which the real service's refusals tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// An address that ends in `.gserviceaccount.com`.
    ServiceAccount,
    /// Anybody else.
    Human,
}

impl Principal {
    /// A service account, with every role. `email` ends in `.gserviceaccount.com`.
    pub fn service_account(email: impl Into<String>) -> Self {
        Self::new(email.into(), all_roles())
    }

    /// A person, with every role.
    pub fn human(email: impl Into<String>) -> Self {
        Self::new(email.into(), all_roles())
    }

    /// Somebody whom another identity provider vouches for, `principal://…`, without a role and without a database user.
    pub fn federated(principal: impl Into<String>) -> Self {
        Self::new(principal.into(), BTreeSet::new())
    }

    fn new(email: String, roles: BTreeSet<Role>) -> Self {
        Principal {
            email,
            roles,
            scopes: None,
            token_creators: BTreeSet::new(),
            long_tokens: false,
        }
    }

    /// Grants a role.
    pub fn with_role(mut self, role: Role) -> Self {
        self.roles.insert(role);
        self
    }

    /// Takes a role away.
    pub fn without_role(mut self, role: Role) -> Self {
        self.roles.remove(&role);
        self
    }

    /// Limits the scopes that this principal's tokens may carry; asking for another one is `invalid_scope`.
    ///
    /// Default: service accounts get what they ask for; humans get what `gcloud auth application-default login` gives.
    pub fn with_scopes<S: Into<String>>(mut self, scopes: impl IntoIterator<Item = S>) -> Self {
        self.scopes = Some(scopes.into_iter().map(Into::into).collect());
        self
    }

    /// Lets `member` act as this service account (`roles/iam.serviceAccountTokenCreator` on it): an e-mail address, a
    /// federated `principal://…`, or all identities below a `principalSet://…/*`. Default: nobody.
    pub fn with_token_creator(mut self, member: impl Into<String>) -> Self {
        self.token_creators.insert(member.into());
        self
    }

    /// Whether tokens of this service account that others borrow may live twelve hours instead of one, as an organisation
    /// can permit. Default false.
    pub fn with_long_tokens(mut self, permitted: bool) -> Self {
        self.long_tokens = permitted;
        self
    }

    /// The address that names this principal.
    pub fn email(&self) -> &str {
        &self.email
    }

    /// Whether this is a service account or a person.
    pub fn kind(&self) -> PrincipalKind {
        if self.email.ends_with(SERVICE_ACCOUNT_SUFFIX) {
            PrincipalKind::ServiceAccount
        } else {
            PrincipalKind::Human
        }
    }

    /// Whether the role is held.
    pub fn has_role(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// The PostgreSQL user of this principal: a service account without `.gserviceaccount.com`, a human's whole address.
    pub fn database_user(&self) -> &str {
        self.email
            .strip_suffix(SERVICE_ACCOUNT_SUFFIX)
            .unwrap_or(&self.email)
    }

    /// Whether somebody may act as this service account.
    pub(crate) fn may_be_acted_as_by(&self, actor: &str) -> bool {
        self.token_creators.iter().any(|member| {
            let set = member
                .strip_prefix("principalSet://")
                .and_then(|rest| rest.strip_suffix('*'));
            let name = actor.strip_prefix(FEDERATED);
            member == actor || set.is_some_and(|set| name.is_some_and(|name| name.starts_with(set)))
        })
    }

    /// Whether another identity provider vouches for this principal.
    pub(crate) fn is_federated(&self) -> bool {
        self.email.starts_with(FEDERATED)
    }

    /// The MySQL user of this principal: the address up to its `@`, in lower case. `None` if that is longer than the 32
    /// characters that MySQL allows.
    pub fn mysql_user(&self) -> Option<String> {
        if self.is_federated() {
            return None;
        }
        let (user, _) = self.email.split_once('@')?;
        let fits = !user.is_empty() && user.chars().count() <= LONGEST_MYSQL_USER;
        fits.then(|| user.to_lowercase())
    }

    /// The scopes that a token may carry, or `None` for any.
    pub(crate) fn allowed_scopes(&self) -> Option<BTreeSet<String>> {
        match (&self.scopes, self.kind()) {
            (Some(scopes), _) => Some(scopes.clone()),
            (None, _) if self.is_federated() => None,
            (None, PrincipalKind::ServiceAccount) => None,
            (None, PrincipalKind::Human) => {
                Some(GCLOUD_SCOPES.iter().map(ToString::to_string).collect())
            }
        }
    }
}

impl Role {
    /// The role's name in IAM, such as `roles/cloudsql.client`.
    pub fn name(self) -> &'static str {
        match self {
            Role::CloudSqlClient => "roles/cloudsql.client",
            Role::CloudSqlInstanceUser => "roles/cloudsql.instanceUser",
            Role::AlloyDbClient => "roles/alloydb.client",
            Role::AlloyDbDatabaseUser => "roles/alloydb.databaseUser",
        }
    }
}

fn all_roles() -> BTreeSet<Role> {
    BTreeSet::from([
        Role::CloudSqlClient,
        Role::CloudSqlInstanceUser,
        Role::AlloyDbClient,
        Role::AlloyDbDatabaseUser,
    ])
}

const FEDERATED: &str = "principal://";
const LONGEST_MYSQL_USER: usize = 32;
const SERVICE_ACCOUNT_SUFFIX: &str = ".gserviceaccount.com";

/// What `gcloud auth application-default login` asks for today.
pub(crate) const GCLOUD_SCOPES: [&str; 4] = [
    "openid",
    "https://www.googleapis.com/auth/userinfo.email",
    "https://www.googleapis.com/auth/cloud-platform",
    "https://www.googleapis.com/auth/sqlservice.login",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_user_drops_only_the_service_account_suffix() {
        let cases = [
            (
                "cloudsql-client@your-project-id.iam.gserviceaccount.com",
                "cloudsql-client@your-project-id.iam",
            ),
            (
                "123-compute@developer.gserviceaccount.com",
                "123-compute@developer",
            ),
            ("jane@example.com", "jane@example.com"),
        ];
        for (email, user) in cases {
            assert_eq!(Principal::human(email).database_user(), user);
        }
    }

    #[test]
    fn the_mysql_user_is_what_stands_before_the_at() {
        let cases = [
            (
                "cloudsql-client@your-project-id.iam.gserviceaccount.com",
                Some("cloudsql-client"),
            ),
            ("Jane.Doe@example.com", Some("jane.doe")),
            ("a-name-that-has-thirty-three-char@example.com", None),
            ("@example.com", None),
            ("nobody", None),
        ];
        for (email, user) in cases {
            assert_eq!(
                Principal::human(email).mysql_user().as_deref(),
                user,
                "{email}"
            );
        }
    }

    #[test]
    fn a_human_is_limited_to_what_gcloud_asks_for() {
        let scopes = Principal::human("jane@example.com")
            .allowed_scopes()
            .unwrap();
        assert!(!scopes.contains("https://www.googleapis.com/auth/sqlservice.admin"));
        assert_eq!(
            Principal::service_account("a@p.iam.gserviceaccount.com").allowed_scopes(),
            None
        );
    }
}
