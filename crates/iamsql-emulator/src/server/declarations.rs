//! What clients declare in a metadata exchange: noted in the session's record, answered, or refused as the faults say.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::ahead::Ahead;
use super::client_protocol::{ClientProtocol, Request, answer};
use crate::faults::{Effect, Endpoint, Faults};
use crate::session::SessionHandle;

/// Where the declarations of one connection go.
pub(crate) struct Declarations<'a> {
    pub(crate) faults: &'a Faults,
    pub(crate) instance: &'a str,
    pub(crate) principal: Option<&'a str>,
    pub(crate) session: &'a SessionHandle,
}

/// What became of a client's first bytes.
pub(crate) enum Taken {
    /// The database may have the rest.
    Allowed(Option<ClientProtocol>),
    /// The client is to hear this, unless it was answered already.
    Refused(String),
    /// Nobody hears anything any more.
    Ended,
}

impl Declarations<'_> {
    /// Takes note of a request, and answers it if `answerable`.
    pub(crate) async fn take<S>(
        &self,
        stream: &mut Ahead<S>,
        request: Request,
        answerable: bool,
    ) -> io::Result<Taken>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let declared = match request {
            Request::None => return Ok(Taken::Allowed(None)),
            Request::Read(protocol) => {
                self.session
                    .update(|session| session.client_protocol = protocol);
                self.effect().await.map(|()| protocol)
            }
            Request::Malformed(reason) => Err(Failure::Said(reason.to_owned())),
        };
        match declared {
            Ok(protocol) => {
                if answerable {
                    answer(stream, Ok(())).await?;
                }
                Ok(Taken::Allowed(protocol))
            }
            Err(Failure::Said(reason)) => {
                self.session.error(&reason);
                if answerable {
                    answer(stream, Err(&reason)).await?;
                    stream.shutdown().await?;
                }
                Ok(Taken::Refused(reason))
            }
            Err(Failure::Sent(bytes)) => {
                self.session
                    .error("the metadata exchange was broken off by a fault");
                if answerable {
                    stream.write_all(&bytes).await?;
                    stream.shutdown().await?;
                }
                Ok(Taken::Ended)
            }
        }
    }

    /// Applies the fault that is in force, if any.
    async fn effect(&self) -> Result<(), Failure> {
        let effect = self.faults.take(
            Endpoint::MetadataExchange,
            Some(self.instance),
            self.principal,
        );
        match effect {
            None => Ok(()),
            Some(Effect::Delay { milliseconds }) => {
                tokio::time::sleep(milliseconds).await;
                Ok(())
            }
            Some(Effect::Hang) => std::future::pending().await,
            Some(Effect::RefuseExchange { message }) => {
                // There is no secret in the request that could be repeated.
                let message = message.unwrap_or_else(|| Effect::echoed(&[]));
                Err(Failure::Said(message))
            }
            Some(Effect::Malformed) => Err(Failure::Sent(b"CSQLMDEX\0\0\0\x02\xff\xff".to_vec())),
            Some(Effect::Huge { bytes }) => {
                let length = u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
                let filling = vec![0; bytes.min(LONGEST_FILLING)];
                Err(Failure::Sent([b"CSQLMDEX", &length[..], &filling].concat()))
            }
            Some(Effect::ResetMidBody) => Err(Failure::Sent(b"CSQLMDEX\0\0\0\x02\x08".to_vec())),
            // The end of the stream is as near to a reset as it gets inside TLS.
            Some(_) => Err(Failure::Sent(Vec::new())),
        }
    }
}

enum Failure {
    /// An error for the client.
    Said(String),
    /// Bytes that are no answer.
    Sent(Vec<u8>),
}

const LONGEST_FILLING: usize = 1 << 20;
