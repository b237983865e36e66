//! The metadata server of an AWS machine (IMDSv2): a session token, then region, role and keys.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::Federation;
use crate::faults::Endpoint;
use crate::http::{Asked, Peer, Shape, exchange};
use crate::issued::{random_secret, random_text};
use crate::world::World;

/// An access key with its session token.
#[derive(Clone)]
pub(super) struct AwsKey {
    pub(super) id: String,
    pub(super) secret: String,
    pub(super) session: String,
    pub(super) role: String,
    pub(super) expires: SystemTime,
}

/// `/emulator/aws/{role}/latest/…`: the machine that has this role.
pub(crate) async fn answer(
    State(world): State<Arc<World>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    method: Method,
    Path((role, path)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_string)
    };
    let session = text(SESSION);
    let asked = Asked {
        endpoint: Endpoint::AwsMetadata,
        path: format!("/emulator/aws/{role}/latest/{path}"),
        instance: None,
        principal: Some(world.federation.principal(&subject(&role))),
        detail: None,
        secrets: session.clone().into_iter().collect(),
        shape: Shape::Metadata,
    };
    let respond = async || {
        if path == "api/token" {
            let lifetime = text(SESSION_LIFE).and_then(|text| text.parse::<u32>().ok());
            return match lifetime {
                _ if method != Method::PUT => StatusCode::METHOD_NOT_ALLOWED.into_response(),
                Some(1..=21600) => world.federation.open_machine(&role).into_response(),
                _ => StatusCode::BAD_REQUEST.into_response(),
            };
        }
        if method != Method::GET {
            return StatusCode::METHOD_NOT_ALLOWED.into_response();
        }
        if world
            .federation
            .machine(&session.unwrap_or_default())
            .as_ref()
            != Some(&role)
        {
            return StatusCode::UNAUTHORIZED.into_response();
        }
        match path.trim_end_matches('/').strip_prefix("meta-data/") {
            Some("placement/availability-zone") => ZONE.into_response(),
            Some("placement/region") => ZONE[..ZONE.len() - 1].into_response(),
            Some("iam/security-credentials") => role.clone().into_response(),
            Some(rest) if rest.strip_prefix("iam/security-credentials/") == Some(&role) => keys(
                world
                    .federation
                    .issue_key(&role, world.settings.token_lifetime),
            ),
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    };
    exchange(&world, &peer, &headers, asked, respond).await
}

/// The subject of a role: its ARN.
pub(crate) fn subject(role: &str) -> String {
    format!("arn:aws:sts::{ACCOUNT}:assumed-role/{role}")
}

/// Whether a role can stand in a URL and an ARN.
pub(crate) fn is_role(role: &str) -> bool {
    (1..=64).contains(&role.len())
        && role
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+=,.@_-".contains(c))
}

fn keys(key: AwsKey) -> Response {
    let time = |time: SystemTime| crate::iamcredentials::timestamp(time);
    let body = json!({
        "Code": "Success",
        "Type": "AWS-HMAC",
        "AccessKeyId": key.id,
        "SecretAccessKey": key.secret,
        "Token": key.session,
        "LastUpdated": time(SystemTime::now()),
        "Expiration": time(key.expires),
    });
    axum::Json(body).into_response()
}

impl Federation {
    /// A session token of the machine with this role.
    fn open_machine(&self, role: &str) -> String {
        let token = random_secret("emulator-imds-");
        self.issued.record("AWS metadata session", &token);
        self.lock().machines.insert(token.clone(), role.to_string());
        token
    }

    fn machine(&self, token: &str) -> Option<String> {
        self.lock().machines.get(token).cloned()
    }

    fn issue_key(&self, role: &str, lifetime: Duration) -> AwsKey {
        let key = AwsKey {
            id: format!(
                "ASIA{}",
                random_text(12).to_uppercase().replace(['-', '_'], "X")
            ),
            secret: random_secret("emulator-aws-"),
            session: random_secret("emulator-session-"),
            role: role.to_string(),
            expires: SystemTime::now() + lifetime,
        };
        self.issued.record("AWS secret key", &key.secret);
        self.issued.record("AWS session token", &key.session);
        self.lock().keys.insert(key.id.clone(), key.clone());
        key
    }

    pub(super) fn aws_key(&self, id: &str) -> Option<AwsKey> {
        self.lock().keys.get(id).cloned()
    }
}

const SESSION: &str = "x-aws-ec2-metadata-token";
const SESSION_LIFE: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const ZONE: &str = "us-east-2b";
const ACCOUNT: &str = "123456789012";
