use super::*;

const SMALL: u32 = 4 * BLOCK_LEN;

fn read<const N: usize>(flash: &mut SimFlash, addr: u32) -> [u8; N] {
    let mut out = [0; N];
    flash.read(addr, &mut out).unwrap();
    out
}

/// A flash with a sector of pattern bytes at 0x1000.
fn patterned() -> SimFlash {
    let mut flash = SimFlash::new(SMALL);
    let pattern: Vec<u8> = (0..SECTOR_LEN).map(|i| (i * 7) as u8).collect();
    flash.load(0x1000, &pattern);
    flash
}

#[test]
fn a_new_flash_reads_all_ones() {
    let mut flash = SimFlash::new(SMALL);
    assert_eq!(read::<64>(&mut flash, 0x1234), [0xFF; 64]);
    assert_eq!(flash.capacity(), SMALL as usize);
}

#[test]
fn a_write_clears_bits_and_leaves_the_rest() {
    let mut flash = SimFlash::new(SMALL);
    flash.write(8, &[0xF0, 0xFF, 0x0F, 0x00]).unwrap();
    assert_eq!(
        read::<8>(&mut flash, 6),
        [0xFF, 0xFF, 0xF0, 0xFF, 0x0F, 0x00, 0xFF, 0xFF]
    );
}

#[test]
fn a_second_write_may_clear_more_bits_and_is_counted() {
    let mut flash = SimFlash::new(SMALL);
    flash.write(0, &[0xF0; 4]).unwrap();
    flash.write(0, &[0x30; 4]).unwrap();
    assert_eq!(read::<4>(&mut flash, 0), [0x30; 4]);
    assert_eq!(flash.stats().rewritten_words, 1);
    assert!(flash.violations().is_empty());
}

#[test]
fn a_write_that_sets_a_bit_is_refused_and_remembered() {
    let mut flash = SimFlash::new(SMALL);
    flash.write(0, &[0xFF, 0xFF, 0x0F, 0xFF]).unwrap();
    let error = FlashError::SetsBit { addr: 2 };
    assert_eq!(flash.write(0, &[0x00, 0x00, 0x1F, 0x00]), Err(error));
    assert_eq!(
        read::<4>(&mut flash, 0),
        [0xFF, 0xFF, 0x0F, 0xFF],
        "a refused write changes nothing"
    );
    assert_eq!(flash.violations(), [error]);
    assert_eq!(
        flash.op_count(),
        1,
        "a refused write never reaches the chip"
    );
}

#[test]
fn a_write_that_sets_a_bit_in_its_second_sector_changes_nothing_in_the_first() {
    let mut flash = SimFlash::new(SMALL);
    flash.write(0x1000, &[0; 4]).unwrap();
    assert_eq!(
        flash.write(0xFFC, &[0x55; 8]),
        Err(FlashError::SetsBit { addr: 0x1000 })
    );
    assert_eq!(flash.peek(0xFFC, 4), [0xFF; 4]);
}

#[test]
fn an_erase_sets_all_bits_of_its_sectors_and_of_no_other() {
    let mut flash = SimFlash::new(SMALL);
    for sector in 0..4 {
        flash.write(sector * 0x1000 + 0xFFC, &[0; 4]).unwrap();
    }
    flash.erase(0x1000, 0x3000).unwrap();
    let tails: Vec<u8> = (0..4)
        .map(|sector| flash.peek(sector * 0x1000 + 0xFFF, 1)[0])
        .collect();
    assert_eq!(tails, [0, 0xFF, 0xFF, 0]);
    assert_eq!(flash.wear()[..4], [0, 1, 1, 0]);
}

#[test]
fn unaligned_calls_are_refused_and_remembered() {
    let mut flash = SimFlash::new(SMALL);
    assert_eq!(flash.write(2, &[0; 4]), Err(FlashError::NotAligned));
    assert_eq!(flash.write(4, &[0; 3]), Err(FlashError::NotAligned));
    assert_eq!(flash.erase(0x800, 0x1800), Err(FlashError::NotAligned));
    assert_eq!(flash.erase(0, 0x1004), Err(FlashError::NotAligned));
    assert_eq!(flash.violations(), [FlashError::NotAligned; 4]);
}

#[test]
fn calls_behind_the_end_are_refused_and_remembered() {
    let mut flash = SimFlash::new(SMALL);
    assert_eq!(
        flash.read(SMALL - 2, &mut [0; 4]),
        Err(FlashError::OutOfBounds)
    );
    assert_eq!(flash.write(SMALL, &[0; 4]), Err(FlashError::OutOfBounds));
    assert_eq!(flash.erase(0, SMALL + 0x1000), Err(FlashError::OutOfBounds));
    assert_eq!(flash.erase(0x2000, 0x1000), Err(FlashError::OutOfBounds));
    assert_eq!(flash.erase(0xFFFF_F000, 0), Err(FlashError::OutOfBounds));
    assert_eq!(
        flash.read(u32::MAX, &mut [0; 4]),
        Err(FlashError::OutOfBounds)
    );
    assert_eq!(flash.violations().len(), 6);
}

#[test]
fn unaligned_reads_work_and_are_counted() {
    let mut flash = SimFlash::new(SMALL);
    let _ = read::<4>(&mut flash, 4);
    let _ = read::<4>(&mut flash, 5);
    let _ = read::<3>(&mut flash, 8);
    assert_eq!(flash.stats().unaligned_reads, 2);
    assert_eq!(flash.stats().bytes_read, 11);
}

#[test]
fn an_empty_write_or_erase_is_no_op() {
    let mut flash = SimFlash::new(SMALL);
    flash.write(0, &[]).unwrap();
    flash.erase(0x1000, 0x1000).unwrap();
    assert_eq!(flash.op_count(), 0);
}

#[test]
fn an_erase_uses_block_commands_where_the_range_holds_an_aligned_block() {
    let mut flash = SimFlash::new(SMALL).with_log();
    flash.erase(0xF000, 0x3_1000).unwrap();
    let ops: Vec<String> = flash.log().iter().map(Op::to_string).collect();
    assert_eq!(
        ops,
        [
            "#0 erase sector 0xf000+0x1000",
            "#1 erase block 0x10000+0x10000",
            "#2 erase block 0x20000+0x10000",
            "#3 erase sector 0x30000+0x1000",
        ]
    );
    assert_eq!(
        (flash.stats().sector_erases, flash.stats().block_erases),
        (2, 2)
    );
}

#[test]
fn a_write_across_pages_and_sectors_is_one_op() {
    let mut flash = SimFlash::new(SMALL).with_log();
    flash.write(0xFF0, &[0xA5; 600]).unwrap();
    assert_eq!(
        flash.log(),
        [Op {
            index: 0,
            kind: OpKind::Write,
            addr: 0xFF0,
            len: 600
        }]
    );
    assert_eq!(flash.peek(0xFF0, 600), [0xA5; 600]);
}

#[test]
fn a_cut_before_an_op_leaves_all_as_it_was() {
    let mut flash = patterned();
    let before = flash.peek(0x1000, 4096);
    flash.set_plan(FaultPlan::cut(0, Cut::Before, 1));
    assert_eq!(flash.erase(0x1000, 0x2000), Err(FlashError::PowerLost));
    assert_eq!(flash.peek(0x1000, 4096), before);
    assert_eq!(flash.wear()[1], 0);
}

#[test]
fn a_cut_after_an_op_leaves_it_done() {
    let mut flash = patterned();
    flash.set_plan(FaultPlan::cut(0, Cut::After, 1));
    assert_eq!(flash.erase(0x1000, 0x2000), Err(FlashError::PowerLost));
    assert_eq!(flash.peek(0x1000, 4096), [0xFF; 4096]);
    assert!(!flash.is_unstable(0x1000));
}

#[test]
fn after_a_cut_every_call_fails_until_the_power_is_back() {
    let mut flash = patterned();
    flash.set_plan(FaultPlan::cut(1, Cut::After, 1));
    flash.write(0, &[0; 4]).unwrap();
    assert_eq!(flash.write(4, &[0; 4]), Err(FlashError::PowerLost));
    assert!(!flash.powered());
    assert_eq!(flash.read(0, &mut [0; 4]), Err(FlashError::PowerLost));
    assert_eq!(flash.write(8, &[0; 4]), Err(FlashError::PowerLost));
    assert_eq!(flash.erase(0, 0x1000), Err(FlashError::PowerLost));
    assert_eq!(
        flash.op_count(),
        2,
        "what never reached the chip is not counted"
    );
    assert!(
        flash.violations().is_empty(),
        "losing power is no mistake of the driver"
    );
    flash.power_on();
    flash.write(8, &[0; 4]).unwrap();
    assert_eq!(read::<12>(&mut flash, 0), [0; 12]);
}

#[test]
fn a_cut_inside_a_longer_erase_leaves_the_later_sectors_alone() {
    let mut flash = patterned();
    flash.load(0x2000, &[0; 4096]);
    flash.set_plan(FaultPlan::cut(0, Cut::After, 1));
    assert_eq!(flash.erase(0x1000, 0x3000), Err(FlashError::PowerLost));
    assert_eq!(flash.peek(0x1000, 4), [0xFF; 4]);
    assert_eq!(flash.peek(0x2000, 4), [0; 4]);
}

#[test]
fn a_torn_write_leaves_a_prefix_and_at_most_one_mixed_byte() {
    let wanted: Vec<u8> = (0..600).map(|i| (i % 255) as u8 & 0x7F).collect();
    let mut lengths = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let mut flash = SimFlash::new(SMALL);
        flash.set_plan(FaultPlan::cut(0, Cut::TornPrefix, seed));
        assert_eq!(flash.write(0xF00, &wanted), Err(FlashError::PowerLost));
        let found = flash.peek(0xF00, wanted.len());
        let same = found
            .iter()
            .zip(&wanted)
            .take_while(|(found, wanted)| found == wanted)
            .count();
        assert!(same < wanted.len(), "seed {seed}: the write was not torn");
        assert_eq!(
            found[same] & wanted[same],
            wanted[same],
            "seed {seed}: only bits to be cleared are cleared"
        );
        assert!(
            found[same + 1..].iter().all(|byte| *byte == 0xFF),
            "seed {seed}"
        );
        lengths.insert(same);
    }
    assert!(
        lengths.len() > 100,
        "seeds tear at many places: {}",
        lengths.len()
    );
    assert!(
        lengths.first().is_some_and(|len| *len < 20)
            && lengths.last().is_some_and(|len| *len > 580)
    );
}

#[test]
fn a_torn_write_of_bits_clears_only_bits_that_were_to_be_cleared() {
    for seed in 0..50 {
        let mut flash = SimFlash::new(SMALL);
        flash.load(0, &[0xF7; 64]);
        flash.set_plan(FaultPlan::cut(0, Cut::TornBits, seed));
        assert_eq!(flash.write(0, &[0x35; 64]), Err(FlashError::PowerLost));
        let found = flash.peek(0, 64);
        assert!(
            found
                .iter()
                .all(|byte| byte & 0x35 == 0x35 && byte & !0xF7 == 0),
            "seed {seed}: {found:x?}"
        );
        assert_ne!(found, [0xF7; 64], "seed {seed}");
        assert_ne!(found, [0x35; 64], "seed {seed}");
    }
}

#[test]
fn a_torn_erase_leaves_bits_old_erased_or_unstable() {
    let (mut untouched, mut finished, mut unstable) = (0, 0, 0);
    for seed in 0..64 {
        let mut flash = patterned();
        let old = flash.peek(0x1000, 4096);
        flash.set_plan(FaultPlan::cut(0, Cut::TornErase, seed));
        assert_eq!(flash.erase(0x1000, 0x2000), Err(FlashError::PowerLost));
        assert_eq!(flash.wear()[1], 1, "a torn erase wears the sector too");
        flash.power_on();
        let (first, second) = (
            read::<4096>(&mut flash, 0x1000),
            read::<4096>(&mut flash, 0x1000),
        );
        if flash.is_unstable(0x1000) {
            unstable += 1;
            assert_ne!(first, second, "seed {seed}: unstable bits read differently");
        } else {
            assert_eq!(first, second, "seed {seed}");
            let kept = first.iter().zip(&old).all(|(new, old)| new & old == *old);
            assert!(kept, "seed {seed}: an erase clears no bit");
        }
        untouched += usize::from(first == *old);
        finished += usize::from(first == [0xFF; 4096]);
    }
    assert!(
        untouched > 0 && finished > 0 && unstable > 20,
        "{untouched} {finished} {unstable}"
    );
}

#[test]
fn an_erase_makes_unstable_bits_stable_again() {
    for cut in [Cut::TornErase, Cut::WeakErase] {
        let mut flash = patterned();
        flash.set_plan(FaultPlan::cut(0, cut, 3));
        assert_eq!(flash.erase(0x1000, 0x2000), Err(FlashError::PowerLost));
        assert!(flash.is_unstable(0x1000));
        flash.power_on();
        flash.erase(0x1000, 0x2000).unwrap();
        assert!(!flash.is_unstable(0x1000));
        flash.write(0x1000, &[0x5A; 256]).unwrap();
        assert_eq!(read::<256>(&mut flash, 0x1000), [0x5A; 256]);
    }
}

#[test]
fn a_weak_erase_reads_all_ones_until_something_is_written() {
    for seed in 0..20 {
        let mut flash = patterned();
        flash.set_plan(FaultPlan::cut(0, Cut::WeakErase, seed));
        assert_eq!(flash.erase(0x1000, 0x2000), Err(FlashError::PowerLost));
        flash.power_on();
        for _ in 0..3 {
            assert_eq!(
                read::<4096>(&mut flash, 0x1000),
                [0xFF; 4096],
                "a blank check sees nothing"
            );
        }
        let data = [0xF0; 1024];
        flash.write(0x1000, &data).unwrap();
        let reads: Vec<_> = (0..4).map(|_| read::<1024>(&mut flash, 0x1000)).collect();
        assert!(
            reads.iter().any(|read| *read != data),
            "seed {seed}: the data is bad"
        );
        assert!(
            reads.iter().flatten().all(|byte| byte & 0x0F == 0),
            "a bit that was programmed is stable"
        );
        assert!(flash.violations().is_empty());
    }
}

#[test]
fn a_torn_block_erase_leaves_its_sectors_in_different_states() {
    let mut flash = SimFlash::new(SMALL);
    flash.load(BLOCK_LEN, &[0; BLOCK_LEN as usize]);
    flash.set_plan(FaultPlan::cut(0, Cut::TornErase, 11));
    assert_eq!(
        flash.erase(BLOCK_LEN, 2 * BLOCK_LEN),
        Err(FlashError::PowerLost)
    );
    let ones: std::collections::BTreeSet<u32> = (0..16)
        .map(|sector| {
            flash
                .peek(BLOCK_LEN + sector * SECTOR_LEN, 4096)
                .iter()
                .map(|byte| byte.count_ones())
                .sum()
        })
        .collect();
    assert!(ones.len() > 8, "{ones:?}");
    assert_eq!(flash.wear()[15..33], [&[0][..], &[1; 16], &[0]].concat());
}

#[test]
fn a_torn_write_planned_for_an_erase_hits_before_it() {
    let mut flash = patterned();
    let before = flash.peek(0x1000, 4096);
    flash.set_plan(FaultPlan::cut(0, Cut::TornBits, 1));
    assert_eq!(flash.erase(0x1000, 0x2000), Err(FlashError::PowerLost));
    assert_eq!(flash.peek(0x1000, 4096), before);
}

#[test]
fn a_failing_op_changes_nothing_and_the_power_stays() {
    let mut flash = patterned();
    flash.set_plan(FaultPlan::new(0).with(0, Fault::Fail).with(2, Fault::Fail));
    assert_eq!(
        flash.erase(0x1000, 0x2000),
        Err(FlashError::Failed { addr: 0x1000 })
    );
    flash.erase(0x1000, 0x2000).unwrap();
    assert_eq!(
        flash.write(0x1004, &[0; 4]),
        Err(FlashError::Failed { addr: 0x1004 })
    );
    assert_eq!(read::<8>(&mut flash, 0x1000), [0xFF; 8]);
    assert!(flash.powered() && flash.violations().is_empty());
}

#[test]
fn an_ignored_op_reports_success_and_changes_nothing() {
    let mut flash = SimFlash::new(SMALL);
    flash.set_plan(FaultPlan::new(0).with(0, Fault::Ignore));
    flash.write(0, &[0; 4]).unwrap();
    assert_eq!(read::<4>(&mut flash, 0), [0xFF; 4]);
}

#[test]
fn a_worn_sector_fails_every_command_and_its_neighbours_none() {
    let mut flash = SimFlash::new(SMALL);
    flash.wear_out(0x1000);
    assert_eq!(
        flash.erase(0x1000, 0x2000),
        Err(FlashError::Failed { addr: 0x1000 })
    );
    assert_eq!(
        flash.write(0x1FFC, &[0; 4]),
        Err(FlashError::Failed { addr: 0x1FFC })
    );
    assert_eq!(
        flash.erase(0, BLOCK_LEN),
        Err(FlashError::Failed { addr: 0 })
    );
    flash.write(0xFFC, &[0; 4]).unwrap();
    flash.erase(0x2000, 0x3000).unwrap();
}

#[test]
fn the_same_seed_tears_the_same_bits() {
    let run = |cut, seed| {
        let mut flash = patterned();
        flash.set_plan(FaultPlan::cut(0, cut, seed));
        let _ = if cut == Cut::TornErase {
            flash.erase(0x1000, 0x2000)
        } else {
            flash.write(0x3000, &[0; 512])
        };
        flash.power_on();
        let addr = if cut == Cut::TornErase {
            0x1000
        } else {
            0x3000
        };
        (read::<512>(&mut flash, addr), read::<512>(&mut flash, addr))
    };
    for cut in [Cut::TornPrefix, Cut::TornBits, Cut::TornErase] {
        assert_eq!(run(cut, 5), run(cut, 5));
        assert_ne!(run(cut, 5), run(cut, 6), "{cut:?}");
    }
}

#[test]
fn a_clone_is_a_snapshot_that_goes_its_own_way() {
    let mut flash = patterned();
    flash.write(0, &[1; 4]).unwrap();
    let snapshot = flash.clone();
    flash.erase(0, 0x2000).unwrap();
    assert_eq!(snapshot.peek(0, 4), [1; 4]);
    assert_eq!(snapshot.peek(0x1001, 1), [7]);
    assert_eq!((snapshot.op_count(), flash.op_count()), (1, 3));
    let mut forked = snapshot.clone();
    forked.write(4, &[2; 4]).unwrap();
    assert_eq!(snapshot.peek(4, 4), [0xFF; 4]);
}

#[test]
fn a_cut_tried_from_the_history_is_the_cut_of_a_plan() {
    let erase = |flash: &mut SimFlash| flash.erase(0x1000, 0x2000);
    let write = |flash: &mut SimFlash| flash.write(0x1010, &[0x5A; 300]);
    for seed in 0..8 {
        for cut in Cut::ALL {
            let mut run = patterned().with_history();
            erase(&mut run).unwrap();
            write(&mut run).unwrap();
            assert_eq!(run.moments(), 2);
            for moment in 0..run.moments() {
                let mut planned = patterned();
                planned.set_plan(FaultPlan::cut(moment as u64, cut, seed));
                let _ = erase(&mut planned).and_then(|()| write(&mut planned));
                let tried = run.cut_at(moment, cut, seed);
                assert!(!tried.powered() && !planned.powered());
                assert_eq!(
                    tried.peek(0, 0x4000),
                    planned.peek(0, 0x4000),
                    "{cut:?} at {moment}"
                );
                assert_eq!(tried.is_unstable(0x1000), planned.is_unstable(0x1000));
                assert_eq!(tried.wear(), planned.wear());
                assert_eq!(tried.op_count(), planned.op_count());
            }
        }
    }
}

#[test]
fn an_erase_torn_from_word_to_word_may_take_one_word_and_leave_its_neighbours() {
    let mut found = false;
    for seed in 0..64 {
        let mut flash = SimFlash::new(SMALL);
        flash.load(0, &[0; 12]);
        flash.set_plan(FaultPlan::cut(0, Cut::TornErase, seed));
        let _ = flash.erase(0, 0x1000);
        found |= flash.peek(0, 12) == [[0; 4], [0xFF; 4], [0; 4]].concat();
    }
    assert!(found);
}

#[test]
fn commands_take_the_time_of_the_datasheet() {
    let mut flash = SimFlash::new(SMALL).with_timing(Timing::W25Q);
    let mut took = |what: &mut dyn FnMut(&mut SimFlash)| {
        what(&mut flash);
        flash.busy().settle().as_micros()
    };
    assert_eq!(took(&mut |flash| flash.erase(0, 0x3000).unwrap()), 135_000);
    assert_eq!(
        took(&mut |flash| flash.erase(BLOCK_LEN, 2 * BLOCK_LEN).unwrap()),
        150_000
    );
    assert_eq!(
        took(&mut |flash| flash.write(0x100, &[0; 256]).unwrap()),
        700
    );
    assert_eq!(
        took(&mut |flash| flash.write(0x2F0, &[0; 32]).unwrap()),
        1_400,
        "two pages are touched"
    );
    assert_eq!(
        took(&mut |flash| flash.write(0x1000, &[0; 4096]).unwrap()),
        16 * 700
    );
    assert_eq!(
        took(&mut |flash| flash.read(0, &mut [0; 10_000]).unwrap()),
        1_000
    );
}

#[test]
fn a_flash_without_timing_is_never_busy() {
    let mut flash = SimFlash::new(SMALL);
    flash.erase(0, SMALL).unwrap();
    flash.write(0, &[0; 4096]).unwrap();
    assert!(!flash.busy().is_busy());
}

#[test]
fn power_that_goes_during_an_op_tears_it() {
    let mut torn = 0;
    for seed in 0..20 {
        let mut flash = patterned().with_timing(Timing::W25Q);
        flash.write(0x3000, &[0; 256]).unwrap();
        flash.power_off_during_op(seed);
        assert_eq!(flash.read(0, &mut [0; 4]), Err(FlashError::PowerLost));
        torn += usize::from(flash.peek(0x3000, 256) != [0; 256]);

        flash.power_on();
        flash.erase(0x1000, 0x2000).unwrap();
        flash.power_off_during_op(seed);
        torn += usize::from(flash.is_unstable(0x1000));
    }
    assert!(torn > 30, "{torn}");
}

#[test]
fn a_flash_can_go_to_another_thread() {
    fn is_send<T: Send>() {}
    is_send::<SimFlash>();
}
