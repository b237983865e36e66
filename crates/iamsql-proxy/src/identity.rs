//! What was said about credentials and Google → a connector.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};
use iamsql::{Connector, ConnectorBuilder, Credentials, ErrorKind, RefreshStrategy};
use tracing::{info, warn};

use crate::config::{Config, CredentialsConfig};
use crate::log::{Explained, explain};

/// Makes the connector, and makes sure that there are credentials: a proxy without any should not look as if it worked.
pub(crate) async fn connector(config: &Config) -> Result<Connector> {
    info!("{}", announcement(&config.credentials));
    let connector = builder(config)?.build().await.map_err(explain)?;
    credentials_exist(config).await?;
    Ok(connector)
}

/// Asks who we are. A service that is there and cannot answer right now is no reason not to start.
async fn credentials_exist(config: &Config) -> Result<()> {
    // A token given by hand is what it is.
    if config.credentials.token.is_some() && config.credentials.impersonate.is_empty() {
        return Ok(());
    }
    let impatient = builder(config)?.timeout(CREDENTIALS_TIMEOUT).build().await;
    let asked = match impatient {
        Ok(connector) => connector.principal().await.map(drop),
        Err(error) => Err(error),
    };
    match asked {
        Err(error) if error.is_retryable() && error.kind() != ErrorKind::Credentials => {
            warn!("no token yet: {}", Explained(&error));
            Ok(())
        }
        asked => asked.map_err(explain),
    }
}

fn builder(config: &Config) -> Result<ConnectorBuilder> {
    let google = &config.google;
    let mut builder = Connector::builder()
        .iam_auth(config.auto_iam_authn)
        .credentials(credentials(&config.credentials))
        .user_agent(user_agent(config));
    if google.lazy_refresh {
        builder = builder.refresh_strategy(RefreshStrategy::Lazy);
    }
    if let Some(project) = &config.credentials.quota_project {
        builder = builder.quota_project(project);
    }
    if let Some(universe) = &google.universe_domain {
        builder = builder.universe_domain(universe);
    }
    if let Some(endpoint) = &google.sqladmin_endpoint {
        builder = builder.dangerous_admin_endpoint(endpoint);
    }
    if let Some(endpoint) = &google.alloydb_endpoint {
        builder = builder.dangerous_alloydb_endpoint(endpoint);
    }
    if let Some(endpoint) = &google.sqldata_endpoint {
        builder = builder.dangerous_sql_data_endpoint(match endpoint.contains("://") {
            true => endpoint.clone(),
            // The official proxies' form: HOST:PORT.
            false => format!("https://{endpoint}"),
        });
    }
    if let Some(path) = &google.static_connection_info {
        let text =
            fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        builder = builder.static_connection_info(text);
    }
    Ok(builder)
}

fn credentials(config: &CredentialsConfig) -> Credentials {
    let base = match config {
        CredentialsConfig {
            token: Some(token),
            login_token,
            ..
        } => Credentials::token(token.clone(), login_token.clone()),
        CredentialsConfig {
            file: Some(path), ..
        } => Credentials::file(path),
        CredentialsConfig {
            json: Some(text), ..
        } => Credentials::json(text.clone()),
        CredentialsConfig { gcloud: true, .. } => Credentials::gcloud(),
        _ => Credentials::application_default(),
    };
    match config.impersonate.split_first() {
        // The flag names the delegate nearest to the target first; the API wants them from us on.
        Some((target, delegates)) => base.impersonate(target, delegates.iter().rev()),
        None => base,
    }
}

/// The one line about credentials, in the official proxies' words.
fn announcement(config: &CredentialsConfig) -> String {
    let source = match config {
        CredentialsConfig { token: Some(_), .. } => "OAuth2 token".to_owned(),
        CredentialsConfig {
            file: Some(path), ..
        } => format!("the credentials file at {:?}", path.display().to_string()),
        CredentialsConfig { json: Some(_), .. } => {
            "JSON credentials environment variable".to_owned()
        }
        CredentialsConfig { gcloud: true, .. } => "gcloud user credentials".to_owned(),
        _ => "Application Default Credentials".to_owned(),
    };
    match config.impersonate.is_empty() {
        true => format!("Authorizing with {source}"),
        false => format!("Impersonating service account with {source}"),
    }
}

fn user_agent(config: &Config) -> String {
    let own = concat!("iamsql-proxy/", env!("CARGO_PKG_VERSION"));
    match &config.google.user_agent {
        Some(more) => format!("{own} {more}"),
        None => own.to_owned(),
    }
}

/// How long the start waits for a metadata server that comes up late.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(10);
