//! One accepted connection, from the first byte to the database behind it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::counted::{Counted, reset};
use super::{Ahead, Declarations, Instance, Taken, client_protocol, echo, fatal, tls};
use crate::alloydb::exchange;
use crate::faults::{Effect, Endpoint};
use crate::instance::{Database, Wire};
use crate::login::{mysql, serve_postgres};
use crate::session::{Login, SessionHandle, SessionIdentity};
use crate::tds;
use crate::world::{IssuedCertificate, World};

/// Serves one connection until it ends, the instance stops or its sessions are ended.
pub(crate) async fn serve(
    world: Arc<World>,
    instance: Arc<Instance>,
    stream: TcpStream,
    session: SessionHandle,
) {
    let ended = instance.sessions_end();
    let served = async {
        // Fails only if the client left already, which the first read reports better.
        let _ = stream.set_nodelay(true);
        talk(&world, &instance, stream, &session).await
    };
    tokio::select! {
        outcome = served => if let Err(error) = outcome {
            session.error(format!("{error:#}"));
        },
        () = ended.cancelled() => session.error("the instance was stopped"),
    }
}

async fn talk(
    world: &Arc<World>,
    instance: &Arc<Instance>,
    stream: TcpStream,
    session: &SessionHandle,
) -> anyhow::Result<()> {
    let spec = instance.spec();
    let not_closing = |effect: &Effect| !matches!(effect, Effect::Refuse | Effect::BlackHole);
    let effect = world
        .faults
        .take_where(Endpoint::Tcp, Some(&instance.text), None, not_closing);
    let Some(stream) = disturb(effect, stream).await else {
        return Ok(());
    };
    if spec.wire == Wire::Plaintext {
        return plaintext(stream, session).await;
    }
    let hello = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
    session.update(|session| {
        session.server_name = hello.client_hello().server_name().map(str::to_string)
    });
    let early =
        |effect: &Effect| matches!(effect, Effect::Delay { .. } | Effect::Hang | Effect::Reset);
    match world
        .faults
        .take_where(Endpoint::Tls, Some(&instance.text), None, early)
    {
        Some(Effect::Delay { milliseconds }) => tokio::time::sleep(milliseconds).await,
        Some(Effect::Hang) => std::future::pending().await,
        Some(_) => {
            reset(&hello.io);
            return Ok(());
        }
        None => {}
    }
    let stream = hello
        .into_stream(tls::config(world, instance, session)?)
        .await?;
    let issued = presented(world, instance, session, &stream)?;
    let (mut login, mut exclusive) = (issued.login, false);
    let mut principal = login.principal().map(str::to_string);
    session.update(|session| {
        session.authenticated = true;
        session.principal = principal.clone();
    });
    let late = |effect: &Effect| {
        matches!(
            effect,
            Effect::Stall | Effect::Fatal { .. } | Effect::ResetAfter { .. }
        )
    };
    let late = |principal: Option<&str>| {
        world
            .faults
            .take_where(Endpoint::Tls, Some(&instance.text), principal, late)
    };
    let mut effect = late(principal.as_deref());
    if let Some(Effect::Stall) = effect {
        std::future::pending().await
    }
    let mut stream = Counted::new(stream, session.clone());
    if issued.exchange {
        let Some(exchanged) = exchange::serve(&mut stream, world, instance, session).await? else {
            return Ok(());
        };
        principal = Some(exchanged.token.principal.clone());
        effect = effect.or_else(|| late(principal.as_deref()));
        if exchanged.auto_iam {
            (login, exclusive) = (Login::Token(exchanged.token), true);
        }
    }
    match &effect {
        Some(Effect::Stall) => std::future::pending().await,
        Some(Effect::ResetAfter { bytes }) => stream.reset_after(*bytes),
        _ => {}
    }
    if let Some(Effect::Fatal { code, message }) = effect {
        let message = message.unwrap_or_else(|| Effect::echoed(&world.login_secret(&login)));
        match spec.database {
            Database::MySql => mysql::refuse(stream, &code, &message).await?,
            _ => fatal::refuse(stream, &code, &message).await?,
        }
        return Ok(());
    }
    let identity = SessionIdentity {
        instance: instance.text.clone(),
        handle: session.clone(),
        login,
        product: instance.name.product(),
        exclusive,
        world: world.clone(),
    };
    let declarations = spec.offers_exchange().then(|| Declarations {
        faults: &world.faults,
        instance: &instance.text,
        principal: principal.as_deref(),
        session,
    });
    if spec.database == Database::MySql {
        let mariadb = world.mariadb().await?;
        mariadb.add_databases(&spec.databases).await?;
        let client = session.client();
        let gate = mysql::Gate {
            applicant: &mysql::AsMySql(&identity),
            mariadb,
            host: format!("cloudsqlproxy~{}", client.ip()),
            plugin: spec.password_plugin,
            declarations,
        };
        return gate.serve(stream).await;
    }
    let mut stream = Ahead::new(stream);
    if let Some(declarations) = &declarations {
        let declared = async {
            let request = client_protocol::read(&mut stream).await?;
            declarations.take(&mut stream, request, true).await
        };
        let declared = timeout(DECLARATION_LIMIT, declared).await;
        if !matches!(
            declared.context("the client said nothing")??,
            Taken::Allowed(_)
        ) {
            return Ok(());
        }
    }
    match spec.database {
        Database::Echo => echo::serve(stream).await?,
        Database::Postgres => serve_postgres(stream, &identity, world.backend().await?).await?,
        Database::SqlServer => {
            tds::serve(stream, &world.tds_server(instance), session).await?;
        }
        // Refused when the instance was to be added.
        Database::MySql => anyhow::bail!("there is no such database"),
    }
    Ok(())
}

/// What was remembered of the client's certificate. A resumed session presents none anew: what it first presented still counts.
fn presented(
    world: &World,
    instance: &Instance,
    session: &SessionHandle,
    stream: &TlsStream<TcpStream>,
) -> anyhow::Result<IssuedCertificate> {
    let certificate = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|chain| chain.first());
    let certificate = certificate.ok_or_else(|| anyhow::anyhow!("no client certificate"))?;
    let issued = tls::recognise(world, instance, certificate)?;
    session.update(|session| session.certificate = crate::authority::serial_of(certificate));
    Ok(issued)
}

/// Applies a fault of the accepted connection; `None` when it is over.
async fn disturb(effect: Option<Effect>, stream: TcpStream) -> Option<TcpStream> {
    match effect {
        Some(Effect::Delay { milliseconds }) => tokio::time::sleep(milliseconds).await,
        Some(Effect::Hang) => std::future::pending().await,
        Some(Effect::Reset) => {
            reset(&stream);
            return None;
        }
        _ => {}
    }
    Some(stream)
}

/// A server without TLS: greets, then counts what it is told.
async fn plaintext(mut stream: TcpStream, session: &SessionHandle) -> anyhow::Result<()> {
    stream
        .write_all(b"220 this server does not speak TLS\r\n")
        .await?;
    let mut buffer = [0; 4096];
    loop {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        session.update(|session| session.received += count as u64);
    }
}

/// As a database waits for a login.
const DECLARATION_LIMIT: Duration = Duration::from_secs(60);
