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
            let bench = Bench::new(entry(5, OtaState::Valid), entry(6, OtaState::PendingVerify));
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

#[test]
fn confirming_rewrites_what_does_not_read_new_or_valid() {
    let old = entry(5, OtaState::Valid);
    for (state, commands) in [
        (OtaState::New, 0),
        (OtaState::Valid, 0),
        (OtaState::PendingVerify, 2),
        (OtaState::Undefined, 2),
        (OtaState::Other(0xFFFF_FF01), 2),
        (OtaState::Aborted, 2),
        (OtaState::Invalid, 2),
    ] {
        let bench = Bench::new(old, entry(6, state));
        bench.otadata().confirm(Slot::Ota1).unwrap();
        assert_eq!(bench.0.borrow().ops, commands, "{state:?}");
        assert_eq!(bench.view().selected, Some(Slot::Ota1), "{state:?}");
        let entry = bench.view().entry(Slot::Ota1);
        let expected = if commands == 0 {
            view_of(state)
        } else {
            EntryState::Valid
        };
        assert_eq!(entry, expected, "{state:?}");
    }
    let bench = Bench::new(old, None);
    bench.otadata().confirm(Slot::Ota1).unwrap();
    assert_eq!(bench.view().entries, [EntryState::Valid; 2]);
    assert_eq!(bench.view().selected, Some(Slot::Ota1));
}

#[test]
fn a_sector_that_does_not_read_the_same_each_time_is_torn_wherever_in_it_that_is() {
    for at in [0, 24, ENTRY_LEN, SECTOR_LEN as usize - 1] {
        let bench = Bench::new(entry(5, OtaState::Valid), entry(6, OtaState::New));
        let at = SECTOR_LEN as usize + at;
        bench.0.borrow_mut().disturb(at);
        let entries = bench.otadata().read().unwrap();
        assert_eq!(entries.sectors[1], SectorState::Torn, "{at}");
        assert_eq!(entries.selected_slot(), Some(Slot::Ota0));
    }
}
