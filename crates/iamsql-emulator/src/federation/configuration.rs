//! Credential configurations of type `external_account`, and the URL that some of them read their subject token from.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::sts::{AWS_REQUEST, ID_TOKEN, JWT};
use super::{Federation, Provider, aws};
use crate::faults::Endpoint;
use crate::http::{Asked, Peer, Shape, exchange};
use crate::iamcredentials::impersonation_url;
use crate::world::World;

/// A workload that is known elsewhere: where its subject token comes from, and whom it becomes.
///
/// ```
/// use iamsql_emulator::ExternalAccount;
///
/// let robot = ExternalAccount::url("robot").impersonating("reader@your-project-id.iam.gserviceaccount.com");
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExternalAccount {
    /// Where the subject token comes from.
    pub source: ExternalSource,
    /// Who the workload is elsewhere. For [`ExternalSource::Aws`] the name of a role.
    pub subject: String,
    /// The service account that the federated identity acts as; it must be among that account's token creators.
    #[serde(default)]
    pub impersonate: Option<String>,
    /// How long the service account's tokens are to live. Default: the service's, one hour.
    #[serde(
        default,
        with = "crate::instance::milliseconds",
        rename = "lifetime_ms"
    )]
    pub lifetime: Option<Duration>,
    /// Whether file and URL hold JSON, the token in its field `id_token`, instead of the bare token.
    #[serde(default)]
    pub json: bool,
}

/// Where a subject token comes from.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExternalSource {
    /// A file that whoever runs the workload keeps fresh, with [`Emulator::subject_token`](crate::Emulator::subject_token).
    File(PathBuf),
    /// A URL of the emulator.
    Url,
    /// A program that prints [`Emulator::executable_response`](crate::Emulator::executable_response).
    Executable {
        /// The command with its arguments.
        command: String,
        /// A file in which the program may leave its answer for the next time.
        #[serde(default)]
        output_file: Option<PathBuf>,
    },
    /// The metadata server of an AWS machine, which the emulator stands in for.
    Aws,
}

impl ExternalAccount {
    /// The subject token is in a file.
    pub fn file(subject: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self::new(subject.into(), ExternalSource::File(path.into()))
    }

    /// The emulator serves the subject token.
    pub fn url(subject: impl Into<String>) -> Self {
        Self::new(subject.into(), ExternalSource::Url)
    }

    /// A program prints the subject token.
    pub fn executable(subject: impl Into<String>, command: impl Into<String>) -> Self {
        let command = command.into();
        Self::new(
            subject.into(),
            ExternalSource::Executable {
                command,
                output_file: None,
            },
        )
    }

    /// An AWS machine with this role.
    pub fn aws(role: impl Into<String>) -> Self {
        Self::new(role.into(), ExternalSource::Aws)
    }

    /// The service account to act as. Default: none, the federated identity itself.
    pub fn impersonating(mut self, email: impl Into<String>) -> Self {
        self.impersonate = Some(email.into());
        self
    }

    /// How long the service account's tokens are to live. Default one hour.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// Whether file and URL hold JSON. Default false.
    pub fn json(mut self, json: bool) -> Self {
        self.json = json;
        self
    }

    fn new(subject: String, source: ExternalSource) -> Self {
        ExternalAccount {
            source,
            subject,
            impersonate: None,
            lifetime: None,
            json: false,
        }
    }
}

impl Federation {
    /// The configuration (JSON) of a workload, whose endpoints are those of the emulator at `base`.
    pub(crate) fn external_account(
        &self,
        account: &ExternalAccount,
        base: &str,
    ) -> anyhow::Result<Value> {
        anyhow::ensure!(
            account.source != ExternalSource::Aws || aws::is_role(&account.subject),
            "{:?} cannot be the name of an AWS role",
            account.subject
        );
        let provider = match account.source {
            ExternalSource::Aws => Provider::Aws,
            _ => Provider::Oidc,
        };
        let kind = match account.source {
            ExternalSource::Aws => AWS_REQUEST,
            ExternalSource::Executable { .. } => ID_TOKEN,
            _ => JWT,
        };
        let mut configuration = json!({
            "type": "external_account",
            "audience": self.audience(provider),
            "subject_token_type": kind,
            "token_url": format!("{base}/v1/token"),
            "credential_source": self.credential_source(account, base),
            "universe_domain": "googleapis.com",
        });
        if let Some(email) = &account.impersonate {
            configuration["service_account_impersonation_url"] =
                impersonation_url(base, email).into();
        }
        if let Some(lifetime) = account.lifetime {
            configuration["service_account_impersonation"] =
                json!({ "token_lifetime_seconds": lifetime.as_secs() });
        }
        Ok(configuration)
    }

    fn credential_source(&self, account: &ExternalAccount, base: &str) -> Value {
        let mut source = match &account.source {
            ExternalSource::File(path) => json!({ "file": path }),
            ExternalSource::Url => {
                let secret = self.open_source(&account.subject, account.json);
                json!({ "url": format!("{base}/emulator/subject-token"), "headers": { "Authorization": format!("Bearer {secret}") } })
            }
            ExternalSource::Executable {
                command,
                output_file,
            } => {
                let mut executable = json!({ "command": command, "timeout_millis": 10_000 });
                if let Some(path) = output_file {
                    executable["output_file"] = json!(path);
                }
                return json!({ "executable": executable });
            }
            ExternalSource::Aws => {
                let machine = format!("{base}/emulator/aws/{}/latest", account.subject);
                return json!({
                    "environment_id": "aws1",
                    "region_url": format!("{machine}/meta-data/placement/availability-zone"),
                    "url": format!("{machine}/meta-data/iam/security-credentials"),
                    "imdsv2_session_token_url": format!("{machine}/api/token"),
                    "regional_cred_verification_url": "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15",
                });
            }
        };
        if account.json {
            source["format"] = json!({ "type": "json", "subject_token_field_name": "id_token" });
        }
        source
    }
}

/// `GET /emulator/subject-token`: the subject token of a URL-sourced configuration, for who has its secret.
pub(crate) async fn subject_token(
    State(world): State<Arc<World>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
) -> Response {
    let value = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let secret = value
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default();
    let source = world.federation.source(secret);
    let asked = Asked {
        endpoint: Endpoint::SubjectToken,
        path: "/emulator/subject-token".to_string(),
        instance: None,
        principal: source
            .as_ref()
            .map(|source| world.federation.principal(&source.subject)),
        detail: None,
        secrets: vec![secret.to_string()],
        shape: Shape::Oauth,
    };
    let respond = async || {
        let Some(source) = source else {
            return (
                StatusCode::UNAUTHORIZED,
                "no subject-token URL has this secret\n",
            )
                .into_response();
        };
        let token = world.federation.subject_token(
            &world.host,
            &source.subject,
            world.settings.token_lifetime,
        );
        if source.json {
            axum::Json(json!({ "id_token": token })).into_response()
        } else {
            token.into_response()
        }
    };
    exchange(&world, &peer, &headers, asked, respond).await
}
