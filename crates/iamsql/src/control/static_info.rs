//! AlloyDB connection info from a file, for development: what stands in for the Admin API where there is none.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::SigningKey;
use serde::Deserialize;

use crate::control::admin::ConnectionInfo;
use crate::control::admin::alloydb::AddressesBody;
use crate::control::certificate::{Certificate, chain, not_after};
use crate::control::target::Target;
use crate::error::{Error, Result};
use crate::instance::Instance;
use crate::secret::Secret;

/// One key, and the instances that have a certificate for it. Read once; nothing of it is ever fetched anew.
pub(crate) struct StaticInfo {
    signer: Arc<dyn SigningKey>,
    instances: HashMap<Instance, Known>,
}

struct Known {
    info: ConnectionInfo,
    authority: String,
    certificate: Certificate,
}

impl StaticInfo {
    /// Reads the JSON that Google's AlloyDB connectors take: `privateKey`, `publicKey`, and one entry per instance URI.
    pub(crate) fn read(text: &Secret) -> Result<Self> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct File {
            private_key: String,
            #[serde(rename = "publicKey")]
            _public_key: String,
            #[serde(flatten)]
            instances: HashMap<String, Entry>,
        }
        let text = text.expose();
        if text.len() > MAX_BYTES {
            return Err(unusable("is larger than 1 MiB"));
        }
        // serde's own message would repeat a part of the text, which holds a key.
        let file: File =
            serde_json::from_str(text).map_err(|_| unusable("is not JSON of the expected form"))?;
        if file.instances.is_empty() || file.instances.len() > MAX_INSTANCES {
            return Err(unusable("names no instance, or more than 256"));
        }
        let private_key = Secret::new(file.private_key);
        let key = PrivateKeyDer::from_pem_slice(private_key.expose().as_bytes())
            .map_err(|_| unusable("holds no readable privateKey"))?;
        let signer = rustls::crypto::aws_lc_rs::sign::any_supported_type(&key)
            .map_err(|_| unusable("holds a privateKey that cannot sign"))?;
        let instances = file
            .instances
            .into_iter()
            .map(|(uri, entry)| known(&uri, entry))
            .collect::<Result<_>>()?;
        Ok(StaticInfo { signer, instances })
    }

    pub(crate) fn target(
        &self,
        instance: &Instance,
        now: SystemTime,
        generation: u64,
    ) -> Result<Target> {
        let known = self.instances.get(instance).ok_or_else(|| {
            unusable("does not name this instance").with_advice("add the instance's URI to it")
        })?;
        if known.certificate.expires <= now {
            return Err(unusable("holds a certificate that has expired")
                .with_advice("make the connection info anew: nothing renews it"));
        }
        Target::alloydb(
            &known.info,
            &known.authority,
            &known.certificate,
            self.signer.clone(),
            generation,
        )
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(flatten)]
    addresses: AddressesBody,
    psc_instance_config: Option<PscConfig>,
    pem_certificate_chain: Vec<String>,
    ca_cert: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PscConfig {
    #[serde(default)]
    psc_dns_name: String,
}

fn known(uri: &str, entry: Entry) -> Result<(Instance, Known)> {
    let instance: Instance = uri.parse()?;
    let Instance::AlloyDb { .. } = instance else {
        return Err(unusable("names what is no AlloyDB instance").with_instance(uri));
    };
    let lacks = |what: &str| unusable(&format!("has {what}")).with_instance(&instance);
    let mut body = entry.addresses;
    if let Some(psc) = entry.psc_instance_config {
        body.psc_dns_name = psc.psc_dns_name;
    }
    let addresses = body.addresses();
    if addresses.is_empty() {
        return Err(lacks("no address of this instance"));
    }
    let chain = chain(&entry.pem_certificate_chain)
        .ok_or_else(|| lacks("an unreadable pemCertificateChain"))?;
    let expires = chain
        .first()
        .and_then(not_after)
        .ok_or_else(|| lacks("an unreadable pemCertificateChain"))?;
    if entry.ca_cert.is_empty() {
        return Err(lacks("no caCert"));
    }
    let known = Known {
        info: ConnectionInfo { addresses },
        authority: entry.ca_cert,
        certificate: Certificate { chain, expires },
    };
    Ok((instance, known))
}

fn unusable(why: &str) -> Error {
    Error::config(format!("the static connection info {why}"))
}

const MAX_BYTES: usize = 1 << 20;
const MAX_INSTANCES: usize = 256;

#[cfg(test)]
mod tests;
