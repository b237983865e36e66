//! Carries bytes between a client that has logged in and MariaDB, and turns one command away: to change the user.
//!
//! The gate judges a user once. A session that could become another user's by `COM_CHANGE_USER` would have passed it by;
//! MariaDB reads a command that does not exist instead, and says so.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::login::relay::{BUFFER, both, carry};
use crate::mysql::packet::{HEADER, LONGEST, length};

/// Relays until both sides are done.
pub(super) async fn relay(
    client: impl AsyncRead + AsyncWrite,
    mut server: UnixStream,
) -> io::Result<()> {
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_server, mut to_server) = server.split();
    let up = async {
        let mut guard = Guard::default();
        let mut buffer = vec![0; BUFFER];
        loop {
            let count = match from_client.read(&mut buffer).await {
                // Clients say goodbye by a command, and close TCP without TLS's own farewell.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
                other => other?,
            };
            if count == 0 {
                break;
            }
            guard.filter(&mut buffer[..count]);
            to_server.write_all(&buffer[..count]).await?;
        }
        // MariaDB may have closed its side already.
        let _ = to_server.shutdown().await;
        io::Result::Ok(())
    };
    let down = async {
        carry(&mut from_server, &mut to_client).await?;
        // The client may have left without waiting for this.
        let _ = to_client.shutdown().await;
        Ok(())
    };
    both(up, down).await
}

/// Follows the packets of a client, however they are cut.
#[derive(Default)]
struct Guard {
    header: [u8; HEADER],
    /// Bytes of the header that came.
    came: usize,
    /// Bytes of the body to come.
    left: usize,
    /// The packet before this one.
    previous: Option<Shape>,
    /// Whether the next byte is a command.
    command: bool,
}

#[derive(Clone, Copy)]
struct Shape {
    sequence: u8,
    length: usize,
}

impl Guard {
    fn filter(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            if self.left > 0 {
                if self.command && bytes[0] == CHANGE_USER {
                    bytes[0] = NO_COMMAND;
                }
                self.command = false;
                let count = self.left.min(bytes.len());
                self.left -= count;
                bytes = &mut bytes[count..];
                continue;
            }
            self.header[self.came] = bytes[0];
            self.came += 1;
            bytes = &mut bytes[1..];
            if self.came == HEADER {
                self.came = 0;
                let shape = Shape {
                    sequence: self.header[3],
                    length: length(self.header),
                };
                self.left = shape.length;
                self.command = begins_command(self.previous, shape);
                self.previous = Some(shape);
            }
        }
    }
}

/// Whether a packet begins a command: the server counts anew for each. It is none where it goes on with a packet of 16 MiB,
/// or with the contents of a file, whose numbers start over after 255 and which an empty packet ends.
fn begins_command(previous: Option<Shape>, packet: Shape) -> bool {
    let goes_on = previous.is_some_and(|previous| {
        previous.length == LONGEST || previous.sequence == u8::MAX && previous.length > 0
    });
    packet.sequence == 0 && !goes_on
}

/// COM_CHANGE_USER.
const CHANGE_USER: u8 = 0x11;
/// COM_SLEEP, which only the server uses of itself: sent by a client it is answered "Unknown command".
const NO_COMMAND: u8 = 0;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::mysql::packet::frame;

    fn filtered(bytes: &[u8], cuts: &[usize]) -> Vec<u8> {
        let mut guard = Guard::default();
        let mut bytes = bytes.to_vec();
        let mut rest = &mut bytes[..];
        for cut in cuts {
            let (now, later) = rest.split_at_mut((*cut).min(rest.len()));
            guard.filter(now);
            rest = later;
        }
        guard.filter(rest);
        bytes
    }

    #[test]
    fn only_the_command_is_turned_away() {
        let query = frame(0, b"\x03SELECT '\x11'");
        let change = frame(0, b"\x11root\0\0");
        let wire = [&query[..], &change, &query].concat();
        let expected = [&query[..], &frame(0, b"\x00root\0\0"), &query].concat();
        assert_eq!(filtered(&wire, &[]), expected);
    }

    #[test]
    fn long_packets_and_files_are_not_commands() {
        let mut long = frame(0, b"");
        long[..3].fill(0xff);
        long.resize(HEADER + LONGEST, 3);
        let wire = [&long[..], &frame(1, b"\x11end"), &frame(0, b"\x11r\0")].concat();
        let expected = [&long[..], &frame(1, b"\x11end"), &frame(0, b"\x00r\0")].concat();
        assert!(filtered(&wire, &[]) == expected);

        let mut file = frame(0, b"\x03LOAD DATA LOCAL");
        for sequence in 2..=255u8 {
            file.extend(frame(sequence, b"\x11"));
        }
        file.extend(frame(0, b"\x11"));
        file.extend(frame(1, b""));
        let wire = [&file[..], &frame(0, b"\x11r\0")].concat();
        let expected = [&file[..], &frame(0, b"\x00r\0")].concat();
        assert_eq!(filtered(&wire, &[]), expected);
        // A file that ends at the very number.
        let mut file = frame(0, b"\x03LOAD DATA LOCAL");
        file.extend(frame(255, b""));
        let wire = [&file[..], &frame(0, b"\x11r\0")].concat();
        assert_eq!(
            filtered(&wire, &[]),
            [&file[..], &frame(0, b"\x00r\0")].concat()
        );
    }

    proptest! {
        #[test]
        fn it_does_not_matter_how_the_bytes_are_cut(
            packets in proptest::collection::vec((0u8..3, proptest::collection::vec(0u8..0x20, 0..40)), 0..12),
            cuts in proptest::collection::vec(0usize..30, 0..20),
        ) {
            let wire: Vec<u8> = packets.iter().flat_map(|(sequence, body)| frame(*sequence, body)).collect();
            let whole = filtered(&wire, &[]);
            prop_assert_eq!(&filtered(&wire, &cuts), &whole);
            let mut place = 0;
            for (sequence, body) in &packets {
                let commands = *sequence == 0 && body.first() == Some(&CHANGE_USER);
                if commands {
                    prop_assert_eq!(whole[place + HEADER], NO_COMMAND);
                } else {
                    prop_assert_eq!(&whole[place..][..HEADER + body.len()], &wire[place..][..HEADER + body.len()]);
                }
                place += HEADER + body.len();
            }
        }
    }
}
