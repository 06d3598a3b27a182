//! Payload fields over the cells of a record, past the tags of continuation cells.

use heapless::String;
use heapless::string::StringView;

use super::{CELL_LEN, FIRST_PAYLOAD_AT, MAX_RECORD_LEN};
use crate::Sha256Digest;

/// Bytes before the payload in a cell.
fn payload_at(cell: usize) -> usize {
    if cell == 0 { FIRST_PAYLOAD_AT } else { 1 }
}

/// Lays payload fields one after the other.
#[derive(Debug)]
pub struct PayloadWriter<'a> {
    cells: &'a mut [[u8; CELL_LEN]],
    cell: usize,
    at: usize,
    full: bool,
}

impl<'a> PayloadWriter<'a> {
    pub(super) fn new(out: &'a mut [u8; MAX_RECORD_LEN]) -> Self {
        out.fill(0);
        Self {
            cells: out.as_chunks_mut().0,
            cell: 0,
            at: payload_at(0),
            full: false,
        }
    }

    /// The cells in use, or `None` if not everything fitted.
    pub(super) fn finish(self) -> Option<&'a mut [[u8; CELL_LEN]]> {
        let cells = self.cells.get_mut(..=self.cell);
        cells.filter(|_| !self.full)
    }

    /// Adds bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.at == CELL_LEN {
                self.cell += 1;
                self.at = payload_at(self.cell);
            }
            match self
                .cells
                .get_mut(self.cell)
                .and_then(|cell| cell.get_mut(self.at))
            {
                Some(place) => *place = *byte,
                None => {
                    self.full = true;
                    return;
                }
            }
            self.at += 1;
        }
    }

    /// Adds one byte.
    pub fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    /// Adds 2 bytes.
    pub fn u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    /// Adds 4 bytes.
    pub fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    /// Adds 8 bytes.
    pub fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    /// Adds a digest.
    pub fn digest(&mut self, digest: &Sha256Digest) {
        self.bytes(&digest.0);
    }

    /// Adds a text: its length (2 bytes), then its bytes.
    pub fn text(&mut self, text: &str) {
        match u16::try_from(text.len()) {
            Ok(len) => {
                self.u16(len);
                self.bytes(text.as_bytes());
            }
            Err(_) => self.full = true,
        }
    }
}

/// Takes payload fields in the order in which they were laid.
///
/// Behind the last cell everything reads as zero: that is what an earlier
/// version wrote for a field that it did not know.
#[derive(Clone, Debug)]
pub struct PayloadReader<'a> {
    cells: &'a [[u8; CELL_LEN]],
    cell: usize,
    at: usize,
}

impl<'a> PayloadReader<'a> {
    pub(super) fn new(cells: &'a [[u8; CELL_LEN]]) -> Self {
        Self {
            cells,
            cell: 0,
            at: payload_at(0),
        }
    }

    fn next(&mut self) -> u8 {
        if self.at == CELL_LEN {
            self.cell += 1;
            self.at = payload_at(self.cell);
        }
        let Some(byte) = self.cells.get(self.cell).and_then(|cell| cell.get(self.at)) else {
            return 0;
        };
        self.at += 1;
        *byte
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.next();
        }
    }

    /// Takes bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// Takes one byte.
    pub fn u8(&mut self) -> u8 {
        self.next()
    }

    /// Takes 2 bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    /// Takes 4 bytes.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    /// Takes 8 bytes.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.array())
    }

    /// Takes a digest.
    pub fn digest(&mut self) -> Sha256Digest {
        Sha256Digest(self.array())
    }

    /// Takes a text; `None` if it is longer than `N` bytes or not UTF-8.
    pub fn text<const N: usize>(&mut self) -> Option<String<N>> {
        let mut text = String::new();
        self.text_into(text.as_mut_view())?;
        Some(text)
    }

    /// Character by character, so that the text is only in the place where it is wanted.
    fn text_into(&mut self, text: &mut StringView) -> Option<()> {
        let mut left = usize::from(self.u16());
        while left > 0 {
            let first = self.next();
            let mut bytes = [first, 0, 0, 0];
            // What starts no character has a length that makes none.
            let len = first.leading_ones().max(1) as usize;
            let character = bytes.get_mut(..len)?;
            left = left.checked_sub(len)?;
            self.fill(character.get_mut(1..)?);
            text.push_str(core::str::from_utf8(character).ok()?).ok()?;
        }
        Some(())
    }
}
