//! Google's Security Token Service: exchanges what another identity provider signed for an access token.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::{ConnectInfo, Form, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::{Federation, Provider, aws, signature};
use crate::faults::Endpoint;
use crate::http::{Asked, Peer, Shape, exchange};
use crate::token::endpoint::OauthError;
use crate::world::World;

/// `POST /v1/token`, a form as RFC 8693 has it.
pub(crate) async fn answer(
    State(world): State<Arc<World>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    let host = world.host.clone();
    let subject = identify(&world.federation, &host, &form);
    let asked = Asked {
        endpoint: Endpoint::StsToken,
        path: "/v1/token".to_string(),
        instance: None,
        principal: subject
            .as_ref()
            .ok()
            .map(|subject| world.federation.principal(subject)),
        detail: form.get("scope").cloned(),
        secrets: form.get("subject_token").cloned().into_iter().collect(),
        shape: Shape::Oauth,
    };
    let respond = async || {
        let issued = subject.and_then(|subject| grant(&world, &subject, &form));
        issued.unwrap_or_else(OauthError::into_response)
    };
    exchange(&world, &peer, &headers, asked, respond).await
}

fn grant(
    world: &World,
    subject: &str,
    form: &HashMap<String, String>,
) -> Result<Response, OauthError> {
    let scopes: BTreeSet<String> = form
        .get("scope")
        .map(String::as_str)
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_string)
        .collect();
    if scopes.is_empty() {
        return Err(OauthError::new(
            "invalid_request",
            "Missing required parameter: scope",
        ));
    }
    if let Some(unknown) = scopes
        .iter()
        .find(|scope| !scope.starts_with("https://www.googleapis.com/auth/"))
    {
        let shown: String = unknown.chars().take(80).collect();
        return Err(OauthError::new(
            "invalid_scope",
            format!("Invalid OAuth scope: {shown}"),
        ));
    }
    let principal = world.federation.principal(subject);
    let (text, token) = world
        .tokens
        .issue(&principal, scopes, world.settings.token_lifetime);
    let left = token
        .expires
        .duration_since(SystemTime::now())
        .unwrap_or_default();
    let answer = json!({
        "access_token": text,
        "issued_token_type": ACCESS_TOKEN,
        "token_type": "Bearer",
        "expires_in": left.as_secs_f64().ceil() as u64,
    });
    Ok(axum::Json(answer).into_response())
}

/// Whom the subject token stands for, once everything about the request is right.
fn identify(
    federation: &Federation,
    host: &str,
    form: &HashMap<String, String>,
) -> Result<String, OauthError> {
    let field = |name: &str| {
        form.get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    };
    let required = |name: &str| {
        field(name).ok_or_else(|| {
            OauthError::new(
                "invalid_request",
                format!("Missing required parameter: {name}"),
            )
        })
    };
    let grant_type = required("grant_type")?;
    if grant_type != TOKEN_EXCHANGE {
        return Err(OauthError::new(
            "unsupported_grant_type",
            "Invalid value for \"grant_type\".",
        ));
    }
    if required("requested_token_type")? != ACCESS_TOKEN {
        return Err(OauthError::new(
            "invalid_request",
            "Invalid value for \"requested_token_type\".",
        ));
    }
    let audience = required("audience")?;
    let audience = audience.strip_prefix("https:").unwrap_or(audience);
    let kind = required("subject_token_type")?;
    let token = required("subject_token")?;
    let providers = [Provider::Oidc, Provider::Aws];
    let Some(provider) = providers
        .into_iter()
        .find(|provider| federation.audience(*provider) == audience)
    else {
        let is_provider =
            audience.starts_with("//iam.googleapis.com/") && audience.contains("/providers/");
        return Err(if is_provider {
            OauthError::new(
                "invalid_target",
                "The target service indicated by the \"audience\" parameters is invalid. This might either be because the \
                 pool or provider is disabled or deleted or because it doesn't exist.",
            )
        } else {
            OauthError::new(
                "invalid_request",
                "Invalid value for \"audience\". This value should be the full resource name of the Identity Provider. See \
                 https://cloud.google.com/iam/docs/reference/sts/rest/v1/TopLevel/token for the list of possible formats.",
            )
        });
    };
    let refused = |description: String| OauthError::new("invalid_grant", description);
    let now = SystemTime::now();
    match (provider, kind) {
        (Provider::Oidc, JWT | ID_TOKEN) => {
            let issuer = format!("http://{host}/oidc");
            federation
                .signer
                .check(token, &issuer, audience, now)
                .map_err(refused)
        }
        (Provider::Aws, AWS_REQUEST) => {
            let key = signature::check(token, audience, |id| federation.aws_key(id), now)
                .map_err(refused)?;
            Ok(aws::subject(&key.role))
        }
        _ => Err(OauthError::new(
            "invalid_request",
            "Invalid value for \"subject_token_type\" for the given provider.",
        )),
    }
}

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
pub(super) const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
pub(super) const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
pub(super) const AWS_REQUEST: &str = "urn:ietf:params:aws:token-type:aws4_request";
