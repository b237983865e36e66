//! Tokens of gcloud: which program is run, and what becomes of one that misbehaves.

mod google;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use iamsql::{AuthMode, ConnectOptions, Connector, Credentials, Environment, ErrorKind, Result};

use google::Google;

const INSTANCE: &str = "p:r:i";

/// A directory with a gcloud of ours.
fn gcloud(text: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("gcloud");
    fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    directory
}

fn prints(account: &str, token: &str) -> String {
    format!(
        r#"[ "$*" = "--format json config config-helper --min-expiry 1h" ] || {{ echo "asked otherwise: $*" >&2; exit 2; }}
echo '{{"configuration":{{"properties":{{"core":{{"account":"{account}"}}}}}},"credential":{{"access_token":"{token}","token_expiry":"2099-01-01T00:00:00Z"}}}}'"#
    )
}

async fn connector(google: &Google, path: &str) -> Result<Connector> {
    let environment = Environment::empty().with("PATH", format!("{path}:/usr/bin:/bin"));
    Connector::builder()
        .environment(environment)
        .dangerous_admin_endpoint(&google.url)
        .credentials(Credentials::gcloud())
        .build()
        .await
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn gclouds_token_calls_the_api_and_never_logs_in() {
    let google = Google::start();
    let directory = gcloud(&prints("ada@example.com", "token-of-gcloud"));
    let connector = connector(&google, text(directory.path())).await.unwrap();
    connector.database_version(INSTANCE).await.unwrap();
    let asked = google.to("/connectSettings").remove(0);
    assert_eq!(
        asked.header("authorization"),
        Some("Bearer token-of-gcloud")
    );
    assert_eq!(
        connector.principal().await.unwrap().as_deref(),
        Some("ada@example.com")
    );
    let iam = ConnectOptions::new().auth_mode(AuthMode::Iam);
    let refused = connector.warm(INSTANCE, &iam).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config, "{refused}");
    assert!(google.to(":generateEphemeralCert").is_empty());

    let environment = Environment::empty().with("PATH", text(directory.path()));
    let builder = Connector::builder()
        .environment(environment)
        .credentials(Credentials::gcloud());
    let refused = builder.clone().iam_auth(true).build().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config);
    let other = Credentials::token("api".into(), Some("login".into()));
    assert!(
        builder
            .clone()
            .login_credentials(other)
            .iam_auth(true)
            .build()
            .await
            .is_ok()
    );
    let impersonating = Credentials::gcloud().impersonate("a@p.iam.gserviceaccount.com", [""; 0]);
    assert!(
        builder
            .credentials(impersonating)
            .iam_auth(true)
            .build()
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_relative_directory_of_path_is_not_looked_into() {
    let google = Google::start();
    let here = std::env::current_dir().unwrap();
    let directory = tempfile::tempdir_in(&here).unwrap();
    let planted = directory.path().join("gcloud");
    fs::write(&planted, "#!/bin/sh\ntouch \"$0.was-run\"\n").unwrap();
    fs::set_permissions(&planted, fs::Permissions::from_mode(0o700)).unwrap();
    let relative = directory.path().strip_prefix(&here).unwrap();
    let path = format!("{}:", text(relative));
    match connector(&google, &path).await {
        // A machine that has gcloud finds its own.
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::Credentials, "{error}"),
    }
    let ours = gcloud(&prints("ada@example.com", "token-of-ours"));
    let path = format!("{}:{}", text(relative), text(ours.path()));
    let connector = connector(&google, &path).await.unwrap();
    connector.database_version(INSTANCE).await.unwrap();
    let asked = google.to("/connectSettings").pop().unwrap();
    assert_eq!(asked.header("authorization"), Some("Bearer token-of-ours"));
    assert!(!directory.path().join("gcloud.was-run").exists());
}

#[tokio::test]
async fn a_gcloud_that_others_could_have_written_is_refused_at_first_and_later() {
    let google = Google::start();
    let directory = gcloud(&prints("ada@example.com", "token-of-gcloud"));
    let open =
        |mode| fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
    open(0o777);
    let refused = connector(&google, text(directory.path()))
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Credentials);
    assert!(refused.to_string().contains("is not run"), "{refused}");
    open(0o755);
    let connector = connector(&google, text(directory.path())).await.unwrap();
    open(0o777);
    let refused = connector.principal().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Credentials, "{refused}");
    assert!(google.requests().is_empty());
    open(0o755);
    connector.database_version(INSTANCE).await.unwrap();
}

#[tokio::test]
async fn a_gcloud_that_hangs_or_never_stops_printing_is_ended() {
    let google = Google::start();
    let hanging = gcloud("sleep 600");
    let environment =
        Environment::empty().with("PATH", format!("{}:/usr/bin:/bin", text(hanging.path())));
    let connector = Connector::builder()
        .environment(environment)
        .dangerous_admin_endpoint(&google.url)
        .credentials(Credentials::gcloud())
        .timeout(Duration::from_secs(1))
        .build()
        .await
        .unwrap();
    let started = Instant::now();
    let error = connector.database_version(INSTANCE).await.unwrap_err();
    assert!(
        error.is_retryable() && error.to_string().contains("gcloud"),
        "{error:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(10));

    let endless = gcloud("yes");
    let connector = self::connector(&google, text(endless.path()))
        .await
        .unwrap();
    let error = connector.database_version(INSTANCE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials);
    assert!(error.to_string().contains("more than 64 KiB"), "{error}");
    assert!(google.requests().is_empty());
}

#[tokio::test]
async fn a_gcloud_that_nobody_is_logged_in_to_is_said_so() {
    let google = Google::start();
    let directory =
        gcloud("echo 'ERROR: You do not currently have an active account selected.' >&2; exit 1");
    let connector = connector(&google, text(directory.path())).await.unwrap();
    let error = connector.database_version(INSTANCE).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials);
    assert!(error.to_string().contains("active account"), "{error}");
    assert_eq!(error.advice(), Some("run `gcloud auth login`"));
}

#[tokio::test]
async fn gclouds_own_directory_decides_whose_token_it_is() {
    let google = Google::start();
    let text_of = r#"cat "$CLOUDSDK_CONFIG/answer""#;
    let program = gcloud(text_of);
    for account in ["ada@example.com", "eve@example.com"] {
        let config = tempfile::tempdir().unwrap();
        let answer = format!(
            r#"{{"configuration":{{"properties":{{"core":{{"account":"{account}"}}}}}},"credential":{{"access_token":"token-of-{account}","token_expiry":"2099-01-01T00:00:00Z"}}}}"#
        );
        fs::write(config.path().join("answer"), answer).unwrap();
        let environment = Environment::empty()
            .with("PATH", format!("{}:/usr/bin:/bin", text(program.path())))
            .with("CLOUDSDK_CONFIG", config.path());
        let connector = Connector::builder()
            .environment(environment)
            .dangerous_admin_endpoint(&google.url)
            .credentials(Credentials::gcloud())
            .build()
            .await
            .unwrap();
        connector.database_version(INSTANCE).await.unwrap();
        let asked = google.to("/connectSettings").pop().unwrap();
        assert_eq!(
            asked.header("authorization"),
            Some(&*format!("Bearer token-of-{account}"))
        );
    }
}
