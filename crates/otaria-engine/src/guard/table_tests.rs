//! The decision over every input there is, and a table that reads like the specification.

use super::EntryState::{Aborted, Absent, Invalid, New, PendingVerify, Undefined, Valid};
use super::*;
use crate::reset::ResetReason::{
    BrownOut, DeepSleep, External, Panic, PowerOn, Software, Unknown, Watchdog,
};
use crate::slot::Slot::{Ota0, Ota1};
use std::vec::Vec;

const RESETS: [ResetReason; 8] = [
    PowerOn, Software, Panic, Watchdog, BrownOut, DeepSleep, External, Unknown,
];

const STAGES: [TrialStage; 4] = [
    TrialStage::Open,
    TrialStage::Inconclusive,
    TrialStage::RollingBack,
    TrialStage::Closed,
];

fn counts(boots: u8, crashes: u8) -> TrialCounts {
    TrialCounts { boots, crashes }
}

/// Every input, with the counts at and around their limits.
fn every_input() -> Vec<GuardInput> {
    let mut trials = Vec::from([None]);
    for slot in Slot::BOTH {
        for stage in STAGES {
            for (boots, crashes) in [
                (0, 0),
                (1, 0),
                (9, 0),
                (0, 2),
                (9, 2),
                (10, 0),
                (20, 0),
                (0, 3),
                (255, 255),
            ] {
                trials.push(Some(TrialView {
                    slot,
                    stage,
                    counts: counts(boots, crashes),
                }));
            }
        }
    }
    let mut inputs = Vec::new();
    for &trial in &trials {
        for running in [None, Some(Ota0), Some(Ota1)] {
            for reset in RESETS {
                for otadata in every_otadata() {
                    for confirmed in every_confirmed(trial) {
                        inputs.push(GuardInput {
                            running,
                            reset,
                            trial,
                            confirmed,
                            otadata,
                        });
                    }
                }
            }
        }
    }
    inputs
}

fn every_otadata() -> Vec<OtadataView> {
    let mut all = Vec::new();
    for first in EntryState::ALL {
        for second in EntryState::ALL {
            let entries = [first, second];
            let choices: &[Option<Slot>] = match (first.bootable(), second.bootable()) {
                (true, true) => &[Some(Ota0), Some(Ota1)],
                (true, false) => &[Some(Ota0)],
                (false, true) => &[Some(Ota1)],
                (false, false) => &[None],
            };
            for &selected in choices {
                all.push(OtadataView {
                    entries,
                    selected,
                    torn: false,
                });
                if entries.contains(&Absent) {
                    all.push(OtadataView {
                        entries,
                        selected,
                        torn: true,
                    });
                }
            }
        }
    }
    all
}

fn every_confirmed(trial: Option<TrialView>) -> Vec<Option<ConfirmedView>> {
    let mut all = Vec::from([None]);
    for slot in Slot::BOTH {
        all.push(Some(ConfirmedView {
            slot,
            is_trial: false,
        }));
        if trial.is_some_and(|trial| trial.slot == slot) {
            all.push(Some(ConfirmedView {
                slot,
                is_trial: true,
            }));
        }
    }
    all
}

fn stage(input: &GuardInput) -> TrialStage {
    input.trial.map_or(TrialStage::Closed, |trial| trial.stage)
}

#[test]
fn a_factory_image_never_touches_anything() {
    for input in every_input() {
        if input.running.is_none() {
            assert_eq!(decide(&input), GuardDecision::Nothing);
            assert_eq!(
                decide(&input).plan(&input),
                GuardPlan {
                    record: RecordStep::Keep,
                    otadata: OtadataStep::Keep,
                    then: Then::Run
                }
            );
        }
    }
}

#[test]
fn an_image_is_activated_for_a_trial_only_while_its_trial_is_open_and_not_used_up() {
    for input in every_input() {
        let plan = decide(&input).plan(&input);
        if let OtadataStep::Activate {
            slot,
            state: ActivateAs::Trial,
        } = plan.otadata
        {
            let trial = input.trial.unwrap();
            assert_eq!(trial.stage, TrialStage::Open, "{input:?}");
            assert_eq!(
                (slot, input.running),
                (trial.slot, Some(trial.slot.other())),
                "{input:?}"
            );
            let RecordStep::Count(counts) = plan.record else {
                panic!("not counted: {input:?}")
            };
            assert_eq!(counts.exhausted(), None, "{input:?}");
        }
    }
}

#[test]
fn a_slot_is_called_valid_only_if_its_image_was_confirmed() {
    for input in every_input() {
        let plan = decide(&input).plan(&input);
        match plan.otadata {
            OtadataStep::Activate {
                slot,
                state: ActivateAs::Confirmed,
            }
            | OtadataStep::MarkValid { slot } => {
                let confirmed = input.confirmed.unwrap();
                assert!(confirmed.is_trial && confirmed.slot == slot, "{input:?}");
            }
            OtadataStep::Activate {
                state: ActivateAs::Trial | ActivateAs::Fallback,
                ..
            }
            | OtadataStep::Keep
            | OtadataStep::Erase { .. }
            | OtadataStep::EraseTorn => {}
        }
    }
}

#[test]
fn an_unconfirmed_image_runs_on_only_with_a_trial_record_that_is_not_closed() {
    for input in every_input() {
        let decision = decide(&input);
        let runs_new = input
            .trial
            .is_some_and(|trial| input.running == Some(trial.slot));
        match decision {
            GuardDecision::CountBoot(_)
            | GuardDecision::ContinueTrial
            | GuardDecision::FinishConfirm
            | GuardDecision::Stranded => {
                assert!(runs_new && stage(&input) != TrialStage::Closed, "{input:?}");
            }
            GuardDecision::Reactivate(_)
            | GuardDecision::ReactivateConfirmed(_)
            | GuardDecision::BootloaderRefused => {
                assert!(!runs_new && stage(&input) == TrialStage::Open, "{input:?}");
            }
            GuardDecision::Nothing
            | GuardDecision::Repair
            | GuardDecision::ConfirmedLost
            | GuardDecision::RollBack(..)
            | GuardDecision::FinishRollBack => {}
        }
    }
}

#[test]
fn the_entry_that_boots_the_old_image_is_never_erased() {
    for input in every_input() {
        if let OtadataStep::Erase { slot } = decide(&input).plan(&input).otadata {
            let trial = input.trial.unwrap();
            assert_eq!(slot, trial.slot, "{input:?}");
            assert_ne!(trial.stage, TrialStage::Closed, "{input:?}");
            assert!(input.otadata.entry(slot.other()).bootable(), "{input:?}");
        }
    }
}

#[test]
fn every_reset_counts_something_or_changes_otadata() {
    for input in every_input() {
        let decision = decide(&input);
        let plan = decision.plan(&input);
        if plan.then == Then::Reset {
            assert_ne!(plan.otadata, OtadataStep::Keep, "{input:?}");
            assert_ne!(stage(&input), TrialStage::Closed, "{input:?}");
            match decision {
                // The image slept and was taken back for it. The reset that follows is no wake, so this cannot go round.
                GuardDecision::Reactivate(_) if input.reset == DeepSleep => {}
                // The counts grow until they end it.
                GuardDecision::Reactivate(after) | GuardDecision::ReactivateConfirmed(after) => {
                    assert_ne!(
                        Some(after),
                        input.trial.map(|trial| trial.counts),
                        "{input:?}"
                    );
                }
                GuardDecision::RollBack(..) | GuardDecision::FinishRollBack => {}
                other => panic!("{other:?} must not reset: {input:?}"),
            }
        }
    }
}

#[test]
fn a_trial_that_has_used_up_its_boots_or_crashes_always_ends() {
    for input in every_input() {
        let decision = decide(&input);
        let Some(trial) = input.trial else { continue };
        let confirmed = input.confirmed.is_some_and(|confirmed| confirmed.is_trial);
        if trial.stage == TrialStage::Open
            && !confirmed
            && input.running.is_some()
            && trial.counts.exhausted().is_some()
        {
            assert!(
                matches!(
                    decision,
                    GuardDecision::RollBack(..) | GuardDecision::BootloaderRefused
                ) || (input.reset == DeepSleep && matches!(decision, GuardDecision::RollBack(..))),
                "{decision:?} for {input:?}"
            );
        }
    }
}

#[test]
fn why_the_chip_started_matters_only_while_a_trial_is_open() {
    for input in every_input() {
        if stage(&input) != TrialStage::Open {
            assert_eq!(
                decide(&input),
                decide(&GuardInput {
                    reset: PowerOn,
                    ..input
                }),
                "{input:?}"
            );
        }
    }
}

#[test]
fn a_wake_from_deep_sleep_is_never_counted_against_an_image_that_ran() {
    for input in every_input() {
        let Some(trial) = input.trial else { continue };
        if input.reset != DeepSleep
            || trial.stage != TrialStage::Open
            || trial.counts.exhausted().is_some()
        {
            continue;
        }
        match decide(&input) {
            GuardDecision::CountBoot(counts) => panic!("{counts:?} for {input:?}"),
            GuardDecision::Reactivate(counts) if input.otadata.entry(trial.slot) == Aborted => {
                assert_eq!(counts, trial.counts, "{input:?}");
            }
            _ => {}
        }
    }
}

#[test]
fn the_slots_are_treated_alike() {
    fn mirror(input: &GuardInput) -> GuardInput {
        let [first, second] = input.otadata.entries;
        GuardInput {
            running: input.running.map(Slot::other),
            reset: input.reset,
            trial: input.trial.map(|trial| TrialView {
                slot: trial.slot.other(),
                ..trial
            }),
            confirmed: input.confirmed.map(|confirmed| ConfirmedView {
                slot: confirmed.slot.other(),
                ..confirmed
            }),
            otadata: OtadataView {
                entries: [second, first],
                selected: input.otadata.selected.map(Slot::other),
                torn: input.otadata.torn,
            },
        }
    }
    for input in every_input() {
        assert_eq!(decide(&mirror(&input)), decide(&input), "{input:?}");
    }
}

/// A row: what runs, why it started, the trial in `ota_1`, whether the trial was confirmed, the entries of `ota_0` and `ota_1`
/// (the second is selected if it is bootable), and the decision.
type Row = (
    Slot,
    ResetReason,
    Option<(TrialStage, u8, u8)>,
    bool,
    [EntryState; 2],
    GuardDecision,
);

fn check(rows: &[Row]) {
    for &(running, reset, trial, confirmed, entries, expected) in rows {
        let selected = Slot::BOTH
            .into_iter()
            .rev()
            .find(|slot| entries[usize::from(slot.index())].bootable());
        let input = GuardInput {
            running: Some(running),
            reset,
            trial: trial.map(|(stage, boots, crashes)| TrialView {
                slot: Ota1,
                stage,
                counts: counts(boots, crashes),
            }),
            confirmed: Some(if confirmed {
                ConfirmedView {
                    slot: Ota1,
                    is_trial: true,
                }
            } else {
                ConfirmedView {
                    slot: Ota0,
                    is_trial: false,
                }
            }),
            otadata: OtadataView {
                entries,
                selected,
                torn: false,
            },
        };
        assert_eq!(decide(&input), expected, "{input:?}");
    }
}

#[test]
#[rustfmt::skip]
fn under_the_stock_bootloader_the_image_on_trial_counts_its_own_boots() {
    use GuardDecision as D;
    use TrialStage::Open;
    let entries = [Valid, New];
    check(&[
        (Ota1, Software, Some((Open, 0, 0)), false, entries, D::CountBoot(counts(1, 0))),
        (Ota1, PowerOn, Some((Open, 1, 0)), false, entries, D::CountBoot(counts(2, 0))),
        (Ota1, External, Some((Open, 2, 0)), false, entries, D::CountBoot(counts(3, 0))),
        (Ota1, Unknown, Some((Open, 3, 0)), false, entries, D::CountBoot(counts(4, 0))),
        (Ota1, DeepSleep, Some((Open, 4, 0)), false, entries, D::ContinueTrial),
        (Ota1, Panic, Some((Open, 1, 0)), false, entries, D::CountBoot(counts(1, 1))),
        (Ota1, Watchdog, Some((Open, 1, 1)), false, entries, D::CountBoot(counts(1, 2))),
        (Ota1, BrownOut, Some((Open, 1, 2)), false, entries, D::RollBack(RollBackReason::Crashes, counts(1, 3))),
        (Ota1, PowerOn, Some((Open, 9, 2)), false, entries, D::RollBack(RollBackReason::Boots, counts(10, 2))),
        (Ota1, PowerOn, Some((Open, 1, 0)), true, entries, D::FinishConfirm),
        (Ota0, Software, Some((Open, 0, 0)), false, entries, D::BootloaderRefused),
        (Ota0, PowerOn, Some((Open, 3, 0)), true, entries, D::ConfirmedLost),
    ]);
}

#[test]
#[rustfmt::skip]
fn under_a_bootloader_with_rollback_the_old_image_counts_and_activates_again() {
    use GuardDecision as D;
    use TrialStage::Open;
    let on_trial = [Valid, PendingVerify];
    let taken_back = [Valid, Aborted];
    check(&[
        (Ota1, Software, Some((Open, 0, 0)), false, on_trial, D::ContinueTrial),
        (Ota0, PowerOn, Some((Open, 0, 0)), false, taken_back, D::Reactivate(counts(1, 0))),
        (Ota0, Panic, Some((Open, 1, 0)), false, taken_back, D::Reactivate(counts(1, 1))),
        (Ota0, DeepSleep, Some((Open, 1, 1)), false, taken_back, D::Reactivate(counts(1, 1))),
        (Ota0, Watchdog, Some((Open, 1, 2)), false, taken_back, D::RollBack(RollBackReason::Crashes, counts(1, 3))),
        (Ota0, Software, Some((Open, 9, 0)), false, taken_back, D::RollBack(RollBackReason::Boots, counts(10, 0))),
        (Ota0, PowerOn, Some((Open, 1, 0)), true, taken_back, D::ReactivateConfirmed(counts(2, 0))),
        (Ota1, Software, Some((Open, 1, 0)), true, on_trial, D::FinishConfirm),
        (Ota0, Software, Some((Open, 0, 0)), false, on_trial, D::BootloaderRefused),
    ]);
}

#[test]
#[rustfmt::skip]
fn an_activation_that_was_cut_short_is_done_again_whatever_it_left() {
    use GuardDecision as D;
    use TrialStage::Open;
    for left in [Absent, Invalid, Aborted] {
        check(&[
            (Ota0, PowerOn, Some((Open, 0, 0)), false, [Valid, left], D::Reactivate(counts(1, 0))),
            (Ota0, PowerOn, Some((Open, 0, 0)), true, [Valid, left], D::ReactivateConfirmed(counts(1, 0))),
        ]);
    }
    // Not the image's fault, so not a crash of the image.
    check(&[
        (Ota0, Panic, Some((Open, 0, 0)), false, [Valid, Absent], D::Reactivate(counts(1, 0))),
    ]);
    // The trial's slot still has its entry of long ago, below the one in force.
    let stale = GuardInput {
        running: Some(Ota0),
        reset: PowerOn,
        trial: Some(TrialView {
            slot: Ota1,
            stage: Open,
            counts: counts(0, 0),
        }),
        confirmed: None,
        otadata: OtadataView {
            entries: [Valid, Valid],
            selected: Some(Ota0),
            torn: false,
        },
    };
    assert_eq!(decide(&stale), D::Reactivate(counts(1, 0)));
}

/// The erase of a roll-back was cut: the bootloader may have read the trial's entry as good once more, and booted it for that.
#[test]
fn nothing_is_concluded_from_what_boots_while_an_entry_is_torn() {
    let mut input = GuardInput {
        running: Some(Ota1),
        reset: PowerOn,
        trial: Some(TrialView {
            slot: Ota1,
            stage: TrialStage::RollingBack,
            counts: counts(1, 3),
        }),
        confirmed: None,
        otadata: OtadataView {
            entries: [Valid, Absent],
            selected: Some(Ota0),
            torn: true,
        },
    };
    let decision = decide(&input);
    assert_eq!(decision, GuardDecision::FinishRollBack);
    assert_eq!(decision.plan(&input).then, Then::Reset);
    input.otadata.torn = false;
    assert_eq!(decide(&input), GuardDecision::Stranded);
}

#[test]
#[rustfmt::skip]
fn a_trial_that_is_over_is_wound_up_from_either_image() {
    use GuardDecision as D;
    use TrialStage::{Closed, Inconclusive, RollingBack};
    check(&[
        (Ota1, PowerOn, Some((RollingBack, 1, 3)), false, [Valid, New], D::FinishRollBack),
        (Ota0, PowerOn, Some((RollingBack, 1, 3)), false, [Valid, Aborted], D::FinishRollBack),
        (Ota0, Software, Some((RollingBack, 1, 3)), false, [Valid, Absent], D::FinishRollBack),
        (Ota1, Software, Some((RollingBack, 1, 3)), false, [Valid, Absent], D::Stranded),
        (Ota1, Software, Some((RollingBack, 1, 3)), false, [Absent, Absent], D::FinishRollBack),
    ]);
    check(&[
        (Ota0, PowerOn, Some((Inconclusive, 1, 0)), false, [Valid, Absent], D::Nothing),
        (Ota0, PowerOn, Some((Inconclusive, 1, 0)), false, [Valid, New], D::FinishRollBack),
        (Ota1, PowerOn, Some((Inconclusive, 1, 0)), false, [Valid, Absent], D::Stranded),
        (Ota0, PowerOn, Some((Closed, 1, 3)), false, [Valid, Absent], D::Nothing),
        (Ota0, PowerOn, None, false, [Valid, Absent], D::Nothing),
    ]);
}

#[test]
#[rustfmt::skip]
fn otadata_is_made_to_select_what_runs() {
    use GuardDecision as D;
    check(&[
        (Ota0, PowerOn, None, false, [Absent, Absent], D::Repair),
        (Ota0, PowerOn, None, false, [Valid, Undefined], D::Repair),
        (Ota1, PowerOn, None, false, [Undefined, Absent], D::ConfirmedLost),
    ]);
    let torn = GuardInput {
        running: Some(Ota0),
        reset: PowerOn,
        trial: None,
        confirmed: None,
        otadata: OtadataView {
            entries: [Valid, Absent],
            selected: Some(Ota0),
            torn: true,
        },
    };
    assert_eq!(decide(&torn), D::Repair);
    assert_eq!(decide(&torn).plan(&torn).otadata, OtadataStep::EraseTorn);
}

#[test]
fn a_roll_back_never_leaves_both_entries_dead() {
    // ota_0 is on trial and ota_1, which runs without an entry of its own, is to come back: with both entries gone a bootloader
    // would boot ota_0.
    let input = GuardInput {
        running: Some(Ota0),
        reset: Panic,
        trial: Some(TrialView {
            slot: Ota0,
            stage: TrialStage::Open,
            counts: counts(1, 2),
        }),
        confirmed: None,
        otadata: OtadataView {
            entries: [New, Absent],
            selected: Some(Ota0),
            torn: false,
        },
    };
    assert_eq!(
        decide(&input).plan(&input).otadata,
        OtadataStep::Activate {
            slot: Ota1,
            state: ActivateAs::Fallback
        }
    );
}

#[test]
fn what_the_bootloader_does_is_read_from_what_it_left() {
    let see = |running, entries: [EntryState; 2], selected, confirmed| {
        bootloader_rollback(&GuardInput {
            running: Some(running),
            reset: PowerOn,
            trial: None,
            confirmed,
            otadata: OtadataView {
                entries,
                selected: Some(selected),
                torn: false,
            },
        })
    };
    let confirmed = Some(ConfirmedView {
        slot: Ota1,
        is_trial: false,
    });
    assert_eq!(see(Ota1, [Valid, PendingVerify], Ota1, None), Some(true));
    assert_eq!(see(Ota0, [Valid, Aborted], Ota0, None), Some(true));
    assert_eq!(see(Ota1, [Valid, New], Ota1, None), Some(false));
    assert_eq!(see(Ota1, [Valid, Valid], Ota1, confirmed), Some(true));
    assert_eq!(see(Ota0, [Valid, Absent], Ota0, None), None);
    // It came over a cable: the journal took it as it was, and the bootloader made the entry.
    let over_a_cable = Some(ConfirmedView {
        slot: Ota0,
        is_trial: false,
    });
    assert_eq!(see(Ota0, [Valid, Absent], Ota0, over_a_cable), None);
    assert_eq!(see(Ota0, [Undefined, Absent], Ota0, None), None);
}

#[test]
fn a_decision_is_logged_in_a_few_words() {
    let counts = TrialCounts {
        boots: 2,
        crashes: 1,
    };
    let words = std::string::ToString::to_string;
    assert_eq!(words(&GuardDecision::Nothing), "nothing to do");
    assert_eq!(
        words(&GuardDecision::RollBack(RollBackReason::Crashes, counts)),
        "roll back, too many crashes, 2 boots and 1 crashes so far"
    );
}
