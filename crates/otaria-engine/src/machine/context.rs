//! What all states share: the world as the engine knows it, and the reports on their way out.

use heapless::Deque;
use otaria_wire::messages::{Desired, EventKind, FailureCode};
use otaria_wire::{Sha256Digest, clip};

use super::interface::{BootFacts, JobRef, Policy, Report};
use super::run::Run;
use crate::retry;
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// Reports that wait to be taken. The runtime takes them before it asks for anything else, so a few are enough.
const REPORTS: usize = 4;

/// Why the job in hand is not wanted any more, or not so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unwanted {
    /// A person cancelled it.
    Cancelled,
    /// Nothing is wanted any more.
    Withdrawn,
    /// Something else is wanted.
    Superseded,
    /// The same job is wanted from another place, or with other declarations.
    Changed,
}

#[derive(Debug)]
pub(super) struct Context {
    pub(super) policy: Policy,
    pub(super) rng: Rng,
    /// The job in hand.
    pub(super) run: Run,
    /// Since when the link is up.
    pub(super) link_since: Option<Instant>,
    /// Since when the MQTT session is up.
    pub(super) mqtt_since: Option<Instant>,
    /// A moment and what the wall clock said then.
    unix: Option<(Instant, u64)>,
    /// What is wanted.
    pub(super) wish: Option<Desired>,
    /// The wish is done with: nothing follows until another one comes, or it is declared again.
    pub(super) settled: bool,
    /// The wish is known from the journal only.
    pub(super) from_journal: bool,
    /// The wish was declared again: no need to wait for the next try.
    pub(super) again: bool,
    /// The command to cancel came, and nobody has acted on it yet.
    pub(super) cancel: bool,
    /// A final result waits for its acknowledgement; the next job waits for that.
    pub(super) awaiting_ack: bool,
    /// Everything reported has been handed over.
    pub(super) flushed: bool,
    /// The job that ended just before this boot, or in it.
    pub(super) ended: Option<JobRef>,
    pub(super) running_image: Option<Sha256Digest>,
    /// When the next job may start, see [`Policy::pace`].
    pub(super) start_at: Instant,
    /// Why the wish waits, as far as that was said.
    pub(super) said: Option<FailureCode>,
    reports: Deque<Report, REPORTS>,
    next_n: u32,
}

impl Context {
    pub(super) fn new(policy: Policy, facts: BootFacts) -> Self {
        Self {
            policy,
            rng: Rng::new(facts.seed),
            run: Run::default(),
            link_since: None,
            mqtt_since: None,
            unix: None,
            from_journal: facts.resume.is_some(),
            wish: facts.resume,
            settled: false,
            again: false,
            cancel: false,
            awaiting_ack: facts.unacknowledged,
            flushed: true,
            ended: facts.ended,
            running_image: facts.running_image,
            start_at: Instant::ZERO,
            said: None,
            reports: Deque::new(),
            next_n: 1,
        }
    }

    pub(super) fn set_link(&mut self, now: Instant, up: bool) {
        self.link_since = up.then(|| self.link_since.unwrap_or(now));
    }

    pub(super) fn set_mqtt(&mut self, now: Instant, up: bool) {
        self.mqtt_since = up.then(|| self.mqtt_since.unwrap_or(now));
    }

    pub(super) fn set_unix_time(&mut self, now: Instant, seconds: u64) {
        self.unix = Some((now, seconds));
    }

    pub(super) fn set_wish(&mut self, wish: Option<&Desired>, fresh: bool) {
        self.from_journal = false;
        let Some(wish) = wish else {
            self.wish = None;
            self.settled = true;
            return;
        };
        if self.wish.as_ref() == Some(wish) {
            if fresh {
                self.again = !self.settled;
                self.settled = false;
                self.said = None;
            }
            return;
        }
        self.settled = !fresh && self.ended.as_ref().is_some_and(|ended| ended.is_for(wish));
        self.said = None;
        self.wish = Some(wish.clone());
    }

    /// Takes the wish in hand.
    pub(super) fn take_up_wish(&mut self) {
        if let Some(wish) = &self.wish {
            self.run = Run::new(wish.clone());
        }
    }

    /// Why the job in hand is not what is wanted; `None` if it is.
    fn unwanted(&self) -> Option<Unwanted> {
        let run = &self.run;
        let Some(wish) = &self.wish else {
            return Some(Unwanted::Withdrawn);
        };
        let same_url = wish.url == run.wish.url;
        // Only now it gets a name, and whoever gave it waits for a result under that.
        let gets_name = same_url && wish.job.is_some() && run.name.is_none();
        if !gets_name && !run.is_for(wish) {
            return Some(Unwanted::Superseded);
        }
        let same_package = same_url
            && wish.version == run.wish.version
            && wish.image_sha256 == run.wish.image_sha256;
        (gets_name || !same_package).then_some(Unwanted::Changed)
    }

    /// Looks what has become of the wish for the job in hand. Changes of its times are taken over.
    pub(super) fn follow_wish(&mut self) -> Option<Unwanted> {
        let unwanted = self.unwanted();
        if let (None, Some(wish)) = (unwanted, &self.wish) {
            self.run.wish.not_before = wish.not_before;
            self.run.wish.deadline = wish.deadline;
        }
        unwanted
    }

    /// The wall clock at `now`, if it is known.
    pub(super) fn unix_at(&self, now: Instant) -> Option<u64> {
        self.unix
            .map(|(then, seconds)| seconds.saturating_add((now - then).as_secs()))
    }

    /// How long it takes until the wall clock shows `seconds`; zero if it has. `None` if the clock is not known.
    pub(super) fn until_unix(&self, now: Instant, seconds: u64) -> Option<Duration> {
        let (then, base) = self.unix?;
        let due = then + Duration::from_secs(seconds.saturating_sub(base));
        Some(due - now)
    }

    /// Whether the wish's deadline has passed. Not if the clock is not known: then nobody can tell.
    pub(super) fn deadline_passed(&self, now: Instant, wish: &Desired) -> bool {
        match (wish.deadline, self.unix_at(now)) {
            (Some(deadline), Some(unix)) => unix > deadline,
            (Some(_), None) | (None, _) => false,
        }
    }

    /// When the wish's deadline passes, if that can be told.
    pub(super) fn deadline_at(&self, now: Instant, wish: &Desired) -> Option<Instant> {
        let after = wish.deadline?.saturating_add(1);
        self.until_unix(now, after).map(|wait| now + wait)
    }

    /// The number of the next report.
    pub(super) fn next_number(&mut self) -> u32 {
        let n = self.next_n;
        self.next_n = self.next_n.saturating_add(1);
        n
    }

    /// A report about the job in hand.
    pub(super) fn about_job(&self, n: u32, kind: EventKind) -> Report {
        Report {
            job: self.run.name.clone(),
            ..Report::new(n, kind)
        }
    }

    /// Queues a report.
    pub(super) fn queue(&mut self, report: Report) {
        self.flushed = false;
        if report.is_kept() {
            self.awaiting_ack = true;
        }
        if self.reports.is_full() {
            // The runtime takes reports first; if it does not, the oldest step of a job is the one to be missed.
            let oldest_kept = self.reports.front().is_some_and(Report::is_kept);
            if !oldest_kept {
                self.reports.pop_front();
            }
        }
        let _ = self.reports.push_back(report);
    }

    /// Reports a step of the job that went well.
    pub(super) fn report_step(&mut self, kind: EventKind) {
        let n = self.next_number();
        self.queue(self.about_job(n, kind));
    }

    /// Reports that the job waits, and until when.
    pub(super) fn report_wait(
        &mut self,
        code: FailureCode,
        text: &str,
        retry_in: Option<Duration>,
    ) {
        let n = self.next_number();
        self.queue(Report {
            code: Some(code),
            text: clip(text),
            retry_in,
            ..self.about_job(n, EventKind::Retrying)
        });
    }

    /// Ends the job: reports it, and is done with its wish. A code that condemns the package keeps it away from this job.
    pub(super) fn end(&mut self, kind: EventKind, code: Option<FailureCode>, text: &str) {
        let n = self.next_number();
        self.end_with(Report {
            code,
            text: clip(text),
            quarantine: code
                .filter(|code| retry::condemns(*code))
                .and(self.run.identity),
            ..self.about_job(n, kind)
        });
    }

    /// The same, for a wish that may come back as it was.
    pub(super) fn end_harmlessly(&mut self, kind: EventKind, code: FailureCode) {
        let n = self.next_number();
        self.end_with(Report {
            code: Some(code),
            ..self.about_job(n, kind)
        });
    }

    /// The same, with the report as it is.
    pub(super) fn end_with(&mut self, report: Report) {
        self.queue(report);
        if self.unwanted() != Some(Unwanted::Superseded) {
            self.settled = true;
        }
        self.again = false;
        self.said = None;
        if let Some(job) = &self.run.name {
            self.ended = Some(JobRef {
                job: job.clone(),
                url: self.run.wish.url.clone(),
            });
        }
    }

    /// The next report to be handed over.
    pub(super) fn take_report(&mut self) -> Option<Report> {
        self.reports.pop_front()
    }
}
