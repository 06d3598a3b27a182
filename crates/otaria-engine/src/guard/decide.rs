//! The decision itself: one function for each stage of the trial record.

use super::{
    ActivateAs, BOOT_LIMIT, EntryState, GuardDecision, GuardInput, GuardPlan, OtadataStep,
    OtadataView, RecordStep, RollBackReason, Then, TrialCounts, TrialStage, TrialView,
};
use crate::reset::{BootClass, ResetReason};
use crate::slot::Slot;

/// A confirmed image is activated again until its record has counted this many boots: flash that takes a write and forgets it
/// must not become a reset loop.
const CONFIRM_BOOT_LIMIT: u8 = 2 * BOOT_LIMIT;

/// Decides what this boot means. Pure: the same input gives the same answer.
#[must_use]
pub fn decide(input: &GuardInput) -> GuardDecision {
    let Some(running) = input.running else {
        // A factory or test image runs. Slots and trial are none of its business.
        return GuardDecision::Nothing;
    };
    let Some(trial) = input.trial else {
        return without_trial(input, running);
    };
    match trial.stage {
        TrialStage::Closed => without_trial(input, running),
        TrialStage::Inconclusive => inconclusive(input, running, trial),
        TrialStage::RollingBack => rolling_back(input, running, trial),
        TrialStage::Open if running == trial.slot => open_in_new(input, trial),
        TrialStage::Open => open_in_old(input, trial),
    }
}

/// No trial: otadata shall select what runs.
fn without_trial(input: &GuardInput, running: Slot) -> GuardDecision {
    let otadata = &input.otadata;
    match otadata.selected {
        Some(selected) if selected == running => {
            if otadata.torn {
                GuardDecision::Repair
            } else {
                GuardDecision::Nothing
            }
        }
        Some(selected)
            if input
                .confirmed
                .is_some_and(|confirmed| confirmed.slot == selected) =>
        {
            GuardDecision::ConfirmedLost
        }
        Some(_) | None => GuardDecision::Repair,
    }
}

/// The image waits in its slot for the network to come back.
fn inconclusive(input: &GuardInput, running: Slot, trial: TrialView) -> GuardDecision {
    if running == trial.slot {
        return GuardDecision::Stranded;
    }
    if input.otadata.entry(trial.slot).bootable() {
        return GuardDecision::FinishRollBack;
    }
    without_trial(input, running)
}

/// The trial is over, its entry has to go.
fn rolling_back(input: &GuardInput, running: Slot, trial: TrialView) -> GuardDecision {
    let otadata = &input.otadata;
    // A torn entry may have looked good to the bootloader: it is erased to the end before anything is concluded from what boots.
    let old_selected = !otadata.torn
        && !otadata.entry(trial.slot).bootable()
        && otadata.entry(trial.slot.other()).bootable();
    if running == trial.slot && old_selected {
        GuardDecision::Stranded
    } else {
        GuardDecision::FinishRollBack
    }
}

/// The image on trial runs.
fn open_in_new(input: &GuardInput, trial: TrialView) -> GuardDecision {
    if input.confirmed.is_some_and(|confirmed| confirmed.is_trial) {
        return GuardDecision::FinishConfirm;
    }
    let straight_after_activation = input.otadata.entry(trial.slot) == EntryState::PendingVerify
        && input.reset == ResetReason::Software;
    let counts = if straight_after_activation {
        trial.counts
    } else {
        count(trial.counts, BootClass::of(input.reset))
    };
    if let Some(why) = counts.exhausted() {
        GuardDecision::RollBack(why, counts)
    } else if counts == trial.counts {
        GuardDecision::ContinueTrial
    } else {
        GuardDecision::CountBoot(counts)
    }
}

/// The old image runs although a trial is open.
fn open_in_old(input: &GuardInput, trial: TrialView) -> GuardDecision {
    let refused = input.otadata.selected == Some(trial.slot);
    if input.confirmed.is_some_and(|confirmed| confirmed.is_trial) {
        return if refused || trial.counts.boots >= CONFIRM_BOOT_LIMIT {
            GuardDecision::ConfirmedLost
        } else {
            GuardDecision::ReactivateConfirmed(count(trial.counts, BootClass::Other))
        };
    }
    if refused {
        return GuardDecision::BootloaderRefused;
    }
    let class = match input.otadata.entry(trial.slot) {
        // The image ran and was reset: why the chip started says how it ended.
        EntryState::Aborted => BootClass::of(input.reset),
        // The activation did not take. That is never the image's fault, but it must not go on for ever either.
        EntryState::Absent
        | EntryState::New
        | EntryState::PendingVerify
        | EntryState::Valid
        | EntryState::Invalid
        | EntryState::Undefined => BootClass::Other,
    };
    let counts = count(trial.counts, class);
    match counts.exhausted() {
        Some(why) => GuardDecision::RollBack(why, counts),
        None => GuardDecision::Reactivate(counts),
    }
}

/// The counts after a boot of this class.
const fn count(counts: TrialCounts, class: BootClass) -> TrialCounts {
    let TrialCounts { boots, crashes } = counts;
    match class {
        BootClass::Crash => TrialCounts {
            boots,
            crashes: crashes.saturating_add(1),
        },
        BootClass::Other => TrialCounts {
            boots: boots.saturating_add(1),
            crashes,
        },
        BootClass::Wake => counts,
    }
}

impl GuardDecision {
    /// What is to be done about it. `input` is what [`decide`] was given.
    #[must_use]
    pub fn plan(self, input: &GuardInput) -> GuardPlan {
        let run = |record, otadata| GuardPlan {
            record,
            otadata,
            then: Then::Run,
        };
        let nothing = run(RecordStep::Keep, OtadataStep::Keep);
        let Some(running) = input.running else {
            return nothing;
        };
        match self {
            Self::Nothing | Self::ContinueTrial => nothing,
            Self::Repair | Self::ConfirmedLost => run(RecordStep::Keep, repair(input, running)),
            // The failed image is all that boots. Selecting it would hide that the old one is broken; the bootloader finds
            // its way by itself, as it did to get here.
            Self::Stranded => nothing,
            Self::CountBoot(counts) => run(RecordStep::Count(counts), OtadataStep::Keep),
            Self::RollBack(why, counts) => {
                retreat(input, running, RecordStep::RollingBack(why, counts))
            }
            Self::BootloaderRefused => {
                let counts = input.trial.map(|trial| trial.counts).unwrap_or_default();
                retreat(
                    input,
                    running,
                    RecordStep::RollingBack(RollBackReason::BootloaderRefused, counts),
                )
            }
            Self::FinishRollBack => retreat(input, running, RecordStep::Keep),
            Self::Reactivate(counts) => GuardPlan {
                record: RecordStep::Count(counts),
                otadata: OtadataStep::Activate {
                    slot: running.other(),
                    state: ActivateAs::Trial,
                },
                then: Then::Reset,
            },
            Self::ReactivateConfirmed(counts) => GuardPlan {
                record: RecordStep::Count(counts),
                otadata: OtadataStep::Activate {
                    slot: running.other(),
                    state: ActivateAs::Confirmed,
                },
                then: Then::Reset,
            },
            Self::FinishConfirm => run(RecordStep::Keep, finish_confirm(&input.otadata, running)),
        }
    }
}

/// Makes otadata select what runs, and leaves nothing torn.
fn repair(input: &GuardInput, running: Slot) -> OtadataStep {
    if input.otadata.selected == Some(running) {
        OtadataStep::EraseTorn
    } else {
        OtadataStep::Activate {
            slot: running,
            state: ActivateAs::Fallback,
        }
    }
}

/// Away from the image on trial. It takes one step in a boot; the next boot goes on until nothing is left to be done.
fn retreat(input: &GuardInput, running: Slot, record: RecordStep) -> GuardPlan {
    let Some(TrialView { slot, .. }) = input.trial else {
        return GuardPlan {
            record: RecordStep::Keep,
            otadata: OtadataStep::Keep,
            then: Then::Run,
        };
    };
    if running != slot {
        // Without an entry of its own the old image runs only because nothing else is selected. It gets one first, in the
        // place of the other's, which is thereby gone.
        let otadata = if input.otadata.entry(running).bootable() {
            OtadataStep::Erase { slot }
        } else {
            OtadataStep::Activate {
                slot: running,
                state: ActivateAs::Fallback,
            }
        };
        return GuardPlan {
            record,
            otadata,
            then: Then::Run,
        };
    }
    let old = slot.other();
    let otadata = if input.otadata.entry(old).bootable() {
        OtadataStep::Erase { slot }
    } else {
        // With both entries gone a bootloader boots ota_0, which may be this very image.
        OtadataStep::Activate {
            slot: old,
            state: ActivateAs::Fallback,
        }
    };
    GuardPlan {
        record,
        otadata,
        then: Then::Reset,
    }
}

/// The confirmed image's entry is to be whole, and to read VALID where a bootloader with rollback would take it away.
///
/// NEW stands only where the bootloader does no rollback; one with rollback has made it PENDING_VERIFY.
#[must_use]
pub fn finish_confirm(otadata: &OtadataView, running: Slot) -> OtadataStep {
    if otadata.selected != Some(running) {
        OtadataStep::Activate {
            slot: running,
            state: ActivateAs::Confirmed,
        }
    } else {
        match otadata.entry(running) {
            EntryState::New | EntryState::Valid => OtadataStep::Keep,
            // The last three are what a cut leaves in the erase before the bootloader's rewrite, or before ours.
            EntryState::PendingVerify
            | EntryState::Undefined
            | EntryState::Invalid
            | EntryState::Aborted
            | EntryState::Absent => OtadataStep::MarkValid { slot: running },
        }
    }
}
