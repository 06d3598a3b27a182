//! What the parts of the runtime share, and the small things that all of them do: log, report, publish.

use core::cell::{Cell, RefCell};
use core::fmt;

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use embedded_storage::nor_flash::NorFlash;
use otaria_engine::machine::{Action, Admitted, Engine, Event as EngineEvent, Failure, Report};
use otaria_wire::journal::{Download, PendingReport, QUARANTINE_KEYS, Quarantine, TrialCounters};
use otaria_wire::messages::{
    Event, EventKind, FailureCode, InstallId, Level, LogLine, Progress, State, Timing, Trial,
};
use otaria_wire::{Sha256Digest, clip};

use super::budget::Budget;
use super::commands::Commands;
use super::monitor::Monitor;
use super::outbox::Outbox;
use super::recent;
use super::running::RunningImage;
use crate::board::{Board, Clock, Instant, Slot};
use crate::install::{Observer, Reason, Starts, Stores, Times, Words};
use crate::mqtt::MqttError;
use crate::settings::Config;
use crate::storage::journal::{Journal, JournalError};
use crate::storage::log::{FlashLog, LogError};
use crate::storage::region::Region;
use crate::storage::trial;
use crate::storage::verify::VerifiedImage;
use crate::trust::Trust;

/// An operation that takes long: one at a time, carried out by the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Fetch,
    Verify,
    Probe,
    Reactivate,
}

/// An operation with its number, by which a stop is told from a stop for an earlier one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) number: u32,
    pub(super) operation: Operation,
}

/// Everything that driver, operator and mailbox share. They are futures of one task: what is borrowed here is given back before
/// the next `await`.
pub(super) struct Shared<'a, B, K, F> {
    pub(super) config: &'a Config<'a>,
    pub(super) board: RefCell<B>,
    pub(super) clock: &'a K,
    pub(super) monitor: &'a Monitor,
    pub(super) stores: Stores<'a, F>,
    pub(super) log: RefCell<Option<Logbook<'a, F>>>,
    pub(super) engine: RefCell<Engine>,
    pub(super) outbox: RefCell<Outbox>,
    pub(super) commands: RefCell<Commands>,
    /// For records that messages bring about.
    pub(super) budget: Budget,
    /// Signatures of key records that are checked because somebody sent them: other messages do not use these up.
    pub(super) key_checks: Budget,
    /// For lines of the log that messages bring about.
    pub(super) chatter: Budget,
    /// Downloads that were begun.
    pub(super) starts: Starts,
    pub(super) times: Times,
    /// Why the act at hand failed, until that is told.
    pub(super) words: Words,
    pub(super) facts: BootRecord,
    /// The trial's counters as they are shown; `None` if the running image is not on trial.
    pub(super) trial: Cell<Option<Trial>>,
    /// Proof that the image in the other slot is verified, from the verification to the activation.
    pub(super) verified: RefCell<Option<Verified>>,
    /// Whose packages are taken.
    pub(super) trust: Trust<'a>,
    /// The last package was not taken because of who signed it: other keys are a reason to look at it again.
    pub(super) refused_for_keys: Cell<bool>,
    /// Identity of the package that is being fetched.
    pub(super) identity: Cell<Option<Sha256Digest>>,
    pub(super) rate: RefCell<Rate>,
    /// The driver shall look again.
    pub(super) wake: Signal<NoopRawMutex, ()>,
    /// The session may have something to send.
    pub(super) outgoing: Signal<NoopRawMutex, ()>,
    pub(super) request: Signal<NoopRawMutex, Request>,
    pub(super) stop: Signal<NoopRawMutex, u32>,
    pub(super) operations: Cell<u32>,
    /// Why the broker cannot be reached, as the console was told last, and when. `None` if nobody was told since it was there.
    pub(super) broker_failed: Cell<Option<(MqttError, Instant)>>,
    /// The link, as the engine knows it.
    pub(super) link: Cell<Option<bool>>,
    /// How the last probe failed.
    pub(super) probe_failed: Cell<Option<FailureCode>>,
    /// The time floor as flash has it.
    pub(super) floor_in_flash: Cell<u64>,
}

/// Proof that an image is verified.
pub(super) struct Verified {
    pub(super) image: VerifiedImage,
    /// The key epoch under which its signatures were checked, before the image was read.
    pub(super) epoch: u32,
}

/// What is settled when the engine starts, for the rest of the boot.
#[derive(Clone, Debug)]
pub(super) struct BootRecord {
    pub(super) install: InstallId,
    pub(super) boot: u32,
    pub(super) running: RunningImage,
    pub(super) bootloader_rollback: Option<bool>,
}

/// The log in flash, with the number of the next line.
pub(super) struct Logbook<'a, F> {
    pub(super) ring: FlashLog<Region<'a, F>>,
    pub(super) next: u32,
}

impl<'a, F: NorFlash> Logbook<'a, F> {
    /// Opens the ring and finds the number of its newest line.
    pub(super) fn open(region: Region<'a, F>) -> Result<Self, LogError> {
        let mut ring = FlashLog::mount(region)?;
        let mut tail = ring.tail(1)?;
        let next = ring
            .next_line(&mut tail)?
            .map_or(1, |line| line.n.wrapping_add(1));
        Ok(Self { ring, next })
    }

    pub(super) fn line(&mut self, boot: u32, now: Instant, level: Level, text: fmt::Arguments<'_>) {
        use fmt::Write;
        let mut line = heapless::String::<200>::new();
        // What does not fit is left out.
        let _ = line.write_fmt(text);
        let line = LogLine {
            n: self.next,
            boot,
            t_ms: now.as_millis(),
            level,
            text: clip(&line),
        };
        // A log that cannot be written is no reason to stop.
        if self.ring.append(&line).is_ok() {
            self.next = self.next.wrapping_add(1);
        }
    }
}

impl<F: NorFlash> Stores<'_, F> {
    /// Writes a line into the log in flash, behind the boot guard and before the runtime runs: what the boot before died of, say.
    /// A log that cannot be written is no reason to stop; 200 bytes of the text are kept.
    pub fn note(&self, boot: u32, now: Instant, level: Level, text: fmt::Arguments<'_>) {
        if let Ok(mut log) = Logbook::open(self.log()) {
            log.line(boot, now, level, text);
        }
    }
}

/// Bytes a second, over the last few seconds.
#[derive(Debug, Default)]
pub(super) struct Rate {
    since: Option<(Instant, u32)>,
    value: u32,
}

impl Rate {
    /// A new phase.
    fn restart(&mut self) {
        *self = Self::default();
    }

    fn update(&mut self, now: Instant, done: u32) -> u32 {
        match self.since {
            None => self.since = Some((now, done)),
            Some((since, before)) => {
                let millis = (now - since).as_millis();
                if millis >= 1_000 {
                    let moved = u64::from(done.saturating_sub(before));
                    let value = moved.saturating_mul(1_000) / millis;
                    self.value = u32::try_from(value).unwrap_or(u32::MAX);
                    if millis >= 3_000 {
                        self.since = Some((now, done));
                    }
                }
            }
        }
        self.value
    }
}

impl<B: Board, K: Clock, F: NorFlash> Shared<'_, B, K, F> {
    /// Writes a line into the log in flash.
    pub(super) fn note(&self, level: Level, text: fmt::Arguments<'_>) {
        if let Some(log) = self.log.borrow_mut().as_mut() {
            log.line(self.facts.boot, self.clock.now(), level, text);
        }
    }

    /// Writes a line that somebody's message brought about, unless there were too many of late: the log must neither be worn out
    /// nor be filled from outside.
    pub(super) fn note_message(&self, level: Level, text: fmt::Arguments<'_>) {
        if self.chatter.take(self.clock.now()) {
            self.note(level, text);
        }
    }

    /// Tells the engine, and lets the driver look what it makes of it.
    pub(super) fn tell(&self, event: EngineEvent<'_>) {
        self.engine.borrow_mut().handle(self.clock.now(), event);
        self.wake.signal(());
    }

    /// Tells the engine how an act ended, with what is to be said of a failure.
    pub(super) fn tell_end(
        &self,
        result: Result<(), FailureCode>,
        event: fn(Result<(), Failure<'_>>) -> EngineEvent<'_>,
    ) {
        let said = self.words.take();
        self.tell(event(result.map_err(|code| said.of(code))));
    }

    pub(super) fn failed(&self, error: &dyn Reason) -> FailureCode {
        self.words.failed(error)
    }

    /// Writes a failure into the log that goes no further.
    pub(super) fn note_failure(&self, what: &str, code: FailureCode) {
        let said = self.words.take();
        self.note(
            Level::Error,
            format_args!("{what}: {} {}", code.name(), said.text),
        );
    }

    pub(super) fn next_action(&self) -> Option<Action> {
        self.engine.borrow_mut().next_action(self.clock.now())
    }

    /// Something was put into the outbox.
    pub(super) fn publish(&self) {
        self.outgoing.signal(());
    }

    /// Where the time of the job at hand went, if it is under way.
    pub(super) fn timing(&self) -> Option<Timing> {
        let board = self.board.borrow();
        self.times
            .report(self.clock.now(), board.heap_min(), board.rssi())
    }

    /// The wire's form of a report.
    pub(super) fn event(&self, report: &Report) -> Event {
        let timing = match report.kind {
            EventKind::Downloaded
            | EventKind::Verified
            | EventKind::Activated
            | EventKind::Failed
            | EventKind::Refused
            | EventKind::Retrying
            | EventKind::Cancelled
            | EventKind::Superseded
            | EventKind::Confirmed
            | EventKind::RolledBack => self.timing(),
            EventKind::Accepted
            | EventKind::Resumed
            | EventKind::TrialStarted
            | EventKind::AlreadyRunning
            | EventKind::Unknown => None,
        };
        Event {
            install: self.facts.install,
            boot: self.facts.boot,
            n: report.n,
            job: report.job.clone(),
            event: report.kind,
            code: report.code.map(FailureCode::number),
            text: (!report.text.is_empty()).then(|| clip(&report.text)),
            retry_in_s: report
                .retry_in
                .map(|wait| u32::try_from(wait.as_secs()).unwrap_or(u32::MAX)),
            timing,
        }
    }

    /// Carries out [`Action::Report`]: journal first if it has to be kept, then log and outbox.
    pub(super) fn report(&self, report: &Report) {
        let event = self.event(report);
        self.note_event(&event, report.of_message);
        if report.ends_job() && report.kind != EventKind::Superseded {
            // A superseding wish is in the journal already, in the place of the old one.
            let _ = self.forget_download_of(report.job.as_deref());
        }
        if report.is_kept() {
            if let Err(error) = self.keep(&event, report) {
                // It is published all the same; only a power cut before that would lose it.
                self.note(Level::Error, format_args!("result not kept: {error}"));
            }
            self.times.reset();
        }
        let failed = matches!(event.event, EventKind::Failed | EventKind::RolledBack);
        self.outbox.borrow_mut().event(event, report.is_kept());
        if failed {
            self.send_logs(self.config.timing.logs_after_failure);
        }
        self.publish();
    }

    fn note_event(&self, event: &Event, of_message: bool) {
        let level = match event.event {
            EventKind::Failed | EventKind::RolledBack | EventKind::Refused => Level::Error,
            EventKind::Retrying | EventKind::Cancelled | EventKind::Superseded => Level::Warn,
            EventKind::Accepted
            | EventKind::Resumed
            | EventKind::Downloaded
            | EventKind::Verified
            | EventKind::Activated
            | EventKind::TrialStarted
            | EventKind::Confirmed
            | EventKind::AlreadyRunning
            | EventKind::Unknown => Level::Info,
        };
        let code = event.failure().map_or("", FailureCode::name);
        let text = event.text.as_deref().unwrap_or_default();
        let line = format_args!("{} {code} {text}", event.event.name());
        if of_message {
            self.note_message(level, line);
        } else {
            self.note(level, line);
        }
    }

    /// Puts a final result into the journal, and what follows from it.
    fn keep(&self, event: &Event, report: &Report) -> Result<(), JournalError> {
        if let (Some(identity), Some(code)) = (report.quarantine, report.code) {
            let job = report.job.as_deref().unwrap_or_default();
            quarantine(&mut self.stores.journal.borrow_mut(), identity, job, code)?;
        }
        let event = Some(event.clone());
        self.stores
            .journal
            .borrow_mut()
            .append(0, &PendingReport { event })
    }

    /// Writes the trial's counters with another stage or code.
    pub(super) fn change_trial(
        &self,
        change: impl FnOnce(TrialCounters) -> TrialCounters,
    ) -> Result<(), JournalError> {
        let mut journal = self.stores.journal.borrow_mut();
        match trial::load(&mut journal)? {
            Some(record) => journal.append(0, &change(record.counters)),
            None => Ok(()),
        }
    }

    /// Queues the newest lines of the log.
    pub(super) fn send_logs(&self, lines: u16) {
        if let Some(log) = self.log.borrow_mut().as_mut()
            && let Ok(tail) = log.ring.tail(usize::from(lines))
        {
            self.outbox.borrow_mut().logs(tail);
            self.publish();
        }
    }

    /// What `state` says now.
    pub(super) fn state(&self) -> State {
        let engine = self.engine.borrow();
        let status = engine.status();
        let board = self.board.borrow();
        let running = &self.facts.running;
        let chip = otaria_wire::esp_image::ChipId(board.chip_id());
        let mut ip = heapless::String::new();
        let ip = board.ip().and_then(|address| {
            use fmt::Write;
            write!(ip, "{address}").is_ok().then_some(ip)
        });
        let floors = self.stores.floors().ok().flatten();
        State {
            device: self.config.topics.device().clone(),
            product: self.config.product,
            version: running.version,
            image_sha256: running.image_sha256.unwrap_or(Sha256Digest::ZERO),
            sequence: floors.map_or(0, |floors| floors.sequence),
            security_version: floors.map_or(0, |floors| floors.security_version),
            chip: clip(chip.name().unwrap_or("unknown")),
            chip_rev: board.chip_revision(),
            slot: self.stores.running().map_or(u8::MAX, Slot::index),
            trial: self.trial.get(),
            reset: board.reset_reason(),
            boot: self.facts.boot,
            uptime_s: u32::try_from(self.clock.now().as_secs()).unwrap_or(u32::MAX),
            heap_free: board.heap_free().unwrap_or_default(),
            heap_min: board.heap_min().unwrap_or_default(),
            rssi: board.rssi(),
            ip,
            bootloader_rollback: self.facts.bootloader_rollback,
            job: status.job.cloned(),
            phase: status.phase,
            keys: Some(self.trust.report()),
        }
    }

    /// Publishes how far the phase is, if that is due.
    pub(super) fn show_progress(&self, done: u32, total: u32) {
        let now = self.clock.now();
        let engine = self.engine.borrow();
        let status = engine.status();
        let rate = self.rate.borrow_mut().update(now, done);
        let timing = &self.config.timing;
        let progress = Progress {
            job: status.job.cloned(),
            phase: status.phase,
            done,
            total,
            rate,
        };
        self.outbox
            .borrow_mut()
            .progress(now, progress, timing.progress_min, timing.progress);
        self.publish();
    }

    /// A phase begins.
    pub(super) fn restart_progress(&self) {
        self.rate.borrow_mut().restart();
        self.outbox.borrow_mut().progress_afresh();
    }

    /// Nothing is left to be downloaded for this job. A record for another one stays.
    pub(super) fn forget_download_of(&self, job: Option<&str>) -> Result<(), JournalError> {
        let engine = self.engine.borrow();
        // Before its header has come, a wish without a name is known by its URL only; its record, from an earlier boot, may
        // have the name already.
        let url = match job {
            None => engine.wish().map(|wish| wish.url.as_str()),
            Some(_) => None,
        };
        forget_download(&mut self.stores.journal.borrow_mut(), |download| {
            download.job == job.unwrap_or_default() || url == Some(download.url.as_str())
        })
    }
}

/// Removes the download's record, if it is this one or of no use.
pub(super) fn forget_download<R: NorFlash>(
    journal: &mut Journal<R>,
    is_it: impl FnOnce(&Download) -> bool,
) -> Result<(), JournalError> {
    match journal.latest::<Download>(0) {
        Ok(Some(download)) if !is_it(&download) => Ok(()),
        Ok(None) => Ok(()),
        Ok(Some(_)) | Err(JournalError::Undecodable { .. }) => journal.remove::<Download>(0),
        Err(error) => Err(error),
    }
}

/// Keeps a package away from a job. The oldest of the kept ones gives way.
pub(super) fn quarantine<R: NorFlash>(
    journal: &mut Journal<R>,
    identity: Sha256Digest,
    job: &str,
    code: FailureCode,
) -> Result<(), JournalError> {
    let job_hash8 = otaria_engine::admission::job_hash8(job);
    let is_it = |known: &Quarantine| known.identity == identity && known.job_hash8 == job_hash8;
    let Some(place) = recent::place(journal, QUARANTINE_KEYS, is_it)? else {
        return Ok(());
    };
    journal.append(
        place.key,
        &Quarantine {
            identity,
            job_hash8,
            code: code.number(),
            order: place.order,
        },
    )
}

/// The fetch reports through this.
impl<B: Board, K: Clock, F: NorFlash> Observer for Shared<'_, B, K, F> {
    fn admitted(&self, admitted: Admitted) {
        self.identity.set(Some(admitted.identity));
        self.restart_progress();
        self.tell(EngineEvent::Admitted(admitted));
        self.show_progress(admitted.held, admitted.total);
    }

    fn progress(&self, done: u32) {
        let total = self.engine.borrow().status().total;
        let done = done.min(total);
        self.tell(EngineEvent::Progress(done));
        self.show_progress(done, total);
    }

    fn note(&self, level: Level, text: fmt::Arguments<'_>) {
        Shared::note(self, level, text);
    }
}
