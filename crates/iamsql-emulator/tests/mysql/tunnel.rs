//! What a connector does for a driver that opens its own socket: a local port or Unix socket, and TLS behind it.

use std::path::PathBuf;

use iamsql_emulator::{AddressType, Emulator, SERVICE_ACCOUNT};
use mysql_async::{Conn, Opts, OptsBuilder};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, UnixListener, UnixStream};

use crate::client::{ADMIN, Client, HOUR, LOGIN_SCOPE, Signed, dial, signed};

/// A certificate of the service account; `login` is what it shall carry.
pub(crate) async fn certificate(
    emulator: &Emulator,
    instance: &str,
    login: Option<&str>,
) -> Signed {
    let api = emulator.access_token(SERVICE_ACCOUNT, ADMIN, HOUR).unwrap();
    signed(Client::new(emulator).sign(instance, &api, login).await).await
}

/// A login token of any principal.
pub(crate) fn login_token(emulator: &Emulator, principal: &str) -> String {
    emulator
        .access_token(principal, &[LOGIN_SCOPE], HOUR)
        .unwrap()
}

/// The way into an instance.
pub(crate) struct Tunnel {
    emulator_side: std::net::SocketAddr,
    certificate: Signed,
    /// What is declared just before the client's first byte, as Google's Go connector does.
    declared: Option<u8>,
}

pub(crate) const UDS: u8 = 3;

impl Tunnel {
    pub(crate) async fn new(emulator: &Emulator, instance: &str, login: Option<&str>) -> Tunnel {
        Tunnel {
            emulator_side: emulator.addresses(instance).unwrap()[&AddressType::Primary],
            certificate: certificate(emulator, instance, login).await,
            declared: None,
        }
    }

    pub(crate) fn declaring(mut self, protocol: u8) -> Tunnel {
        self.declared = Some(protocol);
        self
    }

    /// Logs in over a local TCP port: the driver takes its wire for open.
    pub(crate) async fn over_tcp(&self, options: OptsBuilder) -> mysql_async::Result<Conn> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = async {
            let (near, _) = listener.accept().await.unwrap();
            self.carry(near).await
        };
        let options = options.ip_or_hostname("127.0.0.1").tcp_port(port);
        let (_, conn) = tokio::join!(served, connect(options));
        conn
    }

    /// Logs in over a Unix socket: the driver takes its wire for closed.
    pub(crate) async fn over_unix(&self, options: OptsBuilder) -> mysql_async::Result<Conn> {
        let directory = tempfile::tempdir().unwrap();
        let path: PathBuf = directory.path().join("mysql.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let served = async {
            let (near, _): (UnixStream, _) = listener.accept().await.unwrap();
            self.carry(near).await
        };
        let options = options.socket(path.to_str());
        let (_, conn) = tokio::join!(served, connect(options));
        conn
    }

    async fn carry<S>(&self, mut near: S)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let mut far = dial(self.emulator_side, Some(&self.certificate))
            .await
            .unwrap();
        let declared = self.declared;
        tokio::spawn(async move {
            if let Some(protocol) = declared {
                // The greeting first: MySQL's server speaks first, and the client only then.
                let mut greeting = vec![0; 4];
                far.read_exact(&mut greeting).await?;
                let length = usize::from(greeting[0]);
                greeting.resize(4 + length, 0);
                far.read_exact(&mut greeting[4..]).await?;
                near.write_all(&greeting).await?;
                far.write_all(&[b"CSQLMDEX\0\0\0\x02\x10", &[protocol][..]].concat())
                    .await?;
            }
            copy_bidirectional(&mut near, &mut far).await
        });
    }
}

/// A user with a password, of the database `mydb`.
pub(crate) fn user(name: &str, password: Option<&str>) -> OptsBuilder {
    OptsBuilder::default()
        .user(Some(name))
        .pass(password)
        .db_name(Some("mydb"))
        .prefer_socket(Some(false))
        .wait_timeout(Some(600))
        .max_allowed_packet(Some(64 << 20))
}

/// The code and text of a refusal.
pub(crate) fn refusal(outcome: mysql_async::Result<Conn>) -> (u16, String) {
    match outcome {
        Err(mysql_async::Error::Server(error)) => {
            assert_eq!(error.state, "28000", "{error}");
            (error.code, error.message)
        }
        other => panic!("a refusal of the server, not {other:?}"),
    }
}

async fn connect(options: OptsBuilder) -> mysql_async::Result<Conn> {
    Conn::new(Opts::from(options)).await
}
