//! The trial: the running image proves itself, or the old one comes back; and what the old one does about an image that only
//! lacked a network.

use otaria_wire::messages::{Desired, EventKind, FailureCode, Job};

use super::context::Context;
use super::interface::{Action, Event, Health, JobRef, Report, Text};
use super::run::Run;
use super::state::{State, Step};
use super::transitions::Trigger;
use super::update::{Idle, Rebooting};
use crate::backoff;
use crate::retry;
use crate::time::Instant;

/// Something that is asked again and again.
#[derive(Debug)]
struct Question {
    /// When it is asked next.
    at: Instant,
    /// It was asked and not answered yet.
    asked: bool,
}

impl Question {
    fn new(now: Instant) -> Self {
        Self {
            at: now,
            asked: false,
        }
    }

    fn ask(&mut self, now: Instant) -> bool {
        let due = !self.asked && now >= self.at;
        self.asked |= due;
        due
    }

    fn answered(&mut self, next: Instant) {
        self.asked = false;
        self.at = next;
    }

    fn poll_at(&self) -> Option<Instant> {
        (!self.asked).then_some(self.at)
    }
}

/// The running image is to prove itself.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) job: JobRef,
    started: Instant,
    /// When the link first came up.
    network_since: Option<Instant>,
    /// An MQTT session was up at some time.
    mqtt_seen: bool,
    /// An HTTP status line came from the package's host.
    http_seen: bool,
    health: Health,
    probe: Question,
    check: Question,
}

impl Trial {
    pub(super) fn new(cx: &mut Context, now: Instant, job: JobRef) -> Self {
        cx.report_step(EventKind::TrialStarted, Some(job.job.clone()));
        Self {
            job,
            started: now,
            network_since: None,
            mqtt_seen: false,
            http_seen: false,
            health: Health::Unknown,
            probe: Question::new(now),
            check: Question::new(now),
        }
    }

    pub(super) fn complete(mut self, cx: &mut Context, now: Instant, event: Event<'_>) -> Step {
        match event {
            Event::Probed(answered) if self.probe.asked => {
                self.http_seen |= answered;
                self.probe.answered(now + cx.policy.probe);
            }
            Event::Health(health) if self.check.asked => {
                self.health = health;
                self.check.answered(now + cx.policy.health);
            }
            _ => {}
        }
        Step::Stay(State::Trial(self))
    }

    pub(super) fn step(mut self, cx: &mut Context, now: Instant) -> Step {
        if cx.link_since.is_some() && self.network_since.is_none() {
            self.network_since = Some(now);
        }
        self.mqtt_seen |= cx.mqtt_since.is_some();
        if core::mem::take(&mut cx.cancel) {
            return self.give_up(FailureCode::Cancelled);
        }
        if self.health == Health::Unhealthy {
            return self.give_up(FailureCode::HealthCheckFailed);
        }
        let proved = cx.link_since.is_some()
            && cx.mqtt_since.is_some()
            && self.http_seen
            && self.health == Health::Healthy
            && now >= self.started + cx.policy.soak;
        if proved {
            let n = cx.next_number();
            let confirming = Confirming {
                trial: self,
                n,
                asked: false,
            };
            return Step::Go(Trigger::Proved, State::Confirming(confirming));
        }
        if now >= self.deadline(cx) {
            // Only for want of network? Then the trial says nothing about the image. That it was there once excuses no silent
            // application; but where all is well except that the network has gone, the network is what is missing: a broker
            // that stops in the middle of a fleet's trials must not condemn the image.
            let network_worked = self.network_since.is_some() && self.mqtt_seen && self.http_seen;
            let network_gone = cx.link_since.is_none() || cx.mqtt_since.is_none();
            let well = self.health == Health::Healthy;
            let code = if network_worked && !(well && network_gone) {
                FailureCode::TrialTimeout
            } else {
                FailureCode::TrialNoNetwork
            };
            return self.give_up(code);
        }
        Step::Stay(State::Trial(self))
    }

    fn give_up(self, code: FailureCode) -> Step {
        Step::Go(
            Trigger::GivenUp,
            State::RollingBack(RollingBack::new(self.job.job, code)),
        )
    }

    fn deadline(&self, cx: &Context) -> Instant {
        let whole = self.started + cx.policy.trial;
        match self.network_since {
            Some(since) => whole.min(since + cx.policy.trial_with_network),
            None => whole,
        }
    }

    pub(super) fn action(&mut self, cx: &mut Context, now: Instant) -> Option<Action> {
        if self.check.ask(now) {
            return Some(Action::CheckHealth);
        }
        if cx.link_since.is_some() && !self.http_seen && self.probe.ask(now) {
            return Some(Action::Probe);
        }
        None
    }

    pub(super) fn poll_at(&self, cx: &Context, now: Instant) -> Option<Instant> {
        let probe = if cx.link_since.is_some() && !self.http_seen {
            self.probe.poll_at()
        } else {
            None
        };
        let asks = Instant::earliest(self.check.poll_at(), probe);
        let soaked = self.started + cx.policy.soak;
        let end = if now < soaked {
            soaked
        } else {
            self.deadline(cx)
        };
        Instant::earliest(asks, Some(end.min(self.deadline(cx))))
    }
}

/// The image has proved itself; the floors and otadata are written.
#[derive(Debug)]
pub(super) struct Confirming {
    /// To go back to if that does not succeed.
    pub(super) trial: Trial,
    /// The number that the report has from the first try on.
    n: u32,
    asked: bool,
}

impl Confirming {
    fn report(&self) -> Report {
        Report {
            n: self.n,
            kind: EventKind::Confirmed,
            job: Some(self.trial.job.job.clone()),
            code: None,
            text: Text::new(),
            retry_in: None,
            quarantine: None,
            of_message: false,
        }
    }

    pub(super) fn complete(self, cx: &mut Context, now: Instant, event: Event<'_>) -> Step {
        match event {
            Event::Confirmed(Ok(())) if self.asked => {
                cx.report(self.report());
                let job = self.trial.job;
                if cx.wish.as_ref().is_some_and(|wish| job.is_for(wish)) {
                    cx.settled = true;
                }
                cx.ended = Some(job);
                Step::Go(Trigger::Confirmed, State::Idle(Idle))
            }
            Event::Confirmed(Err(_)) if self.asked => {
                // Flash refuses. It is tried again until the trial's time is over.
                let mut trial = self.trial;
                trial.health = Health::Unknown;
                trial.check = Question {
                    at: now + cx.policy.probe,
                    asked: false,
                };
                Step::Go(Trigger::NotWritten, State::Trial(trial))
            }
            _ => Step::Stay(State::Confirming(self)),
        }
    }

    pub(super) fn step(self, _: &mut Context, _: Instant) -> Step {
        // A cancellation now is too late; the image has proved itself. `cancel` is left for whoever comes next.
        Step::Stay(State::Confirming(self))
    }

    pub(super) fn action(&mut self, _: &mut Context, _: Instant) -> Option<Action> {
        (!core::mem::replace(&mut self.asked, true)).then(|| Action::Confirm(self.report()))
    }

    pub(super) fn poll_at(&self, _: &Context, _: Instant) -> Option<Instant> {
        None
    }
}

/// The trial's entry is erased. The old image's guard finishes it, so that a failure here changes nothing.
#[derive(Debug)]
pub(super) struct RollingBack {
    pub(super) job: Job,
    code: FailureCode,
    asked: bool,
}

impl RollingBack {
    pub(super) fn new(job: Job, code: FailureCode) -> Self {
        Self {
            job,
            code,
            asked: false,
        }
    }

    pub(super) fn complete(self, cx: &mut Context, now: Instant, event: Event<'_>) -> Step {
        match event {
            Event::RolledBack if self.asked => {
                let rebooting = Rebooting::new(Some(self.job), false, cx, now);
                Step::Go(Trigger::Erased, State::Rebooting(rebooting))
            }
            _ => Step::Stay(State::RollingBack(self)),
        }
    }

    pub(super) fn step(self, _: &mut Context, _: Instant) -> Step {
        Step::Stay(State::RollingBack(self))
    }

    pub(super) fn action(&mut self, _: &mut Context, _: Instant) -> Option<Action> {
        (!core::mem::replace(&mut self.asked, true)).then_some(Action::RollBack(self.code))
    }

    pub(super) fn poll_at(&self, _: &Context, _: Instant) -> Option<Instant> {
        None
    }
}

/// The old image runs after a trial without network. Once its own network works, the fault was not the image's.
#[derive(Debug)]
pub(super) struct Inconclusive {
    pub(super) job: JobRef,
    probe: Question,
    http_seen: bool,
    /// Probes in a row that nobody answered, in this MQTT session.
    failures: u8,
    /// The session that they are counted in.
    session: Option<Instant>,
}

impl Inconclusive {
    pub(super) fn new(cx: &mut Context, now: Instant, job: JobRef) -> Self {
        cx.report_wait(
            Some(job.job.clone()),
            FailureCode::TrialNoNetwork,
            Text::new(),
            None,
        );
        Self {
            job,
            probe: Question::new(now),
            http_seen: false,
            failures: 0,
            session: None,
        }
    }

    pub(super) fn complete(mut self, cx: &mut Context, now: Instant, event: Event<'_>) -> Step {
        if let Event::Probed(answered) = event
            && self.probe.asked
        {
            self.http_seen = answered;
            self.failures = self.failures.saturating_add(1);
            // Nobody knows how long the host is away, and a whole fleet may be waiting for it.
            let wait = backoff::wait(&cx.policy.backoff, self.failures, &mut cx.rng);
            self.probe.answered(now + wait.delay);
        }
        Step::Stay(State::Inconclusive(self))
    }

    pub(super) fn step(mut self, cx: &mut Context, now: Instant) -> Step {
        if core::mem::take(&mut cx.cancel) {
            // Somebody does not want this package. The stored wish must not bring it back after a restart.
            return Self::close(
                self.job,
                FailureCode::Cancelled,
                Some(FailureCode::Cancelled),
            );
        }
        match &cx.wish {
            Some(wish) if !self.job.is_for(wish) => return self.drop_it(FailureCode::Superseded),
            Some(wish) if cx.deadline_passed(now, wish) => {
                return self.drop_it(FailureCode::DeadlinePassed);
            }
            Some(_) => {}
            // Settled without a wish: it was withdrawn. Else none has come in yet.
            None if cx.settled => return self.drop_it(FailureCode::Cancelled),
            None => {}
        }
        if cx.mqtt_since.is_some() && cx.mqtt_since != self.session {
            // The broker is back: so may the host be.
            self.session = cx.mqtt_since;
            self.failures = 0;
            self.probe.at = now;
        }
        if self.http_seen && self.ready_at(cx).is_some_and(|at| now >= at) {
            let reactivating = Reactivating {
                job: self.job,
                asked: false,
            };
            return Step::Go(Trigger::NetworkBack, State::Reactivating(reactivating));
        }
        Step::Stay(State::Inconclusive(self))
    }

    /// When a newer wish has had its time to come in.
    fn ready_at(&self, cx: &Context) -> Option<Instant> {
        cx.link_since?;
        cx.mqtt_since.map(|since| since + cx.policy.grace)
    }

    /// Drops the trial without blame: the same wish may come again.
    fn drop_it(self, code: FailureCode) -> Step {
        Self::close(self.job, code, None)
    }

    fn close(job: JobRef, code: FailureCode, quarantine: Option<FailureCode>) -> Step {
        Step::Go(
            Trigger::Dropped,
            State::Closing(Closing {
                job,
                code,
                quarantine,
                asked: false,
            }),
        )
    }

    pub(super) fn action(&mut self, cx: &mut Context, now: Instant) -> Option<Action> {
        let ready = self.ready_at(cx).is_some_and(|at| now >= at);
        (ready && !self.http_seen && self.probe.ask(now)).then_some(Action::Probe)
    }

    pub(super) fn poll_at(&self, cx: &Context, now: Instant) -> Option<Instant> {
        let deadline = cx.wish.as_ref().and_then(|wish| cx.deadline_at(now, wish));
        let ask = self
            .ready_at(cx)
            .and_then(|ready| self.probe.poll_at().map(|at| at.max(ready)));
        Instant::earliest(ask, deadline)
    }
}

/// The image on trial is read back and activated once more.
#[derive(Debug)]
pub(super) struct Reactivating {
    pub(super) job: JobRef,
    asked: bool,
}

impl Reactivating {
    pub(super) fn complete(self, cx: &mut Context, now: Instant, event: Event<'_>) -> Step {
        match event {
            Event::Reactivated(Ok(())) if self.asked => {
                cx.report_step(EventKind::Activated, Some(self.job.job.clone()));
                let rebooting = Rebooting::new(Some(self.job.job), true, cx, now);
                Step::Go(Trigger::Activated, State::Rebooting(rebooting))
            }
            Event::Reactivated(Err(code)) if self.asked => {
                let closing = Closing {
                    job: self.job,
                    code,
                    quarantine: None,
                    asked: false,
                };
                Step::Go(Trigger::Dropped, State::Closing(closing))
            }
            _ => Step::Stay(State::Reactivating(self)),
        }
    }

    pub(super) fn step(self, _: &mut Context, _: Instant) -> Step {
        Step::Stay(State::Reactivating(self))
    }

    pub(super) fn action(&mut self, _: &mut Context, _: Instant) -> Option<Action> {
        (!core::mem::replace(&mut self.asked, true)).then_some(Action::Reactivate)
    }

    pub(super) fn poll_at(&self, _: &Context, _: Instant) -> Option<Instant> {
        None
    }
}

/// The record of an inconclusive trial is closed.
#[derive(Debug)]
pub(super) struct Closing {
    pub(super) job: JobRef,
    code: FailureCode,
    /// Why the package is kept away from its job, if it is.
    quarantine: Option<FailureCode>,
    asked: bool,
}

impl Closing {
    pub(super) fn complete(self, cx: &mut Context, _: Instant, event: Event<'_>) -> Step {
        match event {
            Event::Closed if self.asked => {
                // A lost image is fetched again by the same wish; anything else ends the job.
                let lost = self.code == FailureCode::TrialImageLost;
                let run = Run::new(Desired {
                    job: Some(self.job.job),
                    url: self.job.url,
                    ..Desired::default()
                });
                if lost {
                    cx.report_wait(run.job(), self.code, Text::new(), None);
                } else {
                    cx.end(
                        &run,
                        retry::final_event(self.code),
                        Some(self.code),
                        Text::new(),
                    );
                }
                Step::Go(Trigger::Closed, State::Idle(Idle))
            }
            _ => Step::Stay(State::Closing(self)),
        }
    }

    pub(super) fn step(self, _: &mut Context, _: Instant) -> Step {
        Step::Stay(State::Closing(self))
    }

    pub(super) fn action(&mut self, _: &mut Context, _: Instant) -> Option<Action> {
        (!core::mem::replace(&mut self.asked, true)).then_some(Action::Close(self.quarantine))
    }

    pub(super) fn poll_at(&self, _: &Context, _: Instant) -> Option<Instant> {
        None
    }
}
