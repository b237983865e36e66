//! The README's Rust code: an IAM login as whoever this process is.

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let connector = iamsql::Connector::builder().iam_auth(true).build().await?;
    let (client, connection) = connector
        .postgres("your-project-id:us-central1:demo-postgres")
        .dbname("mydb")
        .connect()
        .await?;
    tokio::spawn(connection);
    let row = client.query_one("SELECT current_user::text", &[]).await?;
    println!("{}", row.get::<_, &str>(0));
    Ok(())
}
