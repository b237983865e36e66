//! Asking DNS, and telling what is not there from what could not be asked.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use tokio::time::Instant;

use crate::control::names::servers::Servers;
use crate::error::{Error, ErrorKind, Result};
use crate::instance::Instance;

/// The three questions that names are resolved with. An empty answer is an answer; an error means that none came.
#[async_trait]
pub(crate) trait Lookup: Send + Sync + 'static {
    /// The text records, the strings of each joined.
    async fn texts(&self, name: &str) -> Result<Vec<String>>;

    /// The name that this one is another name for.
    async fn alias(&self, name: &str) -> Result<Option<String>>;

    /// The IPv4 addresses, then the IPv6 ones.
    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>>;
}

/// The DNS servers of the machine, of the emulator, or of the caller's choice.
pub(crate) struct Dns {
    servers: Servers,
    resolver: Mutex<Option<(Instant, Arc<TokioResolver>)>>,
}

impl Dns {
    pub(crate) fn new(servers: Servers) -> Self {
        Dns {
            servers,
            resolver: Mutex::new(None),
        }
    }

    async fn ask(&self, name: &str, kind: RecordType) -> Result<Vec<RData>> {
        let resolver = self.resolver().await?;
        // With its final dot, so that no search domain of the machine comes into it.
        let absolute = format!("{}.", name.trim_end_matches('.'));
        match resolver.lookup(absolute, kind).await {
            Ok(found) => Ok(found
                .answers()
                .iter()
                .filter(|record| record.record_type() == kind)
                .map(|record| record.data.clone())
                .collect()),
            Err(error) if error.is_no_records_found() && is_certain(&error) => Ok(Vec::new()),
            Err(error) => Err(Error::new(
                ErrorKind::Dns,
                format!("DNS gave no answer to the {kind} question for {name:?}"),
            )
            .with_advice("check this machine's DNS servers")
            .with_source(error)),
        }
    }

    /// The system's servers are read again every minute: a laptop changes networks.
    async fn resolver(&self) -> Result<Arc<TokioResolver>> {
        let held = || self.resolver.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((made, resolver)) = &*held()
            && (!self.servers.may_change() || made.elapsed() < REREAD)
        {
            return Ok(resolver.clone());
        }
        let (config, mut options) = self.servers.read().await?;
        options.timeout = TRY_LIMIT;
        options.attempts = TRIES;
        // What is fresh enough is decided elsewhere, and a moved name is to be noticed.
        options.cache_size = 0;
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        let resolver = builder.build().map_err(|error| {
            Error::new(ErrorKind::Dns, "the DNS resolver could not be made").with_source(error)
        })?;
        let resolver = Arc::new(resolver);
        *held() = Some((Instant::now(), resolver.clone()));
        Ok(resolver)
    }
}

#[async_trait]
impl Lookup for Dns {
    async fn texts(&self, name: &str) -> Result<Vec<String>> {
        let records = self.ask(name, RecordType::TXT).await?;
        Ok(records
            .into_iter()
            .filter_map(|record| match record {
                RData::TXT(text) => String::from_utf8(text.txt_data.concat()).ok(),
                _ => None,
            })
            .collect())
    }

    async fn alias(&self, name: &str) -> Result<Option<String>> {
        let records = self.ask(name, RecordType::CNAME).await?;
        Ok(records.into_iter().find_map(|record| match record {
            RData::CNAME(target) => match target.0.to_ascii().parse() {
                Ok(Instance::Domain { name }) => Some(name),
                _ => None,
            },
            _ => None,
        }))
    }

    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>> {
        let (four, six) = tokio::join!(
            self.ask(name, RecordType::A),
            self.ask(name, RecordType::AAAA)
        );
        let mut found = Vec::new();
        for record in four.iter().flatten().chain(six.iter().flatten()) {
            match record {
                RData::A(address) if found.len() < MAX_ADDRESSES => {
                    found.push(IpAddr::V4(address.0))
                }
                RData::AAAA(address) if found.len() < MAX_ADDRESSES => {
                    found.push(IpAddr::V6(address.0));
                }
                _ => {}
            }
        }
        match found.is_empty() {
            // One family's silence says nothing about the other's.
            true => four.and(six).map(|_| found),
            false => Ok(found),
        }
    }
}

/// Whether the server says that there is nothing, rather than that it does not know.
fn is_certain(error: &NetError) -> bool {
    use hickory_resolver::net::DnsError;
    use hickory_resolver::proto::op::ResponseCode;
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => matches!(
            none.response_code,
            ResponseCode::NoError | ResponseCode::NXDomain
        ),
        _ => false,
    }
}

/// One question to one server.
const TRY_LIMIT: Duration = Duration::from_secs(2);
const TRIES: usize = 2;
const REREAD: Duration = Duration::from_secs(60);
const MAX_ADDRESSES: usize = 16;
