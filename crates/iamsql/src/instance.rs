//! Text → [`Instance`]: the one place where a connection name is read.

use std::fmt;
use std::str::FromStr;

use crate::error::{Detail, Error, Result};
use crate::secret::foreign;

/// Which database instance to connect to.
///
/// Parsed from text with [`str::parse`]. Prints as it was spelled; a domain name in lower case and without its final dot.
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
    /// An AlloyDB instance, `projects/PROJECT/locations/REGION/clusters/CLUSTER/instances/INSTANCE`.
    AlloyDb {
        /// The project, with its domain prefix if it has one.
        project: String,
        /// The region, as in `us-central1`.
        region: String,
        /// The cluster that the instance belongs to.
        cluster: String,
        /// The instance's own name.
        name: String,
    },
    /// A domain name whose DNS records lead to a Cloud SQL instance.
    Domain {
        /// The name, in lower case, without a final dot.
        name: String,
    },
}

/// Which of Google's database services an instance belongs to.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Product {
    /// Cloud SQL.
    CloudSql,
    /// AlloyDB.
    AlloyDb,
}

impl Instance {
    /// The service that the instance belongs to. Domain names lead to Cloud SQL.
    pub fn product(&self) -> Product {
        match self {
            Instance::CloudSql { .. } | Instance::Domain { .. } => Product::CloudSql,
            Instance::AlloyDb { .. } => Product::AlloyDb,
        }
    }

    /// The project that the instance belongs to; empty for a domain name, which does not say.
    pub fn project(&self) -> &str {
        match self {
            Instance::CloudSql { project, .. } | Instance::AlloyDb { project, .. } => project,
            Instance::Domain { .. } => "",
        }
    }

    /// The region that the instance runs in; empty for a domain name, which does not say.
    pub fn region(&self) -> &str {
        match self {
            Instance::CloudSql { region, .. } | Instance::AlloyDb { region, .. } => region,
            Instance::Domain { .. } => "",
        }
    }

    /// The instance's own name, without project and region; or the domain name.
    pub fn name(&self) -> &str {
        match self {
            Instance::CloudSql { name, .. }
            | Instance::AlloyDb { name, .. }
            | Instance::Domain { name } => name,
        }
    }
}

impl FromStr for Instance {
    type Err = Error;

    /// Reads `PROJECT:REGION:INSTANCE`, an AlloyDB instance URI, or a domain name.
    ///
    /// A project may be domain-scoped, `DOMAIN:PROJECT`. Each part is 1 to 98 characters from `A-Z a-z 0-9 . _ -` and
    /// starts with a letter or digit. Nothing may surround the name.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) naming the form that is expected.
    fn from_str(text: &str) -> Result<Self> {
        let read = match () {
            () if text.starts_with(URI_START) => alloy_db(text).ok_or(URI_FORM),
            () if text.contains(':') => cloud_sql(text).ok_or(NAME_FORM),
            () => domain(text).ok_or(NAME_FORM),
        };
        read.map_err(|form| malformed(text, form))
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
            Instance::AlloyDb {
                project,
                region,
                cluster,
                name,
            } => write!(
                f,
                "projects/{project}/locations/{region}/clusters/{cluster}/instances/{name}"
            ),
            Instance::Domain { name } => f.write_str(name),
        }
    }
}

/// An instance's name as a message begins with it: an AlloyDB URI as `p.r.c.i`, everything else as it is.
pub(crate) fn short(name: &str) -> String {
    match alloy_db(name) {
        Some(Instance::AlloyDb {
            project,
            region,
            cluster,
            name,
        }) => format!("{project}.{region}.{cluster}.{name}"),
        _ => name.to_owned(),
    }
}

fn cloud_sql(text: &str) -> Option<Instance> {
    let (project, region, name) = match text.split(':').collect::<Vec<_>>()[..] {
        [project, region, name] => (project_name(project)?, region, name),
        [domain, project, region, name] => {
            (project_name(&format!("{domain}:{project}"))?, region, name)
        }
        _ => return None,
    };
    Some(Instance::CloudSql {
        project,
        region: part(region)?,
        name: part(name)?,
    })
}

fn alloy_db(text: &str) -> Option<Instance> {
    match text.split('/').collect::<Vec<_>>()[..] {
        [
            "projects",
            project,
            "locations",
            region,
            "clusters",
            cluster,
            "instances",
            name,
        ] => Some(Instance::AlloyDb {
            project: project_name(project)?,
            region: part(region)?,
            cluster: part(cluster)?,
            name: part(name)?,
        }),
        _ => None,
    }
}

/// At least two labels, the last of which starts with a letter, so that no IPv4 address is one.
fn domain(text: &str) -> Option<Instance> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let labels: Vec<&str> = name.split('.').collect();
    let is_domain = name.len() <= MAX_DOMAIN
        && labels.len() >= 2
        && labels.iter().all(|label| is_label(label))
        && labels
            .last()?
            .starts_with(|first: char| first.is_ascii_lowercase());
    is_domain.then_some(Instance::Domain { name })
}

fn is_label(label: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let bytes = label.as_bytes();
    bytes.len() <= MAX_LABEL
        && bytes.first().is_some_and(|&first| is_word(first))
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.iter().all(|&byte| is_word(byte) || byte == b'-')
}

/// A project, with a domain before it where it has one.
fn project_name(text: &str) -> Option<String> {
    let is_project = match text.split_once(':') {
        Some((domain, project)) => is_name(domain) && is_name(project),
        None => is_name(text),
    };
    is_project.then(|| text.to_owned())
}

fn part(text: &str) -> Option<String> {
    is_name(text).then(|| text.to_owned())
}

fn is_name(part: &str) -> bool {
    part.len() <= MAX_PART
        && part.starts_with(|first: char| first.is_ascii_alphanumeric())
        && part
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

fn malformed(text: &str, form: &str) -> Error {
    let shown = foreign(text);
    let error = match form {
        URI_FORM => Error::config(format!(
            "malformed AlloyDB instance URI {shown:?}: expected {form}"
        ))
        .with_advice("copy the name that `gcloud alloydb instances describe INSTANCE --cluster=CLUSTER --region=REGION --format='value(name)'` prints"),
        _ => Error::config(format!(
            "malformed instance connection name {shown:?}: expected {form}"
        ))
        .with_advice(
            "copy the name that `gcloud sql instances describe INSTANCE --format='value(connectionName)'` prints",
        ),
    };
    error.with_detail(Detail::MalformedName)
}

const NAME_FORM: &str = "\"PROJECT:REGION:INSTANCE\", an AlloyDB instance URI or a domain name";
const URI_FORM: &str = "\"projects/PROJECT/locations/REGION/clusters/CLUSTER/instances/INSTANCE\"";
const URI_START: &str = "projects/";
const MAX_PART: usize = 98;
const MAX_LABEL: usize = 63;
const MAX_DOMAIN: usize = 253;

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
            "localhost",
            "10.0.0.1",
            "a..example.com",
            "-a.example.com",
            "exa mple.com",
            "/projects/p/locations/r/clusters/c/instances/i",
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

    #[test]
    fn an_alloydb_uri_has_four_names_and_a_short_form() {
        let text =
            "projects/example.com:proj/locations/europe-west4/clusters/main/instances/read-pool";
        let instance: Instance = text.parse().unwrap();
        assert_eq!(instance.product(), Product::AlloyDb);
        assert_eq!(
            (instance.project(), instance.region(), instance.name()),
            ("example.com:proj", "europe-west4", "read-pool")
        );
        assert_eq!(instance.to_string(), text);
        assert_eq!(short(text), "example.com:proj.europe-west4.main.read-pool");
        assert_eq!(short("p:r:i"), "p:r:i");
    }

    #[test]
    fn a_uri_with_anything_missing_added_or_odd_is_refused() {
        let whole = "projects/p/locations/r/clusters/c/instances/i";
        assert!(whole.parse::<Instance>().is_ok());
        for text in [
            "projects/",
            "projects/p/locations/r/clusters/c",
            "projects/p/locations/r/clusters/c/instances/",
            "projects/p/locations/r/clusters/c/instances/i/",
            "projects/p/locations/r/clusters/c/instances/i/connectionInfo",
            "projects/p/locations/r/clusters/../instances/i",
            "projects/p/locations/r/clusters/c/instances/i?alt=json",
            "projects/p/regions/r/clusters/c/instances/i",
            "projects/a:b:c/locations/r/clusters/c/instances/i",
            "projects/p/locations/r:x/clusters/c/instances/i",
            "projects/p/locations/r/clusters/c/instances/i\n",
            "projects//locations/r/clusters/c/instances/i",
        ] {
            let error = text.parse::<Instance>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{text:?}");
            assert_eq!(error.detail(), Some(&Detail::MalformedName));
            assert!(error.to_string().contains(URI_FORM), "{error}");
        }
    }

    #[test]
    fn a_domain_name_is_kept_in_one_spelling() {
        for text in ["db.example.com", "DB.Example.com.", "db.example.COM"] {
            let instance: Instance = text.parse().unwrap();
            assert_eq!(instance.to_string(), "db.example.com");
            assert_eq!(instance.product(), Product::CloudSql);
        }
        assert!("_sql.example.com".parse::<Instance>().is_ok());
        assert!(
            format!("{}.example.com", "a".repeat(64))
                .parse::<Instance>()
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn what_parses_prints_back_unchanged(text in "(projects/[a-z:/]{0,40})|([a-z:.\\-0-9]{0,40})") {
            if let Ok(instance) = text.parse::<Instance>() {
                let printed = instance.to_string();
                prop_assert!(printed == text || format!("{printed}.") == text, "{printed}");
            }
        }
    }
}
