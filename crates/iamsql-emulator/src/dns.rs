//! A DNS server for the names that clients resolve: what tests put into its zone, and the names of the instances.

mod server;
mod zone;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use hickory_proto::rr::Name;
use serde::{Deserialize, Serialize};

pub(crate) use self::server::{bind, serve};

/// The zone of a running emulator's DNS server. Cheap to clone.
///
/// Names are compared without regard to case and final dot. The DNS names of instances are answered without being set:
/// a `.sql-psc.goog` name leads to the instance's PSC address, a `.sql-psa.goog` name to its private one. A record that
/// is set takes their place. Every answer has a time to live of zero, so that a change is seen at once.
///
/// ```no_run
/// # fn example(emulator: iamsql_emulator::Emulator) {
/// use iamsql_emulator::DnsRecord;
///
/// let dns = emulator.dns();
/// dns.set("db.example.com", [DnsRecord::txt("your-project-id:us-central1:orders")]);
/// dns.set("alias.example.com", [DnsRecord::Cname("db.example.com".into())]);
/// # }
/// ```
#[derive(Clone)]
pub struct Dns(Arc<Inner>);

struct Inner {
    address: SocketAddr,
    records: Mutex<BTreeMap<String, Vec<DnsRecord>>>,
    queries: Mutex<Vec<DnsQuery>>,
}

/// One record of a name.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", content = "value", rename_all = "UPPERCASE")]
pub enum DnsRecord {
    /// An IPv4 address.
    A(Ipv4Addr),
    /// An IPv6 address.
    Aaaa(Ipv6Addr),
    /// Another name for which this one stands.
    Cname(String),
    /// The strings of one TXT record, at most 255 bytes each; clients join them.
    Txt(Vec<String>),
}

/// One question that the DNS server received.
#[derive(Clone, Debug, Serialize)]
pub struct DnsQuery {
    /// The name asked for, in lower case and without a final dot.
    pub name: String,
    /// The type asked for, such as `TXT`.
    #[serde(rename = "type")]
    pub record_type: String,
    /// `udp` or `tcp`.
    pub transport: &'static str,
    /// When.
    #[serde(with = "crate::session::epoch_seconds")]
    pub at: SystemTime,
    /// How it was answered, such as `NOERROR` or `NXDOMAIN`; `None` if it was not.
    pub answer: Option<String>,
}

impl Dns {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Dns(Arc::new(Inner {
            address,
            records: Mutex::default(),
            queries: Mutex::default(),
        }))
    }

    /// Where it listens, on UDP and TCP.
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Makes these the records of a name, in place of all that it had.
    ///
    /// # Panics
    /// If the name or a record cannot be in DNS: that is a mistake in the test.
    pub fn set(&self, name: &str, records: impl IntoIterator<Item = DnsRecord>) {
        self.try_set(name, records.into_iter().collect())
            .unwrap_or_else(|error| panic!("{error}"));
    }

    /// Takes a name out of the zone. Nothing happens if it is not there.
    pub fn remove(&self, name: &str) {
        self.records().remove(&key(name));
    }

    /// The names that were set, with their records.
    pub fn all(&self) -> BTreeMap<String, Vec<DnsRecord>> {
        self.records().clone()
    }

    /// Every question so far, the oldest first.
    pub fn queries(&self) -> Vec<DnsQuery> {
        self.0.queries.lock().expect("no panic under lock").clone()
    }

    /// Forgets the questions.
    pub fn forget_queries(&self) {
        self.0.queries.lock().expect("no panic under lock").clear();
    }

    pub(crate) fn try_set(&self, name: &str, records: Vec<DnsRecord>) -> anyhow::Result<()> {
        parse_name(name)?;
        for record in &records {
            record.check()?;
        }
        let alone = !records
            .iter()
            .any(|record| matches!(record, DnsRecord::Cname(_)))
            || records.len() == 1;
        anyhow::ensure!(alone, "{name}: a CNAME stands alone");
        self.records().insert(key(name), records);
        Ok(())
    }

    fn get(&self, name: &str) -> Option<Vec<DnsRecord>> {
        self.records().get(name).cloned()
    }

    fn note(&self, query: DnsQuery) {
        self.0
            .queries
            .lock()
            .expect("no panic under lock")
            .push(query);
    }

    fn records(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<DnsRecord>>> {
        self.0.records.lock().expect("no panic under lock")
    }
}

impl DnsRecord {
    /// An address record.
    pub fn address(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => DnsRecord::A(address),
            IpAddr::V6(address) => DnsRecord::Aaaa(address),
        }
    }

    /// A TXT record, in as many strings as its length needs.
    pub fn txt(text: impl Into<String>) -> Self {
        let (text, mut strings) = (text.into(), vec![String::new()]);
        for c in text.chars() {
            if strings.last().expect("never empty").len() + c.len_utf8() > LONGEST_STRING {
                strings.push(String::new());
            }
            strings.last_mut().expect("never empty").push(c);
        }
        DnsRecord::Txt(strings)
    }

    fn check(&self) -> anyhow::Result<()> {
        match self {
            DnsRecord::A(_) | DnsRecord::Aaaa(_) => Ok(()),
            DnsRecord::Cname(target) => parse_name(target).map(drop),
            DnsRecord::Txt(strings) => {
                anyhow::ensure!(!strings.is_empty(), "a TXT record has at least one string");
                anyhow::ensure!(
                    strings.iter().all(|string| string.len() <= LONGEST_STRING),
                    "a string of a TXT record has at most {LONGEST_STRING} bytes"
                );
                Ok(())
            }
        }
    }
}

/// A name as the zone keeps it: in lower case, without the final dot.
pub(crate) fn key(name: &str) -> String {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.to_ascii_lowercase()
}

/// A name for a message.
fn parse_name(name: &str) -> anyhow::Result<Name> {
    let relative = name.strip_suffix('.').unwrap_or(name);
    anyhow::ensure!(!relative.is_empty(), "an empty DNS name");
    Name::from_ascii(format!("{relative}."))
        .map_err(|error| anyhow::anyhow!("{name:?} is no DNS name: {error}"))
}

const LONGEST_STRING: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn dns() -> Dns {
        Dns::new(SocketAddr::from(([127, 0, 0, 1], 53)))
    }

    #[test]
    fn names_have_one_spelling() {
        let dns = dns();
        dns.set("DB.Example.com.", [DnsRecord::txt("p:r:i")]);
        assert_eq!(dns.get("db.example.com").unwrap().len(), 1);
        dns.remove("db.EXAMPLE.com");
        assert_eq!(dns.get("db.example.com"), None);
    }

    #[test]
    fn what_cannot_be_in_dns_is_refused() {
        let long = "x".repeat(64);
        let cases = [
            ("", DnsRecord::txt("p:r:i")),
            (".", DnsRecord::txt("p:r:i")),
            (long.as_str(), DnsRecord::txt("p:r:i")),
            ("a.example", DnsRecord::Txt(vec![])),
            ("a.example", DnsRecord::Txt(vec!["x".repeat(256)])),
            ("a.example", DnsRecord::Cname(String::new())),
        ];
        for (name, record) in cases {
            assert!(dns().try_set(name, vec![record]).is_err(), "{name:?}");
        }
        let both = vec![DnsRecord::Cname("b.example".into()), DnsRecord::txt("x")];
        assert!(dns().try_set("a.example", both).is_err());
    }

    #[test]
    fn long_text_becomes_several_strings() {
        let DnsRecord::Txt(strings) = DnsRecord::txt("ü".repeat(200)) else {
            panic!("not a TXT")
        };
        assert_eq!(strings.concat(), "ü".repeat(200));
        assert_eq!(strings.len(), 2);
        assert_eq!(DnsRecord::txt(""), DnsRecord::Txt(vec![String::new()]));
    }

    #[test]
    fn records_travel_as_type_and_value() {
        let text = r#"[{"type":"A","value":"127.1.2.3"},{"type":"TXT","value":["a","b"]}]"#;
        let records: Vec<DnsRecord> = serde_json::from_str(text).unwrap();
        assert_eq!(
            records[1],
            DnsRecord::Txt(vec!["a".to_string(), "b".to_string()])
        );
        assert_eq!(serde_json::to_string(&records).unwrap(), text);
    }
}
