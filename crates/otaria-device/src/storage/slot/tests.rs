use core::cell::RefCell;
use std::vec::Vec;

use otaria_wire::journal::{TrialCounters, TrialStage, TrialTarget};
use otaria_wire::{Sha256Digest, clip};

use super::super::region::Region;
use super::super::table_store::TableStore;
use super::super::test_flash::{Cut, TestFlash};
use super::super::test_package::{TestPackage, image};
use super::*;

const TABLE_AT: u32 = 8 * SECTOR_LEN;
const SLOT_AT: u32 = ERASE_BLOCK_LEN;

type TestRegion<'a> = Region<'a, TestFlash>;

/// Journal, table store, and one slot of some sectors.
struct Bench(RefCell<TestFlash>);

impl Bench {
    fn new(slot_sectors: usize) -> Self {
        Self(RefCell::new(TestFlash::new(16 + slot_sectors)))
    }

    /// A slot full of an older image.
    fn used(slot_sectors: usize) -> Self {
        let bench = Self::new(slot_sectors);
        bench.0.borrow_mut().bytes_mut()[SLOT_AT as usize..].fill(0x5A);
        bench
    }

    fn region(&self, from: u32, len: u32) -> TestRegion<'_> {
        Region::new(&self.0, from, len).unwrap()
    }

    fn journal(&self) -> Result<Journal<TestRegion<'_>>, JournalError> {
        Journal::mount(self.region(0, TABLE_AT))
    }

    fn store(&self) -> TableStore<TestRegion<'_>> {
        TableStore::new(self.region(TABLE_AT, 5 * SECTOR_LEN)).unwrap()
    }

    fn target(&self) -> TargetSlot<TestRegion<'_>> {
        self.target_as(Slot::Ota1)
    }

    fn target_as(&self, slot: Slot) -> TargetSlot<TestRegion<'_>> {
        let len = self.0.borrow().bytes().len() as u32 - SLOT_AT;
        TargetSlot::new(slot, Some(slot.other()), self.region(SLOT_AT, len)).unwrap()
    }

    fn slot(&self, len: usize) -> Vec<u8> {
        self.0.borrow().bytes()[SLOT_AT as usize..][..len].to_vec()
    }

    fn sectors_erased(&self) -> usize {
        self.0.borrow().sectors_erased
    }

    /// A writer for the package, whose table is kept first if it is not.
    fn open<J: NorFlash>(
        &self,
        package: &TestPackage,
        journal: &mut Journal<J>,
    ) -> Result<SlotWriter<TestRegion<'_>>, SlotError> {
        let mut store = self.store();
        let mut table = store.check(&package.header);
        let known = journal
            .latest::<Progress>(0)?
            .map(|progress| progress.identity8);
        if table.is_err() || known != Some(package.header.identity().first8()) {
            let mut writer = start_download(journal, &package.header, 0)?;
            loop {
                match writer.step(&mut store, &package.header, &package.table()) {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(_) => return Err(SlotError::NotStarted),
                }
            }
            table = store.check(&package.header);
        }
        let table = table.map_err(|_| SlotError::NotStarted)?;
        SlotWriter::open(self.target(), &package.header, &table, journal)
    }

    /// Downloads the package from where the journal says, at most `blocks` blocks; says how many sectors of the slot were
    /// erased.
    fn download(&self, package: &TestPackage, blocks: u32) -> Result<usize, SlotError> {
        let mut journal = self.journal()?;
        let mut writer = self.open(package, &mut journal)?;
        let mut erased = 0;
        for _ in 0..blocks {
            if writer.is_complete() {
                break;
            }
            while !writer.can_begin_block() {
                let before = (self.0.borrow().ops, self.sectors_erased());
                assert_eq!(writer.poll_erase(&mut journal)?, EraseState::More);
                erased += self.sectors_erased() - before.1;
                assert!(self.0.borrow().ops - before.0 <= 2, "an erase, a record");
            }
            put(&mut writer, package, &mut journal, 700)?;
        }
        Ok(erased)
    }
}

/// Writes the next block in pieces of `chunk` bytes.
fn put<R: NorFlash, J: NorFlash>(
    writer: &mut SlotWriter<R>,
    package: &TestPackage,
    journal: &mut Journal<J>,
    chunk: usize,
) -> Result<(), SlotError> {
    let index = writer.blocks_held();
    let plain = package.block(index);
    writer.begin_block(index, plain.len() as u32)?;
    for mut piece in plain.chunks(chunk) {
        while !piece.is_empty() {
            let taken = writer.write(piece)?;
            piece = &piece[taken..];
        }
    }
    writer.finish_block(journal)
}

fn erase_all<R: NorFlash, J: NorFlash>(
    writer: &mut SlotWriter<R>,
    journal: &mut Journal<J>,
) -> Result<(), SlotError> {
    while writer.poll_erase(journal)? == EraseState::More {}
    Ok(())
}

#[test]
fn a_blank_slot_is_written_without_an_erase() {
    let bench = Bench::new(32);
    let package = TestPackage::new(1, 80_000, 16384);
    assert_eq!(bench.download(&package, 99), Ok(0));
    assert_eq!(bench.slot(80_000), package.image);
}

#[test]
fn a_used_slot_is_erased_once_and_by_blocks() {
    let bench = Bench::used(40);
    let package = TestPackage::new(1, 2 * 65536 + 6 * 4096, 16384);
    let mut journal = bench.journal().unwrap();
    let mut writer = bench.open(&package, &mut journal).unwrap();
    let (ops, sectors) = (bench.0.borrow().ops, bench.sectors_erased());
    erase_all(&mut writer, &mut journal).unwrap();
    assert_eq!(bench.sectors_erased() - sectors, 16 + 16 + 6);
    // Two blocks and six sectors (no third block fits into the slot) in two pieces, and two records for each of the four.
    assert_eq!(bench.0.borrow().ops - ops, 2 + 6 + 8);
    assert_eq!(writer.poll_erase(&mut journal), Ok(EraseState::Done));
    while !writer.is_complete() {
        put(&mut writer, &package, &mut journal, 1000).unwrap();
    }
    assert_eq!(bench.slot(package.image.len()), package.image);
    assert_eq!(bench.sectors_erased() - sectors, 16 + 16 + 6);
}

#[test]
fn the_last_unit_is_erased_as_a_block_if_that_is_quicker_and_fits() {
    for (sectors, erased) in [(3, 3), (4, 16), (9, 16)] {
        let bench = Bench::used(32);
        let package = TestPackage::new(1, sectors * 4096 - 64, 4096);
        assert_eq!(
            bench.download(&package, 99),
            Ok(erased),
            "{sectors} sectors"
        );
        assert_eq!(bench.slot(package.image.len()), package.image);
    }
}

#[test]
fn a_few_used_sectors_among_blank_ones_are_erased_alone() {
    let bench = Bench::new(32);
    for sector in [2, 7, 17] {
        bench.0.borrow_mut().bytes_mut()[(SLOT_AT + sector * SECTOR_LEN) as usize + 99] = 0;
    }
    let package = TestPackage::new(1, 20 * 4096, 16384);
    assert_eq!(bench.download(&package, 99), Ok(3));
    assert_eq!(bench.slot(package.image.len()), package.image);
}

#[test]
fn any_pieces_make_the_same_image() {
    let whole: Vec<u8> = (0..30_001u32).map(|i| ((i * 7) >> 3) as u8).collect();
    for chunk in [1, 3, 4, 255, 256, 257, 1023, 1024, 5000, 16384] {
        let bench = Bench::new(16);
        let package = TestPackage::with(whole.clone(), 1, 8192, |_| {});
        let mut journal = bench.journal().unwrap();
        let mut writer = bench.open(&package, &mut journal).unwrap();
        erase_all(&mut writer, &mut journal).unwrap();
        while !writer.is_complete() {
            put(&mut writer, &package, &mut journal, chunk).unwrap();
        }
        assert_eq!(bench.slot(whole.len()), whole, "pieces of {chunk}");
    }
}

#[test]
fn one_call_programs_at_most_four_pages() {
    let bench = Bench::new(16);
    let package = TestPackage::new(1, 16384, 16384);
    let mut journal = bench.journal().unwrap();
    let mut writer = bench.open(&package, &mut journal).unwrap();
    erase_all(&mut writer, &mut journal).unwrap();
    writer.begin_block(0, 16384).unwrap();
    let mut at = 0;
    for expected in [1024, 100, 156, 1024] {
        let ops = bench.0.borrow().ops;
        let end = if expected == 100 {
            at + 100
        } else {
            package.image.len()
        };
        assert_eq!(writer.write(&package.image[at..end]), Ok(expected));
        assert!(bench.0.borrow().ops - ops <= 1);
        at += expected;
    }
}

#[test]
fn a_download_goes_on_behind_the_blocks_that_are_held() {
    let bench = Bench::used(32);
    let package = TestPackage::new(1, 100_000, 16384);
    bench.download(&package, 3).unwrap();
    let before = bench.slot(3 * 16384);
    let mut journal = bench.journal().unwrap();
    let writer = bench.open(&package, &mut journal).unwrap();
    assert_eq!((writer.blocks_held(), writer.blocks()), (3, 7));
    assert!(
        !writer.can_begin_block(),
        "its sectors are erased again first"
    );
    // The four sectors of block 3, and the next unit.
    assert_eq!(bench.download(&package, 99), Ok(4 + 16));
    assert_eq!(bench.slot(before.len()), before);
    assert_eq!(bench.slot(package.image.len()), package.image);
    let mut journal = bench.journal().unwrap();
    assert!(bench.open(&package, &mut journal).unwrap().is_complete());
}

#[test]
fn another_package_starts_from_the_first_block_and_trusts_no_sector_of_the_earlier_one() {
    let bench = Bench::new(32);
    let (first, second) = (
        TestPackage::new(1, 60_000, 16384),
        TestPackage::new(2, 60_000, 16384),
    );
    bench.download(&first, 1).unwrap();
    let mut journal = bench.journal().unwrap();
    assert_eq!(bench.open(&second, &mut journal).unwrap().blocks_held(), 0);
    // The first download found everything blank. What it has looked at counts as touched, so the unit is erased.
    assert_eq!(bench.download(&second, 99), Ok(16));
    assert_eq!(bench.slot(60_000), second.image);
}

#[test]
fn an_erase_that_was_cut_is_repeated_although_the_sectors_read_blank() {
    for cut in [Cut::Half, Cut::After] {
        let bench = Bench::used(32);
        let package = TestPackage::new(1, 60_000, 16384);
        let mut journal = bench.journal().unwrap();
        let mut writer = bench.open(&package, &mut journal).unwrap();
        // One look, then the record before the erase.
        writer.poll_erase(&mut journal).unwrap();
        writer.poll_erase(&mut journal).unwrap();
        bench.0.borrow_mut().cut_at(0, cut);
        writer.poll_erase(&mut journal).unwrap_err();
        bench.0.borrow_mut().power_on();
        bench.0.borrow_mut().bytes_mut()[SLOT_AT as usize..].fill(0xFF);
        assert_eq!(bench.download(&package, 99), Ok(16), "{cut:?}");
        assert_eq!(bench.slot(60_000), package.image);
    }
}

#[test]
fn what_an_earlier_download_left_half_erased_is_erased_by_the_next_one() {
    let bench = Bench::used(32);
    let (first, second) = (
        TestPackage::new(1, 120_000, 16384),
        TestPackage::new(2, 120_000, 16384),
    );
    let mut journal = bench.journal().unwrap();
    let mut writer = bench.open(&first, &mut journal).unwrap();
    // Record, erase, record, record, and the second erase.
    bench.0.borrow_mut().cut_at(4, Cut::Half);
    erase_all(&mut writer, &mut journal).unwrap_err();
    bench.0.borrow_mut().power_on();
    // As if the cut erase read blank, and unstable.
    bench.0.borrow_mut().bytes_mut()[SLOT_AT as usize..].fill(0xFF);
    let progress = bench
        .journal()
        .unwrap()
        .latest::<Progress>(0)
        .unwrap()
        .unwrap();
    let suspect = (progress.erasing_to / SECTOR_LEN) as usize;
    assert!(suspect > 0);
    // The second one is interrupted as well, before it has erased anything.
    let mut journal = bench.journal().unwrap();
    bench.open(&second, &mut journal).unwrap();
    assert_eq!(bench.download(&second, 99), Ok(suspect));
}

#[test]
fn a_discarded_download_starts_anew_and_erases_everything() {
    let bench = Bench::new(32);
    let package = TestPackage::new(1, 60_000, 16384);
    assert_eq!(bench.download(&package, 99), Ok(0));
    discard(&mut bench.journal().unwrap()).unwrap();
    assert_eq!(bench.download(&package, 99), Ok(16));
    assert_eq!(bench.slot(60_000), package.image);
}

#[test]
fn after_a_lost_journal_no_sector_counts_as_blank() {
    let bench = Bench::new(32);
    bench.0.borrow_mut().bytes_mut()[40] = 0;
    let package = TestPackage::new(1, 60_000, 16384);
    assert_eq!(bench.download(&package, 99), Ok(16));
}

#[test]
fn the_running_slot_is_refused() {
    let bench = Bench::new(16);
    for slot in Slot::BOTH {
        let region = bench.region(SLOT_AT, ERASE_BLOCK_LEN);
        assert_eq!(
            TargetSlot::new(slot, Some(slot), region).err(),
            Some(SlotError::Running)
        );
        assert_eq!(
            TargetSlot::new(slot, Some(slot.other()), region)
                .unwrap()
                .slot(),
            slot
        );
    }
}

#[test]
fn no_slot_is_touched_while_a_trial_is_open() {
    let bench = Bench::new(16);
    let package = TestPackage::new(1, 20_000, 4096);
    let mut journal = bench.journal().unwrap();
    let table = {
        bench.open(&package, &mut journal).unwrap();
        bench.store().check(&package.header).unwrap()
    };
    let target = TrialTarget {
        slot: 1,
        image_sha256: Sha256Digest::EMPTY,
        identity: Sha256Digest([9; 32]),
        sequence: 1,
        security_version: 0,
        job: clip("job"),
        url: clip("http://host/a"),
        created: 1,
        timing: None,
    };
    journal.append(0, &target).unwrap();
    let counters = trial::fresh_counters(&target);
    for stage in [
        TrialStage::Open,
        TrialStage::RollingBack,
        TrialStage::Inconclusive,
    ] {
        journal
            .append(0, &TrialCounters { stage, ..counters })
            .unwrap();
        let ops = bench.0.borrow().ops;
        let started = start_download(&mut journal, &package.header, 0);
        assert_eq!(started.err(), Some(SlotError::TrialOpen));
        let opened = SlotWriter::open(bench.target(), &package.header, &table, &mut journal);
        assert_eq!(opened.err(), Some(SlotError::TrialOpen));
        assert_eq!(bench.0.borrow().ops, ops);
    }
    journal
        .append(
            0,
            &TrialCounters {
                stage: TrialStage::Closed,
                ..counters
            },
        )
        .unwrap();
    assert!(SlotWriter::open(bench.target(), &package.header, &table, &mut journal).is_ok());
}

#[test]
fn a_writer_needs_its_own_table_room_and_a_started_download() {
    let bench = Bench::new(16);
    let (package, other) = (
        TestPackage::new(1, 20_000, 4096),
        TestPackage::new(2, 20_000, 4096),
    );
    let mut journal = bench.journal().unwrap();
    bench.open(&package, &mut journal).unwrap();
    let table = bench.store().check(&package.header).unwrap();
    let opened = SlotWriter::open(bench.target(), &other.header, &table, &mut journal);
    assert_eq!(opened.err(), Some(SlotError::OtherTable));
    discard(&mut journal).unwrap();
    let opened = SlotWriter::open(bench.target(), &package.header, &table, &mut journal);
    assert_eq!(opened.err(), Some(SlotError::NotStarted));
    let large = TestPackage::with(image(1, 17 * 4096, true), 1, 4096, |_| {});
    assert_eq!(
        bench.open(&large, &mut journal).err(),
        Some(SlotError::TooLarge)
    );
}

#[test]
fn blocks_come_whole_in_order_and_into_erased_sectors() {
    let bench = Bench::used(16);
    let package = TestPackage::new(1, 20_000, 4096);
    let mut journal = bench.journal().unwrap();
    let mut writer = bench.open(&package, &mut journal).unwrap();
    assert_eq!(writer.begin_block(0, 4096), Err(SlotError::NotErased));
    erase_all(&mut writer, &mut journal).unwrap();
    assert_eq!(writer.begin_block(1, 4096), Err(SlotError::OutOfOrder));
    assert_eq!(writer.begin_block(0, 4095), Err(SlotError::OutOfOrder));
    assert_eq!(writer.write(&[1]), Err(SlotError::OutOfOrder));
    assert_eq!(
        writer.finish_block(&mut journal),
        Err(SlotError::OutOfOrder)
    );
    writer.begin_block(0, 4096).unwrap();
    assert_eq!(writer.begin_block(0, 4096), Err(SlotError::OutOfOrder));
    assert_eq!(writer.write(&[0; 4097]), Err(SlotError::OutOfOrder));
    assert_eq!(writer.write(&package.image[..1024]), Ok(1024));
    assert_eq!(
        writer.finish_block(&mut journal),
        Err(SlotError::OutOfOrder)
    );
}

#[test]
fn a_cut_at_every_command_costs_a_block_and_few_erases() {
    let package = TestPackage::new(1, 9 * 4096 - 48, 8192);
    let bench = Bench::used(10);
    bench.download(&package, 99).unwrap();
    let (total, once) = (bench.0.borrow().ops, bench.sectors_erased());
    for op in 0..total {
        for cut in [Cut::Before, Cut::After, Cut::Half] {
            let bench = Bench::used(10);
            bench.0.borrow_mut().cut_at(op, cut);
            assert!(bench.download(&package, 99).is_err(), "op {op}");
            bench.0.borrow_mut().power_on();
            bench.download(&package, 99).unwrap();
            assert_eq!(
                bench.slot(package.image.len()),
                package.image,
                "op {op}, {cut:?}"
            );
            let more = bench.sectors_erased() - once;
            assert!(more <= 8, "op {op}, {cut:?}: {more} more erases");
        }
    }
}

#[test]
fn the_writer_is_small() {
    assert!(size_of::<SlotWriter<TestRegion<'_>>>() <= 512);
}

#[test]
fn blocks_in_the_other_slot_or_in_one_that_nobody_named_are_not_held() {
    let bench = Bench::new(64);
    let package = TestPackage::new(1, 100_000, 16384);
    bench.download(&package, 3).unwrap();
    let mut journal = bench.journal().unwrap();
    let table = bench.store().check(&package.header).unwrap();
    let known = journal.latest::<Progress>(0).unwrap().unwrap();
    assert_eq!((known.blocks_held, known.slot), (3, 2));
    // The other slot runs now, as after an update over a cable; or an earlier version wrote the record.
    for (slot, wrote) in [(Slot::Ota0, 2), (Slot::Ota1, 0)] {
        let earlier = Progress {
            slot: wrote,
            ..known
        };
        journal.append(0, &earlier).unwrap();
        let target = bench.target_as(slot);
        let writer = SlotWriter::open(target, &package.header, &table, &mut journal).unwrap();
        assert_eq!((writer.blocks_held(), writer.erased_to()), (0, 0));
        let anew = journal.latest::<Progress>(0).unwrap().unwrap();
        assert_eq!((anew.blocks_held, anew.erased_to), (0, 0));
        assert_eq!(anew.erasing_to, known.erasing_to, "nothing there is blank");
    }
    journal.append(0, &known).unwrap();
    let target = bench.target();
    let writer = SlotWriter::open(target, &package.header, &table, &mut journal).unwrap();
    assert_eq!(writer.blocks_held(), 3);
}
