//! A login that PostgreSQL refused → an error that says who we are, whom we asked to be, and who would be let in.

use std::error::Error as StdError;
use std::io;

use ::tokio_postgres::Error as PostgresError;
use tokio::time::Instant;

use crate::connector::Connector;
use crate::error::{Error, ErrorKind};
use crate::instance::{Instance, Product};
use crate::secret::foreign;

/// What tokio-postgres' error means to our caller. Looks up who we are until `until`.
pub(super) async fn explain(
    connector: &Connector,
    instance: &str,
    user: &str,
    error: PostgresError,
    until: Instant,
) -> Error {
    if let Some(ours) = our_own(&error) {
        return ours;
    }
    let refusal = match Refusal::of(&error) {
        Some(refusal) => refusal,
        None => {
            return Error::new(
                ErrorKind::Network,
                "the connection was lost during the login",
            )
            .with_source(error);
        }
    };
    if !refusal.is_about_identity {
        return Error::new(ErrorKind::Login, refusal.text).with_retryable(refusal.passes);
    }
    let parsed: Option<Instance> = instance.parse().ok();
    let product = parsed.map_or(Product::CloudSql, |instance| instance.product());
    // Who we are is explanation only: if even that cannot be told, the server's text must still be.
    let looked_up = tokio::time::timeout_at(until, async {
        let principal = connector.principal().await.ok().flatten()?;
        Some((principal, connector.user(instance).await.ok()))
    });
    let (principal, works) = looked_up.await.ok().flatten().unzip();
    describe(
        &refusal.text,
        principal.as_deref(),
        user,
        works.flatten().as_deref(),
        product,
    )
}

/// What the server said, and what sort of no it is.
#[derive(Debug, PartialEq)]
struct Refusal {
    text: String,
    is_about_identity: bool,
    passes: bool,
}

impl Refusal {
    fn of(error: &PostgresError) -> Option<Self> {
        if let Some(refusal) = error.as_db_error() {
            let (code, text) = (refusal.code().code(), foreign(refusal.message()));
            return Some(Refusal {
                is_about_identity: matches!(code, "28000" | "28P01"),
                // Out of resources, or starting up or shutting down.
                passes: code.starts_with("53") || code.starts_with("57P"),
                text: format!("{text} (SQLSTATE {})", foreign(code)),
            });
        }
        // The server did not take the IAM login, and asked for a password as of anybody else.
        (error.source()?.to_string() == "password missing").then(|| Refusal {
            text: "the server asks for a password".to_owned(),
            is_about_identity: true,
            passes: false,
        })
    }
}

fn describe(
    text: &str,
    principal: Option<&str>,
    asked: &str,
    works: Option<&str>,
    product: Product,
) -> Error {
    let (asked_shown, error) = (foreign(asked), |message| {
        Error::new(ErrorKind::Login, message)
    });
    match (principal, works) {
        (Some(principal), Some(works)) if works != asked => error(format!(
            "{text}; the principal is {principal}, the user asked for is {asked_shown:?}, the user that works is {works:?}"
        ))
        .with_advice(format!("log in as {works:?}, or leave the user out")),
        (Some(principal), Some(_)) => error(format!(
            "{text}; the principal is {principal}, and {asked_shown:?} is its database user"
        ))
        .with_advice(match product {
            Product::AlloyDb => format!(
                "grant {principal} roles/alloydb.databaseUser and roles/alloydb.client, and make sure that `gcloud alloydb users list` shows {asked_shown:?}"
            ),
            _ => format!(
                "grant {principal} roles/cloudsql.instanceUser and roles/cloudsql.client, and make sure that `gcloud sql users list` shows {asked_shown:?}"
            ),
        }),
        (Some(principal), None) => error(format!(
            "{text}; the principal is {principal}, the user asked for is {asked_shown:?}"
        )),
        (None, _) => error(format!("{text}; the user asked for is {asked_shown:?}")),
    }
}

/// Our own error, if that is what broke the connection under the driver.
fn our_own(error: &PostgresError) -> Option<Error> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return io.get_ref()?.downcast_ref::<Error>().cloned();
        }
        next = cause.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINCIPAL: &str = "app@proj.iam.gserviceaccount.com";

    #[test]
    fn a_refused_login_says_who_asked_for_what_and_what_would_work() {
        let error = describe(
            "no (SQLSTATE 28000)",
            Some(PRINCIPAL),
            "postgres",
            Some("app@proj.iam"),
            Product::CloudSql,
        );
        assert_eq!(error.kind(), ErrorKind::Login);
        assert_eq!(
            error.to_string(),
            "no (SQLSTATE 28000); the principal is app@proj.iam.gserviceaccount.com, the user asked for is \
             \"postgres\", the user that works is \"app@proj.iam\""
        );
        assert_eq!(
            error.advice(),
            Some("log in as \"app@proj.iam\", or leave the user out")
        );
    }

    #[test]
    fn a_refused_login_of_the_right_user_points_at_roles() {
        for (product, role) in [
            (Product::CloudSql, "roles/cloudsql.instanceUser"),
            (Product::AlloyDb, "roles/alloydb.databaseUser"),
        ] {
            let user = "app@proj.iam";
            let error = describe("no", Some(PRINCIPAL), user, Some(user), product);
            assert!(
                error.to_string().ends_with("is its database user"),
                "{error}"
            );
            let advice = error.advice().unwrap();
            assert!(advice.contains(role), "{advice}");
        }
    }

    #[test]
    fn without_a_principal_the_servers_text_and_the_user_remain() {
        assert_eq!(
            describe("no", None, "a\nb", None, Product::CloudSql).to_string(),
            "no; the user asked for is \"a\\\\u{a}b\""
        );
    }
}
