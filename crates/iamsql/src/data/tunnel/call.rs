//! One gRPC call over HTTP/2: bytes of the driver's go up as messages, what the server says comes down.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use h2::client::ResponseFuture;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Method, Request, StatusCode, Version};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::message::{self, Response, Status};
use super::status;
use crate::control::Passage;
use crate::data::descriptors::Listed;
use crate::data::tcp;
use crate::error::{Error, ErrorKind, Result};

/// The half that sends.
pub(super) struct Upward {
    stream: SendStream<Bytes>,
    offset: u64,
}

/// The half that hears.
pub(super) struct Downward {
    state: State,
    arrived: BytesMut,
    /// Its end tells the connection to end too.
    _held: oneshot::Sender<()>,
}

enum State {
    Waiting(ResponseFuture),
    Open(RecvStream),
    /// With what is yet to be told of why.
    Over(Option<Status>),
}

/// What came down.
pub(super) enum Heard {
    Response(Response),
    /// The call is over; without a status it was cut off.
    Over(Option<Status>),
}

/// Dials the service and starts a session with `instance`, whose resource names these are.
pub(super) async fn open(
    passage: &Passage,
    addresses: &[std::net::SocketAddr],
    (location, instance): (&str, &str),
    deadline: Instant,
) -> Result<(Upward, Downward, std::net::SocketAddr)> {
    let tcp = tcp::connect(addresses, deadline).await?;
    let peer = tcp
        .peer_addr()
        .map_err(|error| lost("at once").with_source(error))?;
    let tcp = Socket::new(tcp);
    let server = &passage.server;
    match &server.tls {
        Some((config, name)) => {
            let connector = TlsConnector::from(config.clone());
            let tls = connector
                .connect(name.clone(), tcp)
                .await
                .map_err(|error| {
                    let message = format!(
                        "the TLS handshake with {}:{} failed",
                        server.host, server.port
                    );
                    Error::new(ErrorKind::Tls, message).with_source(error)
                })?;
            if tls.get_ref().1.alpn_protocol() != Some(b"h2") {
                let message = format!("{}:{} does not speak HTTP/2", server.host, server.port);
                return Err(Error::new(ErrorKind::Tls, message));
            }
            begin(tls, passage, location, instance).await
        }
        None => begin(tcp, passage, location, instance).await,
    }
    .map(|(upward, downward)| (upward, downward, peer))
}

pub(super) async fn begin<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    io: T,
    passage: &Passage,
    location: &str,
    instance: &str,
) -> Result<(Upward, Downward)> {
    let failed = |error: h2::Error| lost("while the tunnel was opened").with_source(error);
    let (mut client, connection) = h2::client::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_header_list_size(MAX_HEADERS)
        .enable_push(false)
        .handshake(io)
        .await
        .map_err(failed)?;
    let (held, released) = oneshot::channel();
    // It ends with the last handle of the call's, whether or not the server takes that in.
    tokio::spawn(async move {
        let overdue = async {
            let _ = released.await;
            tokio::time::sleep(GOODBYE).await;
        };
        tokio::select! {
            ended = connection => if let Err(error) = ended {
                tracing::debug!(%error, "a tunnel's connection ended");
            },
            () = overdue => tracing::debug!("a tunnel's connection was cut off"),
        }
    });
    poll_fn(|cx| client.poll_ready(cx)).await.map_err(failed)?;
    let server = &passage.server;
    let scheme = match server.tls {
        Some(_) => "https",
        None => "http",
    };
    let mut request = Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(format!(
            "{scheme}://{}:{}{METHOD}",
            bracketed(&server.host),
            server.port
        ))
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .header(
            "x-goog-request-params",
            format!("instance_id={instance}&location_id={location}"),
        )
        .body(())
        .map_err(|error| Error::config("the tunnel's request cannot be made").with_source(error))?;
    request.headers_mut().extend(passage.headers.clone());
    let (response, stream) = client.send_request(request, false).map_err(failed)?;
    let mut upward = Upward { stream, offset: 0 };
    upward.message(message::start(location, instance)).await?;
    let downward = Downward {
        state: State::Waiting(response),
        arrived: BytesMut::new(),
        _held: held,
    };
    Ok((upward, downward))
}

impl Upward {
    /// Sends all of `bytes`, as fast as the server takes them.
    pub(super) async fn data(&mut self, bytes: &[u8]) -> Result<()> {
        let message = message::data(self.offset, bytes);
        self.offset += bytes.len() as u64;
        self.message(message).await
    }

    pub(super) async fn acknowledge(&mut self, offset: u64) -> Result<()> {
        self.message(message::acknowledgement(offset)).await
    }

    /// Says that nothing more will come.
    pub(super) fn finish(&mut self) -> Result<()> {
        let ended = self.stream.send_data(Bytes::new(), true);
        ended.map_err(|error| lost("on the way up").with_source(error))
    }

    async fn message(&mut self, mut message: Bytes) -> Result<()> {
        let cut = || lost("on the way up");
        while !message.is_empty() {
            self.stream.reserve_capacity(message.len());
            // What is there already is not announced again.
            let room = match self.stream.capacity() {
                0 => match poll_fn(|cx| self.stream.poll_capacity(cx)).await {
                    Some(Ok(room)) => room,
                    Some(Err(error)) => return Err(cut().with_source(error)),
                    None => return Err(cut()),
                },
                room => room,
            };
            let part = message.split_to(room.min(message.len()));
            let sent = self.stream.send_data(part, false);
            sent.map_err(|error| cut().with_source(error))?;
        }
        Ok(())
    }
}

impl Downward {
    /// Waits until the service has taken the call, or refused it. May be given up and asked again.
    pub(super) async fn answered(&mut self) -> Result<()> {
        let State::Waiting(response) = &mut self.state else {
            return Ok(());
        };
        let response = response
            .await
            .map_err(|error| lost("before it was answered").with_source(error))?;
        let (head, body) = response.into_parts();
        let refused = match head.status {
            StatusCode::OK => status::read(&head.headers),
            status => Some(status::of_http(status)),
        };
        self.state = match refused {
            Some(status) => State::Over(Some(status)),
            None => State::Open(body),
        };
        Ok(())
    }

    /// The next thing that the server says. May be given up and asked again.
    pub(super) async fn hear(&mut self) -> Result<Heard> {
        loop {
            let malformed = |_| lost("by a message that is none");
            if let Some(response) = message::next(&mut self.arrived).map_err(malformed)? {
                return Ok(Heard::Response(response));
            }
            match &mut self.state {
                State::Waiting(_) => self.answered().await?,
                State::Open(body) => match body.data().await {
                    Some(Ok(bytes)) => {
                        // Room for as much more: what has arrived is here, and is handed on before more is asked for.
                        let released = body.flow_control().release_capacity(bytes.len());
                        released.map_err(|error| lost("on the way down").with_source(error))?;
                        self.arrived.extend_from_slice(&bytes);
                    }
                    Some(Err(error)) => return Err(lost("on the way down").with_source(error)),
                    None => {
                        let trailers: Option<HeaderMap> = body
                            .trailers()
                            .await
                            .map_err(|error| lost("at its end").with_source(error))?;
                        self.state = State::Over(None);
                        return Ok(Heard::Over(trailers.as_ref().and_then(status::read)));
                    }
                },
                State::Over(status) => return Ok(Heard::Over(status.take())),
            }
        }
    }
}

/// The connection to the service. Its number is let go of before it is closed, and so before it is another's.
pub(super) struct Socket {
    _listed: Listed,
    tcp: TcpStream,
}

impl Socket {
    pub(super) fn new(tcp: TcpStream) -> Self {
        Socket {
            _listed: Listed::new(&tcp),
            tcp,
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_read(cx, into)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

pub(super) fn lost(when: &str) -> Error {
    let message = format!("the tunnel to the instance was lost {when}");
    Error::new(ErrorKind::Network, message)
}

fn bracketed(host: &str) -> String {
    match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    }
}

const METHOD: &str = "/google.cloud.sql.v1beta4.SqlDataService/StreamSqlData";
/// How long the server may take for our goodbye.
const GOODBYE: std::time::Duration = std::time::Duration::from_secs(5);
const WINDOW: u32 = 1 << 20;
const MAX_HEADERS: u32 = 64 << 10;
