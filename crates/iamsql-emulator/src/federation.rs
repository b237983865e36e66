//! Workload and workforce identity federation: who is known elsewhere becomes somebody here.
//!
//! ```text
//! file, URL, executable ─▶ subject token (JWT of ours) ─┐
//! AWS metadata ─▶ keys ─▶ signed GetCallerIdentity ─────┴▶ STS ─▶ federated token ─▶ generateAccessToken, or the API itself
//! ```
//!
//! There is one workload identity pool with two providers, `oidc` and `aws`, and one workforce pool.

pub(crate) mod aws;
pub(crate) mod configuration;
mod signature;
pub(crate) mod sts;
mod subject;
pub(crate) mod workforce;

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use crate::issued::{IssuedLog, random_secret};
use crate::token::credentials::client_number;

use self::aws::AwsKey;
use self::subject::Signer;

/// What the federation endpoints remember of one run.
pub(crate) struct Federation {
    /// The project's number, in which the pool is.
    number: String,
    signer: Signer,
    issued: IssuedLog,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Subject-token URLs, by the secret that their callers send.
    sources: HashMap<String, Source>,
    /// AWS access keys by their ids.
    keys: HashMap<String, AwsKey>,
    /// Roles by session token of the AWS metadata server.
    machines: HashMap<String, String>,
    /// Workforce logins by refresh token.
    logins: HashMap<String, Login>,
}

/// What a subject-token URL gives.
#[derive(Clone)]
struct Source {
    subject: String,
    json: bool,
}

/// A workforce login.
#[derive(Clone)]
struct Login {
    subject: String,
    client_id: String,
    client_secret: String,
}

impl Federation {
    pub(crate) fn new(project: &str, issued: IssuedLog) -> Self {
        Federation {
            number: project_number(project),
            signer: Signer::new(),
            issued,
            state: Mutex::default(),
        }
    }

    /// The audience of a provider, as configurations and subject tokens name it.
    pub(crate) fn audience(&self, provider: Provider) -> String {
        let (number, provider) = (&self.number, provider.name());
        format!(
            "//iam.googleapis.com/projects/{number}/locations/global/workloadIdentityPools/{POOL}/providers/{provider}"
        )
    }

    /// The identity that a subject has here.
    pub(crate) fn principal(&self, subject: &str) -> String {
        let number = &self.number;
        format!(
            "principal://iam.googleapis.com/projects/{number}/locations/global/workloadIdentityPools/{POOL}/subject/{subject}"
        )
    }

    /// A subject token of the OIDC provider.
    pub(crate) fn subject_token(&self, host: &str, subject: &str, lifetime: Duration) -> String {
        let audience = format!("https:{}", self.audience(Provider::Oidc));
        let token = self.signer.sign(
            &format!("http://{host}/oidc"),
            subject,
            &audience,
            SystemTime::now(),
            lifetime,
        );
        self.issued.record("subject token", &token);
        token
    }

    /// The secret for a subject-token URL.
    fn open_source(&self, subject: &str, json: bool) -> String {
        let secret = random_secret("emulator-source-");
        self.issued.record("subject-token URL secret", &secret);
        let source = Source {
            subject: subject.to_string(),
            json,
        };
        self.lock().sources.insert(secret.clone(), source);
        secret
    }

    fn source(&self, secret: &str) -> Option<Source> {
        self.lock().sources.get(secret).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no panic under lock")
    }
}

/// Who vouches for a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Provider {
    Oidc,
    Aws,
}

impl Provider {
    fn name(self) -> &'static str {
        match self {
            Provider::Oidc => "oidc",
            Provider::Aws => "aws",
        }
    }
}

/// The number of a project, as the metadata server tells it.
pub(crate) fn project_number(project: &str) -> String {
    client_number(project)[..12].to_string()
}

/// The one workload identity pool.
const POOL: &str = "emulator-pool";
