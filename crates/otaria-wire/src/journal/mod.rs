//! Records in the `otaria` partition.
//!
//! The journal's area is two halves of whole sectors. A half is a header cell
//! and then record cells, each 32 bytes, written in order.
//!
//! ```text
//! header cell (first cell of a half)
//!  0   8  "OTARIAJ1"
//!  8   4  epoch: the valid half with the higher one is in force
//! 12   1  journal version = 1
//! 13  15  0
//! 28   4  CRC-32 over bytes 0..28
//!
//! first cell of a record                      continuation cell
//!  0   1  kind, 0x01 to 0x7F                   0   1  0x80
//!  1   1  number of cells, 1 to 32             1  31  payload
//!  2   2  key
//!  4   4  CRC-32
//!  8  24  payload
//! ```
//!
//! The CRC is over the half's epoch (4 bytes), then all bytes of all cells of
//! the record except the CRC itself. Payloads are padded with zeros to whole
//! cells. A cell whose first byte is 0xFF has never been written.
//!
//! | a cut here | leaves |
//! |---|---|
//! | within the first cell | a cell whose CRC fails; the next record goes behind it |
//! | between or within continuation cells | the same; continuation cells are passed over because no payload byte can stand first in a cell |
//! | within a header cell | a half that is not valid; the other one stays in force |
//! | within an erase of a half | the same: records of an earlier epoch fail their CRC under a new header |
//!
//! A record replaces the earlier one of the same kind and key. Unknown kinds are
//! kept, so that either slot's version can work with the other's records; new
//! fields are appended to a payload, and read as zero where an earlier version
//! wrote it.

mod payload;
mod records;
mod report;
#[cfg(test)]
mod tests;
mod timing;
mod trial;

use core::fmt;

use crate::bytes::{Reader, Writer};
use crate::crc32::Crc32;

pub use payload::{PayloadReader, PayloadWriter};
pub use records::{
    Boot, Bootloader, COMMAND_KEYS, CoSigned, CommandSeen, Confirmed, Download, Forget, Install,
    KeyEpoch, LastCrash, Progress, QUARANTINE_KEYS, Quarantine, TimeFloor, Wear,
};
pub use report::PendingReport;
pub use trial::{TrialCounters, TrialStage, TrialTarget};

/// Version of everything in this module; the boot guard's marker carries it.
pub const JOURNAL_VERSION: u8 = 1;
/// Length of a cell.
pub const CELL_LEN: usize = 32;
/// Most cells in a record.
pub const MAX_CELLS: usize = 32;
/// Longest record in bytes.
pub const MAX_RECORD_LEN: usize = CELL_LEN * MAX_CELLS;
/// Longest payload in bytes.
pub const MAX_PAYLOAD_LEN: usize = FIRST_PAYLOAD_LEN + (MAX_CELLS - 1) * NEXT_PAYLOAD_LEN;

const FIRST_PAYLOAD_LEN: usize = 24;
const NEXT_PAYLOAD_LEN: usize = 31;
const FIRST_PAYLOAD_AT: usize = 8;
const CONTINUATION: u8 = 0x80;
const ERASED: u8 = 0xFF;
const HALF_MAGIC: [u8; 8] = *b"OTARIAJ1";
const HALF_CHECKED_LEN: usize = 28;

/// The first cell of a half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HalfHeader {
    /// The valid half with the higher epoch is in force.
    pub epoch: u32,
}

impl HalfHeader {
    /// Reads a header cell; `None` if it is none of this version.
    #[must_use]
    pub fn parse(cell: &[u8; CELL_LEN]) -> Option<Self> {
        let mut reader = Reader::new(cell);
        reader.skip(HALF_MAGIC.len());
        let header = Self {
            epoch: reader.u32(),
        };
        // All the rest is fixed, or the CRC of it.
        (header.encode() == *cell).then_some(header)
    }

    /// The header cell.
    #[must_use]
    pub fn encode(&self) -> [u8; CELL_LEN] {
        let checked: [u8; HALF_CHECKED_LEN] = Writer::new()
            .put(&HALF_MAGIC)
            .u32(self.epoch)
            .u8(JOURNAL_VERSION)
            .finish();
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
        /// Number of cells, 1 to 32.
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
            0x01..=0x7F if (1..=MAX_CELLS).contains(&usize::from(cells)) => Self::First {
                cells: usize::from(cells),
            },
            CONTINUATION => Self::Continuation,
            ERASED if cell.iter().all(|byte| *byte == ERASED) => Self::Erased,
            _ => Self::Damaged,
        }
    }
}

/// Why bytes are not a record, or not the one asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// The first cell starts no record, or what follows does not go on with it.
    NotARecord,
    /// The CRC does not match: a write that was cut short, or of another epoch.
    BadCrc,
    /// The record is of another kind.
    OtherKind,
    /// The payload does not decode.
    Malformed,
    /// The payload does not fit into 32 cells.
    TooLong,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotARecord => "there is no journal record here",
            Self::BadCrc => "the journal record's CRC is wrong",
            Self::OtherKind => "the journal record is of another kind",
            Self::Malformed => "the journal record's payload does not decode",
            Self::TooLong => "the journal record is too long",
        })
    }
}

impl core::error::Error for RecordError {}

/// A payload with a layout.
pub trait Record: Sized {
    /// Its kind, 0x01 to 0x7F, never given to another layout.
    const KIND: u8;

    /// Writes the payload.
    fn write(&self, payload: &mut PayloadWriter<'_>);

    /// Reads the payload; `None` if it does not decode.
    fn read(payload: &mut PayloadReader<'_>) -> Option<Self>;
}

/// A record whose CRC was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordView<'a> {
    cells: &'a [[u8; CELL_LEN]],
    kind: u8,
    key: u16,
}

impl<'a> RecordView<'a> {
    /// Checks the record at the start of `bytes`, in a half of this epoch.
    ///
    /// # Errors
    /// `NotARecord` or `BadCrc`.
    pub fn parse(epoch: u32, bytes: &'a [u8]) -> Result<Self, RecordError> {
        let (cells, _) = bytes.as_chunks::<CELL_LEN>();
        let first = cells.first().ok_or(RecordError::NotARecord)?;
        let Cell::First { cells: count } = Cell::of(first) else {
            return Err(RecordError::NotARecord);
        };
        let cells = cells.get(..count).ok_or(RecordError::NotARecord)?;
        if cells
            .iter()
            .skip(1)
            .any(|cell| Cell::of(cell) != Cell::Continuation)
        {
            return Err(RecordError::NotARecord);
        }
        let mut head = Reader::new(first);
        let (kind, _count, key, crc) = (head.u8(), head.u8(), head.u16(), head.u32());
        if Some(crc) != record_crc(epoch, cells) {
            return Err(RecordError::BadCrc);
        }
        Ok(Self { cells, kind, key })
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> u8 {
        self.kind
    }

    /// Its key within the kind.
    #[must_use]
    pub fn key(&self) -> u16 {
        self.key
    }

    /// Number of cells.
    #[must_use]
    pub fn cells(&self) -> usize {
        self.cells.len()
    }

    /// Decodes the payload.
    ///
    /// # Errors
    /// Another kind, or a payload that does not decode.
    pub fn decode<T: Record>(&self) -> Result<T, RecordError> {
        if self.kind != T::KIND {
            return Err(RecordError::OtherKind);
        }
        T::read(&mut self.payload()).ok_or(RecordError::Malformed)
    }

    /// The payload, from its start.
    #[must_use]
    pub fn payload(&self) -> PayloadReader<'a> {
        PayloadReader::new(self.cells)
    }

    /// Writes the same record for a half of another epoch, whatever its kind.
    ///
    /// # Errors
    /// `TooLong` if `out` is too short.
    pub fn copy_to<'b>(
        &self,
        epoch: u32,
        out: &'b mut [u8; MAX_RECORD_LEN],
    ) -> Result<&'b [u8], RecordError> {
        let (cells, _) = out.as_chunks_mut::<CELL_LEN>();
        let cells = cells
            .get_mut(..self.cells.len())
            .ok_or(RecordError::TooLong)?;
        cells.copy_from_slice(self.cells);
        seal(epoch, cells).ok_or(RecordError::TooLong)?;
        Ok(cells.as_flattened())
    }
}

/// Encodes a record for a half of this epoch; the result is whole cells.
///
/// # Errors
/// `TooLong`.
pub fn encode<'a, T: Record>(
    epoch: u32,
    key: u16,
    record: &T,
    out: &'a mut [u8; MAX_RECORD_LEN],
) -> Result<&'a [u8], RecordError> {
    let mut payload = PayloadWriter::new(out);
    record.write(&mut payload);
    let cells = payload.finish().ok_or(RecordError::TooLong)?;
    finish(epoch, T::KIND, key, cells).ok_or(RecordError::TooLong)
}

/// Puts everything but the payload into the cells of a record.
fn finish(epoch: u32, kind: u8, key: u16, cells: &mut [[u8; CELL_LEN]]) -> Option<&[u8]> {
    let count = u8::try_from(cells.len()).ok()?;
    let (first, next) = cells.split_first_mut()?;
    for [tag, ..] in next {
        *tag = CONTINUATION;
    }
    *first.first_chunk_mut()? = Writer::<4>::new().u8(kind).u8(count).u16(key).finish();
    seal(epoch, cells)?;
    Some(cells.as_flattened())
}

/// Puts the CRC into the first cell.
pub(crate) fn seal(epoch: u32, cells: &mut [[u8; CELL_LEN]]) -> Option<()> {
    let crc = record_crc(epoch, cells)?;
    cells
        .first_mut()?
        .get_mut(4..FIRST_PAYLOAD_AT)?
        .copy_from_slice(&crc.to_le_bytes());
    Some(())
}

fn record_crc(epoch: u32, cells: &[[u8; CELL_LEN]]) -> Option<u32> {
    let (first, next) = cells.split_first()?;
    let crc = Crc32::new()
        .with(&epoch.to_le_bytes())
        .with(first.get(..4)?)
        .with(first.get(FIRST_PAYLOAD_AT..)?)
        .with(next.as_flattened());
    Some(crc.finish())
}
