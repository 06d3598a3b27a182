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

use core::fmt;

use embedded_storage::nor_flash::NorFlash;
use otaria_engine::guard::{ActivateAs, EntryState, OtadataView};
use otaria_engine::slot::Slot;
use otaria_wire::otadata::{ENTRY_LEN, Entry, OtaState, Selected, next_seq, select};

use super::{Aligned, FlashFault, SECTOR_LEN, erase, read, reads_as, reads_blank, write};

const SLOTS: u32 = Slot::BOTH.len() as u32;

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
    /// Something, but not an entry with a good CRC.
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
            let first = first.map(|entry| Selected { sector: 0, entry });
            let second = second.map(|entry| Selected { sector: 1, entry });
            first
                .into_iter()
                .chain(second)
                .max_by_key(|selected| selected.entry.seq)
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

    fn read_sector(&mut self, sector: usize) -> Result<SectorState, OtaDataError> {
        let mut bytes = Aligned::<ENTRY_LEN>::new();
        read(&mut self.region, address(sector), &mut bytes.0)?;
        if bytes.0.iter().all(|byte| *byte == 0xFF) {
            return Ok(SectorState::Blank);
        }
        Ok(Entry::parse(&bytes.0).map_or(SectorState::Torn, SectorState::Entry))
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

#[cfg(test)]
mod tests {
    use core::cell::RefCell;

    use super::super::region::Region;
    use super::super::test_flash::{Cut, TestFlash};
    use super::*;

    struct Bench(RefCell<TestFlash>);

    impl Bench {
        fn new(first: Option<Entry>, second: Option<Entry>) -> Self {
            let mut flash = TestFlash::new(2);
            for (sector, entry) in [first, second].into_iter().enumerate() {
                if let Some(entry) = entry {
                    let at = address(sector) as usize;
                    flash.bytes_mut()[at..at + ENTRY_LEN].copy_from_slice(&entry.encode());
                }
            }
            Self(RefCell::new(flash))
        }

        fn otadata(&self) -> OtaData<Region<'_, TestFlash>> {
            OtaData::new(Region::new(&self.0, 0, 2 * SECTOR_LEN).unwrap()).unwrap()
        }

        fn view(&self) -> OtadataView {
            self.otadata().read().unwrap().view()
        }

        fn tear(&self, sector: usize) {
            self.0.borrow_mut().bytes_mut()[address(sector) as usize + 24] ^= 1;
            self.0.borrow_mut().bytes_mut()[address(sector) as usize] ^= 0x40;
        }
    }

    fn entry(seq: u32, state: OtaState) -> Option<Entry> {
        Some(Entry::new(seq, state))
    }

    #[test]
    fn activation_is_one_erase_and_one_write_in_the_sector_not_in_force() {
        let bench = Bench::new(entry(1, OtaState::Valid), None);
        bench
            .otadata()
            .activate(Slot::Ota1, ActivateAs::Trial)
            .unwrap();
        assert_eq!(bench.0.borrow().ops, 2);
        let entries = bench.otadata().read().unwrap();
        assert_eq!(
            entries.sectors[0],
            SectorState::Entry(Entry::new(1, OtaState::Valid))
        );
        assert_eq!(
            entries.sectors[1],
            SectorState::Entry(Entry::new(2, OtaState::New))
        );
        assert_eq!(entries.selected_slot(), Some(Slot::Ota1));
        bench
            .otadata()
            .activate(Slot::Ota0, ActivateAs::Trial)
            .unwrap();
        let entries = bench.otadata().read().unwrap();
        assert_eq!(
            entries.sectors[0],
            SectorState::Entry(Entry::new(3, OtaState::New))
        );
        assert_eq!(
            entries.sectors[1],
            SectorState::Entry(Entry::new(2, OtaState::New))
        );
    }

    #[test]
    fn a_cut_in_an_activation_leaves_the_old_choice_or_the_new_one() {
        for first in [
            None,
            entry(5, OtaState::Valid),
            entry(5, OtaState::Undefined),
        ] {
            for op in 0..2 {
                for cut in [Cut::Before, Cut::After, Cut::Half] {
                    let bench = Bench::new(first, entry(4, OtaState::Aborted));
                    bench.0.borrow_mut().cut_at(op, cut);
                    bench
                        .otadata()
                        .activate(Slot::Ota1, ActivateAs::Trial)
                        .unwrap_err();
                    bench.0.borrow_mut().power_on();
                    let selected = bench.view().selected;
                    let done = op == 1 && cut == Cut::After;
                    let old = first.map(|_| Slot::Ota0);
                    assert_eq!(
                        selected,
                        if done { Some(Slot::Ota1) } else { old },
                        "op {op}, {cut:?}"
                    );
                    bench
                        .otadata()
                        .activate(Slot::Ota1, ActivateAs::Trial)
                        .unwrap();
                    assert_eq!(bench.view().selected, Some(Slot::Ota1));
                }
            }
        }
    }

    #[test]
    fn a_new_entry_outranks_one_that_was_given_up() {
        let bench = Bench::new(entry(7, OtaState::Valid), entry(8, OtaState::Aborted));
        bench
            .otadata()
            .activate(Slot::Ota1, ActivateAs::Trial)
            .unwrap();
        let entries = bench.otadata().read().unwrap();
        assert_eq!(
            entries.sectors[0],
            SectorState::Entry(Entry::new(7, OtaState::Valid))
        );
        assert_eq!(
            entries.sectors[1],
            SectorState::Entry(Entry::new(10, OtaState::New))
        );
    }

    #[test]
    fn with_nothing_in_force_a_torn_sector_is_written_before_a_blank_one() {
        for torn in 0..2 {
            let entries = [0, 1].map(|sector| {
                if sector == torn {
                    entry(3, OtaState::Valid)
                } else {
                    None
                }
            });
            let bench = Bench::new(entries[0], entries[1]);
            bench.tear(torn);
            assert!(bench.view().torn);
            bench
                .otadata()
                .activate(Slot::Ota1, ActivateAs::Fallback)
                .unwrap();
            assert!(!bench.view().torn);
            assert_eq!(bench.view().selected, Some(Slot::Ota1));
        }
    }

    #[test]
    fn a_confirmation_keeps_number_and_sector() {
        let bench = Bench::new(entry(5, OtaState::Valid), entry(6, OtaState::PendingVerify));
        assert_eq!(
            bench.otadata().mark_valid(Slot::Ota0),
            Err(OtaDataError::NotSelected)
        );
        assert_eq!(bench.0.borrow().ops, 0);
        bench.otadata().mark_valid(Slot::Ota1).unwrap();
        let entries = bench.otadata().read().unwrap();
        assert_eq!(
            entries.sectors[1],
            SectorState::Entry(Entry::new(6, OtaState::Valid))
        );
        assert_eq!(entries.view().entries, [EntryState::Valid; 2]);
    }

    #[test]
    fn a_cut_in_a_confirmation_leaves_an_entry_to_boot_from() {
        for op in 0..2 {
            for cut in [Cut::Before, Cut::After, Cut::Half] {
                let bench =
                    Bench::new(entry(5, OtaState::Valid), entry(6, OtaState::PendingVerify));
                bench.0.borrow_mut().cut_at(op, cut);
                bench.otadata().mark_valid(Slot::Ota1).unwrap_err();
                bench.0.borrow_mut().power_on();
                assert!(bench.view().selected.is_some(), "op {op}, {cut:?}");
                assert_eq!(bench.view().entry(Slot::Ota0), EntryState::Valid);
            }
        }
    }

    #[test]
    fn deselecting_erases_even_an_entry_that_reads_blank() {
        let bench = Bench::new(entry(5, OtaState::Valid), None);
        bench.otadata().deselect(Slot::Ota1).unwrap();
        assert_eq!(bench.0.borrow().sectors_erased, 1);
        assert_eq!(
            bench.view().entries,
            [EntryState::Valid, EntryState::Absent]
        );
    }

    #[test]
    fn deselecting_is_refused_when_nothing_else_would_boot() {
        for other in [
            None,
            entry(5, OtaState::Aborted),
            entry(5, OtaState::Invalid),
            entry(4, OtaState::Valid),
        ] {
            let bench = Bench::new(other, entry(6, OtaState::New));
            assert_eq!(
                bench.otadata().deselect(Slot::Ota1),
                Err(OtaDataError::NothingElseBoots),
                "{other:?}"
            );
            assert_eq!(bench.0.borrow().ops, 0);
            // The way out, as the table on top says.
            bench
                .otadata()
                .activate(Slot::Ota0, ActivateAs::Fallback)
                .unwrap();
            assert_eq!(bench.view().selected, Some(Slot::Ota0));
            bench.otadata().deselect(Slot::Ota1).unwrap();
            assert_eq!(
                bench.view().entries,
                [EntryState::Undefined, EntryState::Absent]
            );
        }
    }

    #[test]
    fn only_a_torn_sector_beside_a_good_one_is_erased() {
        let bench = Bench::new(entry(5, OtaState::Valid), entry(6, OtaState::New));
        bench.otadata().erase_torn().unwrap();
        assert_eq!(bench.0.borrow().ops, 0);
        bench.tear(1);
        bench.otadata().erase_torn().unwrap();
        assert_eq!(
            bench.view().entries,
            [EntryState::Valid, EntryState::Absent]
        );
        bench.tear(0);
        bench.otadata().erase_torn().unwrap();
        assert_eq!(
            bench.0.borrow().ops,
            1,
            "nothing is in force, so nothing is erased"
        );
    }

    #[test]
    fn an_entry_of_odd_state_is_one_that_a_bootloader_takes() {
        let bench = Bench::new(entry(5, OtaState::Other(0xFFFF_0002)), None);
        assert_eq!(bench.view().entry(Slot::Ota0), EntryState::Undefined);
        assert_eq!(bench.view().selected, Some(Slot::Ota0));
    }

    #[test]
    fn the_best_entry_of_a_slot_is_the_one_that_boots() {
        let bench = Bench::new(entry(8, OtaState::Aborted), entry(6, OtaState::Valid));
        assert_eq!(
            bench.view().entries,
            [EntryState::Absent, EntryState::Valid]
        );
        assert_eq!(bench.view().selected, Some(Slot::Ota1));
    }

    #[test]
    fn the_last_sequence_number_is_an_error_and_no_wrap() {
        let bench = Bench::new(entry(u32::MAX - 1, OtaState::Valid), None);
        assert_eq!(
            bench.otadata().activate(Slot::Ota0, ActivateAs::Trial),
            Err(OtaDataError::Exhausted)
        );
        assert_eq!(bench.0.borrow().ops, 0);
    }

    #[test]
    fn a_partition_of_another_size_is_refused() {
        let flash = RefCell::new(TestFlash::new(4));
        for sectors in [1, 3, 4] {
            let region = Region::new(&flash, 0, sectors * SECTOR_LEN).unwrap();
            assert_eq!(OtaData::new(region).err(), Some(OtaDataError::WrongSize));
        }
    }
}
