//! Reads an instance from the command line: `project:region:name?ca=cas&iam=off`.

use iamsql_emulator::{AddressType, CaMode, InstanceSpec, PasswordPlugin, Wire};

/// An instance with a PostgreSQL.
pub(crate) fn parse(text: &str) -> Result<InstanceSpec, String> {
    settle(text, |name| InstanceSpec::postgres(name))
}

/// An instance with the stand-in for SQL Server.
pub(crate) fn parse_sql_server(text: &str) -> Result<InstanceSpec, String> {
    settle(text, |name| InstanceSpec::sql_server(name))
}

/// An instance with MySQL.
pub(crate) fn parse_mysql(text: &str) -> Result<InstanceSpec, String> {
    settle(text, |name| InstanceSpec::mysql(name))
}

/// An instance that echoes.
pub(crate) fn parse_echo(text: &str) -> Result<InstanceSpec, String> {
    settle(text, |name| InstanceSpec::echo(name))
}

fn settle(text: &str, make: impl FnOnce(&str) -> InstanceSpec) -> Result<InstanceSpec, String> {
    let (name, settings) = text.split_once('?').unwrap_or((text, ""));
    let mut spec = make(name);
    let mut addresses = Vec::new();
    let mut databases = Vec::new();
    for setting in settings.split('&').filter(|setting| !setting.is_empty()) {
        let (key, value) = setting
            .split_once('=')
            .ok_or_else(|| format!("{setting:?} is not KEY=VALUE"))?;
        spec = match key {
            "ca" => spec.ca_mode(match value {
                "internal" => CaMode::Internal,
                "cas" => CaMode::Cas,
                "customer" => CaMode::CustomerCas,
                "none" => CaMode::Unspecified,
                _ => {
                    return Err(format!(
                        "ca is internal, cas, customer or none, not {value:?}"
                    ));
                }
            }),
            "address" => {
                match value {
                    "public" => addresses.push(AddressType::Primary),
                    "private" => addresses.push(AddressType::Private),
                    "both" => addresses.extend([AddressType::Primary, AddressType::Private]),
                    "psc" => addresses.push(AddressType::Psc),
                    _ => {
                        return Err(format!(
                            "address is public, private, both or psc, not {value:?}"
                        ));
                    }
                }
                spec.addresses(addresses.clone())
            }
            "wire" => spec.wire(match value {
                "tls13" => Wire::Tls13,
                "tls12" => Wire::Tls12,
                "plaintext" => Wire::Plaintext,
                _ => return Err(format!("wire is tls13, tls12 or plaintext, not {value:?}")),
            }),
            "certificate" => {
                let name = serde_json::Value::from(value);
                let certificate = serde_json::from_value(name);
                spec.certificate(
                    certificate
                        .map_err(|_| format!("no server certificate is called {value:?}"))?,
                )
            }
            "database" => {
                databases.push(value.to_string());
                spec.databases(databases.clone())
            }
            "plugin" => spec.password_plugin(match value {
                "sha2" => PasswordPlugin::CachingSha2,
                "native" => PasswordPlugin::Native,
                _ => return Err(format!("plugin is sha2 or native, not {value:?}")),
            }),
            "exchange" => spec.client_protocol_exchange(switch(key, value)?),
            "iam" => spec.iam(switch(key, value)?),
            "tickets" => spec.tickets(switch(key, value)?),
            "pinned" => spec.pinned(switch(key, value)?),
            "dns" => spec.dns_name(value),
            "psc-dns" => spec.psc_dns_name(value),
            "legacy-dns" => spec.legacy_dns_name(switch(key, value)?),
            "custom" => spec.custom_name(value),
            "edition" => {
                let edition = serde_json::from_value(serde_json::Value::from(value));
                spec.edition(edition.map_err(|_| {
                    format!("edition is enterprise, enterprise_plus or developer, not {value:?}")
                })?)
            }
            "version" => spec.database_version(value),
            "region" => spec.reported_region(value),
            _ => return Err(format!("an instance has no setting {key:?}")),
        };
    }
    Ok(spec)
}

fn switch(key: &str, value: &str) -> Result<bool, String> {
    match value {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(format!("{key} is on or off, not {value:?}")),
    }
}

#[cfg(test)]
mod tests {
    use iamsql_emulator::{Database, ServerCertificate};

    use super::*;

    #[test]
    fn settings_follow_the_name() {
        let spec =
            parse("example.com:p:r:i?ca=cas&address=private&iam=off&database=a&database=b&certificate=two_common_names")
                .unwrap();
        assert_eq!(
            (spec.name.as_str(), spec.database),
            ("example.com:p:r:i", Database::Postgres)
        );
        assert_eq!(spec.ca_mode, CaMode::Cas);
        assert!(!spec.iam && spec.addresses.len() == 1);
        assert_eq!(spec.databases, ["a", "b"]);
        assert_eq!(spec.certificate, ServerCertificate::TwoCommonNames);
        assert_eq!(parse_echo("p:r:i").unwrap().database, Database::Echo);
        let mysql = parse_mysql("p:r:i?plugin=native&exchange=off").unwrap();
        assert_eq!(
            (mysql.database, mysql.password_plugin),
            (Database::MySql, PasswordPlugin::Native)
        );
        assert_eq!(mysql.client_protocol_exchange, Some(false));
    }

    #[test]
    fn unknown_settings_are_named() {
        for (text, word) in [
            ("p:r:i?colour=red", "colour"),
            ("p:r:i?iam=maybe", "maybe"),
            ("p:r:i?iam", "iam"),
        ] {
            assert!(parse(text).unwrap_err().contains(word), "{text}");
        }
    }
}
