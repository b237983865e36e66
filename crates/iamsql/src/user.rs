//! Principal and engine → the database user that IAM login needs.

use std::borrow::Cow;

/// What the instance runs, as far as it decides user names and who may log in over IAM.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DatabaseEngine {
    /// PostgreSQL.
    Postgres,
    /// MySQL.
    MySql,
    /// SQL Server, which has no IAM login.
    SqlServer,
}

impl DatabaseEngine {
    /// Reads the Admin API's `databaseVersion`, as in `POSTGRES_17`; `None` for an engine that is not known. AlloyDB is
    /// [`Postgres`](Self::Postgres), in its rule for users too.
    pub fn from_database_version(version: &str) -> Option<Self> {
        [
            ("POSTGRES", DatabaseEngine::Postgres),
            ("MYSQL", DatabaseEngine::MySql),
            ("SQLSERVER", DatabaseEngine::SqlServer),
        ]
        .into_iter()
        .find_map(|(prefix, engine)| version.starts_with(prefix).then_some(engine))
    }

    /// The engine's usual name.
    pub fn as_str(self) -> &'static str {
        match self {
            DatabaseEngine::Postgres => "PostgreSQL",
            DatabaseEngine::MySql => "MySQL",
            DatabaseEngine::SqlServer => "SQL Server",
        }
    }

    /// Drivers that speak to it, for whoever came with another.
    pub(crate) fn drivers(self) -> &'static str {
        match self {
            DatabaseEngine::Postgres => {
                "Python: psycopg, asyncpg, pg8000; Node: pg, postgres; Rust: tokio-postgres, sqlx"
            }
            DatabaseEngine::MySql => {
                "Python: PyMySQL, mysqlclient, aiomysql, asyncmy; Node: mysql2, mariadb; Rust: mysql_async, sqlx"
            }
            DatabaseEngine::SqlServer => "Python: python-tds; Node: mssql, tedious; Rust: tiberius",
        }
    }

    /// The most bytes that a user's name may have.
    pub(crate) fn longest_user(self) -> usize {
        match self {
            DatabaseEngine::Postgres => 63,
            DatabaseEngine::MySql => 32,
            DatabaseEngine::SqlServer => 128,
        }
    }
}

/// The database user of an IAM principal, or the user as given where it already is one.
///
/// PostgreSQL, AlloyDB's too, drops a trailing `.gserviceaccount.com` and keeps a human's address whole; MySQL takes what stands before
/// the `@`, in lower case. The same rule corrects a full service-account address that a caller passed as the user.
/// Source: Cloud SQL documentation, "Add and manage IAM database users".
pub fn database_user(principal_or_user: &str, engine: DatabaseEngine) -> Cow<'_, str> {
    match engine {
        DatabaseEngine::Postgres => Cow::Borrowed(
            principal_or_user
                .strip_suffix(SERVICE_ACCOUNT_SUFFIX)
                .filter(|rest| rest.contains('@'))
                .unwrap_or(principal_or_user),
        ),
        DatabaseEngine::MySql => match principal_or_user.split_once('@') {
            Some((local, _)) => Cow::Owned(local.to_lowercase()),
            None => Cow::Borrowed(principal_or_user),
        },
        DatabaseEngine::SqlServer => Cow::Borrowed(principal_or_user),
    }
}

const SERVICE_ACCOUNT_SUFFIX: &str = ".gserviceaccount.com";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_user_follows_from_principal_and_engine() {
        use DatabaseEngine::{MySql, Postgres, SqlServer};
        for (principal, engine, user) in [
            ("app@proj.iam.gserviceaccount.com", Postgres, "app@proj.iam"),
            ("app@proj.iam", Postgres, "app@proj.iam"),
            ("Alice@example.com", Postgres, "Alice@example.com"),
            ("postgres", Postgres, "postgres"),
            (".gserviceaccount.com", Postgres, ".gserviceaccount.com"),
            ("App@proj.iam.gserviceaccount.com", MySql, "app"),
            ("root", MySql, "root"),
            ("sa", SqlServer, "sa"),
        ] {
            assert_eq!(
                database_user(principal, engine),
                user,
                "{principal} on {engine:?}"
            );
        }
    }

    #[test]
    fn the_engine_is_the_start_of_the_version() {
        assert_eq!(
            DatabaseEngine::from_database_version("POSTGRES_17"),
            Some(DatabaseEngine::Postgres)
        );
        assert_eq!(
            DatabaseEngine::from_database_version("POSTGRES"),
            Some(DatabaseEngine::Postgres),
            "what is known of AlloyDB"
        );
        assert_eq!(
            DatabaseEngine::from_database_version("SQLSERVER_2019_STANDARD"),
            Some(DatabaseEngine::SqlServer)
        );
        assert_eq!(DatabaseEngine::from_database_version("ORACLE"), None);
    }
}
