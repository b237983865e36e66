//! The name of an instance in its parts: `project:region:instance`, or AlloyDB's URI.

use anyhow::Context as _;

use crate::principal::Role;
use crate::token::{ALLOYDB_LOGIN_SCOPE, CLOUD_PLATFORM_SCOPE, LOGIN_SCOPE};

/// An instance's name. The project may contain one colon.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct InstanceName {
    pub(crate) project: String,
    pub(crate) region: String,
    /// Only AlloyDB has clusters.
    pub(crate) cluster: Option<String>,
    pub(crate) instance: String,
}

/// The two products, which judge logins alike but by scopes, roles and flags of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Product {
    CloudSql,
    AlloyDb,
}

impl Product {
    /// The scopes any of which lets a token log in.
    pub(crate) fn login_scopes(self) -> &'static [&'static str] {
        match self {
            Product::CloudSql => &[LOGIN_SCOPE],
            Product::AlloyDb => &[ALLOYDB_LOGIN_SCOPE, CLOUD_PLATFORM_SCOPE],
        }
    }

    /// The role that lets a principal log in.
    pub(crate) fn login_role(self) -> Role {
        match self {
            Product::CloudSql => Role::CloudSqlInstanceUser,
            Product::AlloyDb => Role::AlloyDbDatabaseUser,
        }
    }

    /// The flag of an instance that allows IAM logins.
    pub(crate) fn iam_flag(self) -> &'static str {
        match self {
            Product::CloudSql => "cloudsql.iam_authentication",
            Product::AlloyDb => "alloydb.iam_authentication",
        }
    }
}

impl InstanceName {
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        if text.contains('/') {
            return alloydb(text).with_context(|| {
                format!("{text:?} is not projects/P/locations/R/clusters/C/instances/I")
            });
        }
        let parts: Vec<&str> = text.split(':').collect();
        let (project, region, instance) = match parts[..] {
            [project, region, instance] => (project.to_string(), region, instance),
            [domain, project, region, instance] => {
                (format!("{domain}:{project}"), region, instance)
            }
            _ => anyhow::bail!("{text:?} is not PROJECT:REGION:INSTANCE"),
        };
        anyhow::ensure!(
            parts.iter().all(|part| !part.is_empty()),
            "{text:?} has an empty part"
        );
        Ok(InstanceName {
            project,
            region: region.to_string(),
            cluster: None,
            instance: instance.to_string(),
        })
    }

    /// Whether this is an AlloyDB instance.
    pub(crate) fn is_alloydb(&self) -> bool {
        self.cluster.is_some()
    }

    pub(crate) fn product(&self) -> Product {
        if self.is_alloydb() {
            Product::AlloyDb
        } else {
            Product::CloudSql
        }
    }

    /// `projects/P/locations/R/clusters/C`, for AlloyDB.
    pub(crate) fn cluster_path(&self) -> Option<String> {
        let (project, region) = (&self.project, &self.region);
        let cluster = self.cluster.as_ref()?;
        Some(format!(
            "projects/{project}/locations/{region}/clusters/{cluster}"
        ))
    }

    /// The port of the server-side proxy, which each product fixes.
    pub(crate) fn port(&self) -> u16 {
        if self.is_alloydb() {
            ALLOYDB_PORT
        } else {
            CLOUD_SQL_PORT
        }
    }
}

fn alloydb(text: &str) -> Option<InstanceName> {
    let parts: Vec<&str> = text.split('/').collect();
    let [
        "projects",
        project,
        "locations",
        region,
        "clusters",
        cluster,
        "instances",
        instance,
    ] = parts[..]
    else {
        return None;
    };
    // A project may be scoped by a domain.
    let (scope, bare) = project.split_once(':').unwrap_or(("domain", project));
    let sound = [scope, bare, region, cluster, instance]
        .into_iter()
        .all(is_run);
    sound.then(|| InstanceName {
        project: project.to_string(),
        region: region.to_string(),
        cluster: Some(cluster.to_string()),
        instance: instance.to_string(),
    })
}

fn is_run(text: &str) -> bool {
    text.len() <= LONGEST
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

const CLOUD_SQL_PORT: u16 = 3307;
const ALLOYDB_PORT: u16 = 5433;
const LONGEST: usize = 98;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_may_be_scoped_by_a_domain() {
        let name = InstanceName::parse("example.com:proj:reg:inst").unwrap();
        assert_eq!(
            (
                name.project.as_str(),
                name.region.as_str(),
                name.instance.as_str()
            ),
            ("example.com:proj", "reg", "inst")
        );
        assert_eq!((name.cluster_path(), name.port()), (None, 3307));
        for bad in ["", "a", "a:b", "a:b:c:d:e", "a::c", ":b:c"] {
            assert!(InstanceName::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_alloydb_instance_is_named_by_its_whole_path() {
        let name = InstanceName::parse("projects/example.com:p/locations/r/clusters/c/instances/i")
            .unwrap();
        assert_eq!(
            (name.project.as_str(), name.instance.as_str()),
            ("example.com:p", "i")
        );
        assert_eq!(
            name.cluster_path().as_deref(),
            Some("projects/example.com:p/locations/r/clusters/c")
        );
        assert_eq!(name.port(), 5433);
        for bad in [
            "projects/p/locations/r/clusters/c",
            "projects/p/locations/r/clusters/c/instances/",
            "projects/p/locations/r/clusters/c/instances/i/",
            "/projects/p/locations/r/clusters/c/instances/i",
            "projects/p/locations/r/clusters/c:d/instances/i",
            "projects/a:b:c/locations/r/clusters/c/instances/i",
            "projects/p/locations/r/clusters/c/instances/-i",
            "projects/p/locations/r/clusters/c d/instances/i",
            "PROJECTS/p/locations/r/clusters/c/instances/i",
        ] {
            assert!(InstanceName::parse(bad).is_err(), "{bad}");
        }
    }
}
