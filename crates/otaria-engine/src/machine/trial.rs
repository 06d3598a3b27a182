//! The trial: the running image proves itself, or the old one comes back; and what the old one does about an image that only
//! lacked a network.

use otaria_wire::messages::{EventKind, FailureCode};

use super::context::Context;
use super::interface::{Action, Event, Health, JobRef};
use super::run::Run;
use super::state::{State, Step};
use super::transitions::Trigger;
use super::update::{Idle, Rebooting};
use crate::backoff;
use crate::retry;
use crate::time::Instant;

/// Something that is asked again and again.
#[derive(Clone, Copy, Debug)]
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
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
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
        cx.run = Run::of(job);
        cx.report_step(EventKind::TrialStarted);
        Self {
            started: now,
            network_since: None,
            mqtt_seen: false,
            http_seen: false,
            health: Health::Unknown,
            probe: Question::new(now),
            check: Question::new(now),
        }
    }

    pub(super) fn complete(&mut self, cx: &mut Context, now: Instant, event: Event<'_>) -> Step {
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
        None
    }

    pub(super) fn step(&mut self, cx: &mut Context, now: Instant) -> Step {
        if cx.link_since.is_some() && self.network_since.is_none() {
            self.network_since = Some(now);
        }
        self.mqtt_seen |= cx.mqtt_since.is_some();
        if core::mem::take(&mut cx.cancel) {
            return Self::give_up(FailureCode::Cancelled);
        }
        if self.health == Health::Unhealthy {
            return Self::give_up(FailureCode::HealthCheckFailed);
        }
        let proved = cx.link_since.is_some()
            && cx.mqtt_since.is_some()
            && self.http_seen
            && self.health == Health::Healthy
            && now >= self.started + cx.policy.soak;
        if proved {
            let n = cx.next_number();
            let confirming = Confirming {
                trial: *self,
                n,
                asked: false,
            };
            return Some((Trigger::Proved, State::Confirming(confirming)));
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
            return Self::give_up(code);
        }
        None
    }

    fn give_up(code: FailureCode) -> Step {
        let rolling_back = RollingBack::new(code);
        Some((Trigger::GivenUp, State::RollingBack(rolling_back)))
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
    trial: Trial,
    /// The number that the report has from the first try on.
    n: u32,
    asked: bool,
}

impl Confirming {
    pub(super) fn complete(&mut self, cx: &mut Context, now: Instant, event: Event<'_>) -> Step {
        match event {
            Event::Confirmed(Ok(())) if self.asked => {
                cx.end_with(cx.about_job(self.n, EventKind::Confirmed));
                Some((Trigger::Confirmed, State::Idle(Idle)))
            }
            Event::Confirmed(Err(_)) if self.asked => {
                // Flash refuses. It is tried again until the trial's time is over.
                let trial = Trial {
                    health: Health::Unknown,
                    check: Question::new(now + cx.policy.probe),
                    ..self.trial
                };
                Some((Trigger::NotWritten, State::Trial(trial)))
            }
            _ => None,
        }
    }

    pub(super) fn step(&mut self, _: &mut Context, _: Instant) -> Step {
        // A cancellation now is too late; the image has proved itself. `cancel` is left for whoever comes next.
        None
    }

    pub(super) fn action(&mut self, cx: &mut Context, _: Instant) -> Option<Action> {
        (!core::mem::replace(&mut self.asked, true))
            .then(|| Action::Confirm(cx.about_job(self.n, EventKind::Confirmed)))
    }

    pub(super) fn poll_at(&self, _: &Context, _: Instant) -> Option<Instant> {
        None
    }
}

/// The trial's entry is erased. The old image's guard finishes it, so that a failure here changes nothing.
#[derive(Debug)]
pub(super) struct RollingBack {
    code: FailureCode,
    asked: bool,
}

impl RollingBack {
    pub(super) fn new(code: FailureCode) -> Self {
        Self { code, asked: false }
    }

    pub(super) fn complete(&mut self, cx: &mut Context, now: Instant, event: Event<'_>) -> Step {
        match event {
            Event::RolledBack if self.asked => {
                let rebooting = Rebooting::new(false, cx, now);
                Some((Trigger::Erased, State::Rebooting(rebooting)))
            }
            _ => None,
        }
    }

    pub(super) fn step(&mut self, _: &mut Context, _: Instant) -> Step {
        None
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
    probe: Question,
    http_seen: bool,
    /// Probes in a row that nobody answered, in this MQTT session.
    failures: u8,
    /// The session that they are counted in.
    session: Option<Instant>,
}

impl Inconclusive {
    pub(super) fn new(cx: &mut Context, now: Instant, job: JobRef) -> Self {
        cx.run = Run::of(job);
        cx.report_wait(FailureCode::TrialNoNetwork, "", None);
        Self {
            probe: Question::new(now),
            http_seen: false,
            failures: 0,
            session: None,
        }
    }

    pub(super) fn complete(&mut self, cx: &mut Context, now: Instant, event: Event<'_>) -> Step {
        if let Event::Probed(answered) = event
            && self.probe.asked
        {
            self.http_seen = answered;
            self.failures = self.failures.saturating_add(1);
            // Nobody knows how long the host is away, and a whole fleet may be waiting for it.
            let wait = backoff::wait(&cx.policy.backoff, self.failures, &mut cx.rng);
            self.probe.answered(now + wait.delay);
        }
        None
    }

    pub(super) fn step(&mut self, cx: &mut Context, now: Instant) -> Step {
        if core::mem::take(&mut cx.cancel) {
            // Somebody does not want this package. The stored wish must not bring it back after a restart.
            let code = FailureCode::Cancelled;
            return drop_trial(code, Some(code));
        }
        match &cx.wish {
            // From here on without blame: the same wish may come again.
            Some(wish) if !cx.run.is_for(wish) => {
                return drop_trial(FailureCode::Superseded, None);
            }
            Some(wish) if cx.deadline_passed(now, wish) => {
                return drop_trial(FailureCode::DeadlinePassed, None);
            }
            Some(_) => {}
            // Settled without a wish: it was withdrawn. Else none has come in yet.
            None if cx.settled => return drop_trial(FailureCode::Cancelled, None),
            None => {}
        }
        if cx.mqtt_since.is_some() && cx.mqtt_since != self.session {
            // The broker is back: so may the host be.
            self.session = cx.mqtt_since;
            self.failures = 0;
            self.probe.at = now;
        }
        if self.http_seen && self.ready_at(cx).is_some_and(|at| now >= at) {
            let reactivating = Reactivating { asked: false };
            return Some((Trigger::NetworkBack, State::Reactivating(reactivating)));
        }
        None
    }

    /// When a newer wish has had its time to come in.
    fn ready_at(&self, cx: &Context) -> Option<Instant> {
        cx.link_since?;
        cx.mqtt_since.map(|since| since + cx.policy.grace)
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

/// Drops an inconclusive trial. With `quarantine`, its package is kept away from its job.
fn drop_trial(code: FailureCode, quarantine: Option<FailureCode>) -> Step {
    let closing = Closing {
        code,
        quarantine,
        asked: false,
    };
    Some((Trigger::Dropped, State::Closing(closing)))
}

/// The image on trial is read back and activated once more.
#[derive(Debug)]
pub(super) struct Reactivating {
    asked: bool,
}

impl Reactivating {
    pub(super) fn complete(&mut self, cx: &mut Context, now: Instant, event: Event<'_>) -> Step {
        match event {
            Event::Reactivated(Ok(())) if self.asked => {
                cx.report_step(EventKind::Activated);
                let rebooting = Rebooting::new(true, cx, now);
                Some((Trigger::Activated, State::Rebooting(rebooting)))
            }
            Event::Reactivated(Err(code)) if self.asked => drop_trial(code, None),
            _ => None,
        }
    }

    pub(super) fn step(&mut self, _: &mut Context, _: Instant) -> Step {
        None
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
    code: FailureCode,
    /// Why the package is kept away from its job, if it is.
    quarantine: Option<FailureCode>,
    asked: bool,
}

impl Closing {
    pub(super) fn complete(&mut self, cx: &mut Context, _: Instant, event: Event<'_>) -> Step {
        match event {
            Event::Closed if self.asked => {
                // A lost image is fetched again by the same wish; anything else ends the job.
                if self.code == FailureCode::TrialImageLost {
                    cx.report_wait(self.code, "", None);
                } else {
                    cx.end(retry::final_event(self.code), Some(self.code), "");
                }
                Some((Trigger::Closed, State::Idle(Idle)))
            }
            _ => None,
        }
    }

    pub(super) fn step(&mut self, _: &mut Context, _: Instant) -> Step {
        None
    }

    pub(super) fn action(&mut self, _: &mut Context, _: Instant) -> Option<Action> {
        (!core::mem::replace(&mut self.asked, true)).then_some(Action::Close(self.quarantine))
    }

    pub(super) fn poll_at(&self, _: &Context, _: Instant) -> Option<Instant> {
        None
    }
}
