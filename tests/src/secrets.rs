//! Searches text for every secret that an emulator issued, plain and in the encodings in which one might slip out.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

#[derive(Deserialize)]
struct Issued {
    what: String,
    secret: String,
}

/// Which issued secrets stand in `text`, by what they are; never the secrets themselves.
///
/// # Errors
/// If the directory holds no secret: then the search would prove nothing.
pub fn found(text: &str, issued: &Path) -> Result<Vec<String>> {
    let mut secrets = Vec::new();
    for file in std::fs::read_dir(issued).with_context(|| issued.display().to_string())? {
        for line in std::fs::read_to_string(file?.path())?.lines() {
            secrets.push(serde_json::from_str::<Issued>(line)?);
        }
    }
    ensure!(
        !secrets.is_empty(),
        "{} names no issued secret",
        issued.display()
    );
    Ok(secrets
        .iter()
        .filter(|issued| shows(text, &issued.secret))
        .map(|issued| issued.what.clone())
        .collect())
}

fn shows(text: &str, secret: &str) -> bool {
    // The three alignments of base64, without the characters that the neighbours decide.
    let aligned = (0..3).map(|offset| {
        let encoded = STANDARD.encode([&vec![0; offset], secret.as_bytes()].concat());
        encoded[4..encoded.len() - 4].to_owned()
    });
    let percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let escaped = secret.replace('\n', "\\n");
    let url: String = secret
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-._~".contains(c) {
                c.to_string()
            } else {
                format!("%{:02X}", c as u32)
            }
        })
        .collect();
    text.contains(secret)
        || text.contains(&percent)
        || text.contains(&escaped)
        || text.contains(&url)
        || aligned.into_iter().any(|encoded| text.contains(&encoded))
}
