//! The ring of log lines in the `otalog` partition.
//!
//! Each sector starts with a header cell; records of whole 32-byte cells follow
//! and do not cross sectors. The ring grows sector by sector: the sector with
//! the highest sequence is the newest.
//!
//! ```text
//! header cell (first cell of a sector)        first cell of a record
//!  0   8  "OTARIAL1"                           0   1  0x01
//!  8   4  sequence of this sector              1   1  number of cells, 1 to 8
//! 12  16  0                                    2   1  level
//! 28   4  CRC-32 over bytes 0..28              3   1  text length, 0 to 200
//!                                              4   4  n
//! continuation cell                            8   4  boot
//!  0   1  0x80                                12   8  t_ms
//!  1  31  text                                20   4  CRC-32
//!                                             24   8  text
//! ```
//!
//! The CRC is over the sector's sequence (4 bytes), then all bytes of the
//! record except the CRC itself, so that a line that an incomplete erase left
//! behind does not count in the sector's next turn.
//!
//! | a cut here | leaves |
//! |---|---|
//! | within a record | cells whose CRC fails: passed over; the next line goes behind them |
//! | within a header cell or an erase | a sector that is not valid: it is erased again before use |

use core::fmt;

use crate::bytes::{Reader, Writer};
use crate::crc32::Crc32;
use crate::messages::{Level, LogLine};

/// Length of a cell.
pub const CELL_LEN: usize = 32;
/// Longest text of a line in bytes.
pub const MAX_TEXT_LEN: usize = 200;
/// Most cells in a record.
pub const MAX_CELLS: usize = 8;
/// Longest record in bytes.
pub const MAX_RECORD_LEN: usize = CELL_LEN * MAX_CELLS;
/// Cells in a sector of 4096 bytes, its header included.
pub const SECTOR_CELLS: usize = 4096 / CELL_LEN;

const FIRST: u8 = 0x01;
const CONTINUATION: u8 = 0x80;
const ERASED: u8 = 0xFF;
const CRC_AT: usize = 20;
const FIRST_TEXT_AT: usize = 24;
const FIRST_TEXT_LEN: usize = CELL_LEN - FIRST_TEXT_AT;
const NEXT_TEXT_LEN: usize = CELL_LEN - 1;
const SECTOR_MAGIC: [u8; 8] = *b"OTARIAL1";
const SECTOR_CHECKED_LEN: usize = 28;

/// The first cell of a sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SectorHeader {
    /// Rises by one with each sector that the ring takes into use.
    pub sequence: u32,
}

impl SectorHeader {
    /// Reads a header cell; `None` if it is none of this version.
    #[must_use]
    pub fn parse(cell: &[u8; CELL_LEN]) -> Option<Self> {
        let mut reader = Reader::new(cell);
        reader.skip(SECTOR_MAGIC.len());
        let header = Self {
            sequence: reader.u32(),
        };
        // All the rest is fixed, or the CRC of it.
        (header.encode() == *cell).then_some(header)
    }

    /// The header cell.
    #[must_use]
    pub fn encode(&self) -> [u8; CELL_LEN] {
        let checked: [u8; SECTOR_CHECKED_LEN] =
            Writer::new().put(&SECTOR_MAGIC).u32(self.sequence).finish();
        Writer::new()
            .put(&checked)
            .u32(Crc32::new().with(&checked).finish())
            .finish()
    }
}

/// What a cell looks like by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// Never written, as far as all its bytes show.
    Erased,
    /// It may be the first one of a record of so many cells.
    First {
        /// Number of cells, 1 to 8.
        cells: usize,
    },
    /// It goes on with a record.
    Continuation,
    /// Nothing that a whole write leaves.
    Damaged,
}

impl Cell {
    /// Looks at one cell.
    #[must_use]
    pub fn of(cell: &[u8; CELL_LEN]) -> Self {
        let [kind, cells, ..] = *cell;
        match kind {
            FIRST if (1..=MAX_CELLS).contains(&usize::from(cells)) => Self::First {
                cells: usize::from(cells),
            },
            CONTINUATION => Self::Continuation,
            ERASED if cell.iter().all(|byte| *byte == ERASED) => Self::Erased,
            _ => Self::Damaged,
        }
    }
}

/// Why bytes are not a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineError {
    /// The first cell starts no record, or what follows does not go on with it.
    NotARecord,
    /// The CRC does not match: a write that was cut short, or of an earlier turn.
    BadCrc,
    /// The text does not fit its cells, or is not UTF-8.
    Malformed,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotARecord => "there is no log record here",
            Self::BadCrc => "the log record's CRC is wrong",
            Self::Malformed => "the log record's text does not decode",
        })
    }
}

impl core::error::Error for LineError {}

/// Number of cells of a line with a text of this length.
#[must_use]
pub fn cells_for(text_len: usize) -> usize {
    1 + text_len
        .saturating_sub(FIRST_TEXT_LEN)
        .div_ceil(NEXT_TEXT_LEN)
}

/// Encodes a line for a sector of this sequence; the result is whole cells.
#[must_use]
pub fn encode<'a>(sequence: u32, line: &LogLine, out: &'a mut [u8; MAX_RECORD_LEN]) -> &'a [u8] {
    out.fill(0);
    let text = line.text.as_bytes();
    let cells = cells_for(text.len());
    let (all, _) = out.as_chunks_mut::<CELL_LEN>();
    let mut text = text.iter();
    for (index, cell) in all.iter_mut().take(cells).enumerate() {
        let start = if index == 0 { FIRST_TEXT_AT } else { 1 };
        if index > 0 {
            let [tag, ..] = cell;
            *tag = CONTINUATION;
        }
        for (place, byte) in cell.iter_mut().skip(start).zip(&mut text) {
            *place = *byte;
        }
    }
    let head: [u8; CRC_AT] = Writer::new()
        .u8(FIRST)
        .u8(cells as u8)
        .u8(line.level.number())
        .u8(line.text.len() as u8)
        .u32(line.n)
        .u32(line.boot)
        .u64(line.t_ms)
        .finish();
    if let Some(place) = out.first_chunk_mut() {
        *place = head;
    }
    let record = out.get_mut(..cells * CELL_LEN).unwrap_or_default();
    seal(sequence, record);
    record
}

/// Puts the CRC into the first cell.
pub(crate) fn seal(sequence: u32, record: &mut [u8]) {
    let crc = record_crc(sequence, record).unwrap_or_default();
    if let Some(place) = record.get_mut(CRC_AT..FIRST_TEXT_AT) {
        place.copy_from_slice(&crc.to_le_bytes());
    }
}

/// Reads the line at the start of `bytes`, in a sector of this sequence.
///
/// # Errors
/// See [`LineError`].
pub fn decode(sequence: u32, bytes: &[u8]) -> Result<LogLine, LineError> {
    let first = bytes
        .first_chunk::<CELL_LEN>()
        .ok_or(LineError::NotARecord)?;
    let Cell::First { cells } = Cell::of(first) else {
        return Err(LineError::NotARecord);
    };
    let record = bytes.get(..cells * CELL_LEN).ok_or(LineError::NotARecord)?;
    let (all, _) = record.as_chunks::<CELL_LEN>();
    if all
        .iter()
        .skip(1)
        .any(|cell| Cell::of(cell) != Cell::Continuation)
    {
        return Err(LineError::NotARecord);
    }
    let mut head = Reader::new(first);
    let _kind_and_cells = head.u16();
    let level = Level::from_number(head.u8());
    let text_len = usize::from(head.u8());
    let (n, boot, t_ms) = (head.u32(), head.u32(), head.u64());
    if Some(head.u32()) != record_crc(sequence, record) {
        return Err(LineError::BadCrc);
    }
    if cells_for(text_len) != cells || text_len > MAX_TEXT_LEN {
        return Err(LineError::Malformed);
    }
    let mut text = heapless::Vec::<u8, MAX_TEXT_LEN>::new();
    let mut start = FIRST_TEXT_AT;
    for cell in all {
        let left = text_len.saturating_sub(text.len());
        let piece = cell.iter().skip(start).take(left);
        text.extend(piece.copied());
        start = 1;
    }
    Ok(LogLine {
        n,
        boot,
        t_ms,
        level,
        text: heapless::String::from_utf8(text).map_err(|_| LineError::Malformed)?,
    })
}

fn record_crc(sequence: u32, record: &[u8]) -> Option<u32> {
    let crc = Crc32::new()
        .with(&sequence.to_le_bytes())
        .with(record.get(..CRC_AT)?)
        .with(record.get(FIRST_TEXT_AT..)?);
    Some(crc.finish())
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use proptest::prelude::*;

    use super::*;
    use crate::clip;
    use crate::golden::hex;

    const SEQUENCE: u32 = 0x0102_0304;

    fn line(n: u32, t_ms: u64, level: Level, text: &str) -> LogLine {
        LogLine {
            n,
            boot: 42,
            t_ms,
            level,
            text: heapless::String::try_from(text).unwrap(),
        }
    }

    fn bytes_of(line: &LogLine) -> Vec<u8> {
        encode(SEQUENCE, line, &mut [0xEE; MAX_RECORD_LEN]).to_vec()
    }

    #[test]
    fn header_bytes_are_fixed() {
        let header = SectorHeader { sequence: SEQUENCE };
        let golden = hex("4f54415249414c31 04030201 00000000000000000000000000000000 fca47ac1");
        assert_eq!(header.encode().to_vec(), golden);
        assert_eq!(SectorHeader::parse(&header.encode()), Some(header));
        for bit in 0..CELL_LEN * 8 {
            let mut flipped = header.encode();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SectorHeader::parse(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn line_bytes_are_fixed() {
        let table = [
            (
                line(5, 123_456_789, Level::Warn, "short"),
                "01010205050000002a00000015cd5b07000000003b54c61473686f7274000000",
            ),
            (
                line(
                    6,
                    123_456_790,
                    Level::Error,
                    "a line that needs two cells, not one",
                ),
                "01020124060000002a00000016cd5b07000000007438ae0961206c696e652074
                 80686174206e656564732074776f2063656c6c732c206e6f74206f6e65000000",
            ),
        ];
        for (line, golden) in table {
            assert_eq!(bytes_of(&line), hex(golden));
            assert_eq!(decode(SEQUENCE, &hex(golden)), Ok(line));
        }
    }

    #[test]
    fn the_longest_line_takes_eight_cells() {
        let longest = line(1, u64::MAX, Level::Debug, &"x".repeat(MAX_TEXT_LEN));
        let bytes = bytes_of(&longest);
        assert_eq!(bytes.len(), MAX_RECORD_LEN);
        assert_eq!(decode(SEQUENCE, &bytes), Ok(longest));
        assert_eq!([0, 8, 9, 39, 40].map(cells_for), [1, 1, 2, 2, 3]);
    }

    #[test]
    fn a_line_with_any_bit_flipped_or_cut_short_is_refused() {
        let bytes = bytes_of(&line(
            6,
            9,
            Level::Info,
            "a line that needs two cells, not one",
        ));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(SEQUENCE, &flipped).is_err(), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert!(decode(SEQUENCE, &bytes[..len]).is_err(), "{len}");
        }
        assert_eq!(decode(SEQUENCE + 1, &bytes), Err(LineError::BadCrc));
    }

    #[test]
    fn a_text_that_does_not_fit_its_cells_is_malformed() {
        for (at, byte) in [(3, 9), (3, 201), (3, 0xFF), (24, 0xFF)] {
            let mut bytes = bytes_of(&line(1, 1, Level::Info, "short"));
            bytes[at] = byte;
            seal(SEQUENCE, &mut bytes);
            assert_eq!(
                decode(SEQUENCE, &bytes),
                Err(LineError::Malformed),
                "{byte} at {at}"
            );
        }
    }

    #[test]
    fn cells_are_told_apart() {
        assert_eq!(Cell::of(&[0xFF; CELL_LEN]), Cell::Erased);
        assert_eq!(Cell::of(&[0x80; CELL_LEN]), Cell::Continuation);
        assert_eq!(Cell::of(&[0x01; CELL_LEN]), Cell::First { cells: 1 });
        assert_eq!(Cell::of(&[0x02; CELL_LEN]), Cell::Damaged);
        assert_eq!(Cell::of(&[0x00; CELL_LEN]), Cell::Damaged);
        let mut too_long = [0; CELL_LEN];
        too_long[..2].copy_from_slice(&[1, 9]);
        assert_eq!(Cell::of(&too_long), Cell::Damaged);
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_the_same(
            sequence in any::<u32>(), n in any::<u32>(), boot in any::<u32>(), t_ms in any::<u64>(),
            level in 0u8..5, text in ".{0,80}",
        ) {
            let line = LogLine { n, boot, t_ms, level: Level::from_number(level), text: clip(&text) };
            let mut out = [0; MAX_RECORD_LEN];
            prop_assert_eq!(decode(sequence, encode(sequence, &line, &mut out)), Ok(line));
        }
    }
}
