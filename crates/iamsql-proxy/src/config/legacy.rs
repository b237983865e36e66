//! Version 1's spellings → today's: `-instances=p:r:i=tcp:5432`, single dashes, underscores.
//!
//! The official version 2 mis-reads some of them in silence (`-token=T` becomes the token `oken=T`); here each either means
//! what it meant, with a line that shows the modern form, or is refused.

use super::flag::{self, Kind};

/// A command line in today's spelling, and what has to be said about the one that was given.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Modern {
    pub(crate) arguments: Vec<String>,
    pub(crate) translated: bool,
    /// Flags that no longer do anything, each with the reason.
    pub(crate) dropped: Vec<String>,
}

/// Translates the arguments after the program's name.
///
/// # Errors
/// For an old flag whose meaning nothing has today.
pub(crate) fn translate(arguments: impl IntoIterator<Item = String>) -> Result<Modern, String> {
    let mut modern = Modern::default();
    let mut arguments = arguments.into_iter().peekable();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            modern.arguments.push(argument);
            modern.arguments.extend(arguments);
            break;
        }
        let Some((dashes, name, value)) = named(&argument) else {
            modern.arguments.push(argument);
            continue;
        };
        let hyphenated = name.replace('_', "-");
        let old = OLD.iter().find(|(old, _)| *old == hyphenated);
        let today = flag::find(&hyphenated);
        // A double-dashed flag in today's spelling wins over an old one of the same name: they mean the same.
        let spelled_today = dashes == 2 && name == hyphenated && today.is_some();
        if spelled_today || (old.is_none() && today.is_none()) {
            modern.arguments.push(argument);
            continue;
        }
        let takes_word = match (old, today) {
            (Some((_, meaning)), _) => meaning.takes_word(),
            (None, Some(flag)) => flag.kind != Kind::Bool,
            (None, None) => false,
        };
        let value = match value {
            None if takes_word => Some(arguments.next().ok_or_else(|| {
                format!("{dashed}{name} needs a value", dashed = "-".repeat(dashes))
            })?),
            value => value,
        };
        modern.translated = true;
        match (old, today) {
            (Some((_, meaning)), _) => meaning.apply(&hyphenated, value, &mut modern)?,
            (None, _) => modern.push(&hyphenated, value),
        }
    }
    Ok(modern)
}

/// `-name` or `--name`, with its value after `=`; `None` for instances, shorthands and bundles of shorthands.
fn named(argument: &str) -> Option<(usize, &str, Option<String>)> {
    let rest = argument.strip_prefix('-')?;
    let (dashes, rest) = rest.strip_prefix('-').map_or((1, rest), |rest| (2, rest));
    let (name, value) = match rest.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (rest, None),
    };
    (name.len() > 1 && name.starts_with(|first: char| first.is_ascii_alphabetic()))
        .then_some((dashes, name, value))
}

/// What an old flag means today.
#[derive(Clone, Copy)]
enum Meaning {
    /// The same, under this name.
    Renamed(&'static str),
    Instances,
    AddressTypes,
    Verbose,
    /// Nothing any more: (does it take a value, why).
    Dropped(bool, &'static str),
    Refused(&'static str),
}

impl Meaning {
    fn takes_word(self) -> bool {
        match self {
            Meaning::Renamed(name) => flag::find(name).is_some_and(|flag| flag.kind != Kind::Bool),
            Meaning::Instances | Meaning::AddressTypes => true,
            Meaning::Dropped(takes_word, _) => takes_word,
            Meaning::Verbose | Meaning::Refused(_) => false,
        }
    }

    fn apply(self, old: &str, value: Option<String>, modern: &mut Modern) -> Result<(), String> {
        let text = value.clone().unwrap_or_default();
        match self {
            Meaning::Renamed(name) => modern.push(name, value),
            Meaning::Instances => {
                for instance in text.split(',').filter(|instance| !instance.is_empty()) {
                    modern.arguments.push(instance_of(instance)?);
                }
            }
            Meaning::AddressTypes => {
                let types: Vec<_> = text
                    .split(',')
                    .map(|name| name.trim().to_ascii_uppercase())
                    .collect();
                let types: Vec<_> = types.iter().map(String::as_str).collect();
                match types[..] {
                    ["PUBLIC"] => {}
                    ["PRIVATE"] => modern.push("private-ip", None),
                    ["PUBLIC", "PRIVATE"] => modern.push("auto-ip", None),
                    _ => {
                        return Err(format!(
                            "-ip_address_types={text}: want PUBLIC, PRIVATE or PUBLIC,PRIVATE; today's flags are --private-ip, --psc and --auto-ip"
                        ));
                    }
                }
            }
            Meaning::Verbose => {
                if value.is_some_and(|value| super::value::boolean(&value) == Ok(false)) {
                    modern.push("quiet", None);
                }
            }
            Meaning::Dropped(_, why) => {
                modern.dropped.push(format!("--{old} has no effect: {why}"))
            }
            Meaning::Refused(why) => return Err(format!("--{old} is no longer supported: {why}")),
        }
        Ok(())
    }
}

impl Modern {
    fn push(&mut self, name: &str, value: Option<String>) {
        self.arguments.push(match value {
            Some(value) => format!("--{name}={value}"),
            None => format!("--{name}"),
        });
    }
}

/// `p:r:i=tcp:[address:]port` or `p:r:i=unix:path` → `p:r:i?…`.
fn instance_of(text: &str) -> Result<String, String> {
    let Some((name, listener)) = text.split_once('=') else {
        return Ok(text.to_owned());
    };
    let refused = || {
        format!("-instances={text}: want NAME=tcp:PORT, NAME=tcp:ADDRESS:PORT or NAME=unix:PATH")
    };
    let (kind, rest) = listener.split_once(':').ok_or_else(refused)?;
    match (kind, rest.rsplit_once(':')) {
        ("tcp" | "tcp4" | "tcp6", Some((address, port))) => {
            let address = address.trim_start_matches('[').trim_end_matches(']');
            Ok(format!("{name}?address={address}&port={port}"))
        }
        ("tcp" | "tcp4" | "tcp6", None) => Ok(format!("{name}?port={rest}")),
        ("unix", _) => Ok(format!("{name}?unix-socket-path={rest}")),
        _ => Err(refused()),
    }
}

/// Old names, with hyphens for underscores.
const OLD: &[(&str, Meaning)] = &[
    ("credential-file", Meaning::Renamed("credentials-file")),
    ("dir", Meaning::Renamed("unix-socket")),
    ("enable-iam-login", Meaning::Renamed("auto-iam-authn")),
    ("fuse-tmp", Meaning::Renamed("fuse-tmp-dir")),
    ("fuse-temp-dir", Meaning::Renamed("fuse-tmp-dir")),
    ("health-check-port", Meaning::Renamed("http-port")),
    ("host", Meaning::Renamed("sqladmin-api-endpoint")),
    ("term-timeout", Meaning::Renamed("max-sigterm-delay")),
    ("use-http-health-check", Meaning::Renamed("health-check")),
    ("instances", Meaning::Instances),
    ("ip-address-types", Meaning::AddressTypes),
    ("verbose", Meaning::Verbose),
    (
        "projects",
        Meaning::Dropped(true, "instances are named one by one"),
    ),
    (
        "check-region",
        Meaning::Dropped(false, "the region is always checked"),
    ),
    (
        "fd-rlimit",
        Meaning::Dropped(true, "the limit of open files is the system's"),
    ),
    (
        "log-debug-stdout",
        Meaning::Dropped(
            false,
            "news go to standard output, errors to standard error",
        ),
    ),
    (
        "refresh-config-throttle",
        Meaning::Dropped(true, "renewals are limited by themselves"),
    ),
    (
        "instances-metadata",
        Meaning::Refused(
            "name the instances, or put them into a --config-file and send SIGHUP when it changes",
        ),
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn modern(arguments: &[&str]) -> Modern {
        translate(arguments.iter().map(|argument| (*argument).to_owned())).unwrap()
    }

    #[test]
    fn version_1_means_what_it_meant() {
        for (old, new) in [
            (&["-instances=p:r:i=tcp:5432"][..], &["p:r:i?port=5432"][..]),
            (
                &["-instances", "p:r:i=tcp:0.0.0.0:3306,p:r:j"],
                &["p:r:i?address=0.0.0.0&port=3306", "p:r:j"],
            ),
            (
                &["-instances=p:r:i=unix:/run/db.sock"],
                &["p:r:i?unix-socket-path=/run/db.sock"],
            ),
            (
                &["-dir=/cloudsql", "-credential_file=key.json"],
                &["--unix-socket=/cloudsql", "--credentials-file=key.json"],
            ),
            (
                &["-credential_file", "key.json"],
                &["--credentials-file=key.json"],
            ),
            (&["-token=T"], &["--token=T"]),
            (
                &["-enable_iam_login", "-use_http_health_check"],
                &["--auto-iam-authn", "--health-check"],
            ),
            (
                &["--enable_iam_login", "--auto_iam_authn=true"],
                &["--auto-iam-authn", "--auto-iam-authn=true"],
            ),
            (&["-ip_address_types=PUBLIC,PRIVATE"], &["--auto-ip"]),
            (&["-ip_address_types=PRIVATE"], &["--private-ip"]),
            (
                &["-term_timeout=30s", "-verbose=false"],
                &["--max-sigterm-delay=30s", "--quiet"],
            ),
            (&["-max_connections", "10"], &["--max-connections=10"]),
        ] {
            let modern = modern(old);
            assert_eq!(modern.arguments, new, "{old:?}");
            assert!(modern.translated && modern.dropped.is_empty());
        }
    }

    #[test]
    fn todays_spelling_passes_untouched() {
        let today = [
            "-gl",
            "-p5432",
            "-t",
            "T",
            "--port",
            "5432",
            "p:r:i",
            "--token=a_b",
            "--",
            "-instances=x",
        ];
        let modern = modern(&today);
        assert_eq!(modern.arguments, today);
        assert!(!modern.translated);
    }

    #[test]
    fn what_has_no_meaning_is_said() {
        let modern = modern(&["--projects=P", "-fd_rlimit", "8500", "p:r:i"]);
        assert_eq!(modern.arguments, ["p:r:i"]);
        assert_eq!(modern.dropped.len(), 2);
        assert!(
            modern.dropped[0].starts_with("--projects has no effect"),
            "{:?}",
            modern.dropped
        );
        for refused in [
            &["-instances_metadata=a"][..],
            &["-ip_address_types=PSC"],
            &["-instances=p:r:i=udp:1"],
            &["-dir"],
        ] {
            assert!(
                translate(refused.iter().map(|argument| (*argument).to_owned())).is_err(),
                "{refused:?}"
            );
        }
    }
}
