//! The bootloader's own writes to otadata, cut at every command and in every way.

use otaria_boot::{BootError, boot};
use otaria_sim::flash::{Cut, FaultPlan, FlashError, SimFlash};
use otaria_sim::images::Stamp;
use otaria_wire::otadata::{Entry, OtaState};
use otaria_wire::partitions::{
    DEFAULT_4MB, PARTITION_TABLE_OFFSET, default_4mb_partitions, encode,
};

/// A 4 MB flash with a good image in both slots and these otadata entries.
fn flash(entries: [Option<Entry>; 2]) -> SimFlash {
    let mut flash = SimFlash::new(0x40_0000).with_log();
    flash.load(
        PARTITION_TABLE_OFFSET,
        &encode(&default_4mb_partitions()).unwrap(),
    );
    for slot in DEFAULT_4MB.slots {
        flash.load(slot.offset, &Stamp::new("1.0.0").image());
    }
    for (at, entry) in [0xD000, 0xE000].into_iter().zip(entries) {
        if let Some(entry) = entry {
            flash.load(at, &entry.encode());
        }
    }
    flash
}

fn states() -> Vec<[Option<Entry>; 2]> {
    let entry = |seq, state| Some(Entry::new(seq, state));
    vec![
        [None, None],
        [entry(1, OtaState::Valid), entry(2, OtaState::New)],
        [entry(3, OtaState::New), entry(2, OtaState::Valid)],
        [entry(1, OtaState::Valid), entry(2, OtaState::PendingVerify)],
        [
            entry(1, OtaState::PendingVerify),
            entry(2, OtaState::PendingVerify),
        ],
        [entry(1, OtaState::New), entry(2, OtaState::PendingVerify)],
    ]
}

#[test]
fn a_cut_anywhere_in_the_bootloaders_writes_leaves_a_device_that_boots() {
    let mut cuts = 0;
    for entries in states() {
        for rollback in [false, true] {
            let start = flash(entries);
            let mut whole = start.clone();
            boot(&mut whole, rollback).unwrap();
            for op in whole.log() {
                for cut in Cut::ALL.into_iter().filter(|cut| cut.applies_to(op.kind)) {
                    for seed in 0..8 {
                        let what = format!(
                            "{entries:?}, rollback {rollback}, {cut:?} at {op}, seed {seed}"
                        );
                        let mut flash = start.clone();
                        flash.set_plan(FaultPlan::cut(op.index, cut, seed));
                        let error = boot(&mut flash, rollback).expect_err(&what);
                        assert_eq!(error, BootError::Flash(FlashError::PowerLost), "{what}");
                        for _ in 0..3 {
                            flash.power_on();
                            assert!(boot(&mut flash, rollback).is_ok(), "{what}");
                        }
                        assert!(flash.violations().is_empty(), "{what}");
                        cuts += 1;
                    }
                }
            }
        }
    }
    assert!(cuts > 500, "{cuts}");
}

#[test]
fn reading_a_verdict_from_a_copy_leaves_the_device_as_it_was() {
    let device = flash([None, None]);
    let mut copy = device.clone();
    assert_eq!(boot(&mut copy, false).unwrap().slot(), Some(0));
    assert_eq!((copy.op_count(), device.op_count()), (2, 0));
    assert_eq!(device.peek(0xD000, 32), [0xFF; 32]);
}
