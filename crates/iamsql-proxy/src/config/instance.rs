//! `NAME?parameter=value&…` → an instance and what it wants otherwise than the rest.

use std::net::IpAddr;
use std::path::PathBuf;

use iamsql::{Instance, Product as Kind};

use super::value::{boolean, integer};
use crate::log::Explained;

/// One instance to serve. What is `None` comes from the flags.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InstanceConfig {
    pub(crate) instance: Instance,
    pub(crate) address: Option<IpAddr>,
    pub(crate) port: Option<u16>,
    pub(crate) unix_socket: Option<PathBuf>,
    pub(crate) unix_socket_path: Option<PathBuf>,
    pub(crate) auto_iam_authn: Option<bool>,
    pub(crate) private_ip: Option<bool>,
    pub(crate) public_ip: Option<bool>,
    pub(crate) psc: Option<bool>,
    pub(crate) sql_data: Option<bool>,
}

impl InstanceConfig {
    /// Reads one instance; adds a line to `warnings` for each parameter that nothing reads.
    ///
    /// # Errors
    /// For a name that is none, a value that cannot be, and parameters that exclude each other.
    pub(crate) fn parse(text: &str, warnings: &mut Vec<String>) -> Result<Self, String> {
        let (name, query) = text.split_once('?').unwrap_or((text, ""));
        let instance: Instance = name
            .parse()
            .map_err(|error| Explained(&error).to_string())?;
        let mut parsed = InstanceConfig {
            instance,
            address: None,
            port: None,
            unix_socket: None,
            unix_socket_path: None,
            auto_iam_authn: None,
            private_ip: None,
            public_ip: None,
            psc: None,
            sql_data: None,
        };
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let wrong = |why: String| format!("[{name}] {key}: {why}");
            match key.as_ref() {
                "address" => parsed.address = Some(address(&value).map_err(wrong)?),
                "port" => parsed.port = Some(port(&value).map_err(wrong)?),
                "unix-socket" => parsed.unix_socket = Some(path(&value).map_err(wrong)?),
                "unix-socket-path" => parsed.unix_socket_path = Some(path(&value).map_err(wrong)?),
                "auto-iam-authn" => parsed.auto_iam_authn = Some(switch(&value).map_err(wrong)?),
                "private-ip" => parsed.private_ip = Some(switch(&value).map_err(wrong)?),
                "public-ip" => parsed.public_ip = Some(switch(&value).map_err(wrong)?),
                "psc" => parsed.psc = Some(switch(&value).map_err(wrong)?),
                "sql-data" => parsed.sql_data = Some(switch(&value).map_err(wrong)?),
                unknown => warnings.push(format!(
                    "[{name}] the parameter {unknown:?} is not known and has no effect"
                )),
            }
        }
        parsed
            .exclusions()
            .map_err(|why| format!("[{name}] {why}"))?;
        Ok(parsed)
    }

    pub(crate) fn kind(&self) -> Kind {
        self.instance.product()
    }

    /// Whether it asks for a Unix socket of its own.
    pub(crate) fn has_own_socket(&self) -> bool {
        self.unix_socket.is_some() || self.unix_socket_path.is_some()
    }

    fn exclusions(&self) -> Result<(), String> {
        let excludes =
            |one: &str, other: &str| Err(format!("{one} and {other} exclude each other"));
        let tcp = [
            ("address", self.address.is_some()),
            ("port", self.port.is_some()),
        ];
        let unix = [
            ("unix-socket", self.unix_socket.is_some()),
            ("unix-socket-path", self.unix_socket_path.is_some()),
        ];
        for (tcp, _) in tcp.into_iter().filter(|(_, given)| *given) {
            if let Some((unix, _)) = unix.into_iter().find(|(_, given)| *given) {
                return excludes(tcp, unix);
            }
        }
        if unix.iter().all(|(_, given)| *given) {
            return excludes("unix-socket", "unix-socket-path");
        }
        if self.private_ip.is_some() && self.psc.is_some() {
            return excludes("private-ip", "psc");
        }
        Ok(())
    }
}

pub(crate) fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| {
        format!("{text:?} is no IP address: want one such as 127.0.0.1, 0.0.0.0 or ::1")
    })
}

pub(crate) fn port(text: &str) -> Result<u16, String> {
    u16::try_from(integer(text)?).map_err(|_| format!("{text} is no port: the last is 65535"))
}

/// A parameter without a value switches on, as a flag does.
fn switch(text: &str) -> Result<bool, String> {
    match text {
        "" => Ok(true),
        text => boolean(text),
    }
}

fn path(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("a path is missing".to_owned()),
        text => Ok(PathBuf::from(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<InstanceConfig, String> {
        InstanceConfig::parse(text, &mut Vec::new())
    }

    #[test]
    fn parameters_are_url_encoded_and_tell_false_from_unset() {
        let instance = parsed("p:r:i?address=0.0.0.0&port=0x1538&private-ip=false").unwrap();
        assert_eq!(
            (instance.port, instance.private_ip, instance.psc),
            (Some(5432), Some(false), None)
        );
        let instance = parsed("p:r:i?unix-socket-path=%2Frun%2Fmy+db&auto-iam-authn").unwrap();
        assert_eq!(instance.unix_socket_path, Some(PathBuf::from("/run/my db")));
        assert_eq!(instance.auto_iam_authn, Some(true));
    }

    #[test]
    fn what_cannot_be_names_the_instance_and_the_parameter() {
        for (text, said) in [
            ("p:r:i?port=70000", "[p:r:i] port: 70000"),
            ("p:r:i?address=localhost", "no IP address"),
            ("p:r:i?psc=maybe", "[p:r:i] psc: \"maybe\""),
            (
                "p:r:i?port=1&unix-socket=/x",
                "port and unix-socket exclude",
            ),
            (
                "p:r:i?unix-socket=/x&unix-socket-path=/y",
                "exclude each other",
            ),
            (
                "p:r:i?private-ip=false&psc=true",
                "private-ip and psc exclude",
            ),
            ("p:r", "PROJECT:REGION:INSTANCE"),
        ] {
            let error = parsed(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn an_unknown_parameter_is_said() {
        let mut warnings = Vec::new();
        InstanceConfig::parse("p:r:i?prot=5432", &mut warnings).unwrap();
        assert_eq!(
            warnings,
            ["[p:r:i] the parameter \"prot\" is not known and has no effect"]
        );
    }
}
