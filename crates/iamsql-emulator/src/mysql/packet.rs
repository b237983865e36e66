//! Packets: three bytes of length, a sequence number, a body; and the encodings inside bodies.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// One packet of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) sequence: u8,
    pub(crate) body: Vec<u8>,
}

/// Reads a packet of at most `longest` bytes; `None` if the stream ends first.
///
/// # Errors
/// `InvalidData` for a longer one, before anything is allocated; `UnexpectedEof` within one.
pub(crate) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    longest: usize,
) -> io::Result<Option<Packet>> {
    let mut header = [0; HEADER];
    if stream.read(&mut header[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut header[1..]).await?;
    let length = length(header);
    if length > longest {
        let problem = format!("a packet of {length} bytes, where {longest} are the most");
        return Err(io::Error::new(io::ErrorKind::InvalidData, problem));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(Some(Packet {
        sequence: header[3],
        body,
    }))
}

/// A packet on the wire. Bodies of logins are far below the 16 MiB that would need two.
pub(crate) fn frame(sequence: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes();
    assert!(
        body.len() < LONGEST,
        "a packet that long is sent in several"
    );
    let mut packet = vec![length[0], length[1], length[2], sequence];
    packet.extend_from_slice(body);
    packet
}

/// The length that a header tells.
pub(crate) fn length(header: [u8; HEADER]) -> usize {
    u32::from_le_bytes([header[0], header[1], header[2], 0]) as usize
}

/// Takes the fields of a body, one after the other; `None` where it is too short.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        Some(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.array()?))
    }

    /// Up to a zero byte, which is taken too.
    pub(crate) fn terminated(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        let taken = self.take(end)?;
        self.take(1)?;
        Some(taken)
    }

    /// A length-encoded number. NULL (251) and the reserved 255 are none.
    pub(crate) fn number(&mut self) -> Option<u64> {
        let wide = |bytes: &[u8]| {
            let mut number = [0; 8];
            number[..bytes.len()].copy_from_slice(bytes);
            u64::from_le_bytes(number)
        };
        match self.u8()? {
            small @ 0..=250 => Some(small.into()),
            252 => self.take(2).map(wide),
            253 => self.take(3).map(wide),
            254 => self.take(8).map(wide),
            251 | 255 => None,
        }
    }

    /// Bytes behind their length-encoded length.
    pub(crate) fn counted(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(usize::try_from(length).ok()?)
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

/// Bytes behind their length-encoded length.
pub(crate) fn counted(bytes: &[u8]) -> Vec<u8> {
    let length = bytes.len().to_le_bytes();
    let mut encoded = match bytes.len() {
        0..=250 => vec![length[0]],
        251..=0xffff => [&[252], &length[..2]].concat(),
        0x1_0000..=0xff_ffff => [&[253], &length[..3]].concat(),
        _ => [&[254], &length[..8]].concat(),
    };
    encoded.extend_from_slice(bytes);
    encoded
}

pub(crate) const HEADER: usize = 4;
/// A body of this length goes on in the next packet.
pub(crate) const LONGEST: usize = 0xff_ffff;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[tokio::test]
    async fn packets_are_read_within_their_limit() {
        let wire = [frame(1, b"abc"), frame(2, b"")].concat();
        let mut stream = &wire[..];
        let first = read(&mut stream, 3).await.unwrap().unwrap();
        assert_eq!((first.sequence, &first.body[..]), (1, &b"abc"[..]));
        let second = read(&mut stream, 3).await.unwrap().unwrap();
        assert_eq!((second.sequence, second.body.len()), (2, 0));
        assert_eq!(read(&mut stream, 3).await.unwrap(), None);
        let long = read(&mut &wire[..], 2).await.unwrap_err();
        assert_eq!(long.kind(), io::ErrorKind::InvalidData);
        for end in 1..7 {
            let cut = read(&mut &wire[..end], 3).await.unwrap_err();
            assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof, "{end}");
        }
    }

    proptest! {
        #[test]
        fn counted_bytes_come_back(length in prop_oneof![0usize..600, 65_000usize..66_000]) {
            let bytes = vec![7; length];
            let encoded = counted(&bytes);
            let mut fields = Fields(&encoded);
            prop_assert_eq!(fields.counted(), Some(&bytes[..]));
            prop_assert!(fields.rest().is_empty());
        }

        #[test]
        fn no_bytes_make_the_fields_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut fields = Fields(&bytes);
            while fields.counted().is_some() && !fields.0.is_empty() {}
            let _ = (fields.terminated(), fields.u32(), fields.u16(), fields.number(), fields.rest());
        }
    }
}
