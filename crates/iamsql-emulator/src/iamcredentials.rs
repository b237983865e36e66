//! The IAM Credentials API: a token of a service account, for who may act as it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::body::Bytes;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::caller::Caller;
use crate::faults::Endpoint;
use crate::http::{Asked, Peer, Shape, exchange};
use crate::principal::{Principal, PrincipalKind};
use crate::sqladmin::error::ApiError;
use crate::sqladmin::unknown_path;
use crate::world::World;

/// The body of a request. Fields may be null, which is as if they were not there.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    scope: Option<BTreeSet<String>>,
    delegates: Option<Vec<String>>,
    lifetime: Option<String>,
}

/// `POST /v1/projects/-/serviceAccounts/{email}:generateAccessToken`.
pub(crate) async fn service_account_call(
    State(world): State<Arc<World>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path(call): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Some(email) = call.strip_suffix(":generateAccessToken") else {
        return unknown_path().await;
    };
    let caller = Caller::of(&world, &headers);
    let wanted = serde_json::from_slice::<Wanted>(&body);
    let asked = Asked {
        endpoint: Endpoint::GenerateAccessToken,
        path: format!("/v1/projects/-/serviceAccounts/{call}"),
        instance: None,
        principal: caller.email(),
        detail: wanted.as_ref().ok().map(|wanted| {
            let scopes: Vec<&str> = wanted.scope.iter().flatten().map(String::as_str).collect();
            scopes.join(" ")
        }),
        secrets: caller.text.clone().into_iter().collect(),
        shape: Shape::Service(SERVICE),
    };
    let respond = async || match wanted {
        Err(_) => ApiError::invalid("Invalid JSON payload received.")
            .of(SERVICE)
            .into_response(),
        Ok(wanted) => match generate(&world, &caller, email, wanted) {
            Ok(answer) => axum::Json(answer).into_response(),
            Err(error) => error.of(SERVICE).into_response(),
        },
    };
    exchange(&world, &peer, &headers, asked, respond).await
}

fn generate(
    world: &World,
    caller: &Caller,
    email: &str,
    wanted: Wanted,
) -> Result<Value, ApiError> {
    let token = caller.authenticate(world, &SCOPES)?;
    let invalid = || ApiError::invalid("Request contains an invalid argument.");
    let mut chain: Vec<String> = Vec::new();
    for delegate in wanted.delegates.iter().flatten() {
        let name = delegate
            .strip_prefix("projects/-/serviceAccounts/")
            .ok_or_else(invalid)?;
        chain.push(name.to_string());
    }
    chain.push(email.to_string());
    let target = permitted(&token.principal, &chain, |email| world.principal(email))?;
    let scopes = wanted.scope.unwrap_or_default();
    if scopes.is_empty()
        || target
            .allowed_scopes()
            .is_some_and(|allowed| !scopes.is_subset(&allowed))
    {
        return Err(invalid());
    }
    let longest = if target.long_tokens { LONGEST } else { HOUR };
    let lifetime = match &wanted.lifetime {
        None => world.settings.token_lifetime.min(HOUR),
        Some(text) => seconds(text)
            .filter(|lifetime| *lifetime <= longest)
            .ok_or_else(invalid)?,
    };
    let (text, token) = world.tokens.issue(email, scopes, lifetime);
    Ok(json!({ "accessToken": text, "expireTime": timestamp(token.expires) }))
}

/// The last of the chain, if each link is a token creator of the next, the caller of the first.
fn permitted(
    caller: &str,
    chain: &[String],
    find: impl Fn(&str) -> Option<Principal>,
) -> Result<Principal, ApiError> {
    let mut actor = caller.to_string();
    let mut last = None;
    for email in chain {
        // Somebody else's account and one that does not exist read the same.
        let account = find(email).filter(|account| account.kind() == PrincipalKind::ServiceAccount);
        let account = account.filter(|account| account.may_be_acted_as_by(&actor));
        let account = account.ok_or_else(|| ApiError::denied_somewhere(PERMISSION))?;
        actor = email.clone();
        last = Some(account);
    }
    last.ok_or_else(|| ApiError::invalid("Request contains an invalid argument."))
}

/// `3600s`, possibly with a fraction.
fn seconds(text: &str) -> Option<Duration> {
    let seconds: f64 = text.strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|lifetime| !lifetime.is_zero())
}

/// A time as this API writes it: whole seconds. Clients parse exactly this form.
pub(crate) fn timestamp(time: SystemTime) -> String {
    let form = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
    OffsetDateTime::from(time)
        .format(form)
        .expect("a year of four digits")
}

/// The URL that acts as `email`.
pub(crate) fn impersonation_url(base: &str, email: &str) -> String {
    format!("{base}/v1/projects/-/serviceAccounts/{email}:generateAccessToken")
}

const SERVICE: &str = "iamcredentials.googleapis.com";
const PERMISSION: &str = "iam.serviceAccounts.getAccessToken";
const SCOPES: [&str; 2] = [
    "https://www.googleapis.com/auth/cloud-platform",
    "https://www.googleapis.com/auth/iam",
];
const HOUR: Duration = Duration::from_secs(3600);
const LONGEST: Duration = Duration::from_secs(12 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    fn find(email: &str) -> Option<Principal> {
        let account = |creator: &str| Principal::service_account(email).with_token_creator(creator);
        match email {
            "a@p.iam.gserviceaccount.com" => Some(account("jane@example.com")),
            "b@p.iam.gserviceaccount.com" => Some(account("a@p.iam.gserviceaccount.com")),
            "pool@p.iam.gserviceaccount.com" => {
                Some(account("principalSet://iam.googleapis.com/pool/*"))
            }
            "jane@example.com" => Some(Principal::human(email)),
            _ => None,
        }
    }

    #[test]
    fn every_link_of_a_chain_is_checked() {
        let chain = |names: &[&str]| -> Vec<String> {
            names
                .iter()
                .map(|name| format!("{name}@p.iam.gserviceaccount.com"))
                .collect()
        };
        let cases: [(&str, Vec<String>, bool); 9] = [
            ("jane@example.com", chain(&["a"]), true),
            ("jane@example.com", chain(&["b"]), false),
            ("jane@example.com", chain(&["a", "b"]), true),
            ("jane@example.com", chain(&["b", "a"]), false),
            ("joe@example.com", chain(&["a", "b"]), false),
            ("jane@example.com", chain(&["absent"]), false),
            (
                "jane@example.com",
                vec!["jane@example.com".to_string()],
                false,
            ),
            (
                "principal://iam.googleapis.com/pool/subject/robot",
                chain(&["pool"]),
                true,
            ),
            (
                "principal://iam.googleapis.com/poolish/subject/robot",
                chain(&["pool"]),
                false,
            ),
        ];
        for (caller, chain, allowed) in cases {
            assert_eq!(
                permitted(caller, &chain, find).is_ok(),
                allowed,
                "{caller} {chain:?}"
            );
        }
    }

    #[test]
    fn lifetimes_are_seconds() {
        assert_eq!(seconds("3600s"), Some(HOUR));
        assert_eq!(seconds("1.5s"), Some(Duration::from_millis(1500)));
        for bad in ["", "s", "3600", "0s", "-1s", "infs", "1h"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}
