//! Who logs in to MySQL, by what, and what the others read.

use std::time::Duration;

use iamsql_emulator::{
    HUMAN, InstanceSpec, MYSQL_INSTANCE, PasswordPlugin, Principal, Role, SERVICE_ACCOUNT,
};
use mysql_async::prelude::Queryable as _;
use mysql_async::{ChangeUserOpts, Conn};

use crate::client::{ADMIN, HOUR};
use crate::tunnel::{Tunnel, UDS, login_token, refusal, user};
use crate::{BUILT_IN, emulator, emulator_with};

const SERVICE_USER: &str = "cloudsql-client";
const THEIRS: &str = "Cloud SQL MySQL: Automatic IAM authentication via the auth-proxy requires an IAM-authenticated user. \
                      Access denied for other users.";

async fn who(mut conn: Conn) -> String {
    let user: Option<String> = conn.query_first("SELECT CURRENT_USER()").await.unwrap();
    conn.disconnect().await.unwrap();
    user.unwrap()
}

fn denied(user: &str, password: bool) -> (u16, String) {
    let used = if password { "YES" } else { "NO" };
    let client = "cloudsqlproxy~127.0.0.1";
    let message = format!("Access denied for user '{user}'@'{client}' (using password: {used})");
    (1045, message)
}

#[tokio::test]
async fn a_principal_logs_in_as_itself_only() {
    let Some(emulator) = emulator().await else {
        return;
    };
    for (principal, own) in [(SERVICE_ACCOUNT, SERVICE_USER), (HUMAN, "jane")] {
        let token = login_token(&emulator, principal);
        let tunnel = Tunnel::new(&emulator, MYSQL_INSTANCE, Some(&token)).await;
        // Whatever a client sends as a password is not looked at.
        for password in [None, Some("anything")] {
            let conn = tunnel.over_tcp(user(own, password)).await.unwrap();
            assert_eq!(who(conn).await, format!("{own}@%"));
        }
        let session = emulator.sessions().of(MYSQL_INSTANCE).pop().unwrap();
        assert_eq!(session.principal.as_deref(), Some(principal));
        assert_eq!(
            (session.user.as_deref(), session.database.as_deref()),
            (Some(own), Some("mydb"))
        );
        for other in [
            SERVICE_USER,
            "jane",
            "Jane",
            BUILT_IN.0,
            "root",
            "nobody",
            HUMAN,
        ] {
            if other != own {
                let outcome = tunnel.over_tcp(user(other, Some(BUILT_IN.1))).await;
                assert_eq!(refusal(outcome), (1045, THEIRS.to_owned()), "{other}");
            }
        }
        for reserved in ["cloudsqladmin", "mariadb.sys"] {
            let outcome = tunnel.over_tcp(user(reserved, None)).await;
            assert_eq!(refusal(outcome), denied(reserved, false));
        }
    }
    emulator.shutdown().await;
}

#[tokio::test]
async fn what_has_become_of_the_token_counts_at_the_login() {
    let plain = "your-project-id:us-central1:no-iam";
    let specs = [
        InstanceSpec::mysql(MYSQL_INSTANCE),
        InstanceSpec::mysql(plain).iam(false),
    ];
    let Some(emulator) = emulator_with(specs).await else {
        return;
    };
    let no_role = Principal::human("no-role@example.com").without_role(Role::CloudSqlInstanceUser);
    emulator.add_principal(no_role).await.unwrap();
    let expired = emulator.access_token(
        SERVICE_ACCOUNT,
        &[crate::client::LOGIN_SCOPE],
        Duration::ZERO,
    );
    let cases = [
        (MYSQL_INSTANCE, expired.unwrap(), SERVICE_USER, "expired"),
        (
            MYSQL_INSTANCE,
            emulator.access_token(SERVICE_ACCOUNT, ADMIN, HOUR).unwrap(),
            SERVICE_USER,
            "scope",
        ),
        (
            MYSQL_INSTANCE,
            login_token(&emulator, "no-role@example.com"),
            "no-role",
            "cloudsql.instanceUser",
        ),
        (
            plain,
            login_token(&emulator, SERVICE_ACCOUNT),
            SERVICE_USER,
            "cloudsql.iam_authentication",
        ),
    ];
    for (instance, token, name, reason) in cases {
        let tunnel = Tunnel::new(&emulator, instance, Some(&token)).await;
        let outcome = tunnel.over_tcp(user(name, None)).await;
        assert_eq!(refusal(outcome), denied(name, false), "{reason}");
        let session = emulator.sessions().of(instance).pop().unwrap();
        assert!(session.error.unwrap().contains(reason), "{reason}");
    }
    emulator.shutdown().await;
}

#[tokio::test]
async fn a_built_in_user_has_its_password() {
    let native = "your-project-id:us-central1:native";
    let specs = [
        InstanceSpec::mysql(MYSQL_INSTANCE),
        InstanceSpec::mysql(native).password_plugin(PasswordPlugin::Native),
    ];
    let Some(emulator) = emulator_with(specs).await else {
        return;
    };
    let (name, password) = BUILT_IN;
    let current = format!("{name}@%");
    let tunnel = Tunnel::new(&emulator, MYSQL_INSTANCE, None).await;
    let declaring = Tunnel::new(&emulator, MYSQL_INSTANCE, None)
        .await
        .declaring(UDS);
    // Over an open wire the password comes encrypted; a wrong one, or one in the open, does not count.
    for wrong in [Some("wrong"), Some("its own ")] {
        let outcome = tunnel.over_tcp(user(name, wrong)).await;
        assert_eq!(refusal(outcome), denied(name, true));
    }
    assert_eq!(
        refusal(tunnel.over_tcp(user(name, None)).await),
        denied(name, false)
    );
    assert_eq!(
        refusal(tunnel.over_unix(user(name, Some(password))).await),
        denied(name, true)
    );
    // Over one that the connector calls closed it comes as it is.
    let conn = declaring
        .over_unix(user(name, Some(password)))
        .await
        .unwrap();
    assert_eq!(who(conn).await, current);
    assert_eq!(
        emulator
            .sessions()
            .of(MYSQL_INSTANCE)
            .pop()
            .unwrap()
            .client_protocol,
        Some(iamsql_emulator::ClientProtocol::Uds)
    );
    // From then on a hash will do, over any wire.
    let conn = tunnel.over_unix(user(name, Some(password))).await.unwrap();
    assert_eq!(who(conn).await, current);
    assert_eq!(
        refusal(declaring.over_unix(user(name, Some("wrong"))).await),
        denied(name, true)
    );
    // A changed password is another, over RSA this time.
    emulator.add_user(name, "changed").await.unwrap();
    assert_eq!(
        refusal(tunnel.over_tcp(user(name, Some(password))).await),
        denied(name, true)
    );
    for _ in 0..2 {
        let conn = tunnel.over_tcp(user(name, Some("changed"))).await.unwrap();
        assert_eq!(who(conn).await, current);
    }
    assert_eq!(
        refusal(tunnel.over_tcp(user("nobody", Some("x"))).await),
        denied("nobody", true)
    );

    let tunnel = Tunnel::new(&emulator, native, None).await;
    let conn = tunnel.over_unix(user(name, Some("changed"))).await.unwrap();
    assert_eq!(who(conn).await, current);
    for (wrong, used) in [(Some("wrong"), true), (None, false)] {
        let outcome = tunnel.over_unix(user(name, wrong)).await;
        assert_eq!(refusal(outcome), denied(name, used));
    }
    emulator.shutdown().await;
}

#[tokio::test]
async fn a_password_that_a_user_gave_itself_counts() {
    let Some(emulator) = emulator().await else {
        return;
    };
    let (name, password) = BUILT_IN;
    let tunnel = Tunnel::new(&emulator, MYSQL_INSTANCE, None).await;
    let mut conn = tunnel.over_tcp(user(name, Some(password))).await.unwrap();
    conn.query_drop("SET PASSWORD = PASSWORD('mine')")
        .await
        .unwrap();
    assert_eq!(
        refusal(tunnel.over_tcp(user(name, Some(password))).await),
        denied(name, true)
    );
    let conn = tunnel.over_tcp(user(name, Some("mine"))).await.unwrap();
    assert_eq!(who(conn).await, format!("{name}@%"));

    // An IAM user has none, whatever it says.
    let token = login_token(&emulator, HUMAN);
    let iam = Tunnel::new(&emulator, MYSQL_INSTANCE, Some(&token)).await;
    let mut conn = iam.over_tcp(user("jane", None)).await.unwrap();
    conn.query_drop("SET PASSWORD = PASSWORD('mine')")
        .await
        .unwrap();
    assert_eq!(
        who(iam.over_tcp(user("jane", None)).await.unwrap()).await,
        "jane@%"
    );
    let outcome = tunnel
        .over_tcp(user("jane", Some("mine")).enable_cleartext_plugin(true))
        .await;
    assert_eq!(refusal(outcome), denied("jane", true));
    emulator.shutdown().await;
}

#[tokio::test]
async fn a_token_is_a_password_where_the_certificate_has_none() {
    let Some(emulator) = emulator().await else {
        return;
    };
    let tunnel = Tunnel::new(&emulator, MYSQL_INSTANCE, None).await;
    let token = |principal| login_token(&emulator, principal);
    let log_in = async |name: &str, token: &str| {
        let options = user(name, Some(token)).enable_cleartext_plugin(true);
        tunnel.over_unix(options).await
    };
    let conn = log_in(SERVICE_USER, &token(SERVICE_ACCOUNT)).await.unwrap();
    assert_eq!(who(conn).await, format!("{SERVICE_USER}@%"));
    for bad in [token(HUMAN), "ya29.foreign".to_owned()] {
        let outcome = log_in(SERVICE_USER, &bad).await;
        assert_eq!(refusal(outcome), denied(SERVICE_USER, true));
    }
    // A client that keeps its password to itself leaves.
    let outcome = tunnel
        .over_unix(user(SERVICE_USER, Some(&token(SERVICE_ACCOUNT))))
        .await;
    assert!(
        matches!(outcome, Err(mysql_async::Error::Driver(_))),
        "{outcome:?}"
    );
    emulator.shutdown().await;
}

#[tokio::test]
async fn a_session_stays_who_it_is() {
    let Some(emulator) = emulator().await else {
        return;
    };
    let token = login_token(&emulator, SERVICE_ACCOUNT);
    let tunnel = Tunnel::new(&emulator, MYSQL_INSTANCE, Some(&token)).await;
    let mut conn = tunnel.over_tcp(user(SERVICE_USER, None)).await.unwrap();
    let other = ChangeUserOpts::new()
        .with_user(Some(BUILT_IN.0.to_owned()))
        .with_pass(Some(BUILT_IN.1.to_owned()));
    let changed = conn.change_user(other).await;
    assert!(
        matches!(&changed, Err(mysql_async::Error::Server(error)) if error.code == 1047),
        "{changed:?}"
    );
    assert_eq!(who(conn).await, format!("{SERVICE_USER}@%"));
    emulator.shutdown().await;
}

#[tokio::test]
async fn packets_of_any_length_pass() {
    let Some(emulator) = emulator().await else {
        return;
    };
    let token = login_token(&emulator, SERVICE_ACCOUNT);
    let tunnel = Tunnel::new(&emulator, MYSQL_INSTANCE, Some(&token)).await;
    let mut conn = tunnel.over_tcp(user(SERVICE_USER, None)).await.unwrap();
    let long = vec![0x11u8; 40 << 20];
    let back: Option<Vec<u8>> = conn.exec_first("SELECT ?", (long.clone(),)).await.unwrap();
    assert!(back.unwrap() == long);
    assert_eq!(who(conn).await, format!("{SERVICE_USER}@%"));
    emulator.shutdown().await;
}
