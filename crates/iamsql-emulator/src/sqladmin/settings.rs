//! What an instance's connection settings say: version, addresses, CA and DNS names.

use aws_lc_rs::digest;
use serde_json::{Map, Value, json};

use super::timestamp;
use crate::authority::hex;
use crate::dns::key;
use crate::instance::{AddressType, CaMode, InstanceSpec};
use crate::server::Instance;
use crate::world::World;

/// The settings of an instance, as `connectSettings` answers.
pub(super) fn settings(world: &World, instance: &Instance) -> Value {
    let spec = instance.spec();
    let trust = instance.server_trust();
    let addresses: Vec<Value> = instance
        .addresses
        .iter()
        .filter_map(|(kind, address)| {
            let kind = match kind {
                AddressType::Primary => "PRIMARY",
                AddressType::Private => "PRIVATE",
                // Known by its DNS name alone.
                AddressType::Psc => return None,
            };
            Some(json!({ "type": kind, "ipAddress": address.ip().to_string() }))
        })
        .collect();
    let mut settings = json!({
        "kind": "sql#connectSettings",
        "region": spec.reported_region.as_deref().unwrap_or(&instance.name.region),
        "backendType": "SECOND_GEN",
        "databaseVersion": world.database_version(&spec),
        "ipAddresses": addresses,
        "serverCaCert": {
            "kind": "sql#sslCert",
            "certSerialNumber": trust.authority.serial,
            "cert": trust.pem,
            "commonName": format!("C=US,O=Google\\, Inc,CN={},dnQualifier={}", trust.authority.common_name, trust.authority.qualifier),
            "sha1Fingerprint": hex(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &trust.authority.certificate).as_ref()),
            "instance": instance.name.instance,
            "createTime": timestamp(trust.authority.created),
            "expirationTime": timestamp(trust.authority.expires),
        },
    });
    let fields = settings.as_object_mut().expect("an object above");
    let mode = serde_json::to_value(spec.ca_mode).expect("a plain enum");
    if spec.ca_mode != CaMode::Unspecified {
        fields.insert("serverCaMode".to_string(), mode);
    }
    if spec.offers_exchange() {
        fields.insert(
            "mdxProtocolSupport".to_string(),
            json!(["CLIENT_PROTOCOL_TYPE"]),
        );
    }
    names(fields, &spec);
    settings
}

/// DNS names as the service lists them, and nothing at all where there are none.
fn names(fields: &mut Map<String, Value>, spec: &InstanceSpec) {
    let psc = spec.addresses.contains(&AddressType::Psc);
    if spec.psc_enabled.unwrap_or(psc) {
        fields.insert("pscEnabled".to_string(), json!(true));
    }
    let first = match spec.legacy_dns_name {
        true => spec.psc_dns_name.as_ref().or(spec.dns_names.first()),
        false => spec.dns_names.first().or(spec.psc_dns_name.as_ref()),
    };
    if let Some(first) = first {
        fields.insert("dnsName".to_string(), json!(first));
    }
    if !spec.custom_names.is_empty() {
        fields.insert(
            "customSubjectAlternativeNames".to_string(),
            json!(spec.custom_names),
        );
    }
    if spec.legacy_dns_name {
        return;
    }
    let managed = |name: &String, kind: &str| json!({ "name": name, "connectionType": kind, "dnsScope": "INSTANCE", "recordManager": "CLOUD_SQL_AUTOMATION" });
    let service = spec.dns_names.iter().map(|name| {
        let kind = if key(name).ends_with(".sql-psc.goog") {
            "PRIVATE_SERVICE_CONNECT"
        } else {
            "PRIVATE_SERVICES_ACCESS"
        };
        managed(name, kind)
    });
    let psc = spec
        .psc_dns_name
        .iter()
        .map(|name| managed(name, "PRIVATE_SERVICE_CONNECT"));
    let custom = spec.custom_names.iter().map(
        |name| json!({ "name": name, "connectionType": "CUSTOM_SAN", "dnsScope": "INSTANCE" }),
    );
    let all: Vec<Value> = service.chain(psc).chain(custom).collect();
    if !all.is_empty() {
        fields.insert("dnsNames".to_string(), json!(all));
    }
}
