//! The boot guard: the first thing in `main`, before anything else can crash.
//!
//! It mounts the journal, reads otadata, asks [`otaria_engine::guard`] what this boot means, and carries that out: it counts
//! the boot, rolls back, activates again, finishes what a cut left. It blocks, and takes a few milliseconds unless it has to
//! erase. Which cut leads to which decision is written on top of that module.
//!
//! ```text
//! fn main() {
//!     board.arm_watchdog(..);                 // esp_hal::init has disabled it
//!     let report = boot_guard(journal, otadata, board.running_slot(), board.reset_reason());
//!     if report.then == Then::Reset { board.reset() }
//!     ..                                      // everything that may crash
//! }
//! ```
//!
//! The order within a boot, and what a cut after each step leaves to the next one:
//!
//! | step | after a cut |
//! |---|---|
//! | 1 trial counters, if this boot counts or ends the trial | the boot is counted; the decision is taken again from there |
//! | 2 number of this boot | the number is used up |
//! | 3 otadata, one step | see [`crate::storage::otadata`]; the decision is taken again from what is there |
//! | 4 what the bootloader was seen to do | it is seen again, or not |

#[cfg(test)]
mod tests;

use core::fmt;

use embedded_storage::nor_flash::NorFlash;
use otaria_engine::guard::{
    ConfirmedView, OtadataStep, RecordStep, RollBackReason, TrialCounts, TrialStage, TrialView,
    bootloader_rollback, decide,
};
pub use otaria_engine::guard::{GuardDecision, GuardInput, Then};
use otaria_engine::reset::ResetReason;
use otaria_engine::slot::Slot;
use otaria_wire::guard::{MARKER, MARKER_LEN};
use otaria_wire::journal::{Boot, Bootloader, Confirmed, TrialCounters};
use otaria_wire::messages::FailureCode;

use crate::storage::journal::{Journal, JournalError};
use crate::storage::otadata::{OtaData, OtaDataError};
use crate::storage::trial::{self, TrialRecord};

/// By this the packager finds the guard in an image. It is in the image exactly when [`boot_guard`] is, which reads it.
static GUARD_MARKER: [u8; MARKER_LEN] = MARKER;

/// Why the guard could not do all that it decided. The image runs nevertheless, and reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuardError {
    /// The journal.
    Journal(JournalError),
    /// Otadata.
    OtaData(OtaDataError),
}

impl From<JournalError> for GuardError {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

impl From<OtaDataError> for GuardError {
    fn from(error: OtaDataError) -> Self {
        Self::OtaData(error)
    }
}

impl fmt::Display for GuardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Journal(error) => error.fmt(f),
            Self::OtaData(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for GuardError {}

/// What the guard found and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootReport {
    /// Number of this boot, from 1; 0 if the journal could not be read.
    pub boot: u32,
    /// What it went by. Otadata and counters are those from before it did anything.
    pub input: GuardInput,
    /// What it made of that.
    pub decision: GuardDecision,
    /// How the boot goes on.
    pub then: Then,
    /// What failed, if something did: the steps after it were left out.
    pub failed: Option<GuardError>,
}

/// Guards this boot. `running` is the slot that runs, from the MMU; `reset` is why the chip started.
///
/// # Errors
/// The journal or otadata cannot be read, or the image on trial cannot be known for another reason: then nothing was done. The
/// application may run, but nothing may be updated.
pub fn boot_guard<J: NorFlash, O: NorFlash>(
    journal: &mut Journal<J>,
    otadata: &mut OtaData<O>,
    running: Option<Slot>,
    reset: ResetReason,
) -> Result<BootReport, GuardError> {
    // Read through a black box, or the compiler would see that nobody needs it and leave it out.
    let _ = core::hint::black_box(&GUARD_MARKER);
    let trial = trial::load(journal)?;
    let confirmed = journal.latest::<Confirmed>(0)?;
    let input = GuardInput {
        running,
        reset,
        trial: trial.as_ref().and_then(view),
        confirmed: confirmed.and_then(|confirmed| view_confirmed(&confirmed, trial.as_ref())),
        otadata: otadata.read()?.view(),
    };
    let counters = trial.map(|trial| trial.counters);
    let decision = decide(&input);
    let (boot, done) = carry_out(journal, otadata, &input, counters, decision);
    Ok(BootReport {
        boot,
        input,
        decision,
        // Flash that cannot be written must not become a reset loop.
        then: if done.is_ok() {
            decision.plan(&input).then
        } else {
            Then::Run
        },
        failed: done.err(),
    })
}

/// Does what the decision's plan says, in its order, and stops where something fails. Everything is read back by the stores.
fn carry_out<J: NorFlash, O: NorFlash>(
    journal: &mut Journal<J>,
    otadata: &mut OtaData<O>,
    input: &GuardInput,
    counters: Option<TrialCounters>,
    decision: GuardDecision,
) -> (u32, Result<(), GuardError>) {
    let plan = decision.plan(input);
    let recorded = match counters {
        Some(counters) => record(journal, counters, plan.record),
        None => Ok(()),
    };
    let (boot, counted) = match count_boot(journal) {
        Ok(boot) => (boot, Ok(())),
        Err(error) => (0, Err(error)),
    };
    let done = recorded
        .and(counted)
        .and_then(|()| select(otadata, input, plan.otadata))
        .and_then(|()| match bootloader_rollback(input) {
            Some(rollback) => Ok(journal.append(0, &Bootloader { rollback })?),
            None => Ok(()),
        });
    (boot, done)
}

fn record<J: NorFlash>(
    journal: &mut Journal<J>,
    counters: TrialCounters,
    step: RecordStep,
) -> Result<(), GuardError> {
    let with = |TrialCounts { boots, crashes }| TrialCounters {
        boots,
        crashes,
        ..counters
    };
    let counters = match step {
        RecordStep::Keep => return Ok(()),
        RecordStep::Count(counts) => with(counts),
        RecordStep::RollingBack(why, counts) => TrialCounters {
            stage: TrialStage::RollingBack,
            code: code(why).number(),
            ..with(counts)
        },
    };
    Ok(journal.append(0, &counters)?)
}

fn code(why: RollBackReason) -> FailureCode {
    match why {
        RollBackReason::Crashes => FailureCode::TrialCrashed,
        RollBackReason::Boots => FailureCode::TrialBootsExhausted,
        RollBackReason::BootloaderRefused => FailureCode::BootloaderRefused,
    }
}

fn count_boot<J: NorFlash>(journal: &mut Journal<J>) -> Result<u32, GuardError> {
    let before = journal.latest::<Boot>(0)?.map_or(0, |boot| boot.count);
    let count = before.saturating_add(1);
    journal.append(0, &Boot { count })?;
    Ok(count)
}

fn select<O: NorFlash>(
    otadata: &mut OtaData<O>,
    input: &GuardInput,
    step: OtadataStep,
) -> Result<(), GuardError> {
    otadata.apply(step)?;
    if let OtadataStep::Activate { slot, .. } = step {
        // The old image has given itself an entry, to get away from a trial's. That one goes in the same boot: it might lie in
        // the other sector, and the trial's record is closed soon.
        let left = input.trial.filter(|trial| {
            trial.stage != TrialStage::Closed && trial.slot != slot && input.running == Some(slot)
        });
        if let Some(trial) = left {
            otadata.deselect(trial.slot)?;
        }
    }
    Ok(())
}

fn view(trial: &TrialRecord) -> Option<TrialView> {
    let TrialCounters {
        stage,
        boots,
        crashes,
        ..
    } = trial.counters;
    Some(TrialView {
        slot: Slot::from_index(trial.target.slot)?,
        stage,
        counts: TrialCounts { boots, crashes },
    })
}

fn view_confirmed(confirmed: &Confirmed, trial: Option<&TrialRecord>) -> Option<ConfirmedView> {
    let is_trial = trial.is_some_and(|trial| {
        (trial.target.slot, trial.target.identity) == (confirmed.slot, confirmed.identity)
    });
    Some(ConfirmedView {
        slot: Slot::from_index(confirmed.slot)?,
        is_trial,
    })
}
