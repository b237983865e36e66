//! What an emulated instance is: its name, certificate authority, addresses and the database behind it.

mod name;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::authority::ServerCertificate;

pub(crate) use self::name::{InstanceName, Product};

/// The description of one instance. Every setting has a default that matches a plain, healthy instance.
///
/// ```
/// use iamsql_emulator::{CaMode, InstanceSpec};
///
/// let spec = InstanceSpec::echo("your-project-id:us-central1:orders")
///     .ca_mode(CaMode::Cas)
///     .dns_name("a1b2c3.d4e5f6.us-central1.sql.goog.");
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InstanceSpec {
    /// `project:region:instance` makes a Cloud SQL instance; the project may be domain-scoped,
    /// `example.com:project:region:instance`. `projects/P/locations/R/clusters/C/instances/I` makes an AlloyDB instance.
    pub name: String,
    /// What answers behind TLS.
    #[serde(default = "echo")]
    pub database: Database,
    /// How server certificates are issued and named. Default [`CaMode::Internal`].
    #[serde(default)]
    pub ca_mode: CaMode,
    /// The address types that the settings list. Default: public and private, each its own loopback address.
    #[serde(default = "both_addresses")]
    pub addresses: BTreeSet<AddressType>,
    /// The flag `cloudsql.iam_authentication`. Default on.
    #[serde(default = "yes")]
    pub iam: bool,
    /// `dnsNames` of the settings, as given (a final dot is kept); one that ends in `.sql-psc.goog` is of Private Service
    /// Connect. Under [`CaMode::Cas`] one is made up if none is given.
    #[serde(default)]
    pub dns_names: Vec<String>,
    /// Further names in the server certificate (`customSubjectAlternativeNames`).
    #[serde(default)]
    pub custom_names: Vec<String>,
    /// The name under which Private Service Connect reaches the instance. Made up if [`AddressType::Psc`] is among the
    /// addresses and none is given; in the certificate it is a name like the others.
    #[serde(default)]
    pub psc_dns_name: Option<String>,
    /// `pscEnabled`. Default: whether [`AddressType::Psc`] is among the addresses.
    #[serde(default)]
    pub psc_enabled: Option<bool>,
    /// Whether the settings tell `dnsName` alone, as they did before there were `dnsNames`. Default off.
    #[serde(default)]
    pub legacy_dns_name: bool,
    /// `databaseVersion`. Default: the PostgreSQL behind it, `POSTGRES_17` for an echo, `MYSQL_8_0` for MySQL.
    #[serde(default)]
    pub database_version: Option<String>,
    /// The region that the settings report. Default: the one in the name.
    #[serde(default)]
    pub reported_region: Option<String>,
    /// The server certificate: genuine, or wrong in one way.
    #[serde(default)]
    pub certificate: ServerCertificate,
    /// Whether the settings list the server certificate itself instead of its CA. Default off.
    #[serde(default)]
    pub pinned: bool,
    /// What the server speaks on port 3307. Default TLS 1.3 alone.
    #[serde(default)]
    pub wire: Wire,
    /// Whether the server sends TLS session tickets, as a Go server does. Default on.
    #[serde(default = "yes")]
    pub tickets: bool,
    /// Life of client certificates, in milliseconds on the wire. Default: the emulator's, one hour.
    #[serde(
        default,
        with = "crate::instance::milliseconds",
        rename = "certificate_lifetime_ms"
    )]
    pub certificate_lifetime: Option<Duration>,
    /// The edition, which decides whether the data service reaches the instance. Default [`Edition::Enterprise`]: it does not.
    #[serde(default)]
    pub edition: Edition,
    /// What proves built-in users of a MySQL instance. Default [`PasswordPlugin::CachingSha2`].
    #[serde(default)]
    pub password_plugin: PasswordPlugin,
    /// Whether the settings offer Cloud SQL's metadata exchange. Default: on for MySQL, off for others.
    #[serde(default)]
    pub client_protocol_exchange: Option<bool>,
    /// Databases to create behind a PostgreSQL or MySQL instance. Default `mydb`.
    #[serde(default = "default_databases")]
    pub databases: Vec<String>,
}

/// What answers behind the TLS server.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Database {
    /// Every byte comes back. Starts in milliseconds and needs no database.
    Echo,
    /// A real PostgreSQL with IAM logins.
    Postgres,
    /// A real MariaDB that speaks like a MySQL 8, with IAM logins.
    #[serde(rename = "mysql")]
    MySql,
    /// A stand-in for SQL Server: enough to show that a driver logs in and gets an answer.
    #[serde(rename = "sqlserver")]
    SqlServer,
}

/// What proves the built-in users of a MySQL instance.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PasswordPlugin {
    /// As MySQL 8 by default.
    #[default]
    #[serde(rename = "caching_sha2_password")]
    CachingSha2,
    /// As MySQL 5.7, and accounts that came from there.
    #[serde(rename = "mysql_native_password")]
    Native,
}

impl PasswordPlugin {
    /// The name that the protocol uses.
    pub(crate) fn name(self) -> &'static str {
        match self {
            PasswordPlugin::CachingSha2 => crate::mysql::plugin::CACHING_SHA2,
            PasswordPlugin::Native => crate::mysql::plugin::NATIVE,
        }
    }
}

/// `serverCaMode`: who signs the server certificate, hence which name in it counts.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CaMode {
    /// A CA of the instance's own; the certificate's common name is `project:instance`.
    #[default]
    #[serde(rename = "GOOGLE_MANAGED_INTERNAL_CA")]
    Internal,
    /// A CA shared by all CAS instances of the emulator; the certificate names the instance's DNS name.
    #[serde(rename = "GOOGLE_MANAGED_CAS_CA")]
    Cas,
    /// A customer's CA: DNS names only, and a common name that is not the instance's.
    #[serde(rename = "CUSTOMER_MANAGED_CAS_CA")]
    CustomerCas,
    /// The settings name no mode, as some old instances do; certificates as under [`CaMode::Internal`].
    #[serde(rename = "")]
    Unspecified,
}

/// An address type of `ipAddresses`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AddressType {
    /// `PRIMARY`: the public address.
    Primary,
    /// `PRIVATE`: the address in a VPC.
    Private,
    /// `PSC`: an endpoint of Private Service Connect, known by its DNS name alone.
    Psc,
}

/// The edition of a Cloud SQL instance, which decides whether the data service (gRPC) reaches it.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Edition {
    /// `ENTERPRISE`: not reached.
    #[default]
    Enterprise,
    /// `ENTERPRISE_PLUS`: not reached.
    EnterprisePlus,
    /// The developer edition: reached.
    Developer,
}

impl Edition {
    /// The edition in the service's words.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Edition::Enterprise => "ENTERPRISE",
            Edition::EnterprisePlus => "ENTERPRISE_PLUS",
            Edition::Developer => "DEVELOPER",
        }
    }
}

/// What the server speaks on port 3307.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wire {
    /// TLS 1.3 alone, as the real service.
    #[default]
    Tls13,
    /// TLS 1.2 alone: clients must refuse.
    Tls12,
    /// No TLS: the server greets in plaintext. Clients must refuse.
    Plaintext,
}

impl InstanceSpec {
    /// An instance whose server echoes what it receives after the handshake.
    pub fn echo(name: impl Into<String>) -> Self {
        Self::new(name.into(), Database::Echo)
    }

    /// An instance with a real PostgreSQL. The emulator starts one server for all such instances.
    pub fn postgres(name: impl Into<String>) -> Self {
        Self::new(name.into(), Database::Postgres)
    }

    /// An instance with MySQL, played by a real MariaDB. The emulator starts one server for all such instances.
    pub fn mysql(name: impl Into<String>) -> Self {
        Self::new(name.into(), Database::MySql)
    }

    /// An instance with the stand-in for SQL Server.
    pub fn sql_server(name: impl Into<String>) -> Self {
        Self::new(name.into(), Database::SqlServer)
    }

    /// Who signs the server certificate. Default [`CaMode::Internal`].
    pub fn ca_mode(mut self, mode: CaMode) -> Self {
        self.ca_mode = mode;
        self
    }

    /// Which address types exist. Default both; an empty list makes an instance without addresses.
    pub fn addresses(mut self, types: impl IntoIterator<Item = AddressType>) -> Self {
        self.addresses = types.into_iter().collect();
        self
    }

    /// Whether IAM logins are enabled. Default true.
    pub fn iam(mut self, enabled: bool) -> Self {
        self.iam = enabled;
        self
    }

    /// Adds a DNS name to the settings and to genuine certificates.
    pub fn dns_name(mut self, name: impl Into<String>) -> Self {
        self.dns_names.push(name.into());
        self
    }

    /// Adds a name to genuine certificates and to `customSubjectAlternativeNames`.
    pub fn custom_name(mut self, name: impl Into<String>) -> Self {
        self.custom_names.push(name.into());
        self
    }

    /// The DNS name of its Private Service Connect endpoint, as the API tells it (a final dot is kept).
    pub fn psc_dns_name(mut self, name: impl Into<String>) -> Self {
        self.psc_dns_name = Some(name.into());
        self
    }

    /// Makes `pscEnabled` say so whatever the addresses are. Default: whether [`AddressType::Psc`] is among them.
    pub fn psc_enabled(mut self, enabled: bool) -> Self {
        self.psc_enabled = Some(enabled);
        self
    }

    /// Makes the settings tell `dnsName` alone, as they did before there were `dnsNames`: the PSC name if there is one.
    /// Default false.
    pub fn legacy_dns_name(mut self, legacy: bool) -> Self {
        self.legacy_dns_name = legacy;
        self
    }

    /// Overrides `databaseVersion`, for example `MYSQL_8_0`.
    pub fn database_version(mut self, version: impl Into<String>) -> Self {
        self.database_version = Some(version.into());
        self
    }

    /// Makes the settings report another region than the name does.
    pub fn reported_region(mut self, region: impl Into<String>) -> Self {
        self.reported_region = Some(region.into());
        self
    }

    /// Presents a server certificate that is wrong in one way. Default [`ServerCertificate::Genuine`].
    pub fn certificate(mut self, certificate: ServerCertificate) -> Self {
        self.certificate = certificate;
        self
    }

    /// Makes the settings list the server certificate itself instead of its CA. Default false.
    pub fn pinned(mut self, leaf: bool) -> Self {
        self.pinned = leaf;
        self
    }

    /// What the server speaks. Default [`Wire::Tls13`].
    pub fn wire(mut self, wire: Wire) -> Self {
        self.wire = wire;
        self
    }

    /// Whether TLS session tickets are sent. Default true.
    pub fn tickets(mut self, sent: bool) -> Self {
        self.tickets = sent;
        self
    }

    /// How long this instance's client certificates are valid. Default: [`EmulatorBuilder::certificate_lifetime`](crate::EmulatorBuilder::certificate_lifetime).
    /// X.509 counts whole seconds; the emulator rounds the end up.
    pub fn certificate_lifetime(mut self, lifetime: Duration) -> Self {
        self.certificate_lifetime = Some(lifetime);
        self
    }

    /// The edition. Default [`Edition::Enterprise`]; the data service reaches [`Edition::Developer`] alone.
    pub fn edition(mut self, edition: Edition) -> Self {
        self.edition = edition;
        self
    }

    /// What proves built-in users of a MySQL instance. Default [`PasswordPlugin::CachingSha2`].
    pub fn password_plugin(mut self, plugin: PasswordPlugin) -> Self {
        self.password_plugin = plugin;
        self
    }

    /// Whether the settings offer Cloud SQL's metadata exchange (`mdxProtocolSupport`), and the server takes part in it.
    /// Default: on for MySQL, off for others.
    pub fn client_protocol_exchange(mut self, offered: bool) -> Self {
        self.client_protocol_exchange = Some(offered);
        self
    }

    /// Whether the metadata exchange is offered.
    pub(crate) fn offers_exchange(&self) -> bool {
        let usual = self.database == Database::MySql;
        self.client_protocol_exchange.unwrap_or(usual)
    }

    /// Adds a database to create. The first call replaces the default `mydb`.
    pub fn databases<S: Into<String>>(mut self, names: impl IntoIterator<Item = S>) -> Self {
        self.databases = names.into_iter().map(Into::into).collect();
        self
    }

    fn new(name: String, database: Database) -> Self {
        InstanceSpec {
            name,
            database,
            ca_mode: CaMode::default(),
            addresses: both_addresses(),
            iam: true,
            dns_names: Vec::new(),
            custom_names: Vec::new(),
            psc_dns_name: None,
            psc_enabled: None,
            legacy_dns_name: false,
            database_version: None,
            reported_region: None,
            certificate: ServerCertificate::default(),
            pinned: false,
            wire: Wire::default(),
            tickets: true,
            certificate_lifetime: None,
            edition: Edition::default(),
            password_plugin: PasswordPlugin::default(),
            client_protocol_exchange: None,
            databases: default_databases(),
        }
    }
}

/// Durations travel as whole milliseconds in the control API.
pub(crate) mod milliseconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value
            .map(|value| value.as_millis() as u64)
            .serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(deserializer)?.map(Duration::from_millis))
    }
}

fn yes() -> bool {
    true
}

fn echo() -> Database {
    Database::Echo
}

fn both_addresses() -> BTreeSet<AddressType> {
    BTreeSet::from([AddressType::Primary, AddressType::Private])
}

fn default_databases() -> Vec<String> {
    vec!["mydb".to_string()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_in_json_needs_only_a_name() {
        let spec: InstanceSpec =
            serde_json::from_str(r#"{"name": "p:r:i", "certificate_lifetime_ms": 1500}"#).unwrap();
        assert_eq!(spec.database, Database::Echo);
        assert_eq!(spec.certificate_lifetime, Some(Duration::from_millis(1500)));
        assert!(spec.iam && spec.addresses.len() == 2);
    }
}
