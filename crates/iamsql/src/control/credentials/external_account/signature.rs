//! AWS's request signature, version 4, for one request: a POST without a body. No input, no output.

use std::time::SystemTime;

use aws_lc_rs::hmac;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::macros::format_description;
use url::Url;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// A key of AWS, possibly a short-lived one.
#[derive(Clone)]
pub(super) struct AwsKey {
    pub(super) id: String,
    pub(super) secret: Secret,
    pub(super) session: Option<Secret>,
}

pub(super) struct Signed {
    pub(super) headers: Vec<(&'static str, Zeroizing<String>)>,
}

/// Signs a POST to `url`, which is good for `audience` alone and for a quarter of an hour.
pub(super) fn sign(
    url: &Url,
    region: &str,
    key: &AwsKey,
    audience: &str,
    now: SystemTime,
) -> Signed {
    let now = OffsetDateTime::from(now);
    let time = now
        .format(format_description!(
            "[year][month][day]T[hour][minute][second]Z"
        ))
        .unwrap_or_default();
    let date = &time[..time.len().min(8)];
    // In the order of their names, as the signature wants them.
    let mut headers = vec![
        ("host", url.host_str().unwrap_or_default()),
        ("x-amz-date", &time),
    ];
    if let Some(session) = &key.session {
        headers.push(("x-amz-security-token", session.expose()));
    }
    headers.push(("x-goog-cloud-target-resource", audience));
    let names: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let line = |(name, value): &(_, &str)| format!("{name}:{}\n", value.trim());
    let lines = Zeroizing::new(headers.iter().map(line).collect::<String>());
    let path = match url.path() {
        "" => "/",
        path => path,
    };
    let request = Zeroizing::new(format!(
        "POST\n{path}\n{}\n{}\n{names}\n{}",
        query(url),
        *lines,
        hex(&Sha256::digest(b""))
    ));
    let service = url
        .host_str()
        .and_then(|host| host.split('.').next())
        .unwrap_or_default();
    let scope = format!("{date}/{region}/{service}/aws4_request");
    let to_sign = format!(
        "{ALGORITHM}\n{time}\n{scope}\n{}",
        hex(&Sha256::digest(request.as_bytes()))
    );
    let first = Zeroizing::new(format!("AWS4{}", key.secret.expose()));
    let mut step = hmac::Key::new(hmac::HMAC_SHA256, first.as_bytes());
    for part in [date, region, service, "aws4_request"] {
        step = hmac::Key::new(
            hmac::HMAC_SHA256,
            hmac::sign(&step, part.as_bytes()).as_ref(),
        );
    }
    let signature = hex(hmac::sign(&step, to_sign.as_bytes()).as_ref());
    let authorization = format!(
        "{ALGORITHM} Credential={}/{scope}, SignedHeaders={names}, Signature={signature}",
        key.id
    );
    headers.insert(0, ("Authorization", &authorization));
    Signed {
        headers: headers
            .into_iter()
            .map(|(name, value)| (name, Zeroizing::new(value.to_owned())))
            .collect(),
    }
}

/// The parameters, sorted and encoded AWS's way.
fn query(url: &Url) -> String {
    let encode = |text: &str| utf8_percent_encode(text, UNRESERVED).to_string();
    let mut pairs: Vec<_> = url
        .query_pairs()
        .map(|(name, value)| (encode(&name), encode(&value)))
        .collect();
    pairs.sort();
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

#[cfg(test)]
mod tests;
