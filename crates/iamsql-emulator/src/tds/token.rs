//! The tokens that answers are made of.

use super::cell::Cell;

/// An answer in the making.
#[derive(Default)]
pub(super) struct Tokens(Vec<u8>);

/// Bits of a DONE token.
pub(super) const MORE: u16 = 0x01;
pub(super) const ERROR: u16 = 0x02;
pub(super) const COUNT: u16 = 0x10;
pub(super) const ATTENTION: u16 = 0x20;

impl Tokens {
    /// The bytes so far.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }

    /// An error; the severity says whose fault it is.
    pub(super) fn error(&mut self, number: i32, severity: u8, message: &str) {
        self.message(0xaa, number, severity, message);
    }

    /// A remark.
    pub(super) fn info(&mut self, number: i32, message: &str) {
        self.message(0xab, number, 0, message);
    }

    /// The end of a statement.
    pub(super) fn done(&mut self, status: u16, rows: u64) {
        self.end(0xfd, status, rows);
    }

    /// The end of a statement inside a procedure.
    pub(super) fn done_inside(&mut self, status: u16, rows: u64) {
        self.end(0xff, status, rows);
    }

    /// The end of a procedure.
    pub(super) fn done_procedure(&mut self, status: u16) {
        self.end(0xfe, status, 0);
    }

    /// What a procedure returns.
    pub(super) fn return_status(&mut self, value: i32) {
        self.0.push(0x79);
        self.0.extend(value.to_le_bytes());
    }

    /// An output parameter.
    pub(super) fn return_value(&mut self, ordinal: u16, name: &str, cell: &Cell) {
        self.0.push(0xac);
        self.0.extend(ordinal.to_le_bytes());
        self.0.extend(short_text(name));
        self.0.extend([1, 0, 0, 0, 0, 0, 0]);
        self.0.extend(&cell.info);
        self.0.extend(&cell.value);
    }

    /// The columns and the values of one row.
    pub(super) fn row(&mut self, columns: &[(String, Cell)]) {
        self.0.push(0x81);
        self.0.extend((columns.len() as u16).to_le_bytes());
        for (name, cell) in columns {
            // User type, then the flag "nullable".
            self.0.extend([0, 0, 0, 0, 1, 0]);
            self.0.extend(&cell.info);
            self.0.extend(short_text(name));
        }
        self.0.push(0xd1);
        for (_, cell) in columns {
            self.0.extend(&cell.value);
        }
    }

    /// A change of the session that is a text: 1 the database, 2 the language, 4 the packet size.
    pub(super) fn changed_text(&mut self, what: u8, new: &str, old: &str) {
        self.changed(what, [short_text(new), short_text(old)].concat());
    }

    /// A change that is bytes: 7 the collation, 8 to 10 transactions, 18 the reset.
    pub(super) fn changed_bytes(&mut self, what: u8, new: &[u8], old: &[u8]) {
        let value = |bytes: &[u8]| [&[bytes.len() as u8][..], bytes].concat();
        self.changed(what, [value(new), value(old)].concat());
    }

    /// The acknowledgement of a login.
    pub(super) fn login(&mut self, version: u32, program: &str) {
        let mut body = vec![1];
        body.extend(version.to_be_bytes());
        body.extend(short_text(program));
        body.extend([16, 0, 0, 0]);
        self.sized(0xad, &body);
    }

    fn changed(&mut self, what: u8, values: Vec<u8>) {
        self.sized(0xe3, &[vec![what], values].concat());
    }

    fn message(&mut self, token: u8, number: i32, severity: u8, message: &str) {
        let units: Vec<u16> = message.encode_utf16().take(LONGEST).collect();
        let mut body = number.to_le_bytes().to_vec();
        body.extend([1, severity]);
        body.extend((units.len() as u16).to_le_bytes());
        body.extend(units.into_iter().flat_map(u16::to_le_bytes));
        body.extend(short_text("iamsql-emulator"));
        body.extend(short_text(""));
        body.extend(1_i32.to_le_bytes());
        self.sized(token, &body);
    }

    fn sized(&mut self, token: u8, body: &[u8]) {
        self.0.push(token);
        self.0.extend((body.len() as u16).to_le_bytes());
        self.0.extend(body);
    }

    fn end(&mut self, token: u8, status: u16, rows: u64) {
        self.0.push(token);
        self.0.extend(status.to_le_bytes());
        self.0
            .extend(if status & COUNT != 0 { SELECT } else { [0, 0] });
        self.0.extend(rows.to_le_bytes());
    }
}

/// Text with its length, at most 255 characters.
fn short_text(text: &str) -> Vec<u8> {
    let units: Vec<u16> = text.encode_utf16().take(255).collect();
    let mut out = vec![units.len() as u8];
    out.extend(units.into_iter().flat_map(u16::to_le_bytes));
    out
}

/// What DONE calls the statement.
const SELECT: [u8; 2] = [0xc1, 0];
const LONGEST: usize = 2000;
