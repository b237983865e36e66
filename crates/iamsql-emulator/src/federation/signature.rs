//! Checks a signed AWS request that stands for an identity: `GetCallerIdentity`, serialised as Google's STS takes it.
//!
//! The real STS sends it to AWS; here the signature is computed again with the secret key that was handed out.

use std::time::{Duration, SystemTime};

use aws_lc_rs::{constant_time, digest, hmac};
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use time::PrimitiveDateTime;
use time::macros::format_description;

use super::aws::AwsKey;
use crate::authority::hex;

/// The request in a subject token.
#[derive(Deserialize)]
struct Signed {
    url: String,
    method: String,
    headers: Vec<Header>,
    #[serde(default)]
    body: String,
}

#[derive(Deserialize)]
struct Header {
    key: String,
    value: String,
}

/// The owner of the key that signed the request for `audience`; the error is what STS says of a bad one.
pub(super) fn check(
    token: &str,
    audience: &str,
    find: impl Fn(&str) -> Option<AwsKey>,
    now: SystemTime,
) -> Result<AwsKey, String> {
    let decoded = token.replace('+', " ");
    let decoded = percent_decode_str(&decoded)
        .decode_utf8()
        .map_err(|_| malformed("it is not UTF-8"))?;
    let request: Signed =
        serde_json::from_str(&decoded).map_err(|_| malformed("it is not a serialised request"))?;
    let header = |name: &str| {
        let named = request
            .headers
            .iter()
            .find(|header| header.key.eq_ignore_ascii_case(name));
        named.map(|header| header.value.trim())
    };
    let target = header("x-goog-cloud-target-resource")
        .ok_or_else(|| malformed("x-goog-cloud-target-resource is missing"))?;
    if target.strip_prefix("https:").unwrap_or(target) != audience {
        return Err(malformed(
            "x-goog-cloud-target-resource is not the audience",
        ));
    }
    let authorization =
        header("authorization").ok_or_else(|| malformed("Authorization is missing"))?;
    let fields = Authorization::parse(authorization)
        .ok_or_else(|| malformed("Authorization is no AWS4-HMAC-SHA256"))?;
    let (host, query) = split(&request.url).ok_or_else(|| malformed("the URL is not AWS STS's"))?;
    let regional = format!("sts.{}.amazonaws.com", fields.region);
    if request.method != "POST"
        || !(host == regional || host == "sts.amazonaws.com")
        || header("host") != Some(host)
    {
        return Err(malformed(
            "the URL is not AWS STS's in the region of the signature",
        ));
    }
    if query != ["Action=GetCallerIdentity", "Version=2011-06-15"] {
        return Err(malformed("the request is not GetCallerIdentity"));
    }
    let date = header("x-amz-date").ok_or_else(|| malformed("x-amz-date is missing"))?;
    let signed_at = timestamp(date)
        .filter(|_| date.starts_with(fields.date))
        .ok_or_else(|| malformed("x-amz-date is no date"))?;
    let key = find(fields.key).ok_or_else(|| {
        aws(
            "InvalidClientTokenId",
            "The security token included in the request is invalid.",
        )
    })?;
    if header("x-amz-security-token") != Some(key.session.as_str()) {
        return Err(aws(
            "InvalidClientTokenId",
            "The security token included in the request is invalid.",
        ));
    }
    if !["host", "x-amz-date", "x-amz-security-token"]
        .iter()
        .all(|name| fields.headers.contains(name))
    {
        return Err(malformed(
            "host, x-amz-date and x-amz-security-token must be signed",
        ));
    }
    let mut canonical = String::new();
    for name in &fields.headers {
        let value = header(name).ok_or_else(|| malformed("a signed header is missing"))?;
        canonical.push_str(&format!("{name}:{value}\n"));
    }
    let canonical = format!(
        "POST\n/\n{}\n{canonical}\n{}\n{}",
        query.join("&"),
        fields.headers.join(";"),
        sha256(&request.body)
    );
    let scope = format!("{}/{}/sts/aws4_request", fields.date, fields.region);
    let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", sha256(&canonical));
    let wanted = hex(&keyed(
        &signing_key(&key.secret, fields.date, fields.region),
        &to_sign,
    ));
    if constant_time::verify_slices_are_equal(wanted.as_bytes(), fields.signature.as_bytes())
        .is_err()
    {
        return Err(aws(
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method.",
        ));
    }
    let age = now
        .duration_since(signed_at)
        .unwrap_or_else(|early| early.duration());
    if age > OLDEST {
        return Err(aws("SignatureDoesNotMatch", "Signature expired."));
    }
    if key.expires <= now {
        return Err(aws(
            "ExpiredTokenException",
            "The security token included in the request is expired",
        ));
    }
    Ok(key)
}

/// `AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/sts/aws4_request, SignedHeaders=a;b, Signature=HEX`.
struct Authorization<'a> {
    key: &'a str,
    date: &'a str,
    region: &'a str,
    headers: Vec<&'a str>,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut fields = text
            .strip_prefix("AWS4-HMAC-SHA256 ")?
            .split(',')
            .map(str::trim);
        let credential: Vec<&str> = fields
            .next()?
            .strip_prefix("Credential=")?
            .split('/')
            .collect();
        let [key, date, region, "sts", "aws4_request"] = credential[..] else {
            return None;
        };
        let headers: Vec<&str> = fields
            .next()?
            .strip_prefix("SignedHeaders=")?
            .split(';')
            .collect();
        let signature = fields.next()?.strip_prefix("Signature=")?;
        let plain = !region.is_empty()
            && region
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-');
        (plain && fields.next().is_none()).then_some(Authorization {
            key,
            date,
            region,
            headers,
            signature,
        })
    }
}

/// Host and sorted query of an `https` URL without a path.
fn split(url: &str) -> Option<(&str, Vec<&str>)> {
    let (host, query) = url.strip_prefix("https://")?.split_once('?')?;
    let mut query: Vec<&str> = query.split('&').collect();
    query.sort_unstable();
    Some((host.strip_suffix('/').unwrap_or(host), query))
}

fn timestamp(text: &str) -> Option<SystemTime> {
    let form = format_description!("[year][month][day]T[hour][minute][second]Z");
    Some(
        PrimitiveDateTime::parse(text, form)
            .ok()?
            .assume_utc()
            .into(),
    )
}

fn signing_key(secret: &str, date: &str, region: &str) -> Vec<u8> {
    let dated = keyed(format!("AWS4{secret}").as_bytes(), date);
    keyed(&keyed(&keyed(&dated, region), "sts"), "aws4_request")
}

fn keyed(key: &[u8], text: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes())
        .as_ref()
        .to_vec()
}

fn sha256(text: &str) -> String {
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

fn malformed(why: &str) -> String {
    format!("Invalid AWS subject token: {why}.")
}

fn aws(kind: &str, message: &str) -> String {
    format!("Received invalid AWS response of type {kind} with error message: {message}")
}

const OLDEST: Duration = Duration::from_secs(15 * 60);

#[cfg(test)]
mod tests;
