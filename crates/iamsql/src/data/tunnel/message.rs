//! The messages of `google.cloud.sql.v1beta4.SqlDataService`, as far as a tunnel needs them: written and read by hand.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// What the server says.
#[derive(Debug, PartialEq)]
pub(super) enum Response {
    /// Bytes of the database's, and where in the stream they stand.
    Data { offset: u64, bytes: Bytes },
    /// What the session can do.
    Metadata { reconnects: bool },
    /// The end, and why.
    Terminate(Status),
    /// An acknowledgement, or something newer than this client.
    Other,
}

/// A `google.rpc.Status`.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Status {
    pub(super) code: u32,
    pub(super) message: String,
    /// Of the `ErrorInfo` among its details.
    pub(super) reason: Option<String>,
}

/// Not a message of this service.
#[derive(Debug, PartialEq)]
pub(super) struct Malformed;

/// The first request: which instance.
pub(super) fn start(location: &str, instance: &str) -> Bytes {
    let mut session = BytesMut::new();
    put_bytes(&mut session, 1, location.as_bytes());
    put_bytes(&mut session, 2, instance.as_bytes());
    let mut request = BytesMut::new();
    put_bytes(&mut request, 5, &session);
    framed(&request)
}

/// Bytes of the driver's that begin at `offset` of all that it said.
pub(super) fn data(offset: u64, bytes: &[u8]) -> Bytes {
    let mut packet = BytesMut::with_capacity(bytes.len() + 32);
    put_number(&mut packet, 1, offset);
    put_bytes(&mut packet, 2, bytes);
    let mut request = BytesMut::with_capacity(packet.len() + 16);
    put_bytes(&mut request, 7, &packet);
    framed(&request)
}

/// How much of what the server said has arrived.
pub(super) fn acknowledgement(offset: u64) -> Bytes {
    let mut ack = BytesMut::new();
    put_number(&mut ack, 1, offset);
    let mut request = BytesMut::new();
    put_bytes(&mut request, 4, &ack);
    framed(&request)
}

/// Takes one whole message off `arrived`, if it is all there.
pub(super) fn next(arrived: &mut BytesMut) -> Result<Option<Response>, Malformed> {
    if arrived.len() < PREFIX {
        return Ok(None);
    }
    let length = u32::from_be_bytes([arrived[1], arrived[2], arrived[3], arrived[4]]) as usize;
    // Nobody asked for compression.
    if arrived[0] != 0 || length > MAX_MESSAGE {
        return Err(Malformed);
    }
    if arrived.len() < PREFIX + length {
        return Ok(None);
    }
    arrived.advance(PREFIX);
    read(arrived.split_to(length).freeze()).map(Some)
}

fn read(message: Bytes) -> Result<Response, Malformed> {
    let mut response = Response::Other;
    for field in Fields(message) {
        match field? {
            (3, Value::Bytes(metadata)) => {
                response = Response::Metadata {
                    reconnects: reconnects(metadata)?,
                };
            }
            (4, Value::Bytes(packet)) => response = read_data(packet)?,
            (5, Value::Bytes(terminate)) => {
                let mut status = Status::default();
                for field in Fields(terminate) {
                    if let (1, Value::Bytes(bytes)) = field? {
                        status = Status::read(bytes)?;
                    }
                }
                response = Response::Terminate(status);
            }
            _ => {}
        }
    }
    Ok(response)
}

fn read_data(packet: Bytes) -> Result<Response, Malformed> {
    let (mut offset, mut bytes) = (0, Bytes::new());
    for field in Fields(packet) {
        match field? {
            (1, Value::Number(number)) => offset = number,
            (2, Value::Bytes(data)) => bytes = data,
            _ => {}
        }
    }
    Ok(Response::Data { offset, bytes })
}

fn reconnects(metadata: Bytes) -> Result<bool, Malformed> {
    let mut found = false;
    for field in Fields(metadata) {
        found |= match field? {
            (1, Value::Number(feature)) => feature == RECONNECT,
            (1, Value::Bytes(packed)) => packed.iter().any(|&byte| u64::from(byte) == RECONNECT),
            _ => false,
        };
    }
    Ok(found)
}

impl Status {
    pub(super) fn read(message: Bytes) -> Result<Self, Malformed> {
        let mut status = Status::default();
        for field in Fields(message) {
            match field? {
                (1, Value::Number(code)) => status.code = u32::try_from(code).unwrap_or(UNKNOWN),
                (2, Value::Bytes(text)) => {
                    status.message = String::from_utf8_lossy(&text).into_owned();
                }
                (3, Value::Bytes(any)) => {
                    status.reason = status.reason.or(read_reason(any)?);
                }
                _ => {}
            }
        }
        Ok(status)
    }
}

/// The reason in an `Any`, if that holds an `ErrorInfo`.
fn read_reason(any: Bytes) -> Result<Option<String>, Malformed> {
    let (mut is_info, mut value) = (false, Bytes::new());
    for field in Fields(any) {
        match field? {
            (1, Value::Bytes(url)) => is_info = url.ends_with(b"/google.rpc.ErrorInfo"),
            (2, Value::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    if !is_info {
        return Ok(None);
    }
    for field in Fields(value) {
        if let (1, Value::Bytes(reason)) = field? {
            return Ok(Some(String::from_utf8_lossy(&reason).into_owned()));
        }
    }
    Ok(None)
}

enum Value {
    Number(u64),
    Bytes(Bytes),
}

/// The fields of a message, in the order in which they stand.
struct Fields(Bytes);

impl Iterator for Fields {
    type Item = Result<(u64, Value), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.0.is_empty() {
            true => None,
            false => Some(self.field()),
        }
    }
}

impl Fields {
    fn field(&mut self) -> Result<(u64, Value), Malformed> {
        let field = self.take();
        // What follows cannot be told from rubbish any more.
        if field.is_err() {
            self.0.clear();
        }
        field
    }

    fn take(&mut self) -> Result<(u64, Value), Malformed> {
        let key = self.number()?;
        let value = match key & 7 {
            0 => Value::Number(self.number()?),
            1 => Value::Bytes(self.bytes(8)?),
            2 => {
                let length = self.number()?;
                Value::Bytes(self.bytes(usize::try_from(length).map_err(|_| Malformed)?)?)
            }
            5 => Value::Bytes(self.bytes(4)?),
            _ => return Err(Malformed),
        };
        Ok((key >> 3, value))
    }

    fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.0.first().copied().ok_or(Malformed)?;
            self.0.advance(1);
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed)
    }

    fn bytes(&mut self, length: usize) -> Result<Bytes, Malformed> {
        match length <= self.0.len() {
            true => Ok(self.0.split_to(length)),
            false => Err(Malformed),
        }
    }
}

fn framed(message: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(PREFIX + message.len());
    framed.put_u8(0);
    // A message of ours is little more than a read of 64 KiB.
    framed.put_u32(message.len() as u32);
    framed.put_slice(message);
    framed.freeze()
}

fn put_number(into: &mut BytesMut, field: u64, number: u64) {
    if number != 0 {
        put_varint(into, field << 3);
        put_varint(into, number);
    }
}

fn put_bytes(into: &mut BytesMut, field: u64, bytes: &[u8]) {
    put_varint(into, field << 3 | 2);
    put_varint(into, bytes.len() as u64);
    into.put_slice(bytes);
}

fn put_varint(into: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        into.put_u8(number as u8 | 0x80);
        number >>= 7;
    }
    into.put_u8(number as u8);
}

const PREFIX: usize = 5;
/// As the official client has it.
const MAX_MESSAGE: usize = 100 << 20;
const RECONNECT: u64 = 1;
const UNKNOWN: u32 = 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn arrived(message: &[u8]) -> BytesMut {
        BytesMut::from(&framed(message)[..])
    }

    #[test]
    fn requests_are_written_as_protobuf_writes_them() {
        assert_eq!(
            start("locations/r", "projects/p/instances/i")[5..],
            *b"\x2a\x25\x0a\x0blocations/r\x12\x16projects/p/instances/i"
        );
        assert_eq!(data(0, b"ab")[..], *b"\0\0\0\0\x06\x3a\x04\x12\x02ab");
        assert_eq!(data(300, b"a")[5..], *b"\x3a\x06\x08\xac\x02\x12\x01a");
        assert_eq!(acknowledgement(5)[5..], *b"\x22\x02\x08\x05");
    }

    #[test]
    fn responses_are_read_piece_by_piece() {
        let whole = arrived(b"\x22\x06\x08\xac\x02\x12\x01a");
        for cut in 0..whole.len() {
            assert_eq!(next(&mut BytesMut::from(&whole[..cut])), Ok(None));
        }
        let mut twice = whole.clone();
        twice.extend_from_slice(&arrived(b"\x1a\x02\x08\x01"));
        let bytes = Bytes::from_static(b"a");
        assert_eq!(
            next(&mut twice),
            Ok(Some(Response::Data { offset: 300, bytes }))
        );
        let metadata = Response::Metadata { reconnects: true };
        assert_eq!(next(&mut twice), Ok(Some(metadata)));
        assert_eq!(next(&mut twice), Ok(None));
        let acknowledged = next(&mut arrived(b"\x12\x02\x08\x05"));
        assert_eq!(acknowledged, Ok(Some(Response::Other)));
    }

    #[test]
    fn an_end_says_why() {
        let mut info = BytesMut::new();
        put_bytes(&mut info, 1, b"DB_SERVER_CLOSED");
        let mut any = BytesMut::new();
        put_bytes(&mut any, 1, b"type.googleapis.com/google.rpc.ErrorInfo");
        put_bytes(&mut any, 2, &info);
        let mut status = BytesMut::new();
        put_number(&mut status, 1, 14);
        put_bytes(&mut status, 2, b"gone");
        put_bytes(&mut status, 3, &any);
        let mut terminate = BytesMut::new();
        put_bytes(&mut terminate, 1, &status);
        let mut response = BytesMut::new();
        put_bytes(&mut response, 5, &terminate);
        let read = next(&mut arrived(&response));
        let status = Status {
            code: 14,
            message: "gone".to_owned(),
            reason: Some("DB_SERVER_CLOSED".to_owned()),
        };
        assert_eq!(read, Ok(Some(Response::Terminate(status))));
    }

    #[test]
    fn what_is_too_long_or_compressed_is_refused_before_it_is_kept() {
        assert_eq!(
            next(&mut BytesMut::from(&b"\0\xff\xff\xff\xff"[..])),
            Err(Malformed)
        );
        assert_eq!(
            next(&mut BytesMut::from(&b"\x01\0\0\0\x01a"[..])),
            Err(Malformed)
        );
        assert_eq!(next(&mut arrived(b"\x22\x7f")), Err(Malformed));
    }

    proptest! {
        #[test]
        fn no_bytes_confuse_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = next(&mut BytesMut::from(&bytes[..]));
            let _ = next(&mut arrived(&bytes));
        }
    }
}
