//! The byte stream inside a session: packets from the client to the database, and back, with offsets and acknowledgements.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::mpsc::Sender;
use tonic::{Code, Status, Streaming};

use super::message::{
    Ack, Asked, DataPacket, RpcStatus, SessionMetadata, StreamRequest, StreamResponse,
    TerminateSession, Told,
};
use crate::foreign::printable;
use crate::instance::Database;
use crate::login::serve_postgres;
use crate::server::{Instance, echo};
use crate::session::{SessionHandle, SessionIdentity};

/// The messages to the client.
type Answers = Sender<Result<StreamResponse, Status>>;

/// Serves a session until either side ends it.
pub(super) async fn serve(
    instance: Arc<Instance>,
    identity: SessionIdentity,
    questions: Streaming<StreamRequest>,
    answers: Answers,
    reset_after: Option<u64>,
) {
    let session = identity.handle.clone();
    let (near, far) = tokio::io::duplex(BUFFER);
    let (from, to) = tokio::io::split(near);
    let received = AtomicI64::new(0);
    let metadata = Told::Metadata(SessionMetadata {
        supported_features: Vec::new(),
    });
    if answers.send(Ok(told(metadata, &received))).await.is_err() {
        return;
    }
    let database = async {
        let served = talk(&instance, &identity, far).await;
        if let Err(error) = served {
            session.error(format!("{error:#}"));
        }
    };
    let back = send(from, &answers, &received, &session, reset_after);
    tokio::select! {
        () = receive(questions, to, &answers, &received, &session) => {}
        // What the database said last still goes out.
        ((), ()) = async { tokio::join!(database, back) } => {}
        () = instance.sessions_end_now() => {
            session.error("the instance was stopped");
            let _ = answers.send(Ok(ended(Code::Unavailable, "DISCONNECTED: the instance was stopped", &received))).await;
        }
    }
}

async fn talk(
    instance: &Instance,
    identity: &SessionIdentity,
    stream: DuplexStream,
) -> anyhow::Result<()> {
    match instance.spec().database {
        Database::Postgres => {
            serve_postgres(stream, identity, identity.world.backend().await?).await?
        }
        _ => echo::serve(stream).await?,
    }
    Ok(())
}

/// Takes the client's packets in order. Returns when the client ended the session, or broke its rules.
async fn receive(
    mut questions: Streaming<StreamRequest>,
    mut to: WriteHalf<DuplexStream>,
    answers: &Answers,
    received: &AtomicI64,
    session: &SessionHandle,
) {
    loop {
        match questions
            .message()
            .await
            .map(|question| question.map(|question| question.message))
        {
            Ok(Some(Some(Asked::Data(packet)))) => {
                let expected = received.load(Ordering::Acquire);
                // Clients that never continue a session leave offsets out.
                if packet.first_byte_offset != 0 && packet.first_byte_offset != expected {
                    session.error(format!(
                        "a packet at {} instead of {expected}",
                        packet.first_byte_offset
                    ));
                    let status = Status::invalid_argument(
                        "first_byte_offset does not follow the last packet",
                    );
                    let _ = answers.send(Err(status)).await;
                    return;
                }
                let count = packet.data.len();
                session.update(|session| session.received += count as u64);
                if to.write_all(&packet.data).await.is_err() {
                    // The database has gone; the other direction says so.
                    std::future::pending::<()>().await;
                }
                let before = received.fetch_add(count as i64, Ordering::AcqRel);
                if before / ACK_EVERY != (before + count as i64) / ACK_EVERY {
                    let ack = StreamResponse {
                        ack: Some(ack(received)),
                        message: None,
                    };
                    let _ = answers.send(Ok(ack)).await;
                }
            }
            // An acknowledgement alone.
            Ok(Some(None)) => {}
            Ok(Some(Some(Asked::Terminate(end)))) => {
                if let Some(status) = end.status.filter(|status| status.code != 0) {
                    session.error(format!(
                        "the client ended the session: {}",
                        printable(&status.message)
                    ));
                }
                let _ = to.shutdown().await;
                return;
            }
            Ok(Some(Some(Asked::Start(_) | Asked::Continue(_)))) => {
                let status = Status::invalid_argument("the session has started already");
                let _ = answers.send(Err(status)).await;
                return;
            }
            Ok(None) => {
                // The client sends no more, and may still read.
                let _ = to.shutdown().await;
                std::future::pending::<()>().await;
            }
            Err(_) => return,
        }
    }
}

/// Sends what the database says, then that it ended.
async fn send(
    mut from: ReadHalf<DuplexStream>,
    answers: &Answers,
    received: &AtomicI64,
    session: &SessionHandle,
    reset_after: Option<u64>,
) {
    let mut sent = 0_u64;
    let mut buffer = vec![0; PACKET];
    loop {
        let left = reset_after.map(|limit| limit.saturating_sub(sent));
        if left == Some(0) {
            session.error("reset by a fault");
            let _ = answers
                .send(Err(Status::unavailable("DISCONNECTED: reset by a fault")))
                .await;
            return;
        }
        let room = left.map_or(PACKET, |left| {
            PACKET.min(usize::try_from(left).unwrap_or(PACKET))
        });
        let count = from.read(&mut buffer[..room]).await.unwrap_or(0);
        if count == 0 {
            let end = ended(
                Code::Ok,
                "DB_SERVER_CLOSED: the database closed the connection",
                received,
            );
            let _ = answers.send(Ok(end)).await;
            return;
        }
        let packet = DataPacket {
            first_byte_offset: sent as i64,
            data: buffer[..count].to_vec(),
        };
        sent += count as u64;
        session.update(|session| session.sent += count as u64);
        if answers
            .send(Ok(told(Told::Data(packet), received)))
            .await
            .is_err()
        {
            return;
        }
    }
}

fn told(message: Told, received: &AtomicI64) -> StreamResponse {
    StreamResponse {
        ack: Some(ack(received)),
        message: Some(message),
    }
}

fn ack(received: &AtomicI64) -> Ack {
    Ack {
        received_offset: received.load(Ordering::Acquire),
    }
}

fn ended(code: Code, message: &str, received: &AtomicI64) -> StreamResponse {
    let status = RpcStatus {
        code: code as i32,
        message: message.to_string(),
    };
    told(
        Told::Terminate(TerminateSession {
            status: Some(status),
        }),
        received,
    )
}

const BUFFER: usize = 64 * 1024;
const PACKET: usize = 32 * 1024;
/// Without an answer to carry it, an acknowledgement goes out after so many bytes.
const ACK_EVERY: i64 = 64 * 1024;
