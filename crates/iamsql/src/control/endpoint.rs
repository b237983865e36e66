//! Environment and options → where the Admin API, the metadata server and Google's token services are.
//!
//! Everything that carries a token goes by https, or by http to this machine or the metadata server.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::{Host, Url};

use crate::control::environment::{self, Environment};
use crate::error::{Error, Result};
use crate::secret::foreign;

/// The addresses of everything that an engine calls.
#[derive(Clone, Debug)]
pub(crate) struct Endpoints {
    /// Base of the Cloud SQL Admin API, without a trailing slash.
    pub(crate) admin: Endpoint,
    /// Base of the AlloyDB Admin API, without a trailing slash.
    pub(crate) alloydb: Endpoint,
    /// Cloud SQL's SqlData service, or who knows where that is.
    pub(crate) sql_data: SqlData,
    pub(crate) metadata: Endpoint,
    /// Where a token is asked for its expiry and principal; other universes have no such service.
    pub(crate) tokeninfo: Option<Endpoint>,
    pub(crate) universe: String,
    /// The emulator's origin, if everything is to go there.
    pub(crate) emulator: Option<Endpoint>,
    pub(crate) custom_token_urls: bool,
}

/// Where the SqlData service is, or who knows.
#[derive(Clone, Debug)]
pub(crate) enum SqlData {
    At(Endpoint),
    Emulator(Endpoint),
}

/// What decides the endpoints besides the environment.
#[derive(Clone, Debug, Default)]
pub(crate) struct EndpointOptions {
    pub(crate) universe: Option<String>,
    pub(crate) admin: Option<String>,
    pub(crate) alloydb: Option<String>,
    pub(crate) sql_data: Option<String>,
    pub(crate) emulator_host: Option<String>,
}

impl Endpoints {
    pub(crate) fn resolve(options: &EndpointOptions, environment: &Environment) -> Result<Self> {
        let universe = universe(options, environment)?;
        let allow_remote = environment.is_on(environment::EMULATOR_ALLOW_REMOTE)?;
        let emulator = options
            .emulator_host
            .as_deref()
            .filter(|host| !host.is_empty())
            .or(environment.text(environment::EMULATOR_HOST)?)
            .map(|host| emulator(host, allow_remote))
            .transpose()?;
        let admin = match (&options.admin, &emulator) {
            (Some(endpoint), _) => Endpoint::parse("the Admin API endpoint", endpoint)?,
            (None, Some(emulator)) => emulator.clone(),
            (None, None) => {
                Endpoint::parse("the universe", &format!("https://sqladmin.{universe}"))?
            }
        };
        let alloydb = match (&options.alloydb, &emulator) {
            (Some(endpoint), _) => Endpoint::parse("the AlloyDB API endpoint", endpoint)?,
            (None, Some(emulator)) => emulator.clone(),
            (None, None) => {
                Endpoint::parse("the universe", &format!("https://alloydb.{universe}"))?
            }
        };
        let sql_data = match (&options.sql_data, &emulator) {
            (Some(endpoint), _) => SqlData::At(Endpoint::parse("the SqlData endpoint", endpoint)?),
            (None, Some(emulator)) => SqlData::Emulator(emulator.clone()),
            (None, None) => {
                let text = format!("https://sqladmin.{universe}");
                SqlData::At(Endpoint::parse("the universe", &text)?)
            }
        };
        let metadata = match (&emulator, environment.text(environment::METADATA_HOST)?) {
            (Some(emulator), _) => emulator.clone(),
            (None, Some(host)) => metadata(host)?,
            (None, None) => metadata(METADATA_HOST)?,
        };
        let tokeninfo = match &emulator {
            Some(emulator) => Some(emulator.join("/tokeninfo")),
            None if universe == GOOGLE => Some(Endpoint::parse("tokeninfo", TOKENINFO)?),
            None => None,
        };
        Ok(Endpoints {
            admin,
            alloydb,
            sql_data,
            metadata,
            tokeninfo,
            universe,
            custom_token_urls: environment.is_on(environment::ALLOW_CUSTOM_TOKEN_URLS)?,
            emulator,
        })
    }

    /// Accepts the URL that a credential file wants its key, assertion or refresh token sent to.
    ///
    /// Under an emulator nothing else than the emulator; otherwise a host of this universe, or any https host where
    /// that was allowed.
    pub(crate) fn token_url(&self, field: &str, text: &str) -> Result<Endpoint> {
        let endpoint = Endpoint::parse(field, text)?;
        if let Some(emulator) = &self.emulator {
            return match endpoint.has_origin_of(emulator) {
                true => Ok(endpoint),
                false => Err(not_for_the_emulator(field)),
            };
        }
        if self.custom_token_urls || endpoint.is_of_universe(&self.universe) {
            return Ok(endpoint);
        }
        Err(Error::config(format!(
            "{field} of the credentials points to {:?}, outside the universe {:?}",
            foreign(endpoint.host()),
            self.universe
        ))
        .with_advice(
            "set IAMSQL_ALLOW_CUSTOM_TOKEN_URLS=1 if this host may receive your credentials",
        ))
    }
}

impl Endpoints {
    /// Where a token of the service account `email` is asked for by whoever may speak for it.
    pub(crate) fn impersonation(&self, email: &str) -> Result<Endpoint> {
        let base = match &self.emulator {
            Some(emulator) => emulator.clone(),
            None => {
                let text = format!("https://iamcredentials.{}", self.universe);
                Endpoint::parse("the universe", &text)?
            }
        };
        let email = utf8_percent_encode(email, PATH_SEGMENT);
        Ok(base.join(&format!(
            "/v1/projects/-/serviceAccounts/{email}:generateAccessToken"
        )))
    }

    /// Accepts the URL at which an external account's own token is to be had.
    ///
    /// Nothing of Google's goes there, but what comes back is a secret: https to anywhere, http on this machine or to the
    /// metadata server. Under an emulator nothing else than the emulator.
    pub(crate) fn subject_url(&self, field: &str, text: &str) -> Result<Endpoint> {
        let endpoint = Endpoint::parse_with_query(field, text)?;
        match &self.emulator {
            Some(emulator) if !endpoint.has_origin_of(emulator) => Err(not_for_the_emulator(field)),
            _ => Ok(endpoint),
        }
    }

    /// Accepts the URL of an AWS machine's metadata server, which no other host may stand in for but the emulator or,
    /// where custom URLs were allowed, this machine.
    pub(crate) fn aws_url(&self, field: &str, text: &str) -> Result<Endpoint> {
        let url = Url::parse(text).ok().filter(Url::has_host);
        let is_aws = url.as_ref().is_some_and(|url| {
            let host = url.host_str().unwrap_or_default();
            url.scheme() == "http" && AWS_METADATA_HOSTS.contains(&host) && url.port().is_none()
        });
        match url {
            Some(url) if is_aws && self.emulator.is_none() => Ok(Endpoint(url)),
            Some(url)
                if self.emulator.is_some() || (self.custom_token_urls && is_loopback(&url)) =>
            {
                self.subject_url(field, text)
            }
            _ => Err(Error::config(format!(
                "{field} of the credentials is {:?}, and an AWS machine's metadata server is at 169.254.169.254",
                foreign(text)
            ))),
        }
    }
}

/// An address that may receive secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint(Url);

impl Endpoint {
    /// Reads a URL; `what` names it in errors.
    pub(crate) fn parse(what: &str, text: &str) -> Result<Self> {
        let endpoint = Endpoint::parse_with_query(what, text)?;
        match endpoint.0.query() {
            None => Ok(endpoint),
            Some(_) => Err(Error::config(format!(
                "{what} {:?} has a query",
                foreign(text)
            ))),
        }
    }

    /// Reads a URL that may carry parameters.
    fn parse_with_query(what: &str, text: &str) -> Result<Self> {
        let malformed = |why: &str| {
            Error::config(format!("{what} {:?} {why}", foreign(text)))
                .with_advice("give a URL such as https://sqladmin.googleapis.com")
        };
        let url = Url::parse(text).map_err(|error| malformed("is not a URL").with_source(error))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::config(format!("{what} holds a user or password")));
        }
        if url.fragment().is_some() {
            return Err(malformed("has a fragment"));
        }
        match url.scheme() {
            "https" if url.has_host() => Ok(Endpoint(url)),
            "http" if is_local(&url) => Ok(Endpoint(url)),
            "http" => Err(malformed(
                "is plain http: tokens travel by https, except to a loopback address",
            )),
            _ => Err(malformed("is neither https nor http")),
        }
    }

    /// The same origin and base path, with `path` (percent-encoded, with its leading slash) after them.
    pub(crate) fn join(&self, path: &str) -> Endpoint {
        let mut url = self.0.clone();
        let (path, query) = path
            .split_once('?')
            .map_or((path, None), |(path, query)| (path, Some(query)));
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}{path}"));
        url.set_query(query);
        Endpoint(url)
    }

    pub(crate) fn url(&self) -> &Url {
        &self.0
    }

    pub(crate) fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// Scheme, host and port: what may be shown.
    pub(crate) fn origin(&self) -> String {
        self.0.origin().ascii_serialization()
    }

    pub(crate) fn has_origin_of(&self, other: &Endpoint) -> bool {
        self.0.origin() == other.0.origin()
    }

    /// Reached without TLS and without any HTTP proxy.
    pub(crate) fn is_plain(&self) -> bool {
        self.0.scheme() == "http"
    }

    fn is_of_universe(&self, universe: &str) -> bool {
        let host = self.host().to_ascii_lowercase();
        let inside = host
            .strip_suffix(universe)
            .is_some_and(|rest| rest.ends_with('.'));
        self.0.scheme() == "https" && (inside || (universe == GOOGLE && host == ACCOUNTS))
    }
}

/// Whether a URL's host is a loopback literal, which no proxy and no resolver comes between.
pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        _ => false,
    }
}

fn is_local(url: &Url) -> bool {
    is_loopback(url)
        || url
            .host_str()
            .is_some_and(|host| METADATA_HOSTS.contains(&host))
}

fn universe(options: &EndpointOptions, environment: &Environment) -> Result<String> {
    let given = options
        .universe
        .as_deref()
        .filter(|universe| !universe.is_empty())
        .or(environment.text(environment::UNIVERSE)?)
        .unwrap_or(GOOGLE);
    let universe = given.to_ascii_lowercase();
    let is_domain = universe.contains('.')
        && universe.split('.').all(|label| {
            !label.is_empty()
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        });
    match is_domain {
        true => Ok(universe),
        false => Err(Error::config(format!(
            "universe domain {:?} is not a domain name",
            foreign(given)
        ))),
    }
}

fn emulator(host: &str, allow_remote: bool) -> Result<Endpoint> {
    let text = match host.contains("://") {
        true => host.to_owned(),
        false => format!("http://{host}"),
    };
    let url = Url::parse(&text)
        .ok()
        .filter(Url::has_host)
        .ok_or_else(|| {
            Error::config(format!(
                "emulator host {:?} is not HOST:PORT",
                foreign(host)
            ))
        })?;
    if !is_loopback(&url) && !allow_remote {
        return Err(Error::config(format!(
            "emulator host {:?} is not a loopback address",
            foreign(host)
        ))
        .with_advice(
            "start the emulator on this machine, or set IAMSQL_EMULATOR_ALLOW_REMOTE=1 if you trust that host with your test data",
        ));
    }
    if !matches!(url.scheme(), "http" | "https")
        || !url.username().is_empty()
        || url.password().is_some()
    {
        return Err(Error::config(format!(
            "emulator host {:?} is not HOST:PORT",
            foreign(host)
        )));
    }
    Ok(Endpoint(url))
}

/// `GCE_METADATA_HOST`, as Google's libraries read it: `HOST` or `HOST:PORT`.
fn metadata(host: &str) -> Result<Endpoint> {
    Endpoint::parse("GCE_METADATA_HOST", &format!("http://{host}"))
}

pub(crate) fn not_for_the_emulator(what: &str) -> Error {
    Error::config(format!(
        "IAMSQL_EMULATOR_HOST is set, and {what} does not belong to the emulator"
    ))
    .with_advice("unset IAMSQL_EMULATOR_HOST to reach Google, or drop the credentials to use the emulator's own identity")
}

pub(crate) const GOOGLE: &str = "googleapis.com";
const ACCOUNTS: &str = "accounts.google.com";
const TOKENINFO: &str = "https://oauth2.googleapis.com/tokeninfo";
const METADATA_HOST: &str = "metadata.google.internal";
const AWS_METADATA_HOSTS: [&str; 2] = ["169.254.169.254", "[fd00:ec2::254]"];
/// What a name in a path keeps unencoded.
const PATH_SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'@');
const METADATA_HOSTS: [&str; 3] = [METADATA_HOST, "169.254.169.254", "[fd20:ce::254]"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn resolve(options: EndpointOptions, environment: Environment) -> Result<Endpoints> {
        Endpoints::resolve(&options, &environment)
    }

    fn admin(text: &str) -> Result<Endpoint> {
        let options = EndpointOptions {
            admin: Some(text.to_owned()),
            ..EndpointOptions::default()
        };
        Ok(resolve(options, Environment::empty())?.admin)
    }

    #[test]
    fn an_endpoint_works_with_and_without_a_trailing_slash_or_path() {
        for (base, joined) in [
            (
                "https://sqladmin.googleapis.com",
                "https://sqladmin.googleapis.com/sql/x",
            ),
            (
                "https://sqladmin.googleapis.com/",
                "https://sqladmin.googleapis.com/sql/x",
            ),
            (
                "https://gateway.example/google/",
                "https://gateway.example/google/sql/x",
            ),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080/sql/x"),
            ("http://[::1]:8080/", "http://[::1]:8080/sql/x"),
        ] {
            assert_eq!(admin(base).unwrap().join("/sql/x").url().as_str(), joined);
        }
    }

    #[test]
    fn a_name_in_a_path_stays_encoded() {
        let url = admin("https://a.example")
            .unwrap()
            .join("/p/dom.com%3Aproj?q=1");
        assert_eq!(url.url().as_str(), "https://a.example/p/dom.com%3Aproj?q=1");
    }

    #[test]
    fn plain_http_is_refused_unless_it_stays_on_this_machine() {
        for text in [
            "http://sqladmin.googleapis.com",
            "http://localhost:8080",
            "http://127.0.0.1.example.com",
            "http://user@127.0.0.1",
            "ftp://127.0.0.1",
            "sqladmin.googleapis.com",
            "https://user:hunter2@sqladmin.googleapis.com",
            "",
        ] {
            let error = admin(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{text}");
            assert!(!error.chain().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn a_remote_emulator_needs_its_own_switch() {
        let with = |host: &str| Environment::empty().with(environment::EMULATOR_HOST, host);
        for host in ["10.0.0.1:80", "emulator.example", "localhost:9010"] {
            let refused = resolve(EndpointOptions::default(), with(host)).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Config);
            let allowed = with(host).with(environment::EMULATOR_ALLOW_REMOTE, "1");
            assert!(resolve(EndpointOptions::default(), allowed).is_ok());
        }
        let endpoints = resolve(EndpointOptions::default(), with("127.3.2.1:9010")).unwrap();
        assert_eq!(endpoints.admin.origin(), "http://127.3.2.1:9010");
        assert_eq!(endpoints.metadata.origin(), "http://127.3.2.1:9010");
    }

    #[test]
    fn an_explicit_endpoint_comes_before_the_emulator_and_that_before_the_metadata_variable() {
        let environment = Environment::empty()
            .with(environment::EMULATOR_HOST, "127.0.0.1:1")
            .with(environment::METADATA_HOST, "127.0.0.1:2");
        let options = EndpointOptions {
            admin: Some("http://127.0.0.1:3/".to_owned()),
            ..EndpointOptions::default()
        };
        let endpoints = resolve(options, environment).unwrap();
        assert_eq!(endpoints.admin.origin(), "http://127.0.0.1:3");
        assert_eq!(endpoints.metadata.origin(), "http://127.0.0.1:1");
    }

    #[test]
    fn the_metadata_server_may_not_be_moved_off_this_machine() {
        let refused = Environment::empty().with(environment::METADATA_HOST, "evil.example");
        assert!(resolve(EndpointOptions::default(), refused).is_err());
        let named = Environment::empty().with(environment::METADATA_HOST, "169.254.169.254");
        assert!(resolve(EndpointOptions::default(), named).is_ok());
    }

    #[test]
    fn credentials_are_sent_only_inside_their_universe() {
        let google = resolve(EndpointOptions::default(), Environment::empty()).unwrap();
        assert!(
            google
                .token_url("token_uri", "https://oauth2.googleapis.com/token")
                .is_ok()
        );
        assert!(
            google
                .token_url("token_uri", "https://accounts.google.com/o/oauth2/token")
                .is_ok()
        );
        for outside in [
            "https://oauth2.googleapis.com.evil.example/token",
            "https://evilgoogleapis.com/token",
            "https://accounts.google.com.evil.example/",
            "http://127.0.0.1:9/token",
        ] {
            let error = google.token_url("token_uri", outside).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{outside}");
        }
        let custom = Environment::empty().with(environment::ALLOW_CUSTOM_TOKEN_URLS, "1");
        let custom = resolve(EndpointOptions::default(), custom).unwrap();
        assert!(
            custom
                .token_url("token_uri", "http://127.0.0.1:9/token")
                .is_ok()
        );
        assert!(
            custom
                .token_url("token_uri", "http://sts.example/token")
                .is_err()
        );
    }

    #[test]
    fn under_the_emulator_only_its_own_origin_receives_credentials() {
        let environment = Environment::empty()
            .with(environment::EMULATOR_HOST, "127.0.0.1:9010")
            .with(environment::ALLOW_CUSTOM_TOKEN_URLS, "1");
        let endpoints = resolve(EndpointOptions::default(), environment).unwrap();
        assert!(
            endpoints
                .token_url("token_uri", "http://127.0.0.1:9010/token")
                .is_ok()
        );
        for other in [
            "http://127.0.0.1:9011/token",
            "https://oauth2.googleapis.com/token",
        ] {
            assert!(endpoints.token_url("token_uri", other).is_err(), "{other}");
        }
    }

    #[test]
    fn another_universe_has_its_own_admin_host_and_no_tokeninfo() {
        let options = EndpointOptions {
            universe: Some("Example-Cloud.goog".to_owned()),
            ..EndpointOptions::default()
        };
        let endpoints = resolve(options, Environment::empty()).unwrap();
        assert_eq!(
            endpoints.admin.origin(),
            "https://sqladmin.example-cloud.goog"
        );
        assert!(endpoints.tokeninfo.is_none());
        let odd = Environment::empty().with(environment::UNIVERSE, "a.b/c?d");
        assert!(resolve(EndpointOptions::default(), odd).is_err());
    }
}
