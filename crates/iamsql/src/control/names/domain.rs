//! What a domain name's text tells. No lookups.

use crate::options::IpType;

/// A name that Cloud SQL gave an instance: `LABEL.LABEL.REGION.sql.goog`. It leads to that instance for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InstanceName<'a> {
    pub(crate) region: &'a str,
    /// The kind of address that the name stands for.
    pub(crate) ip_type: IpType,
}

impl<'a> InstanceName<'a> {
    /// Reads `name`, lower-case and without a final dot; `None` if it is some other name.
    ///
    /// The region `global` marks a write endpoint, which moves, and so is some other name.
    pub(crate) fn read(name: &'a str) -> Option<Self> {
        let mut labels = name.split('.');
        let [first, second, region, kind, top] = std::array::from_fn(|_| labels.next());
        let ip_type = match kind? {
            "sql" => IpType::Public,
            "sql-psa" => IpType::Private,
            "sql-psc" => IpType::Psc,
            _ => return None,
        };
        let well_formed = [first, second, region]
            .into_iter()
            .all(|label| label.is_some_and(is_label));
        (well_formed && top == Some("goog") && labels.next().is_none() && region != Some(GLOBAL))
            .then_some(InstanceName {
                region: region?,
                ip_type,
            })
    }
}

/// Whether the name can never come to lead elsewhere.
pub(crate) fn is_immutable(name: &str) -> bool {
    InstanceName::read(name).is_some()
}

fn is_label(label: &str) -> bool {
    let is_edge = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = label.as_bytes();
    bytes.len() <= MAX_LABEL
        && is_edge(bytes.first())
        && is_edge(bytes.last())
        && bytes
            .iter()
            .all(|&byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

const GLOBAL: &str = "global";
const MAX_LABEL: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instances_own_name_tells_region_and_kind_of_address() {
        for (name, ip_type) in [
            ("a1b2c3.d4e5f6.europe-west4.sql.goog", IpType::Public),
            ("a.b.europe-west4.sql-psa.goog", IpType::Private),
            ("a.b.europe-west4.sql-psc.goog", IpType::Psc),
        ] {
            let region = "europe-west4";
            assert_eq!(
                InstanceName::read(name),
                Some(InstanceName { region, ip_type }),
                "{name}"
            );
            assert!(is_immutable(name));
        }
        for name in [
            "a.b.global.sql.goog",
            "a.b.europe-west4.sql.goog.example.com",
            "b.europe-west4.sql.goog",
            "x.a.b.europe-west4.sql.goog",
            "a..europe-west4.sql.goog",
            "a.b.europe-west4.sql-psx.goog",
            "a.b.europe-west4.sql.google",
            "a.b-.europe-west4.sql.goog",
            "db.example.com",
        ] {
            assert_eq!(InstanceName::read(name), None, "{name}");
        }
    }
}
