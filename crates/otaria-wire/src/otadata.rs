//! The bootloader's slot selection: two entries, each at the start of one
//! sector of the `otadata` partition.
//!
//! ```text
//!  0   4  seq: the slot is (seq - 1) mod number of slots; 0xFFFFFFFF is blank
//!  4  20  label, unused (0xFF)
//! 24   4  state
//! 28   4  CRC-32 over seq alone (zlib's, initial 0xFFFFFFFF)
//! ```
//!
//! After ESP-IDF's `esp_ota_select_entry_t` (`esp_flash_partitions.h`) and
//! `bootloader_common.c`. The CRC covers neither label nor state, so a torn
//! write can leave a good CRC beside a state of odd bits: the bootloader takes
//! any state that is not INVALID or ABORTED.

use core::fmt;

use crate::bytes::{Reader, Writer};
use crate::crc32::Crc32;

/// Length of an entry.
pub const ENTRY_LEN: usize = 32;
/// Length of the sector that an entry has to itself.
pub const SECTOR_LEN: u32 = 4096;

const BLANK_SEQ: u32 = u32::MAX;

/// State of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtaState {
    /// Just activated; a bootloader with rollback makes it `PendingVerify`.
    New,
    /// Booted for the first time by a bootloader with rollback.
    PendingVerify,
    /// Confirmed.
    Valid,
    /// The application said that it does not work.
    Invalid,
    /// A bootloader with rollback gave it up.
    Aborted,
    /// 0xFFFFFFFF: the application uses no states.
    Undefined,
    /// Anything else, which the bootloader treats like `Undefined`.
    Other(u32),
}

impl OtaState {
    /// The number in flash.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::New => 0,
            Self::PendingVerify => 1,
            Self::Valid => 2,
            Self::Invalid => 3,
            Self::Aborted => 4,
            Self::Undefined => u32::MAX,
            Self::Other(number) => number,
        }
    }

    /// The state of a number in flash.
    #[must_use]
    pub fn from_number(number: u32) -> Self {
        match number {
            0 => Self::New,
            1 => Self::PendingVerify,
            2 => Self::Valid,
            3 => Self::Invalid,
            4 => Self::Aborted,
            u32::MAX => Self::Undefined,
            other => Self::Other(other),
        }
    }

    /// Whether the bootloader passes over an entry of this state.
    #[must_use]
    pub fn is_given_up(self) -> bool {
        match self {
            Self::Invalid | Self::Aborted => true,
            Self::New | Self::PendingVerify | Self::Valid | Self::Undefined | Self::Other(_) => {
                false
            }
        }
    }
}

/// Why 32 bytes are no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryError {
    /// The sequence number is 0xFFFFFFFF, as in an erased sector.
    Blank,
    /// The CRC is not that of the sequence number.
    BadCrc,
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blank => "the otadata entry is blank",
            Self::BadCrc => "the otadata entry's CRC is wrong",
        })
    }
}

impl core::error::Error for EntryError {}

/// One entry with a good CRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Sequence number: the highest one is in force.
    pub seq: u32,
    /// Unused by bootloader and application.
    pub label: [u8; 20],
    /// State.
    pub state: OtaState,
}

impl Entry {
    /// An entry with a blank label.
    #[must_use]
    pub fn new(seq: u32, state: OtaState) -> Self {
        Self {
            seq,
            label: [0xFF; 20],
            state,
        }
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// Blank, or a bad CRC.
    pub fn parse(bytes: &[u8; ENTRY_LEN]) -> Result<Self, EntryError> {
        let (entry, crc) = Self::read(bytes).ok_or(EntryError::BadCrc)?;
        if entry.seq == BLANK_SEQ {
            return Err(EntryError::Blank);
        }
        if crc != seq_crc(entry.seq) {
            return Err(EntryError::BadCrc);
        }
        Ok(entry)
    }

    fn read(bytes: &[u8; ENTRY_LEN]) -> Option<(Self, u32)> {
        let mut reader = Reader::new(bytes);
        let seq = reader.u32()?;
        let label = reader.array()?;
        let state = OtaState::from_number(reader.u32()?);
        Some((Self { seq, label, state }, reader.u32()?))
    }

    /// The entry's bytes, CRC included.
    #[must_use]
    pub fn encode(&self) -> [u8; ENTRY_LEN] {
        Writer::new()
            .u32(self.seq)
            .put(&self.label)
            .u32(self.state.number())
            .u32(seq_crc(self.seq))
            .finish()
    }

    /// The slot that this entry selects out of `slots`.
    #[must_use]
    pub fn slot(&self, slots: u32) -> u32 {
        self.seq.wrapping_sub(1).checked_rem(slots).unwrap_or(0)
    }
}

/// CRC of an entry with this sequence number.
#[must_use]
pub fn seq_crc(seq: u32) -> u32 {
    Crc32::rom_all_ones().with(&seq.to_le_bytes()).finish()
}

/// The entry in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selected {
    /// The sector that it lies in, 0 or 1.
    pub sector: usize,
    /// The entry.
    pub entry: Entry,
}

/// The bootloader's rule: of the entries that are not given up, the highest
/// sequence number; of equal ones, the first.
///
/// `None` stands for a blank entry or one with a bad CRC. If neither entry can
/// be taken, the bootloader boots slot 0.
#[must_use]
pub fn select(first: Option<Entry>, second: Option<Entry>) -> Option<Selected> {
    let usable = |entry: &Entry| !entry.state.is_given_up();
    let first = first
        .filter(usable)
        .map(|entry| Selected { sector: 0, entry });
    let second = second
        .filter(usable)
        .map(|entry| Selected { sector: 1, entry });
    match (first, second) {
        (Some(first), Some(second)) if second.entry.seq > first.entry.seq => Some(second),
        (Some(first), _) => Some(first),
        (None, second) => second,
    }
}

/// The lowest sequence number that selects `slot` out of `slots` and is higher
/// than those of both entries, given up or not. `None` if there is none.
#[must_use]
pub fn next_seq(first: Option<Entry>, second: Option<Entry>, slot: u32, slots: u32) -> Option<u32> {
    if slot >= slots {
        return None;
    }
    let highest = first
        .map_or(0, |entry| entry.seq)
        .max(second.map_or(0, |entry| entry.seq));
    // `seq` selects slot `(seq - 1) mod slots`, so the lowest candidate is `highest + 1`.
    let behind = slot
        .checked_add(slots)?
        .checked_sub(highest.checked_rem(slots)?)?
        .checked_rem(slots)?;
    highest
        .checked_add(1)?
        .checked_add(behind)
        .filter(|seq| *seq != BLANK_SEQ)
}
