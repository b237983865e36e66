//! What `connectSettings` answers → what the engine needs of it.

use serde::Deserialize;

use crate::control::target::Address;
use crate::error::{Detail, Error, ErrorKind, Result};
use crate::instance::Instance;
use crate::options::IpType;
use crate::secret::foreign;

/// An instance, as the Admin API describes it.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Public and private addresses in the API's order, then the names of Private Service Connect endpoints. May be empty.
    pub(crate) addresses: Vec<(IpType, Address)>,
    pub(crate) database_version: String,
    /// PEM certificates; which of them may be anchors is decided elsewhere.
    pub(crate) server_ca: String,
    pub(crate) ca_mode: CaMode,
    /// DNS names that the server's certificate may carry, the most specific first.
    pub(crate) dns_names: Vec<String>,
    /// Whether the server wants to hear how the driver connects.
    pub(crate) asks_client_protocol: bool,
}

/// Who signs the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CaMode {
    /// A certificate authority of the instance's own, or one that Google runs for a region.
    Google,
    /// The customer's, or one that is not known: nothing but a DNS name identifies the server.
    Other,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SettingsBody {
    region: Option<String>,
    backend_type: Option<String>,
    database_version: Option<String>,
    #[serde(default)]
    ip_addresses: Vec<AddressBody>,
    server_ca_cert: Option<ServerCa>,
    server_ca_mode: Option<String>,
    dns_name: Option<String>,
    #[serde(default)]
    dns_names: Vec<DnsName>,
    #[serde(default)]
    psc_enabled: bool,
    #[serde(default)]
    mdx_protocol_support: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AddressBody {
    #[serde(rename = "type")]
    kind: Option<String>,
    ip_address: Option<String>,
}

#[derive(Deserialize)]
struct ServerCa {
    cert: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DnsName {
    name: Option<String>,
    connection_type: Option<String>,
    dns_scope: Option<String>,
}

impl Settings {
    pub(super) fn new(instance: &Instance, body: SettingsBody) -> Result<Self> {
        check_region(instance, body.region.as_deref())?;
        if let Some(kind) = &body.backend_type
            && kind != "SECOND_GEN"
        {
            return Err(Error::config(format!(
                "instances of type {:?} are not supported",
                foreign(kind)
            )));
        }
        let mut addresses: Vec<_> = body.ip_addresses.iter().filter_map(address).collect();
        let endpoints = endpoint_names(&body).into_iter().map(Address::Name);
        addresses.extend(endpoints.map(|endpoint| (IpType::Psc, endpoint)));
        let server_ca = body
            .server_ca_cert
            .and_then(|ca| ca.cert)
            .filter(|pem| !pem.is_empty())
            .ok_or_else(|| incomplete("serverCaCert"))?;
        let names = body.dns_names.into_iter().filter_map(|entry| entry.name);
        let mut dns_names: Vec<String> = Vec::new();
        for name in names.chain(body.dns_name) {
            if !name.is_empty() && !dns_names.contains(&name) && dns_names.len() < MAX_NAMES {
                dns_names.push(name);
            }
        }
        Ok(Settings {
            addresses,
            database_version: body
                .database_version
                .ok_or_else(|| incomplete("databaseVersion"))?,
            server_ca,
            ca_mode: CaMode::read(body.server_ca_mode.as_deref()),
            dns_names,
            asks_client_protocol: body
                .mdx_protocol_support
                .iter()
                .any(|part| part == "CLIENT_PROTOCOL_TYPE"),
        })
    }
}

impl CaMode {
    fn read(mode: Option<&str>) -> Self {
        match mode {
            None
            | Some(
                "" | "CA_MODE_UNSPECIFIED" | "GOOGLE_MANAGED_INTERNAL_CA" | "GOOGLE_MANAGED_CAS_CA",
            ) => CaMode::Google,
            Some(_) => CaMode::Other,
        }
    }
}

fn address(entry: &AddressBody) -> Option<(IpType, Address)> {
    let kind = match entry.kind.as_deref()? {
        "PRIMARY" => IpType::Public,
        "PRIVATE" => IpType::Private,
        _ => return None,
    };
    Some((
        kind,
        Address::Ip(entry.ip_address.as_deref()?.parse().ok()?),
    ))
}

/// The names of the instance's Private Service Connect endpoints: those that say so, else the one name of older answers.
/// Instances without such endpoints have DNS names too. What points at an endpoint by design is tried first.
fn endpoint_names(body: &SettingsBody) -> Vec<String> {
    if !body.psc_enabled {
        return Vec::new();
    }
    let is_endpoint = |entry: &&DnsName| {
        entry.connection_type.as_deref() == Some("PRIVATE_SERVICE_CONNECT")
            && entry.dns_scope.as_deref() == Some("INSTANCE")
    };
    let named = body.dns_names.iter().filter(is_endpoint);
    let read = |name: &String| match name.parse() {
        Ok(Instance::Domain { name }) => Some(name),
        _ => None,
    };
    let mut names: Vec<String> = named
        .filter_map(|entry| entry.name.as_ref().and_then(read))
        .collect();
    if names.is_empty() {
        names.extend(body.dns_name.as_ref().and_then(read));
    }
    names.sort_by_key(|name| !name.ends_with(".sql-psc.goog"));
    names.dedup();
    names.truncate(MAX_NAMES);
    names
}

/// The API finds an instance by project and name; the region is the caller's word, and a wrong one is a wrong name.
fn check_region(instance: &Instance, actual: Option<&str>) -> Result<()> {
    match actual {
        Some(actual) if actual != instance.region() => Err(Error::config(format!(
            "the instance is in region {:?}, not in {:?}",
            foreign(actual),
            instance.region()
        ))
        .with_advice(format!(
            "use \"{}:{}:{}\"",
            instance.project(),
            foreign(actual),
            instance.name()
        ))
        .with_instance(instance)
        .with_detail(Detail::WrongRegion {
            named: instance.region().to_owned(),
            actual: foreign(actual),
        })),
        Some(_) => Ok(()),
        None => Err(incomplete("region")),
    }
}

fn incomplete(field: &str) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("the Cloud SQL Admin API gave no {field}"),
    )
    .with_retryable(false)
}

const MAX_NAMES: usize = 16;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: serde_json::Value) -> Result<Settings> {
        let instance: Instance = "p:europe-west4:orders".parse().unwrap();
        Settings::new(&instance, serde_json::from_value(body).unwrap())
    }

    #[test]
    fn the_fields_that_matter_are_read_and_others_ignored() {
        let settings = read(json!({
            "kind": "sql#connectSettings", "region": "europe-west4", "backendType": "SECOND_GEN",
            "databaseVersion": "POSTGRES_17",
            "ipAddresses": [
                {"type": "PRIMARY", "ipAddress": "203.0.113.9"},
                {"type": "PRIVATE", "ipAddress": "10.20.0.3"},
                {"type": "OUTGOING", "ipAddress": "203.0.113.10"},
                {"type": "PRIMARY", "ipAddress": "not an address"}],
            "serverCaCert": {"cert": "PEM"}, "serverCaMode": "GOOGLE_MANAGED_CAS_CA",
            "dnsName": "a.b.europe-west4.sql.goog.",
            "dnsNames": [{"name": "db.corp.example"}, {"name": "a.b.europe-west4.sql.goog."}]}))
        .unwrap();
        assert_eq!(
            settings.addresses,
            [
                (IpType::Public, Address::Ip("203.0.113.9".parse().unwrap())),
                (IpType::Private, Address::Ip("10.20.0.3".parse().unwrap()))
            ]
        );
        assert_eq!(settings.ca_mode, CaMode::Google);
        assert_eq!(
            settings.dns_names,
            ["db.corp.example", "a.b.europe-west4.sql.goog."]
        );
        assert!(!settings.asks_client_protocol);
    }

    #[test]
    fn an_endpoints_names_are_those_that_say_so_else_the_old_one() {
        let psc = |body: serde_json::Value| {
            let mut whole = json!({"region": "europe-west4", "databaseVersion": "MYSQL_8_4",
                "serverCaCert": {"cert": "PEM"}});
            whole
                .as_object_mut()
                .unwrap()
                .extend(body.as_object().unwrap().clone());
            let settings = read(whole).unwrap();
            settings
                .addresses
                .into_iter()
                .filter(|(ip_type, _)| *ip_type == IpType::Psc)
                .map(|(_, address)| address)
                .collect::<Vec<_>>()
        };
        let name = |name: &str| Address::Name(name.to_owned());
        let entry =
            |name, kind, scope| json!({"name": name, "connectionType": kind, "dnsScope": scope});
        let names = json!([
            entry("db.corp.example.", "CUSTOM_SAN", "INSTANCE"),
            entry(
                "old.europe-west4.sql.goog.",
                "PRIVATE_SERVICE_CONNECT",
                "INSTANCE"
            ),
            entry(
                "a.b.europe-west4.sql-psc.goog.",
                "PRIVATE_SERVICE_CONNECT",
                "INSTANCE"
            ),
            entry(
                "c.europe-west4.sql.goog.",
                "PRIVATE_SERVICE_CONNECT",
                "CLUSTER"
            ),
            entry("not a name", "PRIVATE_SERVICE_CONNECT", "INSTANCE")
        ]);
        assert_eq!(
            psc(
                json!({"pscEnabled": true, "dnsName": "x.y.europe-west4.sql.goog.", "dnsNames": names})
            ),
            [
                name("a.b.europe-west4.sql-psc.goog"),
                name("old.europe-west4.sql.goog")
            ]
        );
        assert_eq!(
            psc(json!({"pscEnabled": true, "dnsName": "x.y.europe-west4.sql.goog."})),
            [name("x.y.europe-west4.sql.goog")]
        );
        assert_eq!(
            psc(json!({"dnsName": "x.y.europe-west4.sql.goog.", "dnsNames": names})),
            []
        );
    }

    #[test]
    fn an_unknown_authority_mode_is_as_strict_as_a_customers() {
        for (mode, want) in [
            (None, CaMode::Google),
            (Some(""), CaMode::Google),
            (Some("GOOGLE_MANAGED_INTERNAL_CA"), CaMode::Google),
            (Some("CUSTOMER_MANAGED_CAS_CA"), CaMode::Other),
            (Some("SOMETHING_NEW"), CaMode::Other),
        ] {
            assert_eq!(CaMode::read(mode), want, "{mode:?}");
        }
    }

    #[test]
    fn a_wrong_region_names_the_right_connection_name() {
        let error = read(json!({"region": "us-east1"})).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(
            error.to_string(),
            "p:europe-west4:orders: the instance is in region \"us-east1\", not in \"europe-west4\""
        );
        assert_eq!(error.advice(), Some("use \"p:us-east1:orders\""));
    }

    #[test]
    fn an_answer_without_an_authority_is_refused() {
        let error =
            read(json!({"region": "europe-west4", "databaseVersion": "MYSQL_8_0"})).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(!error.is_retryable());
    }
}
