//! Google's error bodies → typed errors that say which role, switch or name is missing.

use serde::Deserialize;

use crate::control::http::{Answer, retry};
use crate::error::{Error, ErrorKind};
use crate::instance::{Instance, Product};
use crate::secret::foreign;

/// `HTTP 403 PERMISSION_DENIED: …`, of the kind that says whose move it is; never a raw body.
pub(super) fn refusal(answer: &Answer, instance: &Instance) -> Error {
    let said = Said::read(answer);
    let mut message = format!("HTTP {}", answer.status);
    for (separator, part) in [(" ", &said.status), (": ", &said.message)] {
        if !part.is_empty() {
            message.push_str(separator);
            message.push_str(&foreign(part));
        }
    }
    let error = Error::new(kind(answer.status), message)
        .with_http_status(answer.status)
        .with_instance(instance);
    match advice(answer.status, &said, instance) {
        Some(advice) => error.with_advice(advice),
        None => error,
    }
}

fn kind(status: u16) -> ErrorKind {
    match status {
        401 | 403 => ErrorKind::Permission,
        404 => ErrorKind::NotFound,
        _ if retry::is_transient(Some(status)) => ErrorKind::Unavailable,
        // Redirects too: whoever answers there is not the Admin API.
        300..=399 => ErrorKind::Unavailable,
        _ => ErrorKind::Config,
    }
}

fn advice(status: u16, said: &Said, instance: &Instance) -> Option<String> {
    let (project, name) = (instance.project(), instance.name());
    Some(match status {
        401 => {
            "the access token was refused: renew the credentials, and check this machine's clock"
                .to_owned()
        }
        403 if said.is_api_disabled() && !project.is_empty() => {
            let (api, host) = match instance.product() {
                Product::CloudSql => ("Cloud SQL Admin API", "sqladmin.googleapis.com"),
                Product::AlloyDb => ("AlloyDB API", "alloydb.googleapis.com"),
            };
            format!(
                "enable the {api}: https://console.cloud.google.com/apis/library/{host}?project={project}"
            )
        }
        403 if instance.product() == Product::AlloyDb => format!(
            "grant the principal roles/alloydb.client and roles/serviceusage.serviceUsageConsumer, and for IAM logins \
             roles/alloydb.databaseUser, on project {project:?}; and check that instance {name:?} exists"
        ),
        403 if project.is_empty() => {
            "grant the principal roles/cloudsql.client on the instance's project".to_owned()
        }
        404 if project.is_empty() => {
            "compare the name with what `gcloud sql instances describe INSTANCE --format='value(dnsName)'` prints"
                .to_owned()
        }
        403 => format!(
            "grant the principal roles/cloudsql.client, and for IAM logins roles/cloudsql.instanceUser, on project {project:?}; \
             and check that instance {name:?} exists"
        ),
        404 => match instance {
            Instance::AlloyDb { cluster, .. } => format!(
                "list the instances with `gcloud alloydb instances list --cluster={cluster} --region={} --project={}`",
                instance.region(),
                quoted(project)
            ),
            _ => format!(
                "list the instances with `gcloud sql instances list --project={}`",
                quoted(project)
            ),
        },
        429 => {
            "the Admin API quota is used up: wait, or share one connector instead of making many"
                .to_owned()
        }
        300..=399 => "redirects are not followed: check the Admin API endpoint".to_owned(),
        _ => return None,
    })
}

/// Names hold no quotes; a domain-scoped project holds a colon.
fn quoted(name: &str) -> String {
    match name.contains(':') {
        true => format!("'{name}'"),
        false => name.to_owned(),
    }
}

#[derive(Default)]
struct Said {
    status: String,
    message: String,
    reasons: Vec<String>,
}

impl Said {
    fn read(answer: &Answer) -> Self {
        #[derive(Deserialize)]
        struct Body {
            error: GoogleError,
        }
        #[derive(Deserialize)]
        struct GoogleError {
            #[serde(default)]
            status: String,
            #[serde(default)]
            message: String,
            #[serde(default)]
            errors: Vec<Reason>,
            #[serde(default)]
            details: Vec<Reason>,
        }
        #[derive(Deserialize)]
        struct Reason {
            reason: Option<String>,
        }
        let Ok(Body { error }) = serde_json::from_slice(&answer.body) else {
            return Said::default();
        };
        let reasons = error.errors.into_iter().chain(error.details);
        Said {
            status: error.status,
            message: error.message,
            reasons: reasons.filter_map(|entry| entry.reason).collect(),
        }
    }

    fn is_api_disabled(&self) -> bool {
        self.reasons
            .iter()
            .any(|reason| matches!(reason.as_str(), "SERVICE_DISABLED" | "accessNotConfigured"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    fn refused(status: u16, body: &str) -> Error {
        refusal(
            &Answer::new(status, body),
            &"p:us-central1:orders".parse().unwrap(),
        )
    }

    #[test]
    fn each_status_has_its_kind_and_reads_as_google_says_it() {
        for (status, body, text, kind) in [
            (
                403,
                r#"{"error":{"code":403,"message":"no","status":"PERMISSION_DENIED","errors":[{"reason":"notAuthorized"}]}}"#,
                "p:us-central1:orders: HTTP 403 PERMISSION_DENIED: no",
                ErrorKind::Permission,
            ),
            (
                401,
                r#"{"error":{"message":"bad token"}}"#,
                "p:us-central1:orders: HTTP 401: bad token",
                ErrorKind::Permission,
            ),
            (
                404,
                r#"{"error":{"message":"gone","status":"NOT_FOUND"}}"#,
                "p:us-central1:orders: HTTP 404 NOT_FOUND: gone",
                ErrorKind::NotFound,
            ),
            (
                400,
                "not json",
                "p:us-central1:orders: HTTP 400",
                ErrorKind::Config,
            ),
            (
                429,
                "{}",
                "p:us-central1:orders: HTTP 429",
                ErrorKind::Unavailable,
            ),
            (
                503,
                "<html>",
                "p:us-central1:orders: HTTP 503",
                ErrorKind::Unavailable,
            ),
            (
                307,
                "",
                "p:us-central1:orders: HTTP 307",
                ErrorKind::Unavailable,
            ),
        ] {
            let error = refused(status, body);
            assert_eq!((error.to_string().as_str(), error.kind()), (text, kind));
            assert_eq!(error.http_status(), Some(status));
        }
    }

    #[test]
    fn a_disabled_api_is_told_apart_from_a_missing_role() {
        let disabled = refused(
            403,
            r#"{"error":{"details":[{"@type":"x","reason":"SERVICE_DISABLED"}]}}"#,
        );
        assert!(
            disabled
                .advice()
                .unwrap()
                .contains("enable the Cloud SQL Admin API")
        );
        let denied = refused(403, r#"{"error":{"status":"PERMISSION_DENIED"}}"#);
        assert!(denied.advice().unwrap().contains("roles/cloudsql.client"));
    }

    #[test]
    fn alloydb_has_roles_an_api_and_commands_of_its_own() {
        let instance = "projects/example.com:p/locations/r/clusters/c/instances/i"
            .parse()
            .unwrap();
        let refused = |status, body: &str| refusal(&Answer::new(status, body), &instance);
        let denied = refused(
            403,
            r#"{"error":{"status":"PERMISSION_DENIED","message":"no"}}"#,
        );
        assert_eq!(
            denied.to_string(),
            "example.com:p.r.c.i: HTTP 403 PERMISSION_DENIED: no"
        );
        let advice = denied.advice().unwrap();
        assert!(advice.contains("roles/alloydb.client"), "{advice}");
        assert!(
            advice.contains("roles/serviceusage.serviceUsageConsumer"),
            "{advice}"
        );
        let disabled = refused(
            403,
            r#"{"error":{"details":[{"reason":"SERVICE_DISABLED"}]}}"#,
        );
        let advice = disabled.advice().unwrap();
        assert!(
            advice.contains("apis/library/alloydb.googleapis.com"),
            "{advice}"
        );
        let gone = refused(404, "{}");
        assert_eq!(
            gone.advice(),
            Some(
                "list the instances with `gcloud alloydb instances list --cluster=c --region=r --project='example.com:p'`"
            )
        );
    }

    #[test]
    fn a_body_that_repeats_our_token_does_not_reach_the_error() {
        let token = Secret::new("ya29.echoed-by-a-proxy");
        let error = refused(
            400,
            r#"{"error":{"message":"bad ya29.echoed-by-a-proxy\nERROR forged","status":"X"}}"#,
        );
        assert_eq!(
            error.to_string(),
            "p:us-central1:orders: HTTP 400 X: bad [redacted]\\u{a}ERROR forged"
        );
        drop(token);
    }
}
