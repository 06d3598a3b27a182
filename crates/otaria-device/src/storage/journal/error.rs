//! Why the journal fails.

use core::fmt;

use super::super::FlashFault;
#[cfg(doc)]
use super::MAX_CELLS;

/// Why the journal cannot be read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalError {
    /// The region does not have two halves of the same number of sectors. Nothing was done.
    WrongSize,
    /// A flash command failed. What was appended may be there or not; everything else is.
    Flash(FlashFault),
    /// The flash took the commands and reads something else, in both halves.
    NotWritten,
    /// There is no room for this record. Nothing was done.
    Full,
    /// The record does not fit into [`MAX_CELLS`] cells. Nothing was done.
    TooLong,
    /// The latest record of this kind has a good CRC and does not decode: another version wrote it.
    Undecodable {
        /// The kind.
        kind: u8,
    },
    /// The epoch cannot rise any more. Flash wears out long before.
    Exhausted,
    /// An earlier call could not read the flash: the journal has to be mounted again.
    Stale,
}

impl From<FlashFault> for JournalError {
    fn from(fault: FlashFault) -> Self {
        Self::Flash(fault)
    }
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongSize => {
                f.write_str("the journal's region is not two halves of whole sectors")
            }
            Self::Flash(fault) => write!(f, "journal: {fault}"),
            Self::NotWritten => f.write_str("the journal does not keep what is written into it"),
            Self::Full => f.write_str("the journal is full"),
            Self::TooLong => f.write_str("the record is too long for the journal"),
            Self::Undecodable { kind } => {
                write!(f, "the journal's record of kind {kind} does not decode")
            }
            Self::Exhausted => f.write_str("the journal's epoch is exhausted"),
            Self::Stale => f.write_str("the journal has to be mounted again"),
        }
    }
}

impl core::error::Error for JournalError {}
