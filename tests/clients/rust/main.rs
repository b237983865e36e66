//! Carries out one request (a line of JSON on standard input) through the crate, and prints the outcome.

use std::time::{Duration, Instant};

use iamsql::{ConnectOptions, Connector};
use iamsql_e2e::door::{DATABASE, QUERY};
use iamsql_e2e::outcome::Outcome;
use iamsql_e2e::request::Request;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let request: Request = serde_json::from_str(&line)?;
    let begun = Instant::now();
    let answer = ask(&request).await;
    let seconds = begun.elapsed().as_secs_f64();
    let outcome = match answer {
        Ok((user, version)) => Outcome::LoggedIn {
            user,
            version,
            seconds,
        },
        Err(error) => Outcome::Refused {
            code: Some(error.code().to_owned()),
            message: error.chain(),
            advice: error.advice().map(str::to_owned),
            seconds,
        },
    };
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(())
}

async fn ask(request: &Request) -> iamsql::Result<(String, String)> {
    let mut builder = Connector::builder();
    if let Some(seconds) = request.timeout {
        builder = builder.timeout(Duration::from_secs_f64(seconds));
    }
    if let Some(iam) = request.iam {
        builder = builder.iam_auth(iam);
    }
    if let Some(endpoint) = &request.admin_endpoint {
        builder = builder.dangerous_admin_endpoint(endpoint);
    }
    let connector = builder.build().await?;
    let mut options = ConnectOptions::new();
    if let Some(ip_type) = &request.ip_type {
        options = options.ip_type(ip_type.parse()?);
    }
    let mut login = connector
        .postgres(&request.instance)
        .dbname(DATABASE)
        .options(options);
    if let Some(user) = &request.user {
        login = login.user(user);
    }
    if let Some(password) = &request.password {
        login = login.password(password.as_str());
    }
    let (client, connection) = login.connect().await?;
    let driving = tokio::spawn(connection);
    let row = client
        .query_one(QUERY, &[])
        .await
        .expect("the query is right");
    let answer = (row.get(0), row.get(1));
    drop(client);
    let _ = driving.await;
    connector.close();
    Ok(answer)
}
