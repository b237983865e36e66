//! Whether a session may start: the routing header, the caller's token and role, the instance's engine and edition.

use std::sync::Arc;

use tonic::Status;
use tonic::metadata::MetadataMap;

use super::message::StartSession;
use crate::caller::Caller;
use crate::instance::{Database, Edition, InstanceName};
use crate::server::Instance;
use crate::sqladmin::may_connect;
use crate::token::{LOGIN_SCOPE, Token};
use crate::world::World;

/// Checks whether the caller may connect to this instance in this way; its token then logs in, as a login token does.
pub(super) fn admit(
    world: &World,
    caller: &Caller,
    start: &StartSession,
    metadata: &MetadataMap,
    instance: Option<&Instance>,
) -> Result<Token, (u16, Status)> {
    let refused = |status: Status| (400, status);
    if !routed(metadata, start) {
        return Err(refused(Status::invalid_argument(
            "The header x-goog-request-params does not name the instance and the location of the request.",
        )));
    }
    let project =
        project(start).ok_or_else(|| refused(Status::invalid_argument("no such instance_id")))?;
    let instance = may_connect(caller, world, project, instance)
        .map_err(|error| (error.code(), error.grpc()))?;
    let spec = instance.spec();
    if !matches!(spec.database, Database::Postgres | Database::Echo) {
        return Err(refused(Status::failed_precondition(
            "UNSUPPORTED_INSTANCE_TYPE: unsupported instance type",
        )));
    }
    if spec.edition != Edition::Developer {
        let message = format!("unsupported instance edition: {}", spec.edition.name());
        return Err(refused(Status::failed_precondition(message)));
    }
    let token = caller.token().cloned().expect("authenticated");
    let mut scopes = token.scopes.clone();
    scopes.insert(LOGIN_SCOPE.to_string());
    Ok(Token { scopes, ..token })
}

/// The Cloud SQL instance that a session is for.
pub(super) fn named(world: &World, start: &StartSession) -> Option<Arc<Instance>> {
    let name = start.instance_id.rsplit_once("/instances/")?.1;
    let instance = world.instance_by_path(project(start)?, name)?;
    let InstanceName { region, .. } = &instance.name;
    (start.location_id == format!("locations/{region}")).then_some(instance)
}

fn project(start: &StartSession) -> Option<&str> {
    let (project, name) = start
        .instance_id
        .strip_prefix("projects/")?
        .split_once("/instances/")?;
    let sound = |text: &str| !text.is_empty() && !text.contains('/');
    (sound(project) && sound(name) && start.location_id.starts_with("locations/"))
        .then_some(project)
}

/// Whether a routing header names the same instance and location as the message.
fn routed(metadata: &MetadataMap, start: &StartSession) -> bool {
    let mut pairs = Vec::new();
    for value in metadata.get_all("x-goog-request-params") {
        let Ok(text) = value.to_str() else {
            return false;
        };
        for pair in text.split('&') {
            pairs.push(
                percent_encoding::percent_decode_str(pair)
                    .decode_utf8_lossy()
                    .into_owned(),
            );
        }
    }
    let wanted = [
        format!("instance_id={}", start.instance_id),
        format!("location_id={}", start.location_id),
    ];
    wanted.iter().all(|wanted| pairs.contains(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> StartSession {
        StartSession {
            location_id: "locations/r".to_string(),
            instance_id: "projects/p/instances/i".to_string(),
            session_id: String::new(),
        }
    }

    #[test]
    fn the_routing_header_names_what_the_message_does() {
        let check = |headers: &[&'static str]| {
            let mut metadata = MetadataMap::new();
            for header in headers {
                metadata.append("x-goog-request-params", header.parse().unwrap());
            }
            routed(&metadata, &start())
        };
        for good in [
            &["instance_id=projects/p/instances/i&location_id=locations/r"][..],
            &["location_id=locations%2Fr&instance_id=projects%2Fp%2Finstances%2Fi"],
            &[
                "location_id=locations/r",
                "instance_id=projects/p/instances/i",
            ],
        ] {
            assert!(check(good), "{good:?}");
        }
        for bad in [
            &[][..],
            &["instance_id=projects/p/instances/i"],
            &["instance_id=projects/p/instances/j&location_id=locations/r"],
            &["instance_id=projects/p/instances/i&location_id=locations/s"],
        ] {
            assert!(!check(bad), "{bad:?}");
        }
    }

    #[test]
    fn an_instance_is_named_in_two_parts() {
        assert_eq!(project(&start()), Some("p"));
        for (location, instance) in [
            ("r", "projects/p/instances/i"),
            ("locations/r", "p:r:i"),
            ("locations/r", "projects//instances/i"),
            ("locations/r", "projects/p/instances/i/j"),
        ] {
            let odd = StartSession {
                location_id: location.into(),
                instance_id: instance.into(),
                ..start()
            };
            assert_eq!(project(&odd), None, "{location} {instance}");
        }
    }
}
