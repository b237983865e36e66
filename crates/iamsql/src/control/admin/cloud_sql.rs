//! The two calls of the Cloud SQL Admin API: `connectSettings` and `generateEphemeralCert`.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;
use serde::Deserialize;
use serde_json::json;

use crate::control::admin::api::{Api, segment};
use crate::control::admin::settings::{Settings, SettingsBody};
use crate::control::credentials::Token;
use crate::control::endpoint::Endpoint;
use crate::control::http::patience::Patience;
use crate::control::http::{Call, Http};
use crate::error::{Error, ErrorKind, Result};
use crate::instance::Instance;

pub(crate) struct CloudSql {
    api: Api,
}

impl CloudSql {
    pub(crate) fn new(
        http: Arc<Http>,
        endpoint: Endpoint,
        quota_project: Option<HeaderValue>,
    ) -> Self {
        CloudSql {
            api: Api {
                service: SERVICE,
                http,
                endpoint,
                quota_project,
            },
        }
    }

    /// What the instance is: addresses, certificate authorities, names, database version.
    pub(crate) async fn connect_settings(
        &self,
        instance: &Instance,
        token: &Token,
        patience: &Patience,
    ) -> Result<Settings> {
        let call = Call::get(SERVICE, self.of(instance, "/connectSettings"), LIMIT);
        let answer = self.api.send(call, instance, token, patience).await?;
        let body: SettingsBody = self.api.read(&answer)?;
        Settings::new(instance, body)
    }

    /// A certificate for `public_key`, in PEM; with `login`, one that logs in as the token's principal.
    pub(crate) async fn generate_ephemeral_cert(
        &self,
        instance: &Instance,
        public_key: &str,
        login: Option<&Token>,
        token: &Token,
        patience: &Patience,
    ) -> Result<String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Body {
            ephemeral_cert: Cert,
        }
        #[derive(Deserialize)]
        struct Cert {
            cert: String,
        }
        let mut body = json!({ "public_key": public_key });
        if let Some(login) = login {
            body["access_token"] = json!(login.secret().expose());
        }
        let endpoint = self.of(instance, ":generateEphemeralCert");
        let call = Call::post_json(SERVICE, endpoint, LIMIT, &body);
        let answer = self.api.send(call, instance, token, patience).await?;
        Ok(self.api.read::<Body>(&answer)?.ephemeral_cert.cert)
    }

    /// The instance that bears `name`, a DNS name of Cloud SQL's own in `region`, without a final dot.
    pub(crate) async fn resolve_connect_settings(
        &self,
        region: &str,
        name: &str,
        token: &Token,
        patience: &Patience,
    ) -> Result<Instance> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Body {
            connection_name: Option<String>,
        }
        let endpoint = self.api.endpoint.join(&format!(
            "/sql/v1beta4/locations/{}/dns/{}.:resolveConnectSettings",
            segment(region),
            segment(name),
        ));
        let asked = Instance::Domain {
            name: name.to_owned(),
        };
        let call = Call::get(SERVICE, endpoint, LIMIT);
        let answer = self.api.send(call, &asked, token, patience).await?;
        let body: Body = self.api.read(&answer)?;
        match body.connection_name.as_deref().map(str::parse) {
            Some(Ok(instance @ Instance::CloudSql { .. })) => Ok(instance),
            _ => Err(Error::new(
                ErrorKind::Unavailable,
                format!("{SERVICE} gave no connection name"),
            )
            .with_retryable(false)
            .with_instance(name)),
        }
    }

    fn of(&self, instance: &Instance, suffix: &str) -> Endpoint {
        let (project, name) = (segment(instance.project()), segment(instance.name()));
        self.api.endpoint.join(&format!(
            "/sql/v1beta4/projects/{project}/instances/{name}{suffix}"
        ))
    }
}

pub(crate) const SERVICE: &str = "the Cloud SQL Admin API";
const LIMIT: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::clock::SystemClock;
    use crate::control::environment::Environment;
    use crate::control::http::user_agent;

    #[test]
    fn a_domain_scoped_project_is_percent_encoded() {
        let http = Http::new(
            &Environment::empty(),
            user_agent(None).unwrap(),
            Arc::new(SystemClock),
        );
        let base = Endpoint::parse("x", "https://sqladmin.googleapis.com/").unwrap();
        let admin = CloudSql::new(Arc::new(http.unwrap()), base, None);
        let instance = "example.com:proj:europe-west4:orders".parse().unwrap();
        assert_eq!(
            admin.of(&instance, ":generateEphemeralCert").url().as_str(),
            "https://sqladmin.googleapis.com/sql/v1beta4/projects/example.com%3Aproj/instances/orders:generateEphemeralCert"
        );
    }
}
