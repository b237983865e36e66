//! The two calls of the AlloyDB Admin API: `connectionInfo` and `generateClientCertificate`.
//!
//! Version v1beta, because Google's own Python connector reads all five fields of the connection info from it, the name
//! for Private Service Connect among them; v1alpha may change any day.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;
use serde::Deserialize;
use serde_json::json;

use crate::control::admin::api::{Api, segment};
use crate::control::credentials::Token;
use crate::control::endpoint::Endpoint;
use crate::control::http::patience::Patience;
use crate::control::http::{Call, Http};
use crate::control::target::Address;
use crate::error::{Error, ErrorKind, Result};
use crate::instance::Instance;
use crate::options::IpType;

pub(crate) struct AlloyDb {
    api: Api,
}

/// Where an AlloyDB instance is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnectionInfo {
    /// May be empty.
    pub(crate) addresses: Vec<(IpType, Address)>,
}

/// What `generateClientCertificate` answers.
#[derive(Debug)]
pub(crate) struct ClientCertificate {
    /// The certificate and those that vouch for it, each in PEM.
    pub(crate) chain: Vec<String>,
    /// The cluster's certificate authority, in PEM: the only one that may vouch for its servers.
    pub(crate) authority: String,
}

/// An instance's addresses, as both the API and static connection info spell them.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AddressesBody {
    #[serde(default)]
    pub(crate) ip_address: String,
    #[serde(default)]
    pub(crate) public_ip_address: String,
    #[serde(default)]
    pub(crate) psc_dns_name: String,
}

impl AlloyDb {
    pub(crate) fn new(
        http: Arc<Http>,
        endpoint: Endpoint,
        quota_project: Option<HeaderValue>,
    ) -> Self {
        AlloyDb {
            api: Api {
                service: SERVICE,
                http,
                endpoint,
                quota_project,
            },
        }
    }

    /// Where the instance is: private and public address, and the name for Private Service Connect.
    pub(crate) async fn connection_info(
        &self,
        instance: &Instance,
        token: &Token,
        patience: &Patience,
    ) -> Result<ConnectionInfo> {
        let path = format!("/instances/{}/connectionInfo", segment(instance.name()));
        let call = Call::get(SERVICE, self.of_cluster(instance, &path), LIMIT);
        let answer = self.api.send(call, instance, token, patience).await?;
        let body: AddressesBody = self.api.read(&answer)?;
        Ok(ConnectionInfo {
            addresses: body.addresses(),
        })
    }

    /// A certificate for `public_key`, in PEM. It belongs to the cluster, not to the instance, and to no principal: who logs
    /// in is said in the metadata exchange.
    pub(crate) async fn generate_client_certificate(
        &self,
        instance: &Instance,
        public_key: &str,
        token: &Token,
        patience: &Patience,
    ) -> Result<ClientCertificate> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Body {
            #[serde(default)]
            pem_certificate_chain: Vec<String>,
            #[serde(default)]
            ca_cert: String,
        }
        let body = json!({
            "publicKey": public_key,
            "certDuration": CERTIFICATE_LIFE,
            "useMetadataExchange": true,
        });
        let endpoint = self.of_cluster(instance, ":generateClientCertificate");
        let call = Call::post_json(SERVICE, endpoint, LIMIT, &body);
        let answer = self.api.send(call, instance, token, patience).await?;
        let body: Body = self.api.read(&answer)?;
        let missing = match (
            body.pem_certificate_chain.is_empty(),
            body.ca_cert.is_empty(),
        ) {
            (true, _) => "pemCertificateChain",
            (_, true) => "caCert",
            (false, false) => {
                return Ok(ClientCertificate {
                    chain: body.pem_certificate_chain,
                    authority: body.ca_cert,
                });
            }
        };
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("{SERVICE} gave no {missing}"),
        )
        .with_retryable(false))
    }

    fn of_cluster(&self, instance: &Instance, suffix: &str) -> Endpoint {
        let cluster = match instance {
            Instance::AlloyDb { cluster, .. } => cluster,
            _ => "",
        };
        self.api.endpoint.join(&format!(
            "/v1beta/projects/{}/locations/{}/clusters/{}{suffix}",
            segment(instance.project()),
            segment(instance.region()),
            segment(cluster),
        ))
    }
}

impl AddressesBody {
    /// What is empty or no address is not there; a name loses its final dot.
    pub(crate) fn addresses(&self) -> Vec<(IpType, Address)> {
        let ip = |ip_type, text: &str| Some((ip_type, Address::Ip(text.parse().ok()?)));
        let name = self.psc_dns_name.as_str();
        let name = Some(name.strip_suffix('.').unwrap_or(name)).filter(|name| !name.is_empty());
        [
            ip(IpType::Private, &self.ip_address),
            ip(IpType::Public, &self.public_ip_address),
            name.map(|name| (IpType::Psc, Address::Name(name.to_owned()))),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

/// What AlloyDB runs, as far as its API tells a client.
pub(crate) const DATABASE_VERSION: &str = "POSTGRES";
pub(crate) const SERVICE: &str = "the AlloyDB Admin API";
const LIMIT: Duration = Duration::from_secs(15);
const CERTIFICATE_LIFE: &str = "3600s";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::clock::SystemClock;
    use crate::control::environment::Environment;
    use crate::control::http::user_agent;

    #[test]
    fn certificates_belong_to_the_cluster_and_a_domain_scoped_project_is_percent_encoded() {
        let http = Http::new(
            &Environment::empty(),
            user_agent(None).unwrap(),
            Arc::new(SystemClock),
        );
        let base = Endpoint::parse("x", "https://alloydb.googleapis.com/").unwrap();
        let admin = AlloyDb::new(Arc::new(http.unwrap()), base, None);
        let instance = "projects/example.com:p/locations/r/clusters/c/instances/i"
            .parse()
            .unwrap();
        assert_eq!(
            admin
                .of_cluster(&instance, ":generateClientCertificate")
                .url()
                .as_str(),
            "https://alloydb.googleapis.com/v1beta/projects/example.com%3Ap/locations/r/clusters/c:generateClientCertificate"
        );
    }

    #[test]
    fn every_kind_of_address_is_found_and_an_empty_one_is_not_there() {
        let read = |text: &str| -> AddressesBody { serde_json::from_str(text).unwrap() };
        let all = read(
            r#"{"name": "x", "ipAddress": "10.30.0.5", "publicIpAddress": "203.0.113.77",
                "pscDnsName": "u.h.europe-west4.alloydb-psc.goog.", "instanceUid": "6f0e"}"#,
        );
        assert_eq!(
            all.addresses(),
            [
                (IpType::Private, Address::Ip("10.30.0.5".parse().unwrap())),
                (IpType::Public, Address::Ip("203.0.113.77".parse().unwrap())),
                (
                    IpType::Psc,
                    Address::Name("u.h.europe-west4.alloydb-psc.goog".to_owned())
                ),
            ]
        );
        let one = read(r#"{"ipAddress": "10.30.0.5", "publicIpAddress": ""}"#);
        assert_eq!(one.addresses().len(), 1);
        assert!(read("{}").addresses().is_empty());
    }
}
