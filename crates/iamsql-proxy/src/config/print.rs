//! A configuration → the text of `--print-config`, and of a command line.

use serde_json::{Map, Value, json};

use super::flag::{FLAGS, Flag, Home, Kind};
use super::product::{Product, product_name};
use super::read::{default_sockets, shown};
use super::source::Given;
use super::value::{boolean, duration, go_duration, integer};
use super::{Config, InstanceConfig};

/// The effective configuration: the product, every flag of its by the long name, and the instances with the parameters
/// that were given.
pub(crate) fn json(config: &Config, given: &Given) -> String {
    let mut all = Map::new();
    all.insert("product".to_owned(), product_name(config.product).into());
    let known = |flag: &&Flag| match flag.home {
        Home::Both => true,
        Home::CloudSql => config.product == Product::CloudSql || given.has(flag.name),
        Home::AlloyDb => config.product == Product::AlloyDb || given.has(flag.name),
    };
    for flag in FLAGS
        .iter()
        .filter(known)
        .filter(|flag| !["product", "print-config"].contains(&flag.name))
    {
        all.insert(flag.name.to_owned(), value(config, given, flag));
    }
    let instances: Vec<_> = config.instances.iter().map(instance).collect();
    all.insert("instances".to_owned(), instances.into());
    serde_json::to_string_pretty(&Value::Object(all))
        .expect("texts, numbers and truth values are JSON")
}

/// A command line that a shell reads back, without its secrets.
pub(crate) fn shell_line(program: &str, arguments: &[String]) -> String {
    let mut words = vec![program.to_owned()];
    let mut secret_next = false;
    for argument in arguments {
        words.push(match (secret_next, argument.split_once('=')) {
            (true, _) => "[redacted]".to_owned(),
            (false, Some((name, _))) if is_secret(name) => format!("{name}=[redacted]"),
            _ => quoted(argument),
        });
        secret_next = !secret_next && is_secret(argument);
        // A shorthand may carry its value in the same word.
        if let Some(short) = secret_shorthand(argument) {
            words.pop();
            words.push(format!("{short}[redacted]"));
        }
    }
    words.join(" ")
}

fn is_secret(word: &str) -> bool {
    FLAGS.iter().filter(|flag| flag.secret).any(|flag| {
        word.strip_prefix("--") == Some(flag.name)
            || flag
                .short
                .is_some_and(|short| word.strip_prefix('-') == Some(short.to_string().as_str()))
    })
}

fn secret_shorthand(word: &str) -> Option<String> {
    let rest = word
        .strip_prefix('-')
        .filter(|rest| !rest.starts_with('-') && rest.len() > 1)?;
    FLAGS
        .iter()
        .filter(|flag| flag.secret)
        .filter_map(|flag| flag.short)
        .find(|short| rest.starts_with(*short))
        .map(|short| format!("-{short}"))
}

fn quoted(word: &str) -> String {
    let plain = !word.is_empty()
        && word
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_=:./@,%+".contains(&byte));
    match plain {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

fn value(config: &Config, given: &Given, flag: &Flag) -> Value {
    let text = shown(given, config.product, flag.name);
    if flag.secret && !text.is_empty() {
        return "[redacted]".into();
    }
    // Everything was read before: what does not parse cannot get here.
    match flag.kind {
        Kind::Bool => boolean(text).map_or_else(|_| text.into(), Value::from),
        Kind::Integer => integer(text).map_or_else(|_| text.into(), Value::from),
        Kind::Duration => {
            duration(text).map_or_else(|_| text.into(), |duration| go_duration(duration).into())
        }
        Kind::Text => match flag.name {
            "unix-socket-mode" => format!("{:04o}", config.listeners.unix_socket_mode).into(),
            "fuse-tmp-dir" if text.is_empty() => {
                default_sockets(config.product).display().to_string().into()
            }
            _ => text.into(),
        },
    }
}

fn instance(instance: &InstanceConfig) -> Value {
    let mut parameters = Map::new();
    parameters.insert("name".to_owned(), instance.instance.to_string().into());
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| json!(path));
    let given = [
        ("address", instance.address.map(|address| json!(address))),
        ("port", instance.port.map(Value::from)),
        ("unix-socket", path(&instance.unix_socket)),
        ("unix-socket-path", path(&instance.unix_socket_path)),
        ("auto-iam-authn", instance.auto_iam_authn.map(Value::from)),
        ("private-ip", instance.private_ip.map(Value::from)),
        ("public-ip", instance.public_ip.map(Value::from)),
        ("psc", instance.psc.map(Value::from)),
        ("sql-data", instance.sql_data.map(Value::from)),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            parameters.insert(name.to_owned(), value);
        }
    }
    Value::Object(parameters)
}
