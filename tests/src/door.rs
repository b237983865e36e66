//! The ways into a database: each turns a request into a process and its answer.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::outcome::Outcome;
use crate::process::{Client, Ended};
use crate::request::Request;

/// One door, with the driver behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// The crate, with tokio-postgres.
    Rust,
    /// The Python package, with this driver.
    Python(&'static str),
    /// The npm package, with pg.
    Node,
    /// psql through the proxy.
    Proxy,
}

/// What doors need to find: the checkout and the programs built from it.
pub struct Checkout {
    root: PathBuf,
    binaries: PathBuf,
}

impl Door {
    /// Every door.
    pub const ALL: &[Door] = &[
        Door::Rust,
        Door::Python("pg8000"),
        Door::Python("psycopg"),
        Door::Python("psycopg-async"),
        Door::Python("psycopg2"),
        Door::Python("asyncpg"),
        Door::Node,
        Door::Proxy,
    ];

    /// The name in reports.
    pub fn name(self) -> String {
        match self {
            Door::Rust => "rust".to_owned(),
            Door::Python(driver) => format!("python {driver}"),
            Door::Node => "node pg".to_owned(),
            Door::Proxy => "proxy psql".to_owned(),
        }
    }

    /// Carries out the request; the client's standard output and error are appended to `heard`.
    pub async fn perform(
        self,
        checkout: &Checkout,
        request: &Request,
        heard: &mut String,
    ) -> Result<Outcome> {
        match self {
            Door::Rust => {
                let client = checkout.binaries.join("iamsql-e2e-client");
                checkout.needs(&client)?;
                ask(&client, &[], request, heard).await
            }
            Door::Python(driver) => {
                let client = checkout.root.join("tests/clients/python/client.py");
                let mut request = request.clone();
                request.driver.get_or_insert_with(|| driver.to_owned());
                request.environment.insert(
                    "PYTHONPATH".to_owned(),
                    path_text(&checkout.root.join("python"))?,
                );
                request
                    .environment
                    .insert("PYTHONDONTWRITEBYTECODE".to_owned(), "1".to_owned());
                let python = checkout.root.join(".local/venv/bin/python");
                checkout.needs(&python)?;
                checkout.needs(&checkout.root.join("python/iamsql/_native.abi3.so"))?;
                ask(&python, &[path_text(&client)?], &request, heard).await
            }
            Door::Node => {
                let client = checkout.root.join("tests/clients/node/client.mjs");
                checkout.needs(&checkout.root.join("node/dist"))?;
                checkout.needs(&checkout.root.join("node/node_modules"))?;
                ask(Path::new("node"), &[path_text(&client)?], request, heard).await
            }
            Door::Proxy => through_proxy(checkout, request, heard).await,
        }
    }
}

impl Checkout {
    /// The checkout that this crate was built from.
    ///
    /// # Errors
    /// If this program does not lie in a target directory.
    pub fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("the crate lies in the checkout")?
            .to_owned();
        let deps = std::env::current_exe()?;
        let binaries = deps
            .parent()
            .and_then(Path::parent)
            .context("the tests lie in the target directory")?
            .to_owned();
        Ok(Checkout { root, binaries })
    }

    fn needs(&self, path: &Path) -> Result<()> {
        ensure!(
            path.exists(),
            "{} is missing: run `make build` first",
            path.display()
        );
        Ok(())
    }
}

async fn ask(
    program: &Path,
    arguments: &[String],
    request: &Request,
    heard: &mut String,
) -> Result<Outcome> {
    let mut client = Client::start(program, arguments, &request.environment)?;
    client.tell(&serde_json::to_string(request)?).await?;
    let ended = client.end(CLIENT_LIMIT).await?;
    hear(heard, &ended);
    ensure!(
        ended.code == Some(0),
        "the client ended with {:?}: {}{}",
        ended.code,
        ended.stdout,
        ended.stderr
    );
    let last = ended
        .stdout
        .lines()
        .last()
        .context("the client said nothing")?;
    serde_json::from_str(last).with_context(|| format!("not an outcome: {last:?}"))
}

/// The proxy is told what a client library is told; psql knows nothing but the port, the user and the database.
async fn through_proxy(
    checkout: &Checkout,
    request: &Request,
    heard: &mut String,
) -> Result<Outcome> {
    let program = checkout.binaries.join("iamsql-proxy");
    checkout.needs(&program)?;
    let port = free_port()?;
    let mut arguments = vec!["--port".to_owned(), port.to_string()];
    if request.iam != Some(false) && request.password.is_none() {
        arguments.push("--auto-iam-authn".to_owned());
    }
    arguments.push(request.instance.clone());
    let begun = Instant::now();
    let mut proxy = Client::start(&program, &arguments, &request.environment)?;
    if !proxy.says(READY, CLIENT_LIMIT).await? {
        let ended = proxy.end(CLIENT_LIMIT).await?;
        hear(heard, &ended);
        ensure!(
            ended.code == Some(1),
            "the proxy ended with {:?}: {}",
            ended.code,
            ended.stderr
        );
        ensure!(is_free(port), "the proxy left port {port} open");
        return Ok(refusal(ended.stderr, begun.elapsed()));
    }
    let psql = psql(request, port, heard).await;
    proxy.terminate()?;
    let ended = proxy.end(CLIENT_LIMIT).await?;
    hear(heard, &ended);
    ensure!(
        ended.code == Some(143),
        "the proxy ended with {:?}: {}",
        ended.code,
        ended.stderr
    );
    ensure!(is_free(port), "the proxy left port {port} open");
    psql
}

async fn psql(request: &Request, port: u16, heard: &mut String) -> Result<Outcome> {
    let user = request.user.clone().context("psql must be told the user")?;
    let arguments = [
        "-X",
        "-At",
        "-F",
        "|",
        "-h",
        "127.0.0.1",
        "-p",
        &port.to_string(),
        "-U",
        &user,
        "-d",
        DATABASE,
        "-c",
        QUERY,
    ]
    .map(str::to_owned);
    let mut environment = BTreeMap::from([("PGCONNECT_TIMEOUT".to_owned(), "40".to_owned())]);
    // Without one psql would ask the terminal; an empty password is never right.
    environment.insert(
        "PGPASSWORD".to_owned(),
        request.password.clone().unwrap_or_default(),
    );
    let begun = Instant::now();
    let client = Client::start(Path::new("psql"), &arguments, &environment)?;
    let ended = client.end(CLIENT_LIMIT).await?;
    hear(heard, &ended);
    if ended.code != Some(0) {
        return Ok(refusal(ended.stderr, begun.elapsed()));
    }
    let (user, version) = ended.stdout.trim().split_once('|').context("two columns")?;
    Ok(Outcome::LoggedIn {
        user: user.to_owned(),
        version: version.to_owned(),
        seconds: begun.elapsed().as_secs_f64(),
    })
}

fn refusal(message: String, took: Duration) -> Outcome {
    Outcome::Refused {
        code: None,
        message,
        advice: None,
        seconds: took.as_secs_f64(),
    }
}

fn hear(heard: &mut String, ended: &Ended) {
    heard.push_str(&ended.stdout);
    heard.push_str(&ended.stderr);
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

fn path_text(path: &Path) -> Result<String> {
    Ok(path
        .to_str()
        .context("the checkout's path is not text")?
        .to_owned())
}

/// The database that every scenario opens.
pub const DATABASE: &str = "mydb";
/// What every client asks the database.
pub const QUERY: &str = "select current_user, current_setting('server_version')";
/// Longer than any connect deadline in the table.
const CLIENT_LIMIT: Duration = Duration::from_secs(60);
const READY: &str = "ready for new connections";
