//! `resolveConnectSettings`: which instance has a DNS name of the service's own.

use std::sync::Arc;

use axum::extract::{ConnectInfo, Path, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::error::ApiError;
use super::settings::settings;
use super::{may_connect, unknown_path};
use crate::caller::Caller;
use crate::dns::key;
use crate::faults::Endpoint;
use crate::http::{Asked, Peer, Shape, exchange};
use crate::server::Instance;
use crate::world::World;

/// `GET …/locations/{region}/dns/{name}:resolveConnectSettings`: the settings, with the instance's connection name.
pub(crate) async fn resolve(
    State(world): State<Arc<World>>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Path((region, call)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let Some(name) = call.strip_suffix(":resolveConnectSettings") else {
        return unknown_path().await;
    };
    let caller = Caller::of(&world, &headers);
    let instance = named(&world, name);
    let asked = Asked {
        endpoint: Endpoint::ResolveConnectSettings,
        path: format!("/sql/v1beta4/locations/{region}/dns/{call}"),
        instance: instance.as_ref().map(|instance| instance.text.clone()),
        principal: caller.email(),
        detail: None,
        secrets: caller.text.clone().into_iter().collect(),
        shape: Shape::Api,
    };
    let respond = async || {
        let project = match &instance {
            Some(instance) => instance.name.project.clone(),
            // A name tells no project: whoever may connect at all learns that it is nobody's.
            None => world.settings.project.clone(),
        };
        let found = checked(name, &region)
            .and_then(|()| may_connect(&caller, &world, &project, instance.as_deref()));
        match found {
            Ok(instance) => {
                let mut answer = settings(&world, instance);
                answer["connectionName"] = json!(instance.text);
                axum::Json(answer).into_response()
            }
            Err(error) => error.into_response(),
        }
    };
    exchange(&world, &peer, &headers, asked, respond).await
}

/// The Cloud SQL instance that has this name from the service; names of the customer's own are not known to it.
fn named(world: &World, name: &str) -> Option<Arc<Instance>> {
    let wanted = key(name);
    world.instances().into_iter().find(|instance| {
        let names = instance.managed_names();
        !instance.name.is_alloydb() && names.iter().any(|name| key(name) == wanted)
    })
}

/// Whether it is an instance's name at all, of the region in the path: `<label>.<label>.<region>.sql…goog`.
fn checked(name: &str, region: &str) -> Result<(), ApiError> {
    let name = key(name);
    let labels: Vec<&str> = name.split('.').collect();
    match labels[..] {
        [_, _, named, "sql" | "sql-psa" | "sql-psc", "goog"]
            if named == region && named != "global" =>
        {
            Ok(())
        }
        _ => Err(ApiError::invalid(format!(
            "Invalid request: Invalid DNS name ({name}) for location ({region})."
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_instance_names_of_the_region_are_looked_up() {
        for good in [
            "a.b.us-central1.sql.goog.",
            "A.b.us-central1.sql-psc.goog",
            "a.b.us-central1.sql-psa.goog",
        ] {
            assert!(checked(good, "us-central1").is_ok(), "{good}");
        }
        for bad in [
            "a.b.europe-west1.sql.goog.",
            "b.us-central1.sql.goog",
            "a.b.us-central1.alloydb-psc.goog",
            "db.example.com",
            "",
        ] {
            assert!(checked(bad, "us-central1").is_err(), "{bad}");
        }
        assert!(checked("a.b.global.sql-psa.goog", "global").is_err());
    }
}
