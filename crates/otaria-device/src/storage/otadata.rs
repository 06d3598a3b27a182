//! The bootloader's slot selection, written so that no cut takes away the choice that stands.
//!
//! ```text
//! sector 0: entry, 32 bytes (see otaria_wire::otadata), the rest blank
//! sector 1: the same
//! ```
//!
//! The entry *in force* is the one that the bootloader takes: of those with a good CRC and a state that is not INVALID or
//! ABORTED, the one with the highest sequence number. "Good" below means such an entry.
//!
//! # What a cut here leaves
//!
//! | function | commands | a cut leaves |
//! |---|---|---|
//! | [`OtaData::activate`] | erase the sector that is not in force, write one whole entry | in or before the write: the entry in force as it was, beside a blank or torn one. The CRC covers only the sequence number, so a torn write can also leave the new entry in force with odd bits in its state: the new slot is selected, which is what was asked for, and the bootloader takes any state that is not INVALID or ABORTED |
//! | [`OtaData::confirm`] | those of `activate` or of `mark_valid`, or none | as there |
//! | [`OtaData::mark_valid`] | erase the sector in force, write it again | the other sector's entry, which is the old slot's; without one (it was blank, or given up) the bootloader's fallback, ota_0 and then ota_1. The guard of whatever boots finds the confirmed record and activates again |
//! | [`OtaData::deselect`] | erase the sector that does *not* hold the other slot's good entry | the other slot's entry always; of the erased one anything from "all there" to "blank but unstable". So the caller, who has a record of what it was about, erases again until one erase ends in the same run as the record is closed |
//! | [`OtaData::erase_torn`] | erase the sector that reads torn | the entry in force, and a sector that is torn or blank |
//!
//! # Rolling back to a slot that has no entry
//!
//! On a new device both sectors are blank, and ota_0 runs because nothing is selected. Activating ota_1 then leaves one sector
//! blank, and erasing ota_1's entry would leave both blank: right by luck if the old slot is ota_0, wrong if it is ota_1
//! (somebody had erased otadata, or the old entry was torn). So `deselect` **refuses** unless the slot that is to run
//! has a good entry, and the caller first makes one:
//!
//! | not in force | in force | step | then |
//! |---|---|---|---|
//! | good, old slot | trial | `deselect(trial)` | old slot in force, one sector blank |
//! | blank, torn, given up, or trial's too | trial | `activate(old, Fallback)`: goes over the useless sector | old slot in force by its higher number; trial's entry beside it |
//! | trial (lower number) | good, old slot | `deselect(trial)` | old slot in force, one sector blank |
//! | anything | none is good | `activate(old, Fallback)` | old slot in force |
//!
//! In every row a cut leaves either the row itself or a later one, and each boot moves at least one row on.
//!
//! # Reading
//! A torn or odd entry is a fact that [`Entries`] reports, never an error. Which image *runs* is not known from here: the
//! bootloader boots the other slot, without a word to otadata, if the selected image is bad.
//!
//! A sector whose erase was cut may read otherwise to the bootloader than to us. So the entry is read eight times and all
//! of the sector twice, and it counts as torn unless it reads the same each time: nothing is ever concluded from it, and whatever
//! is to be done about it begins with an erase.

#[cfg(test)]
mod tests;

use core::fmt;

use embedded_storage::nor_flash::NorFlash;
pub use otaria_engine::guard::ActivateAs;
use otaria_engine::guard::{EntryState, OtadataStep, OtadataView, finish_confirm};
use otaria_engine::slot::Slot;
use otaria_wire::otadata::{ENTRY_LEN, Entry, OtaState, Selected, next_seq, select};

use super::{
    Aligned, CHUNK_LEN, FlashFault, SECTOR_LEN, erase, read, reads_as, reads_blank, write,
};

const SLOTS: u32 = Slot::BOTH.len() as u32;
/// How often an entry has to read the same to be taken for steady.
const STEADY_READS: u32 = 8;

/// Why otadata could not be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtaDataError {
    /// The region is not the two sectors that the bootloader looks at. Nothing was done.
    WrongSize,
    /// A flash command failed.
    Flash(FlashFault),
    /// The flash took the command and reads something else.
    NotWritten,
    /// The slot is not the selected one. Nothing was done.
    NotSelected,
    /// The other slot has no entry that a bootloader would take, so this one's must stay. Nothing was done.
    NothingElseBoots,
    /// No sequence number is left that would select the slot. Nothing was done.
    Exhausted,
}

impl From<FlashFault> for OtaDataError {
    fn from(fault: FlashFault) -> Self {
        Self::Flash(fault)
    }
}

impl fmt::Display for OtaDataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongSize => f.write_str("the otadata partition is not two sectors"),
            Self::Flash(fault) => write!(f, "otadata: {fault}"),
            Self::NotWritten => f.write_str("otadata does not keep what is written into it"),
            Self::NotSelected => f.write_str("the slot is not the one that otadata selects"),
            Self::NothingElseBoots => {
                f.write_str("the other slot has no entry that a bootloader would take")
            }
            Self::Exhausted => f.write_str("otadata has no sequence number left"),
        }
    }
}

impl core::error::Error for OtaDataError {}

/// What one sector reads as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectorState {
    /// 0xFF throughout the entry. That may be an unfinished erase.
    Blank,
    /// Something, but not an entry with a good CRC; or a sector that does not read the same each time.
    Torn,
    /// An entry with a good CRC, of whatever state.
    Entry(Entry),
}

impl SectorState {
    fn entry(self) -> Option<Entry> {
        match self {
            Self::Entry(entry) => Some(entry),
            Self::Blank | Self::Torn => None,
        }
    }
}

/// Both sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entries {
    /// By sector number.
    pub sectors: [SectorState; 2],
}

impl Entries {
    /// The entry in force and the sector that it lies in.
    #[must_use]
    pub fn selected(&self) -> Option<Selected> {
        let [first, second] = self.sectors;
        select(first.entry(), second.entry())
    }

    /// The slot that otadata selects, if it selects one.
    #[must_use]
    pub fn selected_slot(&self) -> Option<Slot> {
        self.selected()
            .and_then(|selected| slot_of(&selected.entry))
    }

    /// The sector of the best entry for this slot, whatever its state: of several, one that a bootloader takes goes first, then
    /// the higher number.
    fn best(&self, slot: Slot) -> Option<Selected> {
        let [first, second] = self
            .sectors
            .map(|state| state.entry().filter(|entry| slot_of(entry) == Some(slot)));
        select(first, second).or_else(|| {
            let (sector, entry) = match (first, second) {
                (Some(first), Some(second)) if first.seq > second.seq => (0, first),
                (_, Some(second)) => (1, second),
                (Some(first), None) => (0, first),
                (None, None) => return None,
            };
            Some(Selected { sector, entry })
        })
    }

    /// The same facts as the boot guard's decision wants them.
    #[must_use]
    pub fn view(&self) -> OtadataView {
        OtadataView {
            entries: Slot::BOTH.map(|slot| {
                self.best(slot)
                    .map_or(EntryState::Absent, |best| view_of(best.entry.state))
            }),
            selected: self.selected_slot(),
            torn: self.sectors.contains(&SectorState::Torn),
        }
    }

    /// The sector to write next: never the one in force. If none is in force: a torn one, then a blank one, then the one with
    /// the lower number, so that what is left longest says most.
    fn spare_sector(&self) -> usize {
        if let Some(selected) = self.selected() {
            return 1 - selected.sector.min(1);
        }
        let [first, second] = self.sectors;
        let worth = |state| match state {
            SectorState::Torn => (0, 0),
            SectorState::Blank => (1, 0),
            SectorState::Entry(entry) => (2, entry.seq),
        };
        usize::from(worth(second) < worth(first))
    }
}

fn slot_of(entry: &Entry) -> Option<Slot> {
    u8::try_from(entry.slot(SLOTS))
        .ok()
        .and_then(Slot::from_index)
}

fn view_of(state: OtaState) -> EntryState {
    match state {
        OtaState::New => EntryState::New,
        OtaState::PendingVerify => EntryState::PendingVerify,
        OtaState::Valid => EntryState::Valid,
        OtaState::Invalid => EntryState::Invalid,
        OtaState::Aborted => EntryState::Aborted,
        OtaState::Undefined | OtaState::Other(_) => EntryState::Undefined,
    }
}

fn state_of(state: ActivateAs) -> OtaState {
    match state {
        ActivateAs::Trial => OtaState::New,
        ActivateAs::Confirmed => OtaState::Valid,
        ActivateAs::Fallback => OtaState::Undefined,
    }
}

/// The `otadata` partition.
#[derive(Debug)]
pub struct OtaData<R> {
    region: R,
}

impl<R: NorFlash> OtaData<R> {
    /// Otadata in `region`, which is the whole partition.
    ///
    /// # Errors
    /// [`OtaDataError::WrongSize`] unless that has two sectors.
    pub fn new(region: R) -> Result<Self, OtaDataError> {
        if region.capacity() != 2 * SECTOR_LEN as usize {
            return Err(OtaDataError::WrongSize);
        }
        Ok(Self { region })
    }

    /// Reads both sectors.
    ///
    /// # Errors
    /// The flash cannot be read. What is in it is never an error.
    pub fn read(&mut self) -> Result<Entries, OtaDataError> {
        Ok(Entries {
            sectors: [self.read_sector(0)?, self.read_sector(1)?],
        })
    }

    /// Reads the sector twice and its entry several times. A sector whose erase was cut has thousands of bits that may read
    /// differently each time, so that it gives itself away even if those of the entry happen to agree.
    fn read_sector(&mut self, sector: usize) -> Result<SectorState, OtaDataError> {
        let entry = self.read_entry(sector)?;
        let mut steady = self.sum(sector)? == self.sum(sector)?;
        for _ in 1..STEADY_READS {
            steady &= self.read_entry(sector)? == entry;
        }
        if !steady {
            return Ok(SectorState::Torn);
        }
        if entry == [0xFF; ENTRY_LEN] {
            return Ok(SectorState::Blank);
        }
        Ok(Entry::parse(&entry).map_or(SectorState::Torn, SectorState::Entry))
    }

    fn read_entry(&mut self, sector: usize) -> Result<[u8; ENTRY_LEN], OtaDataError> {
        let mut bytes = Aligned::<ENTRY_LEN>::new();
        read(&mut self.region, address(sector), &mut bytes.0)?;
        Ok(bytes.0)
    }

    /// A sum over the whole sector that a flipped bit changes.
    fn sum(&mut self, sector: usize) -> Result<u32, OtaDataError> {
        let mut chunk = Aligned::<CHUNK_LEN>::new();
        let mut sum = 0u32;
        for at in (0..SECTOR_LEN).step_by(CHUNK_LEN) {
            read(&mut self.region, address(sector) + at, &mut chunk.0)?;
            for word in chunk.0.as_chunks().0 {
                sum = sum.rotate_left(5) ^ u32::from_le_bytes(*word);
            }
        }
        Ok(sum)
    }

    /// Makes the bootloader take `slot`: one erase and one write in the sector that is not in force.
    ///
    /// # Errors
    /// [`OtaDataError::Flash`] and [`OtaDataError::NotWritten`]: the entry in force stands as it did.
    /// [`OtaDataError::Exhausted`]: nothing was done.
    pub fn activate(&mut self, slot: Slot, state: ActivateAs) -> Result<(), OtaDataError> {
        let entries = self.read()?;
        let [first, second] = entries.sectors.map(SectorState::entry);
        // Higher than an entry that was given up, too: a bootloader may count those.
        let seq = next_seq(first, second, u32::from(slot.index()), SLOTS)
            .ok_or(OtaDataError::Exhausted)?;
        self.replace(entries.spare_sector(), &Entry::new(seq, state_of(state)))
    }

    /// Carries out what the boot guard has decided.
    ///
    /// # Errors
    /// Those of the function for that step.
    pub fn apply(&mut self, step: OtadataStep) -> Result<(), OtaDataError> {
        match step {
            OtadataStep::Keep => Ok(()),
            OtadataStep::Activate { slot, state } => self.activate(slot, state),
            OtadataStep::MarkValid { slot } => self.mark_valid(slot),
            OtadataStep::Erase { slot } => self.deselect(slot),
            OtadataStep::EraseTorn => self.erase_torn(),
        }
    }

    /// Makes the entry of `slot` one that stays in force, after its confirmed record has been written.
    ///
    /// # Errors
    /// As [`OtaData::activate`] and [`OtaData::mark_valid`].
    pub fn confirm(&mut self, slot: Slot) -> Result<(), OtaDataError> {
        let step = finish_confirm(&self.read()?.view(), slot);
        self.apply(step)
    }

    /// Rewrites the entry in force, which must select `slot`, with state VALID.
    ///
    /// This erases the entry in force: call it only when a confirmed record stands in the journal.
    ///
    /// # Errors
    /// [`OtaDataError::NotSelected`]: nothing was done. [`OtaDataError::Flash`] and [`OtaDataError::NotWritten`]: the entry may
    /// be gone; the next boot finds that and repairs it.
    pub fn mark_valid(&mut self, slot: Slot) -> Result<(), OtaDataError> {
        let Some(selected) = self
            .read()?
            .selected()
            .filter(|selected| slot_of(&selected.entry) == Some(slot))
        else {
            return Err(OtaDataError::NotSelected);
        };
        self.replace(
            selected.sector,
            &Entry {
                state: OtaState::Valid,
                ..selected.entry
            },
        )
    }

    /// Takes `slot` out of the choice: erases the sector that does not hold the other slot's entry, whatever it reads.
    ///
    /// # Errors
    /// [`OtaDataError::NothingElseBoots`]: nothing was done. [`OtaDataError::Flash`] and [`OtaDataError::NotWritten`]: the
    /// other slot's entry stands, this one's may be there or not.
    pub fn deselect(&mut self, slot: Slot) -> Result<(), OtaDataError> {
        let keep = self
            .read()?
            .best(slot.other())
            .filter(|best| !best.entry.state.is_given_up());
        let Some(keep) = keep else {
            return Err(OtaDataError::NothingElseBoots);
        };
        self.erase_sector(1 - keep.sector.min(1))
    }

    /// Erases a torn sector, if the other one holds the entry in force.
    ///
    /// # Errors
    /// [`OtaDataError::Flash`] and [`OtaDataError::NotWritten`]: the entry in force stands.
    pub fn erase_torn(&mut self) -> Result<(), OtaDataError> {
        let entries = self.read()?;
        let Some(selected) = entries.selected() else {
            return Ok(());
        };
        let other = 1 - selected.sector.min(1);
        if entries.sectors.get(other) == Some(&SectorState::Torn) {
            self.erase_sector(other)?;
        }
        Ok(())
    }

    fn replace(&mut self, sector: usize, entry: &Entry) -> Result<(), OtaDataError> {
        self.erase_sector(sector)?;
        let bytes = Aligned(entry.encode());
        write(&mut self.region, address(sector), &bytes.0)?;
        if reads_as(&mut self.region, address(sector), &bytes.0)? {
            Ok(())
        } else {
            Err(OtaDataError::NotWritten)
        }
    }

    fn erase_sector(&mut self, sector: usize) -> Result<(), OtaDataError> {
        let from = address(sector);
        erase(&mut self.region, from, from + SECTOR_LEN)?;
        if reads_blank(&mut self.region, from, ENTRY_LEN as u32)? {
            Ok(())
        } else {
            Err(OtaDataError::NotWritten)
        }
    }
}

const fn address(sector: usize) -> u32 {
    if sector == 0 { 0 } else { SECTOR_LEN }
}
