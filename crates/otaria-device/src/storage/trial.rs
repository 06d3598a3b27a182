//! The trial record: two records of the journal, read as one.
//!
//! [`TrialTarget`] says what is on trial and is written once; [`TrialCounters`] says how it goes and is written at each boot.
//! The counters belong to the target whose identity they carry; a target without counters of its own is open and has counted
//! nothing. Hence the order in which a trial is opened ([`open`]):
//!
//! | step | a cut after it leaves |
//! |---|---|
//! | 1 target | another package's: an open trial that has counted nothing. The same package's as before (a new job tries it again): the earlier trial's end |
//! | 2 counters, Open | an open trial |
//! | 3 otadata: activate | the image on trial is selected |
//!
//! Whatever lies in the slot was verified before step 1, so the guard may activate it from either record.

use embedded_storage::nor_flash::NorFlash;
use otaria_wire::clip;
use otaria_wire::journal::{TrialCounters, TrialStage, TrialTarget};
use otaria_wire::messages::Timing;

use super::journal::{Journal, JournalError};
use super::verify::VerifiedImage;

/// A trial, open or closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrialRecord {
    /// What is or was on trial.
    pub target: TrialTarget,
    /// How it goes or ended.
    pub counters: TrialCounters,
}

impl TrialRecord {
    /// Whether the trial is not over, so that no slot may be erased.
    #[must_use]
    pub fn is_open(&self) -> bool {
        match self.counters.stage {
            TrialStage::Open | TrialStage::RollingBack | TrialStage::Inconclusive => true,
            TrialStage::Closed => false,
        }
    }
}

/// Counters of a trial that has counted nothing.
#[must_use]
pub fn fresh_counters(target: &TrialTarget) -> TrialCounters {
    TrialCounters {
        identity8: target.identity.first8(),
        stage: TrialStage::Open,
        boots: 0,
        crashes: 0,
        reactivations: 0,
        code: 0,
    }
}

/// The trial record, if there ever was a trial.
///
/// # Errors
/// See [`Journal::latest`].
pub fn load<R: NorFlash>(journal: &mut Journal<R>) -> Result<Option<TrialRecord>, JournalError> {
    let Some(target) = journal.latest::<TrialTarget>(0)? else {
        return Ok(None);
    };
    let counters = journal.latest::<TrialCounters>(0)?;
    let counters = counters
        .filter(|counters| counters.identity8 == target.identity.first8())
        .unwrap_or_else(|| fresh_counters(&target));
    Ok(Some(TrialRecord { target, counters }))
}

/// Opens the trial of an image. After this its slot is activated, not before. `timing` waits there for the trial's end.
///
/// # Errors
/// See [`Journal::append`].
pub fn open<R: NorFlash>(
    journal: &mut Journal<R>,
    image: &VerifiedImage,
    job: &str,
    url: &str,
    timing: Option<Timing>,
) -> Result<(), JournalError> {
    let target = TrialTarget {
        slot: image.slot().index(),
        image_sha256: image.image_sha256(),
        identity: image.identity(),
        sequence: image.sequence(),
        security_version: image.security_version(),
        job: clip(job),
        url: clip(url),
        created: image.created(),
        timing,
    };
    journal.append(0, &target)?;
    journal.append(0, &fresh_counters(&target))
}
