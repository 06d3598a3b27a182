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
        let mut reader = Reader::new(bytes);
        let entry = Self {
            seq: reader.u32(),
            label: reader.array(),
            state: OtaState::from_number(reader.u32()),
        };
        if entry.seq == BLANK_SEQ {
            return Err(EntryError::Blank);
        }
        if reader.u32() != seq_crc(entry.seq) {
            return Err(EntryError::BadCrc);
        }
        Ok(entry)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::golden::hex;

    const STATES: [OtaState; 7] = [
        OtaState::New,
        OtaState::PendingVerify,
        OtaState::Valid,
        OtaState::Invalid,
        OtaState::Aborted,
        OtaState::Undefined,
        OtaState::Other(0x1234),
    ];

    #[test]
    fn entry_bytes_are_fixed() {
        let table = [
            (1, OtaState::New, "01000000", "00000000 9a984347"),
            (2, OtaState::PendingVerify, "02000000", "01000000 7437f655"),
            (3, OtaState::Undefined, "03000000", "ffffffff 11504aed"),
        ];
        for (seq, state, start, end) in table {
            let mut bytes = hex(start);
            bytes.extend([0xFF; 20]);
            bytes.extend(hex(end));
            let entry = Entry::new(seq, state);
            assert_eq!(entry.encode().to_vec(), bytes);
            assert_eq!(Entry::parse(&entry.encode()), Ok(entry));
        }
        assert_eq!(
            [1, 2, 3].map(seq_crc),
            [0x4743_989A, 0x55F6_3774, 0xED4A_5011]
        );
    }

    #[test]
    fn states_keep_their_numbers() {
        let numbers = STATES.map(OtaState::number);
        assert_eq!(numbers, [0, 1, 2, 3, 4, u32::MAX, 0x1234]);
        assert_eq!(numbers.map(OtaState::from_number), STATES);
    }

    #[test]
    fn a_blank_sector_and_a_torn_entry_are_told_apart() {
        assert_eq!(Entry::parse(&[0xFF; 32]), Err(EntryError::Blank));
        assert_eq!(Entry::parse(&[0; 32]), Err(EntryError::BadCrc));
        let mut torn = [0xFF; 32];
        torn[..24].copy_from_slice(&Entry::new(5, OtaState::New).encode()[..24]);
        assert_eq!(Entry::parse(&torn), Err(EntryError::BadCrc));
        // 0xFFFFFFFF is never in force, whatever its CRC.
        let blank = Entry::new(u32::MAX, OtaState::Valid);
        assert_eq!(Entry::parse(&blank.encode()), Err(EntryError::Blank));
    }

    #[test]
    fn the_highest_usable_sequence_is_in_force() {
        let entry = |seq, state| Some(Entry::new(seq, state));
        let sector = |first, second| select(first, second).map(|selected| selected.sector);
        assert_eq!(sector(None, None), None);
        assert_eq!(sector(entry(1, OtaState::Valid), None), Some(0));
        assert_eq!(sector(None, entry(1, OtaState::Valid)), Some(1));
        assert_eq!(
            sector(entry(2, OtaState::New), entry(1, OtaState::Valid)),
            Some(0)
        );
        assert_eq!(
            sector(entry(1, OtaState::Valid), entry(2, OtaState::New)),
            Some(1)
        );
        assert_eq!(
            sector(entry(4, OtaState::Valid), entry(4, OtaState::Valid)),
            Some(0)
        );
        assert_eq!(
            sector(entry(1, OtaState::Valid), entry(2, OtaState::Aborted)),
            Some(0)
        );
        assert_eq!(
            sector(entry(1, OtaState::Invalid), entry(2, OtaState::Aborted)),
            None
        );
        assert_eq!(
            sector(entry(1, OtaState::Valid), entry(2, OtaState::Other(7))),
            Some(1)
        );
        assert_eq!(
            sector(entry(1, OtaState::Valid), entry(2, OtaState::Undefined)),
            Some(1)
        );
    }

    #[test]
    fn slots_alternate_and_sequence_0_does_not_panic() {
        assert_eq!(
            [1, 2, 3, 0].map(|seq| Entry::new(seq, OtaState::New).slot(2)),
            [0, 1, 0, 1]
        );
        assert_eq!(Entry::new(1, OtaState::New).slot(0), 0);
    }

    #[test]
    fn the_next_sequence_is_the_lowest_that_selects_the_slot() {
        let entry = |seq| Some(Entry::new(seq, OtaState::Aborted));
        assert_eq!(next_seq(None, None, 0, 2), Some(1));
        assert_eq!(next_seq(None, None, 1, 2), Some(2));
        assert_eq!(next_seq(entry(1), None, 1, 2), Some(2));
        assert_eq!(next_seq(entry(1), None, 0, 2), Some(3));
        assert_eq!(next_seq(entry(1), entry(2), 0, 2), Some(3));
        assert_eq!(next_seq(entry(7), entry(2), 0, 2), Some(9));
        assert_eq!(next_seq(None, None, 2, 2), None);
        assert_eq!(next_seq(None, None, 0, 0), None);
        assert_eq!(next_seq(entry(u32::MAX - 1), None, 0, 2), None);
        assert_eq!(
            next_seq(entry(u32::MAX - 2), None, 1, 2),
            Some(u32::MAX - 1)
        );
        assert_eq!(next_seq(entry(u32::MAX - 2), None, 0, 2), None);
    }

    fn any_entry() -> impl Strategy<Value = Option<Entry>> {
        let seq = prop_oneof![0..20u32, any::<u32>(), u32::MAX - 5..u32::MAX];
        proptest::option::of(
            (seq, 0..7usize).prop_map(|(seq, state)| Entry::new(seq, STATES[state])),
        )
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes_to_the_same(seq in 0..u32::MAX, label in any::<[u8; 20]>(), state in any::<u32>()) {
            let entry = Entry { seq, label, state: OtaState::from_number(state) };
            prop_assert_eq!(Entry::parse(&entry.encode()), Ok(entry));
        }

        #[test]
        fn an_activation_is_in_force_and_in_the_other_sector(
            first in any_entry(), second in any_entry(), slot in 0..2u32,
        ) {
            let Some(seq) = next_seq(first, second, slot, 2) else { return Ok(()) };
            let new = Entry::new(seq, OtaState::New);
            prop_assert_eq!(new.slot(2), slot);
            let (first, second) = match select(first, second) {
                Some(selected) if selected.sector == 0 => (first, Some(new)),
                _ => (Some(new), second),
            };
            prop_assert_eq!(select(first, second).map(|selected| selected.entry), Some(new));
        }
    }
}
