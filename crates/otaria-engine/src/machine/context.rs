//! What all states share: the world as the engine knows it, and the reports on their way out.

use heapless::Deque;
use otaria_wire::Sha256Digest;
use otaria_wire::messages::{Desired, EventKind, FailureCode, Job};

use super::interface::{BootFacts, JobRef, Policy, Report, Text};
use super::run::Run;
use crate::retry;
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// Reports that wait to be taken. The runtime takes them before it asks for anything else, so a few are enough.
const REPORTS: usize = 4;

/// How a wish differs from the one that is being worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Not at all, or only in its times.
    Same,
    /// Nothing is wanted any more.
    Withdrawn,
    /// Something else is wanted.
    Superseded,
    /// The same job from another place, or with other declarations.
    Restart,
}

#[derive(Debug)]
pub(super) struct Context {
    pub(super) policy: Policy,
    pub(super) rng: Rng,
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

    /// What has become of the wish that is being worked on.
    pub(super) fn change(&self, run: &Run) -> Change {
        let Some(wish) = &self.wish else {
            return Change::Withdrawn;
        };
        let worked_on = &run.wish;
        let same_url = wish.url == worked_on.url;
        let same_job = match (&wish.job, run.job()) {
            (Some(new), Some(known)) => *new == known,
            // Only now it gets a name, and whoever gave it waits for a result under that.
            (Some(_), None) if same_url => return Change::Restart,
            (Some(_), None) => false,
            // A wish without a name is named by its package, which is what its URL leads to.
            (None, Some(_) | None) => same_url,
        };
        let same_package = same_url
            && wish.version == worked_on.version
            && wish.image_sha256 == worked_on.image_sha256;
        match (same_job, same_package) {
            (true, true) => Change::Same,
            (true, false) => Change::Restart,
            (false, _) => Change::Superseded,
        }
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

    /// Makes a report and gives it its number, without queueing it.
    pub(super) fn number(
        &mut self,
        kind: EventKind,
        job: Option<Job>,
        code: Option<FailureCode>,
        text: Text,
    ) -> Report {
        let n = self.next_number();
        Report {
            n,
            kind,
            job,
            code,
            text,
            retry_in: None,
            quarantine: None,
            of_message: false,
        }
    }

    /// Queues a report.
    pub(super) fn report(&mut self, report: Report) {
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

    /// Reports a step that went well.
    pub(super) fn report_step(&mut self, kind: EventKind, job: Option<Job>) {
        let report = self.number(kind, job, None, Text::new());
        self.report(report);
    }

    /// Reports that something waits, and until when.
    pub(super) fn report_wait(
        &mut self,
        job: Option<Job>,
        code: FailureCode,
        text: Text,
        retry_in: Option<Duration>,
    ) {
        let mut report = self.number(EventKind::Retrying, job, Some(code), text);
        report.retry_in = retry_in;
        self.report(report);
    }

    /// Ends a job: reports it, and is done with its wish. A code that condemns the package keeps it away from this job.
    pub(super) fn end(
        &mut self,
        run: &Run,
        kind: EventKind,
        code: Option<FailureCode>,
        text: Text,
    ) {
        let quarantine = code.filter(|code| retry::condemns(*code)).and(run.identity);
        self.end_with(run, kind, code, text, quarantine);
    }

    /// The same, for a wish that may come back as it was.
    pub(super) fn end_harmlessly(&mut self, run: &Run, kind: EventKind, code: FailureCode) {
        self.end_with(run, kind, Some(code), Text::new(), None);
    }

    fn end_with(
        &mut self,
        run: &Run,
        kind: EventKind,
        code: Option<FailureCode>,
        text: Text,
        quarantine: Option<Sha256Digest>,
    ) {
        let mut report = self.number(kind, run.job(), code, text);
        report.quarantine = quarantine;
        self.report(report);
        if self.change(run) != Change::Superseded {
            self.settled = true;
        }
        self.again = false;
        self.said = None;
        if let Some(job) = run.job() {
            self.ended = Some(JobRef {
                job,
                url: run.wish.url.clone(),
            });
        }
    }

    /// The next report to be handed over.
    pub(super) fn take_report(&mut self) -> Option<Report> {
        self.reports.pop_front()
    }
}
