//! A certificate's names against those expected. Strings and addresses only.

use std::net::IpAddr;

use rustls::pki_types::ServerName;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

use crate::control::trust::{Distrust, Expected};

impl Expected {
    /// Accepts the certificate if it carries one of the DNS names, or the instance's common name where that may count; or
    /// what was `dialled`, where that is what is expected.
    pub(super) fn check(
        &self,
        certificate: &X509Certificate<'_>,
        dialled: &ServerName<'_>,
    ) -> Result<(), Distrust> {
        let alternatives = Alternatives::of(certificate)?;
        let common_names = common_names(certificate);
        let accepted = match self {
            Expected::Named {
                dns_names,
                common_name,
            } => {
                dns_names.iter().any(|name| alternatives.name(name))
                    || is_only(&common_names, common_name.as_deref())
            }
            Expected::Dialled => match dialled {
                ServerName::DnsName(name) => alternatives.name(name.as_ref()),
                ServerName::IpAddress(ip) => alternatives.ips.contains(&IpAddr::from(*ip)),
                _ => false,
            },
        };
        match accepted {
            true => Ok(()),
            false => Err(self.mismatch(alternatives, common_names, dialled)),
        }
    }

    fn mismatch(
        &self,
        alternatives: Alternatives<'_>,
        common_names: Vec<Option<&str>>,
        dialled: &ServerName<'_>,
    ) -> Distrust {
        let expected: Vec<String> = match self {
            Expected::Named {
                dns_names,
                common_name,
            } => dns_names.iter().chain(common_name).cloned().collect(),
            Expected::Dialled => vec![dialled.to_str().into_owned()],
        };
        if expected.is_empty() {
            return Distrust::new(
                "the instance has no DNS name, and nothing else may identify its server",
            );
        }
        let ips = alternatives.ips.iter().map(IpAddr::to_string);
        let names = alternatives.dns_names.into_iter().map(str::to_owned);
        let common_names = common_names
            .into_iter()
            .map(|name| name.unwrap_or("?").to_owned());
        let presented: Vec<String> = names.chain(ips).chain(common_names).collect();
        Distrust::names(&presented, &expected)
    }
}

/// What a certificate says besides its common name.
struct Alternatives<'a> {
    dns_names: Vec<&'a str>,
    ips: Vec<IpAddr>,
}

impl<'a> Alternatives<'a> {
    fn of(certificate: &'a X509Certificate<'_>) -> Result<Self, Distrust> {
        let extension = certificate
            .subject_alternative_name()
            .map_err(|_| Distrust::new("server presented a certificate with unreadable names"))?;
        let mut alternatives = Alternatives {
            dns_names: Vec::new(),
            ips: Vec::new(),
        };
        for name in extension
            .iter()
            .flat_map(|names| &names.value.general_names)
        {
            match name {
                GeneralName::DNSName(name) => alternatives.dns_names.push(name),
                GeneralName::IPAddress(bytes) => alternatives.ips.extend(address(bytes)),
                _ => {}
            }
        }
        Ok(alternatives)
    }

    /// A wildcard matches nothing: it is compared as the text that it is, and no expected name holds an asterisk.
    fn name(&self, expected: &str) -> bool {
        self.dns_names.iter().any(|presented| {
            !presented.contains('*')
                && without_dot(expected).eq_ignore_ascii_case(without_dot(presented))
        })
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let v6 = <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    v4.or(v6).ok()
}

/// Two common names may be read differently by whoever issued the certificate and by us.
fn is_only(common_names: &[Option<&str>], expected: Option<&str>) -> bool {
    expected.is_some() && matches!(common_names, [only] if *only == expected)
}

fn without_dot(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// Every common name; `None` for one that is no text.
fn common_names<'a>(certificate: &'a X509Certificate<'_>) -> Vec<Option<&'a str>> {
    certificate
        .subject()
        .iter_common_name()
        .map(|name| name.as_str().ok())
        .collect()
}
