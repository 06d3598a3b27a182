//! From the guard's report to a running engine: what the boot found is brought to an end and told.
//!
//! The old image's guard has erased the entry of a trial that is over; what is left is bookkeeping, in an order in which each
//! cut leads back here:
//!
//! | step | after a cut |
//! |---|---|
//! | 1 quarantine | it is there already, and not written again |
//! | 2 the result, kept until it is acknowledged | it is written anew, with the number of the later boot; the first one was never sent |
//! | 3 the record is closed | done |

use core::fmt;

use embedded_storage::nor_flash::NorFlash;
use otaria_engine::guard::REACTIVATION_LIMIT;
use otaria_engine::machine::{BootFacts, BootRole, JobRef};
use otaria_engine::retry;
use otaria_engine::slot::Slot;
use otaria_wire::journal::{
    Bootloader, Confirmed, Download, Install, PendingReport, TrialCounters, TrialStage,
};
use otaria_wire::messages::{Desired, Event, EventKind, FailureCode, InstallId, Level, Trial};
use otaria_wire::{Sha256Digest, clip};

use super::running::RunningImage;
use super::shared::{BootRecord, Logbook};
use crate::board::{Board, Instant};
use crate::guard::{BootReport, GuardDecision};
use crate::install::{Stores, Times};
use crate::storage::journal::JournalError;
use crate::storage::otadata::OtaDataError;
use crate::storage::trial::{self, TrialRecord};
use otaria_engine::guard::ActivateAs;

/// What a boot begins with.
pub(super) struct Start {
    pub(super) facts: BootFacts,
    pub(super) record: BootRecord,
    /// The trial's counters, if the running image is on trial.
    pub(super) trial: Option<Trial>,
    /// Going on already, if a trial is open.
    pub(super) times: Times,
    /// The final result that is still to be delivered.
    pub(super) pending: Option<Event>,
    /// Something failed that people will want to see the log of.
    pub(super) send_logs: bool,
}

/// What is wanted of flash while the boot is looked into.
pub(super) struct Startup<'s, 'a, F> {
    pub(super) stores: &'s Stores<'a, F>,
    pub(super) log: Option<&'s mut Logbook<'a, F>>,
    pub(super) report: &'s BootReport,
    pub(super) now: Instant,
}

impl<F: NorFlash> Startup<'_, '_, F> {
    /// Brings what the boot found to an end. Nothing in flash is an error here: what cannot be read or written is logged, and
    /// the device goes on as well as it can.
    pub(super) fn run<B: Board>(mut self, board: &mut B, running: RunningImage) -> Start {
        let seed = board.random_u64();
        let install = self
            .or_log("install number", |this| this.install(board))
            .unwrap_or_default();
        let boot = self.report.boot;
        let rollback = self
            .or_log("bootloader record", |this| {
                Ok(this.stores.journal.borrow_mut().latest::<Bootloader>(0)?)
            })
            .flatten();
        let record = BootRecord {
            install,
            boot,
            running,
            bootloader_rollback: rollback.map(|bootloader| bootloader.rollback),
        };
        self.note(
            Level::Info,
            format_args!(
                "boot {boot}: {} runs {} after {}, guard: {}",
                self.report.input.running.map_or("no slot", Slot::name),
                record.running.version.as_str(),
                self.report.input.reset.name(),
                self.report.decision
            ),
        );
        if let Some(error) = self.report.failed {
            self.note(Level::Error, format_args!("guard: {error}"));
        }
        let settled = self.or_log("trial", |this| this.settle(&record));
        // What is still to be rolled back, or cannot be told from that, is not taken for the image that shall run.
        if settled.as_ref().is_some_and(|settled| !settled.unfinished) {
            self.or_log("floors", |this| this.adopt(&record));
        }
        let mut settled = settled.unwrap_or_default();
        let pending = self
            .or_log("result", |this| {
                Ok(this
                    .stores
                    .journal
                    .borrow_mut()
                    .latest::<PendingReport>(0)?)
            })
            .flatten()
            .and_then(|pending| pending.event);
        let resume = self.or_log("download", Self::resume).flatten();
        let facts = BootFacts {
            role: core::mem::take(&mut settled.role),
            ended: settled.ended,
            resume,
            unacknowledged: pending.is_some(),
            running_image: record.running.image_sha256,
            seed,
        };
        Start {
            facts,
            record,
            trial: settled.trial,
            times: settled.times,
            pending,
            send_logs: settled.failed,
        }
    }

    fn note(&mut self, level: Level, text: fmt::Arguments<'_>) {
        let (boot, now) = (self.report.boot, self.now);
        if let Some(log) = self.log.as_mut() {
            log.line(boot, now, level, text);
        }
    }

    fn or_log<T>(
        &mut self,
        what: &str,
        step: impl FnOnce(&mut Self) -> Result<T, StartupError>,
    ) -> Option<T> {
        match step(self) {
            Ok(done) => Some(done),
            Err(error) => {
                self.note(Level::Error, format_args!("{what}: {error}"));
                None
            }
        }
    }

    fn install<B: Board>(&mut self, board: &mut B) -> Result<InstallId, StartupError> {
        let mut journal = self.stores.journal.borrow_mut();
        if let Some(install) = journal.latest::<Install>(0)? {
            return Ok(InstallId(install.install));
        }
        let install = board.random_u64();
        journal.append(0, &Install { install })?;
        Ok(InstallId(install))
    }

    /// A download that was under way, as a wish.
    fn resume(&mut self) -> Result<Option<Desired>, StartupError> {
        let download = self.stores.journal.borrow_mut().latest::<Download>(0)?;
        Ok(download.map(|download| Desired {
            job: (!download.job.is_empty()).then_some(download.job),
            url: download.url,
            version: download.version,
            image_sha256: download.image_sha256,
            not_before: download.not_before,
            deadline: download.deadline,
        }))
    }

    /// What the trial record means in this boot.
    fn settle(&mut self, boot: &BootRecord) -> Result<Settled, StartupError> {
        let record = trial::load(&mut self.stores.journal.borrow_mut())?;
        let lost = self.report.decision == GuardDecision::ConfirmedLost;
        let Some(record) = record.filter(TrialRecord::is_open) else {
            if lost {
                self.confirmed_lost(boot)?;
            }
            return Ok(Settled {
                failed: lost,
                ..Settled::default()
            });
        };
        let on_trial = self.stores.running().map(Slot::index) == Some(record.target.slot);
        if lost {
            self.confirmed_lost(boot)?;
            self.close(&record)?;
            return Ok(Settled {
                failed: true,
                ended: Some(job_of(&record)),
                ..Settled::default()
            });
        }
        match (record.counters.stage, on_trial) {
            (TrialStage::Open, true) if self.report.decision == GuardDecision::FinishConfirm => {
                self.result(boot, &record, EventKind::Confirmed, None, format_args!(""))?;
                self.close(&record)?;
                Ok(Settled {
                    ended: Some(job_of(&record)),
                    ..Settled::default()
                })
            }
            (TrialStage::Open, true) => Ok(Settled {
                unfinished: true,
                role: BootRole::OnTrial(job_of(&record)),
                trial: Some(Trial {
                    boots: record.counters.boots,
                    crashes: record.counters.crashes,
                }),
                times: times_of(&record),
                ..Settled::default()
            }),
            // The guard could not write what it decided. It tries again at the next boot; until then nothing is updated.
            (TrialStage::Open, false) => Ok(Settled::default()),
            (TrialStage::RollingBack | TrialStage::Inconclusive, true)
                if self.report.decision == GuardDecision::Stranded =>
            {
                self.stranded(boot, &record)
            }
            // The guard could not select the old image. The same: it tries again at the next boot.
            (TrialStage::RollingBack | TrialStage::Inconclusive, true) => Ok(Settled {
                unfinished: true,
                failed: true,
                ..Settled::default()
            }),
            (TrialStage::RollingBack, false) => self.rolled_back(boot, &record),
            (TrialStage::Inconclusive, false) => Ok(Settled {
                role: BootRole::Inconclusive(job_of(&record)),
                times: times_of(&record),
                ..Settled::default()
            }),
            (TrialStage::Closed, _) => Ok(Settled::default()),
        }
    }

    /// The old image runs, the trial is over.
    fn rolled_back(
        &mut self,
        boot: &BootRecord,
        record: &TrialRecord,
    ) -> Result<Settled, StartupError> {
        self.deselect(record)?;
        let code =
            FailureCode::from_number(record.counters.code).unwrap_or(FailureCode::TrialTimeout);
        if code == FailureCode::TrialNoNetwork && record.counters.reactivations < REACTIVATION_LIMIT
        {
            let waiting = TrialCounters {
                stage: TrialStage::Inconclusive,
                ..record.counters
            };
            self.stores.journal.borrow_mut().append(0, &waiting)?;
            return Ok(Settled {
                role: BootRole::Inconclusive(job_of(record)),
                times: times_of(record),
                failed: true,
                ..Settled::default()
            });
        }
        self.quarantine(record, code)?;
        let TrialCounters { boots, crashes, .. } = record.counters;
        self.result(
            boot,
            record,
            retry::final_event(code),
            Some(code),
            format_args!("{boots} boots, {crashes} crashes"),
        )?;
        self.close(record)?;
        Ok(Settled {
            ended: Some(job_of(record)),
            failed: true,
            ..Settled::default()
        })
    }

    /// The guard has erased the trial's entry. If it could not, or went another way first, it is done here, before the record
    /// is closed.
    fn deselect(&mut self, record: &TrialRecord) -> Result<(), StartupError> {
        let Some(slot) = Slot::from_index(record.target.slot) else {
            return Ok(());
        };
        let mut otadata = self.stores.otadata.borrow_mut();
        if !otadata.read()?.view().entry(slot).bootable() {
            return Ok(());
        }
        match otadata.deselect(slot) {
            Err(OtaDataError::NothingElseBoots) => {
                otadata.activate(slot.other(), ActivateAs::Fallback)?;
                Ok(otadata.deselect(slot)?)
            }
            other => Ok(other?),
        }
    }

    /// The failed image runs because the old one does not boot. It is all there is: it stays, and what failed is reported. The
    /// next update goes over the old one.
    fn stranded(
        &mut self,
        boot: &BootRecord,
        record: &TrialRecord,
    ) -> Result<Settled, StartupError> {
        let code =
            FailureCode::from_number(record.counters.code).unwrap_or(FailureCode::TrialTimeout);
        self.result(
            boot,
            record,
            EventKind::Failed,
            Some(code),
            format_args!("the old image does not boot any more, the failed one runs on"),
        )?;
        self.adopt_running(boot)?;
        self.close(record)?;
        Ok(Settled {
            ended: Some(job_of(record)),
            failed: true,
            ..Settled::default()
        })
    }

    /// The confirmed image was selected and the bootloader did not boot it.
    fn confirmed_lost(&mut self, boot: &BootRecord) -> Result<(), StartupError> {
        let event = self.event(
            boot,
            EventKind::RolledBack,
            None,
            Some(FailureCode::BootloaderRefused),
        );
        let text = clip("the confirmed image does not boot any more, the one before it runs");
        let event = Event {
            text: Some(text),
            ..event
        };
        Ok(self
            .stores
            .journal
            .borrow_mut()
            .append(0, &PendingReport { event: Some(event) })?)
    }

    /// The journal's confirmed record always speaks of the image that runs (unless its trial is not over): without one, and
    /// after somebody has flashed over a cable, it is made here. The floors stay; but for the sequence, which is let down by
    /// one, so that the very package that set it can be installed again.
    fn adopt(&mut self, boot: &BootRecord) -> Result<(), StartupError> {
        let (Some(running), Some(image)) = (self.stores.running(), boot.running.image_sha256)
        else {
            return Ok(());
        };
        let confirmed = self.stores.journal.borrow_mut().latest::<Confirmed>(0)?;
        if confirmed
            .is_some_and(|known| known.slot == running.index() && known.image_sha256 == image)
        {
            return Ok(());
        }
        let level = if confirmed.is_some() {
            Level::Warn
        } else {
            Level::Info
        };
        self.note(
            level,
            format_args!("{running} holds an image that was not confirmed here: taken as it is"),
        );
        self.adopt_running(boot)
    }

    fn adopt_running(&mut self, boot: &BootRecord) -> Result<(), StartupError> {
        let (Some(running), Some(image_sha256)) =
            (self.stores.running(), boot.running.image_sha256)
        else {
            return Ok(());
        };
        let mut journal = self.stores.journal.borrow_mut();
        let before = journal.latest::<Confirmed>(0)?;
        let adopted = Confirmed {
            slot: running.index(),
            image_sha256,
            identity: Sha256Digest::ZERO,
            sequence: before.map_or(0, |before| before.sequence.saturating_sub(1)),
            security_version: before
                .map_or(0, |before| before.security_version)
                .max(boot.running.security_version),
        };
        Ok(journal.append(0, &adopted)?)
    }

    fn quarantine(&mut self, record: &TrialRecord, code: FailureCode) -> Result<(), StartupError> {
        super::shared::quarantine(
            &mut self.stores.journal.borrow_mut(),
            record.target.identity,
            &record.target.job,
            code,
        )?;
        Ok(())
    }

    /// Keeps a result until it is delivered. The same one is not written twice.
    fn result(
        &mut self,
        boot: &BootRecord,
        record: &TrialRecord,
        kind: EventKind,
        code: Option<FailureCode>,
        text: fmt::Arguments<'_>,
    ) -> Result<(), StartupError> {
        use fmt::Write;
        let mut event = self.event(boot, kind, Some(&record.target.job), code);
        event.timing = record.target.timing;
        let mut words = heapless::String::<160>::new();
        if words.write_fmt(text).is_ok() && !words.is_empty() {
            event.text = Some(clip(&words));
        }
        self.note(
            Level::Warn,
            format_args!("{} {}", kind.name(), code.map_or("", FailureCode::name)),
        );
        let mut journal = self.stores.journal.borrow_mut();
        let known = journal
            .latest::<PendingReport>(0)?
            .and_then(|pending| pending.event);
        if known.is_some_and(|known| known.event == kind && known.job == event.job) {
            return Ok(());
        }
        Ok(journal.append(0, &PendingReport { event: Some(event) })?)
    }

    /// Events of the boot itself have the number 0: they come before all others.
    fn event(
        &self,
        boot: &BootRecord,
        kind: EventKind,
        job: Option<&str>,
        code: Option<FailureCode>,
    ) -> Event {
        Event {
            install: boot.install,
            boot: boot.boot,
            n: 0,
            job: job.map(clip),
            event: kind,
            code: code.map(FailureCode::number),
            text: None,
            retry_in_s: None,
            timing: None,
        }
    }

    /// Closes the record. A cut between trial record and activation has left the download's, which would bring the job back.
    fn close(&mut self, record: &TrialRecord) -> Result<(), StartupError> {
        let job = record.target.job.as_str();
        super::shared::forget_download(&mut self.stores.journal.borrow_mut(), |download| {
            download.job == job
        })?;
        let closed = TrialCounters {
            stage: TrialStage::Closed,
            ..record.counters
        };
        Ok(self.stores.journal.borrow_mut().append(0, &closed)?)
    }
}

#[derive(Debug, Default)]
struct Settled {
    role: BootRole,
    ended: Option<JobRef>,
    trial: Option<Trial>,
    times: Times,
    failed: bool,
    /// The running image is on trial, or still to be rolled back.
    unfinished: bool,
}

fn job_of(record: &TrialRecord) -> JobRef {
    JobRef {
        job: record.target.job.clone(),
        url: record.target.url.clone(),
    }
}

/// The job goes on where the boot that activated the image has left it.
fn times_of(record: &TrialRecord) -> Times {
    let times = Times::new();
    times.go_on(&record.target.timing.unwrap_or_default());
    times
}

/// A store failed.
#[derive(Debug)]
enum StartupError {
    Journal(JournalError),
    OtaData(OtaDataError),
}

impl From<JournalError> for StartupError {
    fn from(error: JournalError) -> Self {
        Self::Journal(error)
    }
}

impl From<OtaDataError> for StartupError {
    fn from(error: OtaDataError) -> Self {
        Self::OtaData(error)
    }
}

impl fmt::Display for StartupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Journal(error) => error.fmt(f),
            Self::OtaData(error) => error.fmt(f),
        }
    }
}
