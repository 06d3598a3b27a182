use core::cell::RefCell;

use otaria_engine::guard::{ActivateAs, EntryState};
use otaria_wire::journal::TrialTarget;
use otaria_wire::otadata::{Entry, OtaState};
use otaria_wire::{Sha256Digest, clip};

use super::*;
use crate::storage::SECTOR_LEN;
use crate::storage::region::Region;
use crate::storage::test_flash::{Cut, TestFlash};

type TestRegion<'a> = Region<'a, TestFlash>;

/// Journal in sectors 0..2, otadata in 2..4.
struct Bench(RefCell<TestFlash>);

impl Bench {
    fn new(otadata: [Option<Entry>; 2]) -> Self {
        let mut flash = TestFlash::new(4);
        for (sector, entry) in (2usize..).zip(otadata) {
            if let Some(entry) = entry {
                let at = sector * SECTOR_LEN as usize;
                flash.bytes_mut()[at..at + 32].copy_from_slice(&entry.encode());
            }
        }
        Self(RefCell::new(flash))
    }

    fn journal(&self) -> Result<Journal<TestRegion<'_>>, JournalError> {
        Journal::mount(Region::new(&self.0, 0, 2 * SECTOR_LEN).unwrap())
    }

    fn otadata(&self) -> OtaData<TestRegion<'_>> {
        let region = Region::new(&self.0, 2 * SECTOR_LEN, 2 * SECTOR_LEN).unwrap();
        OtaData::new(region).unwrap()
    }

    /// With a trial of ota_1.
    fn with_trial(self, stage: TrialStage, boots: u8, crashes: u8) -> Self {
        let mut journal = self.journal().unwrap();
        let target = target();
        journal.append(0, &target).unwrap();
        let counters = trial::fresh_counters(&target);
        journal
            .append(
                0,
                &TrialCounters {
                    stage,
                    boots,
                    crashes,
                    ..counters
                },
            )
            .unwrap();
        drop(journal);
        self
    }

    /// With the trial's image confirmed.
    fn confirmed(self) -> Self {
        let TrialTarget {
            slot,
            image_sha256,
            identity,
            sequence,
            security_version,
            ..
        } = target();
        let confirmed = Confirmed {
            slot,
            image_sha256,
            identity,
            sequence,
            security_version,
        };
        self.journal().unwrap().append(0, &confirmed).unwrap();
        self
    }

    fn boot(&self, running: Slot, reset: ResetReason) -> Result<BootReport, GuardError> {
        boot_guard(
            &mut self.journal()?,
            &mut self.otadata(),
            Some(running),
            reset,
        )
    }

    fn counters(&self) -> TrialCounters {
        self.journal().unwrap().latest(0).unwrap().unwrap()
    }

    fn entries(&self) -> [EntryState; 2] {
        self.otadata().read().unwrap().view().entries
    }

    fn selected(&self) -> Option<Slot> {
        self.otadata().read().unwrap().selected_slot()
    }
}

fn target() -> TrialTarget {
    TrialTarget {
        slot: 1,
        image_sha256: Sha256Digest([3; 32]),
        identity: Sha256Digest([4; 32]),
        sequence: 5,
        security_version: 6,
        job: clip("job"),
        url: clip("http://host/a.otaria"),
        created: 7,
        timing: None,
    }
}

fn entry(seq: u32, state: OtaState) -> Option<Entry> {
    Some(Entry::new(seq, state))
}

/// ota_0 is valid, ota_1 was activated over it.
fn on_trial(state: OtaState) -> Bench {
    Bench::new([entry(1, OtaState::Valid), entry(2, state)])
}

#[test]
fn every_boot_is_counted() {
    let bench = Bench::new([entry(1, OtaState::Valid), None]);
    for boot in 1..5 {
        let report = bench.boot(Slot::Ota0, ResetReason::DeepSleep).unwrap();
        assert_eq!(
            (report.boot, report.decision),
            (boot, GuardDecision::Nothing)
        );
        assert_eq!((report.then, report.failed), (Then::Run, None));
    }
}

#[test]
fn a_boot_of_the_image_on_trial_is_on_record_before_anything_else() {
    let bench = on_trial(OtaState::New).with_trial(TrialStage::Open, 0, 0);
    let report = bench.boot(Slot::Ota1, ResetReason::Panic).unwrap();
    assert!(matches!(report.decision, GuardDecision::CountBoot(_)));
    assert_eq!((bench.counters().boots, bench.counters().crashes), (0, 1));
    bench.boot(Slot::Ota1, ResetReason::PowerOn).unwrap();
    assert_eq!((bench.counters().boots, bench.counters().crashes), (1, 1));
    assert_eq!(bench.counters().stage, TrialStage::Open);
}

#[test]
fn the_third_crash_rolls_back_and_the_old_image_erases_the_entry_again() {
    let bench = on_trial(OtaState::New).with_trial(TrialStage::Open, 4, 2);
    let report = bench.boot(Slot::Ota1, ResetReason::Watchdog).unwrap();
    assert_eq!(report.then, Then::Reset);
    let TrialCounters {
        stage,
        code,
        crashes,
        ..
    } = bench.counters();
    assert_eq!((stage, crashes), (TrialStage::RollingBack, 3));
    assert_eq!(code, FailureCode::TrialCrashed.number());
    assert_eq!(bench.entries(), [EntryState::Valid, EntryState::Absent]);
    let erased = bench.0.borrow().sectors_erased;
    let report = bench.boot(Slot::Ota0, ResetReason::Software).unwrap();
    assert_eq!(
        (report.decision, report.then),
        (GuardDecision::FinishRollBack, Then::Run)
    );
    assert_eq!(
        bench.0.borrow().sectors_erased,
        erased + 1,
        "it might read blank and be unstable"
    );
    assert_eq!(
        bench.counters().stage,
        TrialStage::RollingBack,
        "the runtime closes it"
    );
}

#[test]
fn rolling_back_to_a_slot_without_an_entry_makes_one_first() {
    // ota_1 is old and ran because otadata was blank and ota_0 bad; ota_0 is on trial.
    for other in [None, entry(2, OtaState::Aborted)] {
        let bench = Bench::new([entry(3, OtaState::New), other]);
        let target = TrialTarget {
            slot: 0,
            ..target()
        };
        let mut journal = bench.journal().unwrap();
        journal.append(0, &target).unwrap();
        journal
            .append(
                0,
                &TrialCounters {
                    boots: 9,
                    ..trial::fresh_counters(&target)
                },
            )
            .unwrap();
        let report = bench.boot(Slot::Ota0, ResetReason::PowerOn).unwrap();
        assert_eq!(report.then, Then::Reset);
        assert_eq!(
            bench.selected(),
            Some(Slot::Ota1),
            "the old slot, by an entry of its own"
        );
        let report = bench.boot(Slot::Ota1, ResetReason::Software).unwrap();
        assert_eq!(report.then, Then::Run);
        assert_eq!(bench.entries(), [EntryState::Absent, EntryState::Undefined]);
    }
}

#[test]
fn an_old_image_without_an_entry_leaves_none_to_the_image_that_was_refused() {
    // The bootloader fell back to ota_0 because ota_1's image is bad; ota_0 never had an entry.
    let bench = Bench::new([None, entry(2, OtaState::New)]).with_trial(TrialStage::Open, 0, 0);
    let report = bench.boot(Slot::Ota0, ResetReason::PowerOn).unwrap();
    assert_eq!(report.decision, GuardDecision::BootloaderRefused);
    assert_eq!(bench.entries(), [EntryState::Undefined, EntryState::Absent]);
    assert_eq!(
        bench.counters().code,
        FailureCode::BootloaderRefused.number()
    );
}

#[test]
fn a_bootloader_with_rollback_is_told_again_and_remembered() {
    let bench = on_trial(OtaState::Aborted).with_trial(TrialStage::Open, 0, 0);
    let report = bench.boot(Slot::Ota0, ResetReason::Panic).unwrap();
    assert!(matches!(report.decision, GuardDecision::Reactivate(_)));
    assert_eq!(report.then, Then::Reset);
    assert_eq!(bench.selected(), Some(Slot::Ota1));
    assert_eq!(bench.entries(), [EntryState::Valid, EntryState::New]);
    let seen = bench.journal().unwrap().latest::<Bootloader>(0).unwrap();
    assert_eq!(seen, Some(Bootloader { rollback: true }));
}

#[test]
fn a_confirmation_that_was_cut_is_finished_by_either_image() {
    let bench = on_trial(OtaState::PendingVerify)
        .with_trial(TrialStage::Open, 0, 0)
        .confirmed();
    let report = bench.boot(Slot::Ota1, ResetReason::PowerOn).unwrap();
    assert_eq!(
        (report.decision, report.then),
        (GuardDecision::FinishConfirm, Then::Run)
    );
    assert_eq!(bench.entries(), [EntryState::Valid, EntryState::Valid]);

    let bench = Bench::new([entry(1, OtaState::Valid), None]);
    let bench = bench.with_trial(TrialStage::Open, 0, 0).confirmed();
    let report = bench.boot(Slot::Ota0, ResetReason::PowerOn).unwrap();
    assert!(matches!(
        report.decision,
        GuardDecision::ReactivateConfirmed(_)
    ));
    assert_eq!(report.then, Then::Reset);
    assert_eq!(bench.entries(), [EntryState::Valid, EntryState::Valid]);
    assert_eq!(bench.selected(), Some(Slot::Ota1));
}

#[test]
fn a_torn_entry_is_repaired() {
    let bench = Bench::new([entry(1, OtaState::Valid), entry(2, OtaState::Valid)]);
    bench.0.borrow_mut().bytes_mut()[3 * SECTOR_LEN as usize] ^= 0x80;
    let report = bench.boot(Slot::Ota0, ResetReason::PowerOn).unwrap();
    assert_eq!(report.decision, GuardDecision::Repair);
    let view = bench.otadata().read().unwrap().view();
    assert_eq!((view.torn, view.selected), (false, Some(Slot::Ota0)));
}

#[test]
fn an_image_that_runs_from_neither_slot_changes_nothing_but_the_count() {
    let bench = on_trial(OtaState::New).with_trial(TrialStage::RollingBack, 0, 3);
    let mut journal = bench.journal().unwrap();
    let before = bench.entries();
    let report = boot_guard(
        &mut journal,
        &mut bench.otadata(),
        None,
        ResetReason::PowerOn,
    );
    assert_eq!(report.unwrap().decision, GuardDecision::Nothing);
    assert_eq!(bench.entries(), before);
}

#[test]
fn a_step_that_fails_ends_in_running_and_not_in_a_reset_loop() {
    for op in 0.. {
        let bench = on_trial(OtaState::New).with_trial(TrialStage::Open, 9, 0);
        let mut journal = bench.journal().unwrap();
        bench.0.borrow_mut().cut_at(op, Cut::Before);
        let report = boot_guard(
            &mut journal,
            &mut bench.otadata(),
            Some(Slot::Ota1),
            ResetReason::PowerOn,
        )
        .unwrap();
        if report.failed.is_none() {
            assert_eq!(
                (op, report.then),
                (4, Then::Reset),
                "counters, boot, erase, bootloader"
            );
            break;
        }
        assert_eq!(report.then, Then::Run, "op {op}");
        assert!(bench.0.borrow().ops > 0);
    }
}

#[test]
fn a_cut_at_every_command_of_a_boot_leads_to_the_same_end() {
    // A trial whose boots are used up. Whatever is cut, the old image ends up selected, the trial's entry gone, its record
    // rolling back for the reason of the first decision.
    for old in [Slot::Ota0, Slot::Ota1] {
        let fresh = || {
            let (old_entry, trial_entry) = match old {
                Slot::Ota0 => (Entry::new(1, OtaState::Valid), Entry::new(2, OtaState::New)),
                Slot::Ota1 => (Entry::new(2, OtaState::Valid), Entry::new(3, OtaState::New)),
            };
            let bench = Bench::new([Some(old_entry), Some(trial_entry)]);
            let target = TrialTarget {
                slot: old.other().index(),
                ..target()
            };
            let mut journal = bench.journal().unwrap();
            journal.append(0, &target).unwrap();
            let counters = TrialCounters {
                boots: 9,
                ..trial::fresh_counters(&target)
            };
            journal.append(0, &counters).unwrap();
            drop(journal);
            bench
        };
        for op in 0..12 {
            for cut in [Cut::Before, Cut::After, Cut::Half] {
                let bench = fresh();
                bench.0.borrow_mut().cut_at(op, cut);
                for _ in 0..5 {
                    let running = bench.selected().unwrap_or(Slot::Ota0);
                    let report = bench.boot(running, ResetReason::PowerOn);
                    let failed = report.map_or(true, |report| report.failed.is_some());
                    if failed {
                        bench.0.borrow_mut().power_on();
                    }
                }
                bench.0.borrow_mut().power_on();
                assert_eq!(bench.selected(), Some(old), "op {op}, {cut:?}");
                assert!(!bench.entries()[usize::from(old.other().index())].bootable());
                let TrialCounters { stage, code, .. } = bench.counters();
                assert_eq!(stage, TrialStage::RollingBack);
                assert_eq!(code, FailureCode::TrialBootsExhausted.number());
            }
        }
    }
}

#[test]
fn activation_states_are_what_the_bootloader_expects() {
    let bench = Bench::new([None, None]);
    for (state, expected) in [
        (ActivateAs::Trial, EntryState::New),
        (ActivateAs::Confirmed, EntryState::Valid),
        (ActivateAs::Fallback, EntryState::Undefined),
    ] {
        bench.otadata().activate(Slot::Ota1, state).unwrap();
        assert_eq!(bench.entries()[1], expected);
    }
}
