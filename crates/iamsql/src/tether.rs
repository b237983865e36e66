//! What ties an open connection to the domain name that it was opened by: cut when the name comes to lead elsewhere.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

use crate::error::Error;

/// The connection's end.
#[derive(Clone, Debug)]
pub(crate) struct Tether(Arc<Line>);

/// The name's end. Holds nothing open.
#[derive(Debug)]
pub(crate) struct Cutter(Weak<Line>);

#[derive(Debug, Default)]
struct Line {
    cut: OnceLock<Error>,
    reader: AtomicWaker,
    writer: AtomicWaker,
    /// The socket of a face that no waker reaches: a thread that blocks in it, or a loop of the caller's that watches it.
    socket: OnceLock<Weak<TcpStream>>,
}

impl Tether {
    /// Both ends of a new one.
    pub(crate) fn new() -> (Tether, Cutter) {
        let line = Arc::new(Line::default());
        let cutter = Cutter(Arc::downgrade(&line));
        (Tether(line), cutter)
    }

    /// Has a cut shut `socket` down, so that whoever waits for it wakes.
    pub(crate) fn hold(&self, socket: &Arc<TcpStream>) {
        let _ = self.0.socket.set(Arc::downgrade(socket));
        // It may have been cut between the dial and this.
        if self.0.cut.get().is_some() {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// Why the connection must end, if it must.
    pub(crate) fn severed(&self) -> Option<&Error> {
        self.0.cut.get()
    }

    /// [`severed`](Self::severed), as the failure of a socket.
    pub(crate) fn broken(&self) -> Option<io::Error> {
        let reason = self.severed()?.clone();
        Some(io::Error::new(io::ErrorKind::ConnectionAborted, reason))
    }

    /// Ready once cut; until then a cut wakes the reading task.
    pub(crate) fn poll_reading(&self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.poll(&self.0.reader, cx)
    }

    /// Ready once cut; until then a cut wakes the writing task.
    pub(crate) fn poll_writing(&self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.poll(&self.0.writer, cx)
    }

    fn poll(&self, waker: &AtomicWaker, cx: &mut Context<'_>) -> Poll<io::Error> {
        // Registered before the look, so that a cut in between is not missed.
        waker.register(cx.waker());
        self.broken().map_or(Poll::Pending, Poll::Ready)
    }
}

impl Cutter {
    /// Whether the connection is still there.
    pub(crate) fn is_held(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// Ends the connection, for this reason. The first reason stays.
    pub(crate) fn cut(&self, reason: &Error) {
        let Some(line) = self.0.upgrade() else { return };
        if line.cut.set(reason.clone()).is_err() {
            return;
        }
        line.reader.wake();
        line.writer.wake();
        if let Some(socket) = line.socket.get().and_then(Weak::upgrade) {
            // An error means that the server was faster.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;
    use crate::error::ErrorKind;

    fn reason() -> Error {
        Error::new(ErrorKind::Closed, "elsewhere")
    }

    #[tokio::test]
    async fn a_cut_wakes_the_reader_and_the_writer_with_the_reason() {
        let (tether, cutter) = Tether::new();
        let tether = Arc::new(tether);
        let tasks = [false, true].map(|writes| {
            let tether = tether.clone();
            tokio::spawn(poll_fn(move |cx| match writes {
                true => tether.poll_writing(cx),
                false => tether.poll_reading(cx),
            }))
        });
        tokio::task::yield_now().await;
        cutter.cut(&reason());
        cutter.cut(&Error::new(ErrorKind::Closed, "too late"));
        for task in tasks {
            assert_eq!(task.await.unwrap().to_string(), "elsewhere");
        }
        drop(tether);
        assert!(!cutter.is_held());
    }

    #[test]
    fn a_cut_ends_a_blocking_read_whether_it_comes_before_or_after_the_socket() {
        for early in [true, false] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let socket = Arc::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
            let (tether, cutter) = Tether::new();
            if early {
                cutter.cut(&reason());
            }
            tether.hold(&socket);
            let reading = std::thread::spawn({
                let socket = socket.clone();
                move || (&*socket).read(&mut [0]).unwrap_or(0)
            });
            cutter.cut(&reason());
            assert_eq!(reading.join().unwrap(), 0, "{early}");
            assert!(tether.severed().is_some());
        }
    }
}
