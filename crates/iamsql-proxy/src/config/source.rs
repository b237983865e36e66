//! Command line, environment and file → the text of each flag, and where it came from.

use std::collections::BTreeMap;
use std::fmt;

use super::file::File;
use super::flag::{ALIASES, FLAGS, Flag};
use super::product::{Product, prefix};

/// Where a value came from; what a mistake in it is blamed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    CommandLine,
    /// The variable.
    Environment(String),
    File,
}

/// The values that were given, each with its source: flag before environment before file.
#[derive(Default)]
pub(crate) struct Given(BTreeMap<&'static str, (String, Source)>);

impl Given {
    pub(crate) fn on_command_line(
        values: impl IntoIterator<Item = (&'static str, String)>,
    ) -> Self {
        let values = values
            .into_iter()
            .map(|(name, value)| (name, (value, Source::CommandLine)));
        Given(values.collect())
    }

    /// Fills in what the environment says; an empty variable is unset.
    pub(crate) fn or_environment(
        mut self,
        product: Product,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Self {
        for flag in FLAGS {
            let found = spellings(flag).find_map(|name| {
                let name = variable_name(product, name);
                let value = variable(&name).filter(|value| !value.is_empty())?;
                Some((value, Source::Environment(name)))
            });
            if let Some(found) = found {
                self.0.entry(flag.name).or_insert(found);
            }
        }
        self
    }

    /// Fills in what the file says.
    pub(crate) fn or_file(mut self, file: &File) -> Self {
        for flag in FLAGS {
            if let Some(value) = spellings(flag).find_map(|name| file.text(name)) {
                self.0
                    .entry(flag.name)
                    .or_insert((value.to_owned(), Source::File));
            }
        }
        self
    }

    /// Whether anybody gave it, even with its default.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|(value, _)| value.as_str())
    }

    pub(crate) fn source(&self, name: &str) -> Option<&Source> {
        self.0.get(name).map(|(_, source)| source)
    }
}

/// `CSQL_PROXY_AUTO_IAM_AUTHN` or `ALLOYDB_PROXY_AUTO_IAM_AUTHN`.
pub(crate) fn variable_name(product: Product, flag: &str) -> String {
    format!(
        "{}_{}",
        prefix(product),
        flag.to_ascii_uppercase().replace('-', "_")
    )
}

fn spellings(flag: &Flag) -> impl Iterator<Item = &'static str> {
    let name = flag.name;
    let aliases = ALIASES
        .iter()
        .filter(move |(_, of)| *of == name)
        .map(|(alias, _)| *alias);
    std::iter::once(name).chain(aliases)
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::CommandLine => f.write_str("command line"),
            Source::Environment(variable) => write!(f, "environment variable {variable}"),
            Source::File => f.write_str("configuration file"),
        }
    }
}
