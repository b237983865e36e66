//! An identity of AWS: a signed question to AWS, "who am I", which Google asks in our place.

use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;
use zeroize::Zeroizing;

use super::signature::{AwsKey, Signed, sign};
use super::subject::{About, Asker};
use super::{text, unusable};
use crate::control::credentials::answer;
use crate::control::endpoint::{Endpoint, Endpoints};
use crate::control::environment::{self, Environment};
use crate::control::http::Call;
use crate::error::{Error, ErrorKind, Result};
use crate::secret::{Secret, foreign};

#[derive(Clone)]
pub(super) struct Aws {
    audience: String,
    /// Asked of AWS, by Google; `{region}` stands for the region.
    verification: String,
    region: Place,
    key: Held,
    session: Option<Endpoint>,
}

/// Where the region is to be had.
#[derive(Clone)]
enum Place {
    Known(String),
    Asked(Endpoint),
}

/// Where the key is to be had.
#[derive(Clone)]
enum Held {
    Known(AwsKey),
    Asked(Endpoint),
}

impl Aws {
    pub(super) fn read(
        version: &str,
        source: &Value,
        about: &About<'_>,
        endpoints: &Endpoints,
        environment: &Environment,
    ) -> Result<Self> {
        if version != "aws1" {
            return Err(unusable("is of an AWS version that is not known"));
        }
        let verification = text(source, "regional_cred_verification_url").unwrap_or(VERIFICATION);
        let machine = |field: &str| match text(source, field) {
            Some(url) => endpoints.aws_url(field, url).map(Some),
            None => Ok(None),
        };
        // Checked even where a variable takes its place: the file says what it says.
        let (region_url, key_url) = (machine("region_url")?, machine("url")?);
        let mut regions = environment::AWS_REGIONS.iter();
        let set = regions.find_map(|name| environment.text(name).transpose());
        let region = match (set.transpose()?, region_url) {
            (Some(region), _) => Place::Known(checked_region(region)?),
            (None, Some(url)) => Place::Asked(url),
            (None, None) => {
                return Err(unusable("names no region, and neither does AWS_REGION"));
            }
        };
        let id = environment.text(environment::AWS_ACCESS_KEY_ID)?;
        let secret = environment.text(environment::AWS_SECRET_ACCESS_KEY)?;
        let session = environment.text(environment::AWS_SESSION_TOKEN)?;
        let key = match (id.zip(secret), key_url) {
            (Some((id, secret)), _) => Held::Known(AwsKey {
                id: id.to_owned(),
                secret: Secret::new(secret),
                session: session.map(Secret::new),
            }),
            (None, Some(url)) => Held::Asked(url),
            (None, None) => {
                return Err(unusable(
                    "names no URL for a key, and neither is AWS_ACCESS_KEY_ID set",
                ));
            }
        };
        Ok(Aws {
            audience: about.audience.to_owned(),
            verification: verification.to_owned(),
            region,
            key,
            session: machine("imdsv2_session_token_url")?,
        })
    }

    pub(super) async fn token(&self, asker: &Asker<'_>) -> Result<Secret> {
        let machine = Machine {
            asker,
            session: match (&self.region, &self.key, &self.session) {
                (Place::Known(_), Held::Known(_), _) | (_, _, None) => None,
                (_, _, Some(endpoint)) => Some(begin_session(endpoint, asker).await?),
            },
        };
        let region = match &self.region {
            Place::Known(region) => region.clone(),
            Place::Asked(endpoint) => {
                let zone = machine.ask(endpoint.clone()).await?;
                let mut region = zone.trim().to_owned();
                // us-east-1b is a zone of us-east-1.
                region.pop();
                checked_region(&region)?
            }
        };
        let key = match &self.key {
            Held::Known(key) => key.clone(),
            Held::Asked(endpoint) => {
                let role = machine.ask(endpoint.clone()).await?;
                read_key(
                    &machine
                        .ask(endpoint.join(&format!("/{}", checked_role(&role)?)))
                        .await?,
                )?
            }
        };
        let text = self.verification.replace("{region}", &region);
        let url = Url::parse(&text)
            .ok()
            .filter(|url| url.scheme() == "https" && url.has_host())
            .ok_or_else(|| unusable("names no https URL at which AWS verifies keys"))?;
        let signed = sign(&url, &region, &key, &self.audience, asker.now);
        Ok(serialize(&text, &signed))
    }
}

/// The machine's metadata server, in a session of ours where it asks for one.
struct Machine<'a> {
    asker: &'a Asker<'a>,
    session: Option<HeaderValue>,
}

impl Machine<'_> {
    async fn ask(&self, endpoint: Endpoint) -> Result<String> {
        let mut call = Call::get(SERVICE, endpoint, LIMIT);
        if let Some(session) = &self.session {
            call = call.header(HeaderName::from_static(SESSION_HEADER), session.clone());
        }
        asked(&call, self.asker).await
    }
}

async fn begin_session(endpoint: &Endpoint, asker: &Asker<'_>) -> Result<HeaderValue> {
    let call = Call::put(SERVICE, endpoint.clone(), LIMIT).header(
        HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds"),
        HeaderValue::from_static("300"),
    );
    let token = Secret::new(asked(&call, asker).await?);
    let mut value = HeaderValue::from_str(token.expose().trim()).map_err(|_| unreadable())?;
    value.set_sensitive(true);
    Ok(value)
}

async fn asked(call: &Call, asker: &Asker<'_>) -> Result<String> {
    let describe = |refused: &_| {
        answer::refusal(refused, SERVICE).with_advice(
            "attach a role to this AWS machine, or set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION",
        )
    };
    let answer = asker.http.call(call, asker.patience, &describe).await?;
    String::from_utf8(answer.body).map_err(|_| unreadable())
}

fn read_key(text: &str) -> Result<AwsKey> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Body {
        access_key_id: String,
        secret_access_key: String,
        token: Option<String>,
    }
    let body: Body = serde_json::from_str(text).map_err(|_| unreadable())?;
    Ok(AwsKey {
        id: body.access_key_id,
        secret: Secret::new(body.secret_access_key),
        session: body.token.map(Secret::new),
    })
}

fn unreadable() -> Error {
    Error::new(
        ErrorKind::Credentials,
        format!("{SERVICE} sent an answer that cannot be read"),
    )
}

fn checked_region(region: &str) -> Result<String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    match !region.is_empty() && region.len() < 64 && region.bytes().all(allowed) {
        true => Ok(region.to_owned()),
        false => Err(Error::new(
            ErrorKind::Credentials,
            format!("{:?} is not an AWS region", foreign(region)),
        )),
    }
}

fn checked_role(role: &str) -> Result<&str> {
    let role = role.trim();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-".contains(&byte);
    match !role.is_empty() && role.len() <= 128 && role.bytes().all(allowed) && role != ".." {
        true => Ok(role),
        false => Err(Error::new(
            ErrorKind::Credentials,
            format!("{SERVICE} names no role: {:?}", foreign(role)),
        )
        .with_advice("attach a role to this AWS machine")),
    }
}

/// The signed request as Google's STS takes it: percent-encoded JSON.
fn serialize(url: &str, signed: &Signed) -> Secret {
    let headers: Vec<Value> = signed
        .headers
        .iter()
        .map(|(key, value)| json!({"key": key, "value": **value}))
        .collect();
    let request = json!({"url": url, "method": "POST", "headers": headers});
    let request = Zeroizing::new(request.to_string());
    Secret::new(utf8_percent_encode(&request, NON_ALPHANUMERIC).to_string())
}

const SERVICE: &str = "the AWS machine's metadata server";
const SESSION_HEADER: &str = "x-aws-ec2-metadata-token";
const VERIFICATION: &str =
    "https://sts.{region}.amazonaws.com?Action=GetCallerIdentity&Version=2011-06-15";
const LIMIT: Duration = Duration::from_secs(5);
