use core::cell::RefCell;

use otaria_wire::Sha256Digest;
use otaria_wire::journal::{Boot, Confirmed, Install, PayloadReader, PayloadWriter, Quarantine};

use super::super::region::Region;
use super::super::test_flash::{Cut, TestFlash};
use super::*;

type TestJournal<'a> = Journal<Region<'a, TestFlash>>;

fn mount(flash: &RefCell<TestFlash>) -> TestJournal<'_> {
    let len = flash.borrow().bytes().len() as u32;
    Journal::mount(Region::new(flash, 0, len).unwrap()).unwrap()
}

fn flash(sectors: usize) -> RefCell<TestFlash> {
    RefCell::new(TestFlash::new(sectors))
}

fn boot(count: u32) -> Boot {
    Boot { count }
}

fn confirmed(n: u8) -> Confirmed {
    Confirmed {
        slot: n % 2,
        image_sha256: Sha256Digest([n; 32]),
        identity: Sha256Digest([n ^ 0xFF; 32]),
        sequence: u64::from(n),
        security_version: 7,
    }
}

fn quarantine(n: u8) -> Quarantine {
    Quarantine {
        identity: Sha256Digest([n; 32]),
        job_hash8: [n; 8],
        code: 3,
        order: u32::from(n),
    }
}

/// A kind that this version knows nothing of.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Unknown<const LEN: usize>([u8; LEN]);

impl<const LEN: usize> Record for Unknown<LEN> {
    const KIND: u8 = 0x55;

    fn write(&self, payload: &mut PayloadWriter<'_>) {
        payload.bytes(&self.0);
    }

    fn read(payload: &mut PayloadReader<'_>) -> Option<Self> {
        Some(Self(payload.array()))
    }
}

/// The boot record of a later version, with one more field.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LaterBoot {
    count: u32,
    more: [u8; 40],
}

impl Record for LaterBoot {
    const KIND: u8 = Boot::KIND;

    fn write(&self, payload: &mut PayloadWriter<'_>) {
        payload.u32(self.count);
        payload.bytes(&self.more);
    }

    fn read(payload: &mut PayloadReader<'_>) -> Option<Self> {
        Some(Self {
            count: payload.u32(),
            more: payload.array(),
        })
    }
}

/// Appends boots until a compaction has happened.
fn compact(journal: &mut TestJournal<'_>) {
    let epoch = journal.epoch;
    let mut count = 1_000_000;
    while journal.epoch == epoch {
        journal.append(99, &boot(count)).unwrap();
        count += 1;
    }
}

#[test]
fn blank_flash_becomes_an_empty_journal() {
    let flash = flash(4);
    let mut journal = mount(&flash);
    assert_eq!(journal.origin(), Origin::Fresh);
    assert_eq!(journal.latest::<Boot>(0), Ok(None));
    assert_eq!(flash.borrow().ops, 2, "an erase and the header");
    let journal = mount(&flash);
    assert_eq!(journal.origin(), Origin::Found);
    assert_eq!(flash.borrow().ops, 2);
}

#[test]
fn the_latest_record_of_a_kind_and_key_counts() {
    let flash = flash(4);
    let mut journal = mount(&flash);
    journal.append(0, &boot(1)).unwrap();
    journal.append(0, &boot(2)).unwrap();
    journal.append(1, &boot(9)).unwrap();
    journal.append(0, &confirmed(3)).unwrap();
    for journal in [&mut journal, &mut mount(&flash)] {
        assert_eq!(journal.latest(0), Ok(Some(boot(2))));
        assert_eq!(journal.latest(1), Ok(Some(boot(9))));
        assert_eq!(journal.latest(0), Ok(Some(confirmed(3))));
        assert_eq!(journal.latest::<Confirmed>(1), Ok(None));
    }
}

#[test]
fn a_record_equal_to_the_latest_costs_nothing() {
    let flash = flash(4);
    let mut journal = mount(&flash);
    journal.append(0, &confirmed(3)).unwrap();
    let ops = flash.borrow().ops;
    for _ in 0..1000 {
        journal.append(0, &confirmed(3)).unwrap();
    }
    assert_eq!(flash.borrow().ops, ops);
    let mut journal = mount(&flash);
    journal.append(0, &confirmed(3)).unwrap();
    assert_eq!(flash.borrow().ops, ops);
}

#[test]
fn a_removed_record_stays_removed_over_mount_and_compaction() {
    let flash = flash(4);
    let mut journal = mount(&flash);
    journal.append(0, &confirmed(1)).unwrap();
    journal.append(1, &confirmed(2)).unwrap();
    journal.remove::<Confirmed>(0).unwrap();
    let ops = flash.borrow().ops;
    journal.remove::<Confirmed>(0).unwrap();
    assert_eq!(flash.borrow().ops, ops, "nothing to remove");
    let mut journal = mount(&flash);
    assert_eq!(journal.latest::<Confirmed>(0), Ok(None));
    compact(&mut journal);
    for journal in [&mut journal, &mut mount(&flash)] {
        assert_eq!(journal.latest::<Confirmed>(0), Ok(None));
        assert_eq!(journal.latest(1), Ok(Some(confirmed(2))));
    }
    journal.append(0, &confirmed(5)).unwrap();
    assert_eq!(mount(&flash).latest(0), Ok(Some(confirmed(5))));
}

#[test]
fn a_compaction_carries_all_records_over_and_erases_one_sector() {
    let flash = flash(8);
    let mut journal = mount(&flash);
    for key in 0..8 {
        journal.append(key, &quarantine(key as u8)).unwrap();
    }
    journal.append(0, &Install { install: 42 }).unwrap();
    for round in 0..5 {
        let (epoch, wear) = (journal.epoch, flash.borrow().sectors_erased);
        compact(&mut journal);
        assert_eq!(journal.epoch, epoch + 1);
        let wear = flash.borrow().sectors_erased - wear;
        assert_eq!(wear, 4, "round {round}: each sector of a half once");
        for journal in [&mut journal, &mut mount(&flash)] {
            for key in 0..8 {
                assert_eq!(journal.latest(key), Ok(Some(quarantine(key as u8))));
            }
            assert_eq!(journal.latest(0), Ok(Some(Install { install: 42 })));
        }
    }
}

#[test]
fn an_unknown_kind_and_unknown_fields_are_carried_over_byte_by_byte() {
    let flash = flash(2);
    let mut journal = mount(&flash);
    let unknown = Unknown(core::array::from_fn::<u8, 200, _>(|i| i as u8 ^ 0xA5));
    let later = LaterBoot {
        count: 5,
        more: [0xC3; 40],
    };
    journal.append(3, &unknown).unwrap();
    journal.append(0, &later).unwrap();
    for _ in 0..3 {
        compact(&mut journal);
    }
    let mut journal = mount(&flash);
    assert_eq!(journal.latest(3), Ok(Some(unknown)));
    assert_eq!(journal.latest(0), Ok(Some(later)));
    assert_eq!(journal.latest(0), Ok(Some(boot(5))));
}

#[test]
fn a_record_that_does_not_decode_is_a_named_error() {
    struct Broken;
    impl Record for Broken {
        const KIND: u8 = Boot::KIND;
        fn write(&self, payload: &mut PayloadWriter<'_>) {
            payload.u8(1);
        }
        fn read(_: &mut PayloadReader<'_>) -> Option<Self> {
            None
        }
    }
    let flash = flash(2);
    let mut journal = mount(&flash);
    journal.append(0, &Broken).unwrap();
    let error = journal.latest::<Broken>(0).err();
    assert_eq!(error, Some(JournalError::Undecodable { kind: Boot::KIND }));
}

#[test]
fn a_full_journal_refuses_and_keeps_what_it_has() {
    let flash = flash(2);
    let mut journal = mount(&flash);
    let big = Unknown([0x11; 900]);
    let mut held = 0;
    while journal.append(held, &big).is_ok() {
        held += 1;
    }
    assert_eq!(held, 3);
    let ops = flash.borrow().ops;
    assert_eq!(journal.append(held, &big), Err(JournalError::Full));
    assert_eq!(flash.borrow().ops, ops);
    for key in 0..held {
        assert_eq!(mount(&flash).latest(key), Ok(Some(big.clone())));
    }
    // Replacing and removing go on.
    for n in 0..300 {
        journal.append(0, &Unknown([n as u8; 900])).unwrap();
    }
    journal.remove::<Unknown<900>>(0).unwrap();
    journal.append(500, &big).unwrap();
}

#[test]
fn more_pairs_than_the_format_allows_are_refused() {
    let flash = flash(8);
    let mut journal = mount(&flash);
    for key in 0..MAX_LIVE as u16 {
        journal.append(key, &boot(1)).unwrap();
    }
    assert_eq!(journal.append(1000, &boot(1)), Err(JournalError::Full));
    journal.append(0, &boot(2)).unwrap();
}

#[test]
fn a_record_of_more_than_32_cells_is_refused() {
    let flash = flash(2);
    let mut journal = mount(&flash);
    assert_eq!(
        journal.append(0, &Unknown([0; 986])),
        Err(JournalError::TooLong)
    );
    journal.append(0, &Unknown([0; 985])).unwrap();
    assert_eq!(mount(&flash).latest(0), Ok(Some(Unknown([0; 985]))));
}

#[test]
fn a_torn_record_is_passed_over_and_its_cells_are_not_written_again() {
    let flash = flash(2);
    let mut journal = mount(&flash);
    journal.append(0, &confirmed(1)).unwrap();
    flash.borrow_mut().cut_at(0, Cut::Half);
    journal.append(0, &confirmed(2)).unwrap_err();
    flash.borrow_mut().power_on();
    // The test flash panics if a word is written twice.
    let mut journal = mount(&flash);
    assert!(journal.damaged_cells() > 0);
    assert_eq!(journal.latest(0), Ok(Some(confirmed(1))));
    journal.append(0, &confirmed(3)).unwrap();
    assert_eq!(mount(&flash).latest(0), Ok(Some(confirmed(3))));
}

#[test]
fn a_lost_journal_is_made_anew_and_says_so() {
    for sectors in [2, 8] {
        let flash = flash(sectors);
        let mut journal = mount(&flash);
        journal.append(0, &confirmed(1)).unwrap();
        compact(&mut journal);
        journal.append(0, &confirmed(2)).unwrap();
        let half = sectors / 2 * SECTOR_LEN as usize;
        for header in [0, half] {
            flash.borrow_mut().bytes_mut()[header + 9] ^= 0x10;
        }
        let mut journal = mount(&flash);
        assert_eq!(journal.origin(), Origin::Lost);
        assert_eq!(journal.latest::<Confirmed>(0), Ok(None));
        assert_eq!(journal.latest(0), Ok(Some(NOTHING_IS_BLANK)));
        assert_eq!(mount(&flash).origin(), Origin::Found);
    }
}

#[test]
fn records_of_an_earlier_life_do_not_come_back_when_their_epoch_does() {
    let flash = flash(8);
    let mut journal = mount(&flash);
    for count in 0..400 {
        journal.append(0, &boot(count)).unwrap();
    }
    assert_eq!((journal.epoch, journal.sector), (1, 3));
    flash.borrow_mut().bytes_mut()[0] = 0;
    let mut journal = mount(&flash);
    assert_eq!((journal.epoch, journal.origin()), (1, Origin::Lost));
    assert_eq!(journal.latest::<Boot>(0), Ok(None));
}

#[test]
fn a_journal_that_is_lost_and_cut_is_still_lost() {
    for op in 0.. {
        let flash = flash(4);
        let mut journal = mount(&flash);
        journal.append(0, &confirmed(1)).unwrap();
        flash.borrow_mut().bytes_mut()[0] = 0;
        flash.borrow_mut().cut_at(op, Cut::After);
        let region = Region::new(&flash, 0, 4 * SECTOR_LEN).unwrap();
        if Journal::mount(region).is_ok() {
            assert_eq!(op, 6, "four erases, the record and the header");
            return;
        }
        flash.borrow_mut().power_on();
        let mut journal = mount(&flash);
        let expected = if op < 5 { Origin::Lost } else { Origin::Found };
        assert_eq!(journal.origin(), expected, "op {op}");
        assert_eq!(journal.latest(0), Ok(Some(NOTHING_IS_BLANK)), "op {op}");
    }
}

#[test]
fn with_one_header_damaged_the_other_half_counts() {
    let flash = flash(2);
    let mut journal = mount(&flash);
    journal.append(0, &confirmed(1)).unwrap();
    compact(&mut journal);
    let header = usize::from(journal.half) * SECTOR_LEN as usize;
    flash.borrow_mut().bytes_mut()[header] = 0;
    let mut journal = mount(&flash);
    assert_eq!(journal.origin(), Origin::Found);
    assert_eq!(journal.latest(0), Ok(Some(confirmed(1))));
    journal.append(0, &confirmed(2)).unwrap();
    assert_eq!(mount(&flash).latest(0), Ok(Some(confirmed(2))));
}

#[test]
fn a_cut_at_every_command_leaves_each_record_old_or_new() {
    // Enough rounds for sectors to be entered and two compactions.
    let rounds = 130;
    let total = {
        let flash = flash(4);
        let mut journal = mount(&flash);
        (0..rounds)
            .try_for_each(|n| journal.append(n % 3, &confirmed(n as u8)))
            .unwrap();
        assert!(journal.epoch >= 2, "no compaction in the script");
        flash.borrow().ops
    };
    for op in 0..total {
        for cut in [Cut::Before, Cut::After, Cut::Half] {
            let flash = flash(4);
            flash.borrow_mut().cut_at(op, cut);
            let region = Region::new(&flash, 0, 4 * SECTOR_LEN).unwrap();
            let mut done = 0;
            if let Ok(mut journal) = Journal::mount(region) {
                while done < rounds && journal.append(done % 3, &confirmed(done as u8)).is_ok() {
                    done += 1;
                }
            }
            flash.borrow_mut().power_on();
            let mut journal = mount(&flash);
            for key in 0..3 {
                let before = (0..done)
                    .rev()
                    .find(|n| n % 3 == key)
                    .map(|n| confirmed(n as u8));
                let after = (done % 3 == key).then(|| confirmed(done as u8)).or(before);
                let found = journal.latest::<Confirmed>(key).unwrap();
                assert!(
                    found == before || found == after,
                    "op {op}, {cut:?}, key {key}: {found:?}"
                );
            }
            for n in done..rounds {
                journal.append(n % 3, &confirmed(n as u8)).unwrap();
            }
            for n in rounds - 3..rounds {
                assert_eq!(mount(&flash).latest(n % 3), Ok(Some(confirmed(n as u8))));
            }
        }
    }
}

#[test]
fn no_bytes_in_flash_make_the_mount_fail() {
    let mut seed = 1u64;
    for round in 0..200 {
        let flash = flash(4);
        if round % 2 == 0 {
            let mut journal = mount(&flash);
            (0..200)
                .try_for_each(|n| journal.append(n % 5, &confirmed(n as u8)))
                .unwrap();
        }
        let flips = if round % 2 == 0 { 40 } else { 16384 };
        for _ in 0..flips {
            seed = seed
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let at = (seed >> 33) as usize % flash.borrow().bytes().len();
            flash.borrow_mut().bytes_mut()[at] = (seed >> 25) as u8;
        }
        let mut journal = mount(&flash);
        journal.append(0, &boot(round)).unwrap();
        compact(&mut journal);
        assert_eq!(mount(&flash).latest(0), Ok(Some(boot(round))));
    }
}

#[test]
fn a_region_that_is_not_two_equal_halves_is_refused() {
    let flash = flash(4);
    for sectors in [0, 1, 3] {
        let region = Region::new(&flash, 0, sectors * SECTOR_LEN).unwrap();
        assert_eq!(Journal::mount(region).err(), Some(JournalError::WrongSize));
    }
}

#[test]
fn the_journal_takes_little_ram() {
    assert!(
        size_of::<TestJournal<'_>>() <= 1024,
        "{}",
        size_of::<TestJournal<'_>>()
    );
}

#[test]
fn a_shorter_compaction_brings_back_nothing_of_a_longer_one_that_was_cut() {
    // Live records that fill sector 0 of a half nearly, and one that goes beyond it.
    const LONG: Unknown<900> = Unknown([7; 900]);
    for op in 0.. {
        let flash = flash(8);
        let mut journal = mount(&flash);
        for key in 0..60 {
            journal.append(key, &quarantine(key as u8)).unwrap();
        }
        journal.append(0, &confirmed(1)).unwrap();
        while journal.sector + 1 < journal.half_sectors || journal.next < CELLS_PER_SECTOR - 1 {
            let count = u32::from(journal.sector) << 16 | u32::from(journal.next);
            journal.append(99, &boot(count)).unwrap();
        }
        let epoch = journal.epoch;
        flash.borrow_mut().cut_at(op, Cut::Before);
        let cut = journal.append(0, &LONG).is_err();
        flash.borrow_mut().power_on();
        let mut journal = mount(&flash);
        if !cut {
            assert!(op > 60, "{op}");
            break;
        }
        assert_eq!(journal.epoch, epoch);
        // This one is short, and goes into the same epoch.
        for value in [confirmed(2), confirmed(3)] {
            journal.append(0, &value).unwrap();
            let mut again = mount(&flash);
            for journal in [&mut journal, &mut again] {
                assert_eq!(journal.latest(0), Ok(Some(value)), "cut at {op}");
                assert_eq!(journal.latest::<Unknown<900>>(0), Ok(None), "cut at {op}");
            }
        }
        assert_eq!(journal.epoch, epoch + 1);
    }
}
