//! A certificate's names against those expected. Strings only.

use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::control::trust::{Distrust, Expected};

impl Expected {
    /// Accepts the certificate if it carries one of the DNS names, or the instance's common name where that may count.
    pub(super) fn check(&self, certificate: &X509Certificate<'_>) -> Result<(), Distrust> {
        let dns_names = dns_names(certificate)?;
        if dns_names.iter().any(|name| self.is_expected(name)) {
            return Ok(());
        }
        let common_names = common_names(certificate);
        if let Some(expected) = &self.common_name {
            // Two common names may be read differently by whoever issued the certificate and by us.
            if let [Some(only)] = common_names[..]
                && only == expected
            {
                return Ok(());
            }
        }
        let common_names = common_names.into_iter().map(|name| name.unwrap_or("?"));
        let presented: Vec<&str> = dns_names.into_iter().chain(common_names).collect();
        Err(self.mismatch(&presented))
    }

    fn is_expected(&self, presented: &str) -> bool {
        // A wildcard matches nothing: it is compared as the text that it is, and no expected name holds an asterisk.
        !presented.contains('*')
            && self
                .dns_names
                .iter()
                .any(|expected| without_dot(expected).eq_ignore_ascii_case(without_dot(presented)))
    }

    fn mismatch(&self, presented: &[&str]) -> Distrust {
        let expected: Vec<&str> = self
            .dns_names
            .iter()
            .chain(&self.common_name)
            .map(String::as_str)
            .collect();
        match expected.is_empty() {
            true => Distrust::new(
                "the instance has no DNS name, and nothing else may identify its server",
            ),
            false => Distrust::names(presented, &expected),
        }
    }
}

fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

fn dns_names<'a>(certificate: &'a X509Certificate<'_>) -> Result<Vec<&'a str>, Distrust> {
    let extension = certificate
        .subject_alternative_name()
        .map_err(|_| Distrust::new("server presented a certificate with unreadable names"))?;
    let names = extension.map(|extension| extension.value.general_names.iter());
    Ok(names
        .into_iter()
        .flatten()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(*name),
            _ => None,
        })
        .collect())
}

/// Every common name; `None` for one that is no text.
fn common_names<'a>(certificate: &'a X509Certificate<'_>) -> Vec<Option<&'a str>> {
    certificate
        .subject()
        .iter_common_name()
        .map(|name| name.as_str().ok())
        .collect()
}
