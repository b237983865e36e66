//! A configuration file → flag texts and instance names.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use config::{FileFormat, Value};

/// Keys are flag names in any case; what no flag is called is ignored, as the official proxies do.
#[derive(Default)]
pub(crate) struct File(HashMap<String, String>);

impl File {
    /// Reads TOML, YAML or JSON, by the extension.
    ///
    /// # Errors
    /// If it cannot be read, does not parse, is writable by everybody, or holds a list or table under a flag's name.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let failed = |why: &dyn std::fmt::Display| {
            format!(
                "failed to load configuration from {}: {why}",
                path.display()
            )
        };
        let format = match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => FileFormat::Toml,
            Some("yaml" | "yml") => FileFormat::Yaml,
            Some("json") => FileFormat::Json,
            _ => return Err(failed(&"its name must end in .toml, .yaml, .yml or .json")),
        };
        refuse_writable(path).map_err(|why| failed(&why))?;
        let text = fs::read_to_string(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => failed(&"no such file or directory"),
            _ => failed(&error),
        })?;
        // The parser's error may quote the file, which may hold a token.
        let table: HashMap<String, Value> = config::Config::builder()
            .add_source(config::File::from_str(&text, format))
            .build()
            .and_then(config::Config::try_deserialize)
            .map_err(|_| failed(&"it is not well-formed"))?;
        let mut values = HashMap::new();
        for (key, value) in table {
            let key = key.to_ascii_lowercase();
            if super::flag::find(&key).is_none() && !is_instance(&key) {
                continue;
            }
            let value = value.into_string().map_err(|_| {
                failed(&format!(
                    "{key} is neither a text, a number nor a truth value"
                ))
            })?;
            values.insert(key, value);
        }
        Ok(File(values))
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// A file that everybody may write lets everybody choose whose credentials the proxy uses, and for what.
#[cfg(unix)]
fn refuse_writable(path: &Path) -> Result<(), &'static str> {
    use std::os::unix::fs::MetadataExt;
    match fs::metadata(path) {
        Ok(metadata) if metadata.mode() & 0o002 != 0 => {
            Err("it is writable by every user; run: chmod o-w on it")
        }
        _ => Ok(()),
    }
}

#[cfg(not(unix))]
fn refuse_writable(_path: &Path) -> Result<(), &'static str> {
    Ok(())
}

fn is_instance(key: &str) -> bool {
    ["instance-connection-name", "instance-uri"]
        .iter()
        .any(|name| key.starts_with(name))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(extension: &str, text: &str) -> Result<File, String> {
        let mut file = tempfile::Builder::new()
            .suffix(extension)
            .tempfile()
            .unwrap();
        file.write_all(text.as_bytes()).unwrap();
        File::read(file.path())
    }

    #[test]
    fn each_format_gives_texts_whatever_the_type() {
        for (extension, text) in [
            (
                ".toml",
                "port = \"5555\"\nMax-Connections = 2000000\nquiet = true\nunknown = [1]\ninstance-connection-name = \"p:r:i\"\n",
            ),
            (
                ".yaml",
                "port: 5555\nmax-connections: 2000000\nquiet: true\ninstance-connection-name: p:r:i\n",
            ),
            (
                ".json",
                r#"{"port": 5555, "max-connections": 2000000, "quiet": true, "instance-connection-name": "p:r:i"}"#,
            ),
        ] {
            let file = file(extension, text).unwrap();
            assert_eq!(file.text("port"), Some("5555"), "{extension}");
            assert_eq!(file.text("max-connections"), Some("2000000"), "{extension}");
            assert_eq!(file.text("quiet"), Some("true"));
            assert_eq!(file.text("instance-connection-name"), Some("p:r:i"));
            assert_eq!(file.text("unknown"), None);
        }
    }

    #[test]
    fn a_bad_file_is_refused_without_quoting_it() {
        let error = file(".toml", "token = \"ya29.secret\" oops").err().unwrap();
        assert!(
            error.contains("not well-formed") && !error.contains("ya29"),
            "{error}"
        );
        assert!(file(".ini", "").err().unwrap().contains(".toml"));
        assert!(
            file(".json", r#"{"port": [1]}"#)
                .err()
                .unwrap()
                .contains("port")
        );
        let missing = File::read(Path::new("/nowhere/f.toml")).err().unwrap();
        assert_eq!(
            missing,
            "failed to load configuration from /nowhere/f.toml: no such file or directory"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_everybody_may_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(0o666)).unwrap();
        assert!(File::read(file.path()).err().unwrap().contains("chmod o-w"));
    }
}
