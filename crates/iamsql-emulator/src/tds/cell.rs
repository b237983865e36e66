//! One value with its type, both as they travel: a parameter goes back as it came.

use super::login::text;

/// A value: the bytes of its TYPE_INFO, and its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    pub(super) info: Vec<u8>,
    pub(super) value: Vec<u8>,
}

impl Cell {
    pub(super) fn null() -> Self {
        Cell {
            info: vec![INT_N, 4],
            value: vec![0],
        }
    }

    /// `int`, or `bigint` where that does not suffice.
    pub(super) fn integer(number: i64) -> Self {
        let (size, bytes) = match i32::try_from(number) {
            Ok(number) => (4, number.to_le_bytes().to_vec()),
            Err(_) => (8, number.to_le_bytes().to_vec()),
        };
        Cell {
            info: vec![INT_N, size],
            value: [vec![size], bytes].concat(),
        }
    }

    /// `numeric`, by its digits and how many of them follow the point.
    pub(super) fn decimal(digits: u32, negative: bool, precision: u8, scale: u8) -> Self {
        let mut value = vec![5, u8::from(!negative)];
        value.extend(digits.to_le_bytes());
        Cell {
            info: vec![NUMERIC_N, 5, precision, scale],
            value,
        }
    }

    /// `nvarchar`.
    pub(super) fn text(text: &str) -> Self {
        let units: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let units = &units[..units.len().min(8000)];
        let mut info = vec![NVARCHAR];
        info.extend((units.len().max(2) as u16).to_le_bytes());
        info.extend(COLLATION);
        let mut value = (units.len() as u16).to_le_bytes().to_vec();
        value.extend(units);
        Cell { info, value }
    }

    /// The text of a character type; `None` for others and for NULL.
    pub(super) fn as_text(&self) -> Option<String> {
        let wide = matches!(self.info[0], NVARCHAR | NCHAR | NTEXT);
        if !wide && !matches!(self.info[0], VARCHAR | CHAR) {
            return None;
        }
        let bytes = self.bytes()?;
        Some(if wide {
            text(&bytes)
        } else {
            String::from_utf8_lossy(&bytes).into_owned()
        })
    }

    /// The number of an integer type; `None` for others and for NULL.
    pub(super) fn as_integer(&self) -> Option<i64> {
        let bytes = match self.info[0] {
            INT_N => self.value.get(1..)?,
            INT_1 | INT_2 | INT_4 | INT_8 => &self.value[..],
            _ => return None,
        };
        Some(match *bytes {
            [one] => i64::from(one),
            [a, b] => i64::from(i16::from_le_bytes([a, b])),
            [a, b, c, d] => i64::from(i32::from_le_bytes([a, b, c, d])),
            _ => i64::from_le_bytes(bytes.try_into().ok()?),
        })
    }

    /// The bytes of a value whose length stands before it.
    fn bytes(&self) -> Option<Vec<u8>> {
        let mut at = Cursor(&self.value);
        if self.info[0] == NTEXT {
            let length = at.u32()?;
            return Some(at.take(length as usize)?.to_vec());
        }
        if self.info[1..3] != [0xff, 0xff] {
            let length = at.u16()?;
            return (length != 0xffff)
                .then(|| at.take(usize::from(length)).map(<[u8]>::to_vec))
                .flatten();
        }
        let total = at.take(8)?;
        if total == [0xff; 8] {
            return None;
        }
        let mut whole = Vec::new();
        loop {
            match at.u32()? {
                0 => return Some(whole),
                length => whole.extend(at.take(length as usize)?),
            }
        }
    }
}

/// What is left to read.
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    /// Text with its length before it.
    pub(super) fn short_text(&mut self) -> Option<String> {
        let count = usize::from(self.u8()?);
        Some(text(self.take(2 * count)?))
    }

    /// A type and a value of it. `None` for types that are not known here.
    pub(super) fn cell(&mut self) -> Option<Cell> {
        let start = self.0;
        let kind = self.u8()?;
        let length = self.type_info(kind)?;
        let info = start[..start.len() - self.0.len()].to_vec();
        let start = self.0;
        match length {
            Length::Fixed(count) => {
                self.take(count)?;
            }
            Length::Byte => {
                let count = usize::from(self.u8()?);
                self.take(count)?;
            }
            Length::Word => match self.u16()? {
                0xffff => {}
                count => {
                    self.take(usize::from(count))?;
                }
            },
            Length::Long => match self.u32()? {
                u32::MAX => {}
                count => {
                    self.take(count as usize)?;
                }
            },
            Length::Chunks => {
                if self.take(8)? != [0xff; 8] {
                    loop {
                        match self.u32()? {
                            0 => break,
                            count => self.take(count as usize)?,
                        };
                    }
                }
            }
        }
        let value = start[..start.len() - self.0.len()].to_vec();
        Some(Cell { info, value })
    }

    /// Reads what follows the type's byte, and says how its values tell their length.
    fn type_info(&mut self, kind: u8) -> Option<Length> {
        Some(match kind {
            NULL => Length::Fixed(0),
            INT_1 | BIT => Length::Fixed(1),
            INT_2 => Length::Fixed(2),
            INT_4 | FLOAT_4 => Length::Fixed(4),
            INT_8 | FLOAT_8 => Length::Fixed(8),
            INT_N | BIT_N | FLOAT_N | DATETIME_N | MONEY_N | GUID => {
                self.take(1)?;
                Length::Byte
            }
            DECIMAL_N | NUMERIC_N => {
                self.take(3)?;
                Length::Byte
            }
            DATE => Length::Byte,
            TIME | DATETIME_2 | DATETIME_OFFSET => {
                self.take(1)?;
                Length::Byte
            }
            NVARCHAR | NCHAR | VARCHAR | CHAR | VARBINARY | BINARY => {
                let longest = self.u16()?;
                if !matches!(kind, VARBINARY | BINARY) {
                    self.take(COLLATION.len())?;
                }
                if longest == 0xffff {
                    Length::Chunks
                } else {
                    Length::Word
                }
            }
            NTEXT => {
                self.take(4 + COLLATION.len())?;
                Length::Long
            }
            _ => return None,
        })
    }
}

/// How a value tells its length.
enum Length {
    Fixed(usize),
    Byte,
    Word,
    Long,
    Chunks,
}

/// `SQL_Latin1_General_CP1_CI_AS`.
pub(super) const COLLATION: [u8; 5] = [0x09, 0x04, 0xd0, 0x00, 0x34];

const NULL: u8 = 0x1f;
const GUID: u8 = 0x24;
const INT_N: u8 = 0x26;
const DATE: u8 = 0x28;
const TIME: u8 = 0x29;
const DATETIME_2: u8 = 0x2a;
const DATETIME_OFFSET: u8 = 0x2b;
const INT_1: u8 = 0x30;
const BIT: u8 = 0x32;
const INT_2: u8 = 0x34;
const INT_4: u8 = 0x38;
const FLOAT_4: u8 = 0x3b;
const FLOAT_8: u8 = 0x3e;
const NTEXT: u8 = 0x63;
const BIT_N: u8 = 0x68;
const DECIMAL_N: u8 = 0x6a;
const NUMERIC_N: u8 = 0x6c;
const FLOAT_N: u8 = 0x6d;
const MONEY_N: u8 = 0x6e;
const DATETIME_N: u8 = 0x6f;
const INT_8: u8 = 0x7f;
const VARBINARY: u8 = 0xa5;
const VARCHAR: u8 = 0xa7;
const BINARY: u8 = 0xad;
const CHAR: u8 = 0xaf;
const NVARCHAR: u8 = 0xe7;
const NCHAR: u8 = 0xef;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_cut_where_they_end() {
        let long: Vec<u8> = [
            &[NVARCHAR, 0xff, 0xff][..],
            &COLLATION,
            &4_u64.to_le_bytes(),
            &[2, 0, 0, 0, b'a', 0, 2, 0, 0, 0, b'b', 0, 0, 0, 0, 0],
        ]
        .concat();
        let cells = [
            (vec![INT_N, 4, 4, 7, 0, 0, 0], Some(7), None),
            (vec![INT_4, 9, 0, 0, 0], Some(9), None),
            (vec![INT_N, 4, 0], None, None),
            (long, None, Some("ab")),
            (vec![DATE, 3, 1, 2, 3], None, None),
        ];
        for (bytes, number, text) in cells {
            let with_rest = [&bytes[..], b"rest"].concat();
            let mut cursor = Cursor(&with_rest);
            let cell = cursor.cell().unwrap();
            assert_eq!(cursor.0, b"rest");
            assert_eq!([cell.info.clone(), cell.value.clone()].concat(), bytes);
            assert_eq!(
                (cell.as_integer(), cell.as_text().as_deref()),
                (number, text)
            );
            for short in 0..bytes.len() {
                assert_eq!(Cursor(&bytes[..short]).cell(), None);
            }
        }
        assert_eq!(Cell::text("ü").as_text().as_deref(), Some("ü"));
        assert_eq!(Cell::integer(1 << 40).as_integer(), Some(1 << 40));
        assert_eq!(Cursor(&[0xf0, 1]).cell(), None);
    }
}
