//! The walk from a domain name to an instance: an instance's own name, else a text record, else an alias and on.

use async_trait::async_trait;

use crate::control::names::domain::InstanceName;
use crate::control::names::lookup::Lookup;
use crate::error::{Error, ErrorKind, Result};
use crate::instance::Instance;
use crate::secret::foreign;

/// Who knows which instance bears a DNS name of Cloud SQL's own: the Admin API.
#[async_trait]
pub(crate) trait InstanceNames: Send + Sync + 'static {
    /// The instance that `name` (without a final dot) was given to.
    async fn instance_of(&self, region: &str, name: &str) -> Result<Instance>;
}

/// The instance that `domain` (lower case, without a final dot) leads to.
///
/// # Errors
/// [`ErrorKind::Dns`], retryable where DNS did not answer; otherwise as the Admin API refuses.
pub(crate) async fn resolve(
    domain: &str,
    lookup: &dyn Lookup,
    service: &dyn InstanceNames,
) -> Result<Instance> {
    let mut passed = vec![domain.to_owned()];
    loop {
        let current = &passed[passed.len() - 1];
        if let Some(name) = InstanceName::read(current) {
            return service.instance_of(name.region, current).await;
        }
        let texts = lookup.texts(current).await;
        if let Some(instance) = texts.as_deref().ok().and_then(first_instance) {
            return Ok(instance);
        }
        // A resolver may fail at the text of an alias and yet know the alias.
        let next = match (lookup.alias(current).await, texts) {
            (Ok(Some(next)), _) => next,
            (_, Err(error)) | (Err(error), Ok(_)) => return Err(error),
            (Ok(None), Ok(texts)) => return Err(leads_nowhere(domain, current, &texts)),
        };
        if passed.contains(&next) {
            return Err(useless(format!(
                "the aliases of {domain:?} lead in a circle, back to {next:?}"
            )));
        }
        if passed.len() > MAX_HOPS {
            return Err(useless(format!(
                "{domain:?} has more than {MAX_HOPS} aliases one after the other"
            )));
        }
        passed.push(next);
    }
}

/// Of the records in the order of their bytes, which no server's rotation changes, the first that names an instance.
fn first_instance(texts: &[String]) -> Option<Instance> {
    sorted(texts)
        .into_iter()
        .take(MAX_TEXTS)
        .find_map(|text| match text.parse() {
            Ok(instance @ Instance::CloudSql { .. }) => Some(instance),
            _ => None,
        })
}

fn sorted(texts: &[String]) -> Vec<&String> {
    let mut sorted: Vec<_> = texts.iter().collect();
    sorted.sort_unstable();
    sorted
}

fn leads_nowhere(domain: &str, current: &str, texts: &[String]) -> Error {
    let via = match domain == current {
        true => String::new(),
        false => format!(" (an alias of {domain:?})"),
    };
    let message = match sorted(texts).first() {
        None => format!(
            "{current:?}{via} has no TXT record that names an instance, and no CNAME record"
        ),
        Some(text) => format!(
            "the TXT record {:?} of {current:?}{via} names no instance",
            foreign(text)
        ),
    };
    useless(message).with_advice(format!(
        "give {current} a TXT record that holds PROJECT:REGION:INSTANCE, or a CNAME record that holds the instance's DNS name"
    ))
}

/// An answer that nothing but a change of the records makes better.
fn useless(message: String) -> Error {
    Error::new(ErrorKind::Dns, message)
        .with_retryable(false)
        .with_advice("correct the name's CNAME records")
}

const MAX_HOPS: usize = 10;
const MAX_TEXTS: usize = 32;

#[cfg(test)]
mod tests;
