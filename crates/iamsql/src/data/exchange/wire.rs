//! As much of the protocol buffers' encoding as metadata exchanges use: numbers and texts, by field.

/// One field of a message.
#[derive(Debug, PartialEq)]
pub(super) enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Of a kind that no message here uses.
    Other,
}

pub(super) fn put_number(message: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(message, u64::from(field << 3 | VARINT));
    put_varint(message, value);
}

pub(super) fn put_text(message: &mut Vec<u8>, field: u32, text: &str) {
    put_varint(message, u64::from(field << 3 | LENGTH_DELIMITED));
    put_varint(message, text.len() as u64);
    message.extend_from_slice(text.as_bytes());
}

/// The next field and its number, taken off the front of `message`; `None` if what is there is no field.
pub(super) fn take_field<'a>(message: &mut &'a [u8]) -> Option<(u64, Field<'a>)> {
    let key = take_varint(message)?;
    let field = match (key & 7) as u32 {
        VARINT => Field::Number(take_varint(message)?),
        LENGTH_DELIMITED => {
            let length = usize::try_from(take_varint(message)?).ok()?;
            Field::Bytes(take(message, length)?)
        }
        EIGHT_BYTES => take(message, 8).map(|_| Field::Other)?,
        FOUR_BYTES => take(message, 4).map(|_| Field::Other)?,
        _ => return None,
    };
    Some((key >> 3, field))
}

fn put_varint(message: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        message.push(value as u8 | 0x80);
        value >>= 7;
    }
    message.push(value as u8);
}

fn take_varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(message, 1)?[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn take<'a>(message: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = message.split_at_checked(length)?;
    *message = rest;
    Some(taken)
}

const VARINT: u32 = 0;
const EIGHT_BYTES: u32 = 1;
const LENGTH_DELIMITED: u32 = 2;
const FOUR_BYTES: u32 = 5;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_put_is_taken_and_what_is_unknown_is_passed_over() {
        let mut message = Vec::new();
        put_number(&mut message, 2, 1);
        put_number(&mut message, 3, u64::MAX);
        put_text(&mut message, 1, "ünï");
        assert_eq!(message[..2], [0x10, 0x01]);
        message.extend([0x5d, 1, 2, 3, 4]);
        message.extend([0x61, 1, 2, 3, 4, 5, 6, 7, 8]);
        let mut rest = &message[..];
        assert_eq!(take_field(&mut rest), Some((2, Field::Number(1))));
        assert_eq!(take_field(&mut rest), Some((3, Field::Number(u64::MAX))));
        assert_eq!(
            take_field(&mut rest),
            Some((1, Field::Bytes("ünï".as_bytes())))
        );
        assert_eq!(take_field(&mut rest), Some((11, Field::Other)));
        assert_eq!(take_field(&mut rest), Some((12, Field::Other)));
        assert!(rest.is_empty());
    }

    #[test]
    fn what_is_cut_off_or_no_field_is_none() {
        for broken in [
            &[][..],
            &[0x80],
            &[0x12, 0x05, b'a'],
            &[0x08],
            &[0x0b],
            &[0xff; 12],
            &[
                0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01,
            ],
        ] {
            assert_eq!(take_field(&mut &broken[..]), None, "{broken:x?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_upset_it(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let mut rest = &bytes[..];
            while take_field(&mut rest).is_some() {}
        }
    }
}
