//! Arguments → flag texts, instance names and the sub-command, by the table of flags.

use std::ffi::OsString;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, ArgMatches, Command, parser::ValueSource};

use super::flag::{ALIASES, FLAGS, Flag, Kind};

/// What the arguments say, unread. Holds secrets as text: not for printing.
pub(crate) struct CommandLine {
    pub(crate) values: Vec<(&'static str, String)>,
    pub(crate) instances: Vec<String>,
}

/// The parser of the proxy's own flags; sub-commands have theirs.
pub(crate) fn command(program: &str) -> Command {
    let mut command = Command::new("iamsql-proxy")
        .bin_name(program)
        .about("Local listeners that log in to Cloud SQL and AlloyDB as your Google identity")
        .override_usage(format!(
            "{program} INSTANCE[?PARAMETER=VALUE&…]... [flags]\n       {program} wait | shutdown | completion SHELL"
        ))
        .after_help(AFTER_HELP)
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .args_override_self(true)
        .arg(
            Arg::new("instances")
                .value_name("INSTANCE")
                .action(ArgAction::Append)
                .num_args(0..)
                .help("PROJECT:REGION:INSTANCE, a domain name, or projects/…/locations/…/clusters/…/instances/…"),
        )
        .arg(
            Arg::new("version")
                .long("version")
                .short('v')
                .action(ArgAction::Version)
                .help("Print the version"),
        );
    for flag in FLAGS {
        command = command.arg(argument(flag));
    }
    command
}

/// # Errors
/// clap's, for what is no flag or lacks its value; also `--help` and `--version`, which are none.
pub(crate) fn parse(
    program: &str,
    arguments: impl IntoIterator<Item = String>,
) -> Result<CommandLine, clap::Error> {
    let words =
        std::iter::once(OsString::from(program)).chain(arguments.into_iter().map(OsString::from));
    let matches = command(program).try_get_matches_from(words)?;
    let values = FLAGS
        .iter()
        .filter_map(|flag| Some((flag.name, given(&matches, flag.name)?)));
    Ok(CommandLine {
        values: values.collect(),
        instances: matches
            .get_many::<String>("instances")
            .into_iter()
            .flatten()
            .cloned()
            .collect(),
    })
}

fn given(matches: &ArgMatches, name: &str) -> Option<String> {
    (matches.value_source(name) == Some(ValueSource::CommandLine))
        .then(|| matches.get_one::<String>(name).cloned())
        .flatten()
}

fn argument(flag: &Flag) -> Arg {
    let mut argument = Arg::new(flag.name)
        .long(flag.name)
        .value_name(flag.value)
        .help(flag.help)
        .value_parser(ValueParser::string())
        .allow_hyphen_values(true)
        .action(ArgAction::Set);
    argument = argument.aliases(
        ALIASES
            .iter()
            .filter(|(_, of)| *of == flag.name)
            .map(|(alias, _)| *alias),
    );
    if let Some(short) = flag.short {
        argument = argument.short(short);
    }
    match flag.kind {
        Kind::Bool => argument
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        Kind::Integer | Kind::Duration | Kind::Text => argument,
    }
}

const AFTER_HELP: &str = "\
(*) also as a parameter of one instance, as in p:r:i?port=5433&auto-iam-authn=true; further parameters: unix-socket-path.

Every flag can be set in the environment, as CSQL_PROXY_AUTO_IAM_AUTHN=true (ALLOYDB_PROXY_… under AlloyDB), and in --config-file;
a flag comes before the environment, the environment before the file. Instances: CSQL_PROXY_INSTANCE_CONNECTION_NAME,
ALLOYDB_PROXY_INSTANCE_URI, or the same with _0, _1 and so on.";

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str]) -> Result<CommandLine, clap::Error> {
        parse(
            "iamsql-proxy",
            arguments.iter().map(|argument| (*argument).to_owned()),
        )
    }

    fn values(arguments: &[&str]) -> Vec<(&'static str, String)> {
        parsed(arguments).unwrap().values
    }

    #[test]
    fn the_table_makes_a_sound_parser() {
        command("iamsql-proxy").debug_assert();
    }

    #[test]
    fn flags_are_read_as_pflag_reads_them() {
        assert_eq!(
            values(&["-gl", "p:r:i"]),
            [
                ("gcloud-auth", "true".into()),
                ("structured-logs", "true".into())
            ]
        );
        assert_eq!(values(&["-p5432"]), values(&["-p=5432"]));
        assert_eq!(values(&["-p", "5432"]), values(&["--port=5432"]));
        // The last occurrence wins.
        assert_eq!(
            values(&["--port", "1", "--port", "2"]),
            [("port", "2".into())]
        );
        assert_eq!(
            values(&["-ip", "5432", "x"]),
            [("port", "5432".into()), ("auto-iam-authn", "true".into())]
        );
        assert_eq!(
            values(&["--sql-data-endpoint", "https://e"]),
            [("sqldata-api-endpoint", "https://e".into())]
        );
        assert_eq!(values(&["--token", "-x"]), [("token", "-x".into())]);
    }

    #[test]
    fn a_truth_value_never_takes_a_separate_word() {
        let line = parsed(&["--quiet", "false", "p:r:i", "--", "-x"]).unwrap();
        assert_eq!(line.instances, ["false", "p:r:i", "-x"]);
        assert_eq!(line.values, [("quiet", "true".into())]);
    }

    #[test]
    fn help_and_version_come_before_everything() {
        for arguments in [&["-vi"][..], &["--version", "--port"], &["-h"]] {
            let error = parsed(arguments).err().unwrap();
            assert!(!error.use_stderr(), "{arguments:?}: {error}");
        }
        assert!(parsed(&["--no-such-flag"]).err().unwrap().use_stderr());
    }
}
