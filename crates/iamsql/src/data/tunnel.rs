//! A connection through Cloud SQL's SqlData service, for instances that no network path leads to.
//!
//! Faces see a socket like any other: one end of a pair, whose other end is pumped through the service on a thread of the
//! tunnels' own. Between the two goes what the driver and the database say, in clear; outside this process all of it is
//! inside TLS with Google.

mod call;
mod message;
mod status;
mod thread;

use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{ReadHalf, WriteHalf};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::connection::{Connection, Origin};
use super::descriptors::Listed;
use super::session::Session;
use super::{Place, Route};
use crate::control::Passage;
use crate::error::{Error, ErrorKind, Result};
use crate::face::pump;
use crate::instance::Instance;
use crate::options::TLS_TIMEOUT;
use crate::tether::Tether;

use call::{Downward, Heard, Upward, lost};
use message::Response;

/// Why a tunnel broke, for whoever reads the end of the stream next.
pub(crate) type Failure = Arc<OnceLock<Error>>;

/// Opens a tunnel to the place; `around` leads there in another way, should the instance have no such service.
pub(crate) async fn open(
    place: &Place,
    passage: Passage,
    around: Route,
    deadline: Instant,
) -> Result<Connection> {
    let Instance::CloudSql {
        project,
        region,
        name,
    } = &place.instance
    else {
        return Err(
            Error::config("ip_type SQL_DATA reaches Cloud SQL instances alone")
                .with_advice("ask for ip_type PRIVATE, PUBLIC or PSC"),
        );
    };
    let names = (
        format!("locations/{region}"),
        format!("projects/{project}/instances/{name}"),
    );
    let patience = deadline.saturating_duration_since(Instant::now());
    let limit = deadline.min(Instant::now() + TCP_AND_TLS);
    let dialled = passage.clone();
    let (opened, opening) = tokio::sync::oneshot::channel();
    let runtime = thread::runtime()?;
    let task = runtime.spawn(async move {
        let opening = async {
            let host = (dialled.server.host.as_str(), dialled.server.port);
            let addresses: Vec<_> = tokio::net::lookup_host(host)
                .await
                .map_err(|error| {
                    let message = format!("{:?} has no address", host.0);
                    Error::new(ErrorKind::Dns, message).with_source(error)
                })?
                .collect();
            call::open(&dialled, &addresses, (&names.0, &names.1), limit).await
        };
        let overdue = |_| {
            Err(Error::new(
                ErrorKind::Timeout,
                "opening the tunnel took too long",
            ))
        };
        let call = tokio::time::timeout_at(limit, opening)
            .await
            .unwrap_or_else(overdue);
        let _ = opened.send(call);
    });
    let _abandoned = Abandoned(task);
    let (upward, downward, peer) = opening.await.map_err(|_| lost("while it was opened"))??;
    let unwatched = |error: io::Error| {
        Error::new(ErrorKind::Network, "no socket pair could be made").with_source(error)
    };
    let (ours, theirs) = StdUnixStream::pair().map_err(unwatched)?;
    let local = {
        let _entered = runtime.enter();
        Local::new(ours).map_err(unwatched)?
    };
    theirs.set_nonblocking(true).map_err(unwatched)?;
    let failure = Failure::default();
    let carrier = Carrier {
        upward,
        downward,
        patience,
        tether: place.tether.clone(),
    };
    let (there, told) = (place.clone(), failure.clone());
    runtime.spawn(async move {
        if let Err(error) = run(carrier, local, &there, &passage, around, &told).await {
            let _ = told.set(error.with_instance(&there.label));
        }
    });
    // The faces hold sockets, of whatever family; nothing that they do with one asks which.
    let tcp = TcpStream::from(OwnedFd::from(theirs));
    Ok(Connection {
        listed: Listed::new(&tcp),
        tcp,
        session: Session::plain(Origin::answered_at(place), failure),
        peer,
    })
}

/// Ends the opening of a tunnel that nobody waits for any more.
struct Abandoned(tokio::task::JoinHandle<()>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The tunnel's end of the pair. Its number is let go of before it is closed, and so before it is another's.
struct Local {
    _listed: Listed,
    stream: UnixStream,
}

impl Local {
    /// Within the runtime that is to watch it.
    fn new(stream: StdUnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let stream = UnixStream::from_std(stream)?;
        Ok(Local {
            _listed: Listed::new(&stream),
            stream,
        })
    }
}

struct Carrier {
    upward: Upward,
    downward: Downward,
    /// How long the service may take to answer once it was told something.
    patience: Duration,
    tether: Option<Tether>,
}

/// What both directions know of each other.
struct Common {
    /// What the driver said before the server's first word; none once that came, or once it is too much to keep.
    said: Mutex<Option<Vec<u8>>>,
    /// How much of what the server said has arrived, where it wants to know.
    heard: watch::Sender<u64>,
    /// The driver has said something.
    spoken: Notify,
    /// The service has taken the call, or refused it.
    answered: Notify,
}

/// How carrying ended.
enum Ended {
    Regularly,
    /// The instance has no such service; nothing was heard from it.
    Unsupported,
}

async fn run(
    carrier: Carrier,
    mut local: Local,
    place: &Place,
    passage: &Passage,
    around: Route,
    failure: &Failure,
) -> Result<()> {
    let common = Common::new();
    let ended = match carrier.carry(&mut local.stream, &common).await {
        Ok(ended) => ended,
        Err(error) => {
            // Said before the driver can see the end of its stream.
            let _ = failure.set(error.clone().with_instance(&place.label));
            linger(local).await;
            return Err(error);
        }
    };
    let Ended::Unsupported = ended else {
        linger(local).await;
        return Ok(());
    };
    passage.unsupported.add(&place.instance);
    tracing::info!(
        instance = place.label,
        "SqlData does not serve this instance: connecting to its address"
    );
    let said = common.take_said().ok_or_else(|| {
        Error::new(
            ErrorKind::Config,
            "SqlData does not serve this instance, and too much was said to say it again elsewhere",
        )
        .with_retryable(true)
        .with_advice("connect again: the instance's address is used from now on")
    });
    let again = async {
        let connection = around.connect_around(place).await?;
        // The pump lists it for itself, and may close it at any time.
        let Local { _listed, stream } = local;
        drop(_listed);
        pump::carry(stream, connection, said?, &|error| {
            let _ = failure.set(error);
        })
        .await
        .map(drop)
        .map_err(|refused| refused.error)
    };
    let outcome = again.await;
    if let Err(error) = &outcome {
        let _ = failure.set(error.clone().with_instance(&place.label));
    }
    outcome
}

impl Carrier {
    /// Both directions at once: neither waits for the other to be taken. No longer than a call may last, nor than it takes
    /// to see that nobody answers it.
    async fn carry(self, local: &mut UnixStream, common: &Common) -> Result<Ended> {
        let (driver, database) = local.split();
        tokio::select! {
            ended = listen(self.downward, database, common) => ended,
            () = speak(self.upward, driver, common, self.tether.as_ref()) => Ok(Ended::Regularly),
            error = common.unanswered(self.patience) => Err(error),
            () = tokio::time::sleep(LONGEST) => Err(lost("after two hours, which is as long as one lasts")
                .with_advice("connect again")),
        }
    }
}

/// Carries what the driver says until nobody is there to hear an answer.
async fn speak(
    mut upward: Upward,
    mut driver: ReadHalf<'_>,
    common: &Common,
    tether: Option<&Tether>,
) {
    let mut heard = common.heard.subscribe();
    let mut block = vec![0; BLOCK];
    // What the server says meanwhile explains more than that it takes no more.
    let spoken: Result<()> = async {
        loop {
            tokio::select! {
                read = driver.read(&mut block) => match read {
                    Ok(0) | Err(_) => return upward.finish(),
                    Ok(count) => {
                        common.keep(&block[..count]);
                        let sent = upward.data(&block[..count]);
                        while_wanted(sent, driver.as_ref(), tether).await?;
                    }
                },
                Ok(()) = heard.changed() => {
                    let heard = *heard.borrow_and_update();
                    let sent = upward.acknowledge(heard);
                    while_wanted(sent, driver.as_ref(), tether).await?;
                }
            }
        }
    }
    .await;
    if let Err(error) = spoken {
        tracing::debug!(error = %error.chain(), "the tunnel takes no more");
    }
    drop(block);
    unwanted(driver.as_ref(), tether).await;
}

/// Sends on while the driver holds its end; what it said before it left has a moment more.
async fn while_wanted(
    sent: impl Future<Output = Result<()>>,
    driver: &UnixStream,
    tether: Option<&Tether>,
) -> Result<()> {
    let left = async {
        unwanted(driver, tether).await;
        if tether.and_then(Tether::severed).is_none() {
            tokio::time::sleep(GOODBYE).await;
        }
    };
    tokio::select! {
        biased;
        sent = sent => sent,
        () = left => Err(lost("by the driver")),
    }
}

/// Waits until the driver's end is gone, or must not lead here any more.
async fn unwanted(driver: &UnixStream, tether: Option<&Tether>) {
    while !is_gone(driver) && tether.and_then(Tether::severed).is_none() {
        tokio::time::sleep(WATCH).await;
    }
}

/// Carries what the database says until it has said all.
async fn listen(
    mut downward: Downward,
    mut database: WriteHalf<'_>,
    common: &Common,
) -> Result<Ended> {
    downward.answered().await?;
    common.answered.notify_one();
    let (mut heard, mut told, mut counts) = (0_u64, 0, false);
    loop {
        match downward.hear().await? {
            Heard::Response(Response::Data { offset, bytes }) => {
                common.take_said();
                // Zero is also what a server says that does not count.
                if offset != 0 && offset != heard {
                    return Err(lost("by bytes that came out of turn"));
                }
                heard += bytes.len() as u64;
                if database.write_all(&bytes).await.is_err() {
                    return Ok(Ended::Regularly);
                }
                if counts && heard - told >= ACKNOWLEDGE_EACH {
                    told = heard;
                    common.heard.send_replace(heard);
                }
            }
            Heard::Response(Response::Metadata { reconnects }) => counts = reconnects,
            Heard::Response(Response::Other) => {}
            Heard::Response(Response::Terminate(status)) | Heard::Over(Some(status)) => {
                return match status {
                    status if heard == 0 && status::is_unsupported(&status) => {
                        Ok(Ended::Unsupported)
                    }
                    status if status::is_regular(&status) => Ok(Ended::Regularly),
                    status => Err(status::error(&status)),
                };
            }
            Heard::Over(None) => return Err(lost("without a word")),
        }
    }
}

impl Common {
    fn new() -> Self {
        Common {
            said: Mutex::new(Some(Vec::new())),
            heard: watch::Sender::new(0),
            spoken: Notify::new(),
            answered: Notify::new(),
        }
    }

    /// Ends only if no answer comes in time. A service may keep it until the driver has said something, so time runs from
    /// then on.
    async fn unanswered(&self, patience: Duration) -> Error {
        self.spoken.notified().await;
        match tokio::time::timeout(patience, self.answered.notified()).await {
            Ok(()) => std::future::pending().await,
            Err(_) => Error::new(
                ErrorKind::Timeout,
                "SqlData did not answer before the deadline",
            ),
        }
    }

    fn keep(&self, bytes: &[u8]) {
        self.spoken.notify_one();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = &mut *said {
            match kept.len() + bytes.len() <= MAX_KEPT {
                true => kept.extend_from_slice(bytes),
                false => *said = None,
            }
        }
    }

    fn take_said(&self) -> Option<Vec<u8>> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.take()
    }
}

/// Ends the stream for the face. Closing with something unread would break it off instead, and hide why.
async fn linger(mut local: Local) {
    let _ = local.stream.shutdown().await;
    let mut block = vec![0; BLOCK];
    let rest = async { while let Ok(1..) = local.stream.read(&mut block).await {} };
    let _ = tokio::time::timeout(LINGER, rest).await;
}

/// Whether the face has closed its end altogether, rather than only stopped writing.
fn is_gone(local: &UnixStream) -> bool {
    let mut watched = [PollFd::from_borrowed_fd(local.as_fd(), PollFlags::empty())];
    let asked = poll(&mut watched, Some(&Timespec::default()));
    asked.is_ok() && watched[0].revents().contains(PollFlags::HUP)
}

const TCP_AND_TLS: Duration = TLS_TIMEOUT.saturating_mul(2);
/// As the official client has it.
const LONGEST: Duration = Duration::from_secs(2 * 60 * 60);
const BLOCK: usize = 32 << 10;
/// As much as the pump of the other way says again.
const MAX_KEPT: usize = 8 << 10;
const ACKNOWLEDGE_EACH: u64 = 1 << 20;
/// How long a face may take to notice the end.
const LINGER: Duration = Duration::from_secs(30);
/// How often a half that only listens is looked after.
const WATCH: Duration = Duration::from_millis(250);
/// How long the service may take for the last words of a driver that has left.
const GOODBYE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
