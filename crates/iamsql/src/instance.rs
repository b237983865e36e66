//! Text → [`Instance`]: the one place where a connection name is read.

use std::fmt;
use std::str::FromStr;

use crate::error::{Detail, Error, Result};
use crate::secret::foreign;

/// Which database instance to connect to.
///
/// Parsed from text with [`str::parse`]; prints as it was spelled.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Instance {
    /// A Cloud SQL instance, `PROJECT:REGION:INSTANCE`; the project may be domain-scoped, `example.com:project`.
    CloudSql {
        /// The project, with its domain prefix if it has one.
        project: String,
        /// The region, as in `us-central1`.
        region: String,
        /// The instance's own name.
        name: String,
    },
}

impl Instance {
    /// The project that the instance belongs to.
    pub fn project(&self) -> &str {
        match self {
            Instance::CloudSql { project, .. } => project,
        }
    }

    /// The region that the instance runs in.
    pub fn region(&self) -> &str {
        match self {
            Instance::CloudSql { region, .. } => region,
        }
    }

    /// The instance's own name, without project and region.
    pub fn name(&self) -> &str {
        match self {
            Instance::CloudSql { name, .. } => name,
        }
    }
}

impl FromStr for Instance {
    type Err = Error;

    /// Reads `PROJECT:REGION:INSTANCE` or `DOMAIN:PROJECT:REGION:INSTANCE`.
    ///
    /// Each part is 1 to 98 characters from `A-Z a-z 0-9 . _ -` and starts with a letter or digit. Nothing may surround the name.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) naming the form that is expected.
    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let well_formed = parts.iter().all(|part| is_name(part));
        match parts[..] {
            [project, region, name] if well_formed => Ok(Instance::CloudSql {
                project: project.to_owned(),
                region: region.to_owned(),
                name: name.to_owned(),
            }),
            [domain, project, region, name] if well_formed => Ok(Instance::CloudSql {
                project: format!("{domain}:{project}"),
                region: region.to_owned(),
                name: name.to_owned(),
            }),
            _ => Err(malformed(text)),
        }
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Instance::CloudSql {
                project,
                region,
                name,
            } => write!(f, "{project}:{region}:{name}"),
        }
    }
}

fn is_name(part: &str) -> bool {
    part.len() <= MAX_PART
        && part.starts_with(|first: char| first.is_ascii_alphanumeric())
        && part
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn malformed(text: &str) -> Error {
    let shown = foreign(text);
    Error::config(format!("malformed instance connection name {shown:?}: expected \"PROJECT:REGION:INSTANCE\""))
        .with_detail(Detail::MalformedName)
        .with_advice(
            "copy the name that `gcloud sql instances describe INSTANCE --format='value(connectionName)'` prints",
        )
}

const MAX_PART: usize = 98;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_connection_name_has_three_parts_and_prints_as_spelled() {
        let instance: Instance = "your-project-id:us-central1:demo-postgres".parse().unwrap();
        assert_eq!(
            (instance.project(), instance.region()),
            ("your-project-id", "us-central1")
        );
        assert_eq!(instance.name(), "demo-postgres");
        assert_eq!(
            instance.to_string(),
            "your-project-id:us-central1:demo-postgres"
        );
    }

    #[test]
    fn a_domain_scoped_project_keeps_its_domain() {
        let instance: Instance = "example.com:proj:europe-west4:orders".parse().unwrap();
        assert_eq!(instance.project(), "example.com:proj");
        assert_eq!(instance.to_string(), "example.com:proj:europe-west4:orders");
    }

    #[test]
    fn anything_else_is_a_config_error_that_shows_the_form() {
        for text in [
            "",
            ":",
            "proj:inst",
            "a:b:c:d:e",
            " p:r:i",
            "p:r:i\n",
            "p::i",
            "p:r:-i",
            "p:r:i?port=1",
            "p:r:../i",
            "p/x:r:i",
        ] {
            let error = text.parse::<Instance>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{text:?}");
            assert!(
                error.to_string().contains("PROJECT:REGION:INSTANCE"),
                "{error}"
            );
        }
        assert!(
            format!("p:r:{}", "i".repeat(99))
                .parse::<Instance>()
                .is_err()
        );
        assert!(
            format!("p:r:{}", "i".repeat(98))
                .parse::<Instance>()
                .is_ok()
        );
    }

    proptest! {
        #[test]
        fn what_parses_prints_back_unchanged(text in "[a-z:.\\-0-9]{0,40}") {
            if let Ok(instance) = text.parse::<Instance>() {
                prop_assert_eq!(instance.to_string(), text);
            }
        }
    }
}
