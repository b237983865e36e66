//! People of a workforce pool: a login in a browser left a refresh token, which buys access tokens.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::{ConnectInfo, Form, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Federation, Login};
use crate::faults::Endpoint;
use crate::http::{Asked, Peer, Shape, exchange};
use crate::issued::random_secret;
use crate::principal::GCLOUD_SCOPES;
use crate::token::endpoint::OauthError;
use crate::world::World;

/// `POST /v1/oauthtoken`: a refresh grant, the client's id and secret in the `Authorization` header.
pub(crate) async fn answer(
    State(world): State<Arc<World>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    Form(form): Form<HashMap<String, String>>,
) -> Response {
    let login = form
        .get("refresh_token")
        .and_then(|text| world.federation.login(text));
    let asked = Asked {
        endpoint: Endpoint::WorkforceToken,
        path: "/v1/oauthtoken".to_string(),
        instance: None,
        principal: login.as_ref().map(|login| principal(&login.subject)),
        detail: form.get("grant_type").cloned(),
        secrets: form.get("refresh_token").cloned().into_iter().collect(),
        shape: Shape::Oauth,
    };
    let respond = async || {
        let client = client(&headers, &form);
        let granted = match (form.get("grant_type").map(String::as_str), login, client) {
            (Some("refresh_token"), Some(login), Some(client))
                if client == (login.client_id.clone(), login.client_secret.clone()) =>
            {
                Ok(login)
            }
            (Some("refresh_token"), Some(_), _) => Err(OauthError::new(
                "invalid_client",
                "The OAuth client was not found.",
            )),
            (Some("refresh_token"), None, _) => {
                Err(OauthError::new("invalid_grant", "Bad Request"))
            }
            _ => Err(OauthError::new(
                "unsupported_grant_type",
                "Invalid grant_type",
            )),
        };
        match granted {
            Ok(login) => issue(&world, &login.subject),
            Err(error) => error.into_response(),
        }
    };
    exchange(&world, &peer, &headers, asked, respond).await
}

fn issue(world: &World, subject: &str) -> Response {
    let scopes: BTreeSet<String> = GCLOUD_SCOPES.iter().map(ToString::to_string).collect();
    let (text, token) =
        world
            .tokens
            .issue(&principal(subject), scopes, world.settings.token_lifetime);
    let left = token
        .expires
        .duration_since(SystemTime::now())
        .unwrap_or_default();
    let answer = json!({
        "access_token": text,
        "expires_in": left.as_secs_f64().ceil() as u64,
        "token_type": "Bearer",
    });
    axum::Json(answer).into_response()
}

/// Id and secret of the OAuth client, from the header or the form.
fn client(headers: &HeaderMap, form: &HashMap<String, String>) -> Option<(String, String)> {
    if let (Some(id), Some(secret)) = (form.get("client_id"), form.get("client_secret")) {
        return Some((id.clone(), secret.clone()));
    }
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    let decoded = STANDARD
        .decode(encoded.trim())
        .ok()
        .filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((id.to_string(), secret.to_string()))
}

/// The identity of a person of the pool.
pub(crate) fn principal(subject: &str) -> String {
    format!(
        "principal://iam.googleapis.com/locations/global/workforcePools/{POOL}/subject/{subject}"
    )
}

impl Federation {
    /// An `external_account_authorized_user` file, as `gcloud auth application-default login` writes for such people.
    pub(crate) fn workforce_user(&self, subject: &str, base: &str) -> Value {
        let refresh_token = random_secret("emulator-refresh-");
        let login = Login {
            subject: subject.to_string(),
            client_id: format!("emulator-{}", super::project_number(subject)),
            client_secret: random_secret("emulator-client-"),
        };
        self.issued.record("refresh token", &refresh_token);
        self.issued.record("client secret", &login.client_secret);
        let file = json!({
            "type": "external_account_authorized_user",
            "audience": format!("//iam.googleapis.com/locations/global/workforcePools/{POOL}/providers/emulator"),
            "client_id": login.client_id,
            "client_secret": login.client_secret,
            "refresh_token": refresh_token,
            "token_url": format!("{base}/v1/oauthtoken"),
            "universe_domain": "googleapis.com",
        });
        self.lock().logins.insert(refresh_token, login);
        file
    }

    fn login(&self, refresh_token: &str) -> Option<Login> {
        self.lock().logins.get(refresh_token).cloned()
    }

    /// Forgets the logins of a person.
    pub(crate) fn revoke_principal(&self, owner: &str) {
        self.lock()
            .logins
            .retain(|_, login| principal(&login.subject) != owner);
    }
}

const POOL: &str = "emulator-workforce";
