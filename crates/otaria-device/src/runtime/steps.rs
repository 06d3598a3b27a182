//! The short acts: a few flash commands each, done by the driver between two looks at the engine.
//!
//! # Activation
//!
//! | step | a cut after it leaves |
//! |---|---|
//! | 1 trial record (target, counters) | an open trial whose slot is not selected: the guard activates it, the image was verified |
//! | 2 otadata: erase, write | see [`crate::storage::otadata`] |
//! | 3 the download's record is removed | it would only be looked at again |
//!
//! # Confirmation
//!
//! | step | a cut after it leaves |
//! |---|---|
//! | 1 confirmed record with the raised floors | the guard finishes the confirmation, in either slot |
//! | 2 entry VALID, if it reads PENDING_VERIFY | the same |
//! | 3 the result | the same; it is not written twice |
//! | 4 the trial's record is closed | done; the time floor rises with the next confirmation |
//! | 5 the time floor | done |
//!
//! # Rolling back
//!
//! | step | a cut after it leaves |
//! |---|---|
//! | 1 counters: RollingBack, and why | the guard erases the entry |
//! | 2 the entry is erased | the old image's guard erases it again, in one run with the closing of the record |
//! | 3 reset | the same |

use embedded_storage::nor_flash::NorFlash;
use otaria_engine::guard::ActivateAs;
use otaria_engine::machine::Report;
use otaria_engine::slot::Slot;
use otaria_wire::journal::{Confirmed, PendingReport, TrialCounters, TrialStage};
use otaria_wire::messages::FailureCode;

use super::shared::{Shared, Verified, quarantine};
use crate::board::{Board, Clock};
use crate::install::recheck;
use crate::storage::journal::JournalError;
use crate::storage::otadata::OtaDataError;
use crate::storage::trial::{self, TrialRecord};
use crate::storage::verify::VerifiedImage;

impl<B: Board, K: Clock, F: NorFlash> Shared<'_, B, K, F> {
    /// Opens the trial of the verified image and selects its slot. After an error no trial is open.
    pub(super) fn activate(&self) -> Result<(), FailureCode> {
        let image = self.take_verified()?;
        let (job, url) = {
            let engine = self.engine.borrow();
            let wish = engine.job().ok_or(FailureCode::LogicBug)?;
            (
                otaria_engine::admission::job_name(wish, &image.identity()),
                wish.url.clone(),
            )
        };
        let timing = self.timing();
        let opened = trial::open(
            &mut self.stores.journal.borrow_mut(),
            &image,
            &job,
            &url,
            timing,
        );
        let done = opened
            .map_err(|error| self.failed(&error))
            .and_then(|()| self.select_trial(image.slot()));
        let _ = match done {
            Ok(()) => self.forget_download_of(Some(&job)),
            Err(_) => self.close_trial(),
        };
        done
    }

    /// Opens the trial of an image anew that had failed only for want of network. After an error the record is as it was.
    pub(super) fn reactivate(&self) -> Result<(), FailureCode> {
        let image = self.take_verified()?;
        let before = self.trial_record()?.counters;
        let again = TrialCounters {
            stage: TrialStage::Open,
            boots: 0,
            crashes: 0,
            code: 0,
            reactivations: before.reactivations.saturating_add(1),
            ..before
        };
        self.stores
            .journal
            .borrow_mut()
            .append(0, &again)
            .map_err(|error| self.failed(&error))?;
        self.select_trial(image.slot()).inspect_err(|_| {
            let _ = self.stores.journal.borrow_mut().append(0, &before);
        })
    }

    /// The verified image, which is selected before the next `await`. Its signatures count by the keys of this moment.
    fn take_verified(&self) -> Result<VerifiedImage, FailureCode> {
        let verified = self.verified.borrow_mut().take();
        let Verified { image, epoch } = verified.ok_or(FailureCode::LogicBug)?;
        if epoch != self.trust.epoch() {
            // Other keys count since its verification began.
            recheck(&self.stores, &self.trust, &self.words, &image.identity())?;
        }
        Ok(image)
    }

    fn select_trial(&self, slot: Slot) -> Result<(), FailureCode> {
        self.stores
            .otadata
            .borrow_mut()
            .activate(slot, ActivateAs::Trial)
            .map_err(|error| self.failed(&error))
    }

    /// Confirms the running image.
    pub(super) fn confirm(&self, report: &Report) -> Result<(), FailureCode> {
        self.times.confirmed(self.clock.now());
        let target = self.trial_record()?.target;
        let slot = Slot::from_index(target.slot).ok_or(FailureCode::LogicBug)?;
        let floors = self.stores.floors().map_err(|error| self.failed(&error))?;
        let confirmed = Confirmed {
            slot: target.slot,
            image_sha256: target.image_sha256,
            identity: target.identity,
            sequence: floors
                .map_or(0, |floors| floors.sequence)
                .max(target.sequence),
            security_version: floors
                .map_or(0, |floors| floors.security_version)
                .max(target.security_version),
        };
        self.stores
            .journal
            .borrow_mut()
            .append(0, &confirmed)
            .map_err(|error| self.failed(&error))?;
        self.stores
            .otadata
            .borrow_mut()
            .confirm(slot)
            .map_err(|error| self.failed(&error))?;
        let event = Some(self.event(report));
        self.stores
            .journal
            .borrow_mut()
            .append(0, &PendingReport { event })
            .map_err(|error| self.failed(&error))?;
        // It is there still if a cut had fallen between trial record and activation.
        self.forget_download_of(Some(&target.job))
            .map_err(|error| self.failed(&error))?;
        self.close_trial().map_err(|error| self.failed(&error))?;
        self.trial.set(None);
        self.monitor.set_trial(false);
        self.time_has_passed(target.created);
        Ok(())
    }

    /// Ends the trial. Whatever fails here, the guard goes on after the restart.
    pub(super) fn roll_back(&self, code: FailureCode) {
        if let Err(code) = self.try_roll_back(code) {
            self.note_failure("roll back", code);
        }
    }

    fn try_roll_back(&self, code: FailureCode) -> Result<(), FailureCode> {
        let record = self.trial_record()?;
        let counters = TrialCounters {
            stage: TrialStage::RollingBack,
            code: code.number(),
            ..record.counters
        };
        self.stores
            .journal
            .borrow_mut()
            .append(0, &counters)
            .map_err(|error| self.failed(&error))?;
        let slot = Slot::from_index(record.target.slot).ok_or(FailureCode::LogicBug)?;
        let mut otadata = self.stores.otadata.borrow_mut();
        match otadata.deselect(slot) {
            // The old image has no entry of its own: it gets one, and its guard erases the trial's.
            Err(OtaDataError::NothingElseBoots) => {
                otadata.activate(slot.other(), ActivateAs::Fallback)
            }
            other => other,
        }
        .map_err(|error| self.failed(&error))
    }

    /// Closes the record of an inconclusive trial. If its package is kept away from its job, then first, for a closed record names
    /// no package any more.
    pub(super) fn drop_trial(&self, code: Option<FailureCode>) -> Result<(), FailureCode> {
        if let Some(code) = code {
            let target = self.trial_record()?.target;
            let mut journal = self.stores.journal.borrow_mut();
            quarantine(&mut journal, target.identity, &target.job, code)
                .map_err(|error| self.failed(&error))?;
        }
        self.close_trial().map_err(|error| self.failed(&error))
    }

    /// Closes the trial's record.
    fn close_trial(&self) -> Result<(), JournalError> {
        self.change_trial(|counters| TrialCounters {
            stage: TrialStage::Closed,
            ..counters
        })
    }

    /// The trial's record, which is there.
    pub(super) fn trial_record(&self) -> Result<TrialRecord, FailureCode> {
        let record = trial::load(&mut self.stores.journal.borrow_mut());
        let record = record.map_err(|error| self.failed(&error))?;
        record.ok_or(FailureCode::LogicBug)
    }
}
