//! From a wish to the restart: the states that run in an image that is not on trial.

use otaria_wire::messages::{EventKind, FailureCode, Job};

use super::context::{Change, Context};
use super::interface::{Action, Event, Text};
use super::operation::{Operation, Stop, ended, failed, stopped};
use super::run::Run;
use super::state::{State, Step};
use super::transitions::Trigger;
use super::trial::RollingBack;
use crate::backoff;
use crate::time::{Duration, Instant};

/// How often a wish that waits for the wall clock looks at it.
const CLOCK_POLL: Duration = Duration::from_secs(10);

/// Nothing is in hand.
#[derive(Debug)]
pub(super) struct Idle;

/// What keeps a wish from being started.
enum Hurdle {
    /// Nothing does.
    None,
    /// Something that an event will end.
    Event,
    /// Something that time ends.
    Time(Instant),
    /// The wall clock, which has to be said once.
    Said(FailureCode, Option<Duration>, Instant),
}

impl Idle {
    pub(super) fn complete(self, _: &mut Context, _: Instant, _: Event<'_>) -> Step {
        Step::Stay(State::Idle(self))
    }

    pub(super) fn step(self, cx: &mut Context, now: Instant) -> Step {
        let cancel = core::mem::take(&mut cx.cancel);
        let Some(wish) = cx.wish.as_ref().filter(|_| !cx.settled) else {
            return Step::Stay(State::Idle(self));
        };
        if cancel {
            let run = Run::new(wish.clone());
            cx.end(
                &run,
                EventKind::Cancelled,
                Some(FailureCode::Cancelled),
                Text::new(),
            );
            return Step::Stay(State::Idle(self));
        }
        if cx.awaiting_ack {
            return Step::Stay(State::Idle(self));
        }
        if wish.image_sha256.is_some() && wish.image_sha256 == cx.running_image {
            let run = Run::new(wish.clone());
            cx.end(&run, EventKind::AlreadyRunning, None, Text::new());
            return Step::Stay(State::Idle(self));
        }
        if cx.deadline_passed(now, wish) {
            let run = Run::new(wish.clone());
            cx.end(
                &run,
                EventKind::Failed,
                Some(FailureCode::DeadlinePassed),
                Text::new(),
            );
            return Step::Stay(State::Idle(self));
        }
        match Self::hurdle(cx, now) {
            Hurdle::None => {
                cx.said = None;
                cx.again = false;
                cx.start_at = now + cx.policy.pace;
                match cx.wish.clone() {
                    Some(wish) => Step::Go(
                        Trigger::Wish,
                        State::Checking(Checking::new(Run::new(wish), now)),
                    ),
                    None => Step::Stay(State::Idle(self)),
                }
            }
            Hurdle::Said(code, retry_in, _) => {
                if cx.said != Some(code) {
                    cx.said = Some(code);
                    let job = cx.wish.as_ref().and_then(|wish| wish.job.clone());
                    cx.report_wait(job, code, Text::new(), retry_in);
                }
                Step::Stay(State::Idle(self))
            }
            Hurdle::Event | Hurdle::Time(_) => Step::Stay(State::Idle(self)),
        }
    }

    fn hurdle(cx: &Context, now: Instant) -> Hurdle {
        let Some(wish) = cx.wish.as_ref().filter(|_| !cx.settled && !cx.awaiting_ack) else {
            return Hurdle::Event;
        };
        if let Some(not_before) = wish.not_before {
            match cx.until_unix(now, not_before) {
                None => return Hurdle::Said(FailureCode::TimeUnknown, None, now + CLOCK_POLL),
                Some(Duration::ZERO) => {}
                Some(wait) => return Hurdle::Said(FailureCode::NotYet, Some(wait), now + wait),
            }
        }
        let Some(link_since) = cx.link_since else {
            return Hurdle::Event;
        };
        if now < cx.start_at {
            return Hurdle::Time(cx.start_at);
        }
        if cx.from_journal {
            // The broker may hold a newer wish, or the withdrawal of this one.
            let ready = match cx.mqtt_since {
                Some(mqtt_since) => mqtt_since + cx.policy.grace,
                None => link_since + cx.policy.grace_without_mqtt,
            };
            if now < ready {
                return Hurdle::Time(ready);
            }
        }
        Hurdle::None
    }

    pub(super) fn action(&mut self, _: &mut Context, _: Instant) -> Option<Action> {
        None
    }

    pub(super) fn poll_at(&self, cx: &Context, now: Instant) -> Option<Instant> {
        let wish = cx
            .wish
            .as_ref()
            .filter(|_| !cx.settled && !cx.awaiting_ack)?;
        let start = match Self::hurdle(cx, now) {
            Hurdle::None => Some(now),
            Hurdle::Event => None,
            Hurdle::Time(at) | Hurdle::Said(_, _, at) => Some(at),
        };
        Instant::earliest(start, cx.deadline_at(now, wish))
    }
}

/// The header and the table are fetched and judged.
#[derive(Debug)]
pub(super) struct Checking {
    pub(super) run: Run,
    operation: Operation,
}

impl Checking {
    fn new(run: Run, now: Instant) -> Self {
        Self {
            run,
            operation: Operation::new(now),
        }
    }

    pub(super) fn complete(self, cx: &mut Context, now: Instant, event: Event<'_>) -> Step {
        let Self {
            mut run,
            mut operation,
        } = self;
        if !operation.asked {
            return Step::Stay(State::Checking(Self { run, operation }));
        }
        if let Event::Admitted(admitted) = event {
            let first = run.identity != Some(admitted.identity);
            run.admitted(admitted);
            if first || admitted.held > 0 {
                let kind = if admitted.held > 0 {
                    EventKind::Resumed
                } else {
                    EventKind::Accepted
                };
                cx.report_step(kind, run.job());
            }
            operation.active = now;
            return Step::Go(
                Trigger::Admitted,
                State::Downloading(Downloading { run, operation }),
            );
        }
        fetch_complete(run, operation, cx, now, event, |run, operation| {
            State::Checking(Self { run, operation })
        })
    }

    pub(super) fn step(self, cx: &mut Context, now: Instant) -> Step {
        let Self {
            mut run,
            mut operation,
        } = self;
        operation.watch(cx, &mut run, now, cx.policy.stall, cx.policy.fetch);
        match operation.stopped_unasked() {
            Some(why) => stopped(why, run, cx, now, FailureCode::Stalled),
            None => Step::Stay(State::Checking(Self { run, operation })),
        }
    }

    pub(super) fn action(&mut self, _: &mut Context, _: Instant) -> Option<Action> {
        self.operation.action(Action::Fetch)
    }

    pub(super) fn poll_at(&self, cx: &Context, _: Instant) -> Option<Instant> {
        self.operation.poll_at(cx.policy.stall, cx.policy.fetch)
    }
}

/// The blocks are fetched and written.
#[derive(Debug)]
pub(super) struct Downloading {
    pub(super) run: Run,
    operation: Operation,
}

impl Downloading {
    pub(super) fn complete(self, cx: &mut Context, now: Instant, event: Event<'_>) -> Step {
        let Self {
            mut run,
            mut operation,
        } = self;
        if let Event::Progress(done) = event {
            run.progress(done);
            operation.active = now;
            return Step::Stay(State::Downloading(Self { run, operation }));
        }
        if let Event::Admitted(admitted) = event {
            // The file had changed, and the download began again.
            run.admitted(admitted);
            operation.active = now;
            return Step::Stay(State::Downloading(Self { run, operation }));
        }
        fetch_complete(run, operation, cx, now, event, |run, operation| {
            State::Downloading(Self { run, operation })
        })
    }

    pub(super) fn step(self, cx: &mut Context, now: Instant) -> Step {
        let Self {
            mut run,
            mut operation,
        } = self;
        operation.watch(cx, &mut run, now, cx.policy.stall, cx.policy.fetch);
        Step::Stay(State::Downloading(Self { run, operation }))
    }

    pub(super) fn action(&mut self, _: &mut Context, _: Instant) -> Option<Action> {
        self.operation.action(Action::Fetch)
    }

    pub(super) fn poll_at(&self, cx: &Context, _: Instant) -> Option<Instant> {
        self.operation.poll_at(cx.policy.stall, cx.policy.fetch)
    }
}

/// The fetch is complete, or the event is none of its; `stay` is the state as it was.
fn fetch_complete(
    run: Run,
    operation: Operation,
    cx: &mut Context,
    now: Instant,
    event: Event<'_>,
    stay: fn(Run, Operation) -> State,
) -> Step {
    match (event, operation.stop) {
        // It came to its end before the stop did. Only a stop for slowness has thereby lost its reason.
        (Event::Fetched(_) | Event::AlreadyRunning, Some(why)) if why != Stop::TooSlow => {
            stopped(why, run, cx, now, FailureCode::Stalled)
        }
        (Event::Stopped, Some(why)) => stopped(why, run, cx, now, FailureCode::Stalled),
        (Event::Fetched(Ok(())), _) if run.identity.is_some() => {
            cx.report_step(EventKind::Downloaded, run.job());
            let operation = Operation::new(now);
            Step::Go(
                Trigger::Downloaded,
                State::Verifying(Verifying { run, operation }),
            )
        }
        // The body ended before there was a header.
        (Event::Fetched(Ok(())), _) => failed(run, FailureCode::EarlyClose.into(), cx, now),
        (Event::AlreadyRunning, _) => {
            cx.end(&run, EventKind::AlreadyRunning, None, Text::new());
            Step::Go(Trigger::Ended, State::Idle(Idle))
        }
        (Event::Fetched(Err(failure)), _) => failed(run, failure, cx, now),
        _ => Step::Stay(stay(run, operation)),
    }
}

/// A try failed; the next one waits for its time.
#[derive(Debug)]
pub(super) struct Backoff {
    pub(super) run: Run,
    pub(super) until: Instant,
    /// The link was lost: its return is reason enough to try again soon.
    pub(super) for_link: bool,
    /// The link has been away since the failure.
    pub(super) link_away: bool,
}

impl Backoff {
    pub(super) fn complete(self, _: &mut Context, _: Instant, _: Event<'_>) -> Step {
        Step::Stay(State::Backoff(self))
    }

    pub(super) fn step(self, cx: &mut Context, now: Instant) -> Step {
        let Self {
            mut run,
            mut until,
            for_link,
            link_away,
        } = self;
        if core::mem::take(&mut cx.cancel) {
            return stopped(Stop::Cancelled, run, cx, now, FailureCode::Stalled);
        }
        match cx.change(&run) {
            Change::Same => {
                if let Some(wish) = &cx.wish {
                    run.wish.not_before = wish.not_before;
                    run.wish.deadline = wish.deadline;
                }
            }
            Change::Withdrawn => {
                return stopped(Stop::Withdrawn, run, cx, now, FailureCode::Stalled);
            }
            Change::Superseded => {
                return stopped(Stop::Superseded, run, cx, now, FailureCode::Stalled);
            }
            Change::Restart => return stopped(Stop::Changed, run, cx, now, FailureCode::Stalled),
        }
        if cx.deadline_passed(now, &run.wish) {
            return ended(&run, cx, FailureCode::DeadlinePassed, Text::new());
        }
        let again = core::mem::take(&mut cx.again);
        if again {
            run.failures = 0;
            run.slow = false;
        }
        if again {
            until = now;
        }
        let link_up = cx.link_since.is_some();
        if link_up && link_away && (for_link || now >= until) {
            // Everybody at this access point has got it back just now.
            let soon = now + backoff::wait(&cx.policy.backoff, 1, &mut cx.rng).delay;
            until = if now >= until { soon } else { until.min(soon) };
        } else if link_up && now >= until {
            return Step::Go(Trigger::Retry, State::Checking(Checking::new(run, now)));
        }
        Step::Stay(State::Backoff(Self {
            run,
            until,
            for_link,
            link_away: !link_up,
        }))
    }

    pub(super) fn action(&mut self, _: &mut Context, _: Instant) -> Option<Action> {
        None
    }

    pub(super) fn poll_at(&self, cx: &Context, now: Instant) -> Option<Instant> {
        let retry = cx.link_since.is_some().then_some(self.until);
        Instant::earliest(retry, cx.deadline_at(now, &self.run.wish))
    }
}

/// The whole image is read back from flash.
#[derive(Debug)]
pub(super) struct Verifying {
    pub(super) run: Run,
    operation: Operation,
}

impl Verifying {
    pub(super) fn complete(self, cx: &mut Context, now: Instant, event: Event<'_>) -> Step {
        let Self { run, operation } = self;
        if !operation.asked {
            return Step::Stay(State::Verifying(Self { run, operation }));
        }
        match (event, operation.stop) {
            (Event::Stopped, Some(why)) => stopped(why, run, cx, now, FailureCode::FlashRead),
            (Event::Verified(_), Some(why)) if why != Stop::TooSlow => {
                stopped(why, run, cx, now, FailureCode::FlashRead)
            }
            (Event::Verified(Ok(())), _) => {
                cx.report_step(EventKind::Verified, run.job());
                Step::Go(
                    Trigger::Verified,
                    State::Activating(Activating {
                        run,
                        asked: false,
                        cancelled: false,
                    }),
                )
            }
            (Event::Verified(Err(failure)), _) => failed(run, failure, cx, now),
            _ => Step::Stay(State::Verifying(Self { run, operation })),
        }
    }

    pub(super) fn step(self, cx: &mut Context, now: Instant) -> Step {
        let Self {
            mut run,
            mut operation,
        } = self;
        operation.watch(cx, &mut run, now, cx.policy.verify, cx.policy.verify);
        match operation.stopped_unasked() {
            Some(why) => stopped(why, run, cx, now, FailureCode::FlashRead),
            None => Step::Stay(State::Verifying(Self { run, operation })),
        }
    }

    pub(super) fn action(&mut self, _: &mut Context, _: Instant) -> Option<Action> {
        self.operation.action(Action::Verify)
    }

    pub(super) fn poll_at(&self, cx: &Context, _: Instant) -> Option<Instant> {
        self.operation.poll_at(cx.policy.verify, cx.policy.verify)
    }
}

/// The trial record and then otadata are written. It takes a moment, and cannot be stopped half-way.
#[derive(Debug)]
pub(super) struct Activating {
    pub(super) run: Run,
    asked: bool,
    cancelled: bool,
}

impl Activating {
    pub(super) fn complete(self, cx: &mut Context, now: Instant, event: Event<'_>) -> Step {
        let Self {
            run,
            asked,
            cancelled,
        } = self;
        match event {
            Event::Activated(Ok(())) if asked => {
                cx.report_step(EventKind::Activated, run.job());
                cx.cancel |= cancelled;
                let rebooting = Rebooting::new(run.job(), true, cx, now);
                Step::Go(Trigger::Activated, State::Rebooting(rebooting))
            }
            Event::Activated(Err(failure)) if asked => {
                if cancelled {
                    return stopped(Stop::Cancelled, run, cx, now, FailureCode::OtadataWrite);
                }
                failed(run, failure, cx, now)
            }
            _ => Step::Stay(State::Activating(Self {
                run,
                asked,
                cancelled,
            })),
        }
    }

    pub(super) fn step(self, cx: &mut Context, _: Instant) -> Step {
        let cancelled = self.cancelled | core::mem::take(&mut cx.cancel);
        Step::Stay(State::Activating(Self { cancelled, ..self }))
    }

    pub(super) fn action(&mut self, _: &mut Context, _: Instant) -> Option<Action> {
        (!core::mem::replace(&mut self.asked, true)).then_some(Action::Activate)
    }

    pub(super) fn poll_at(&self, _: &Context, _: Instant) -> Option<Instant> {
        None
    }
}

/// The device is about to restart: the last reports are given a moment to get through.
#[derive(Debug)]
pub(super) struct Rebooting {
    pub(super) job: Option<Job>,
    until: Instant,
    /// An image was activated, and a cancellation can still take that back.
    activated: bool,
    asked: bool,
}

impl Rebooting {
    pub(super) fn new(job: Option<Job>, activated: bool, cx: &Context, now: Instant) -> Self {
        Self {
            job,
            until: now + cx.policy.farewell,
            activated,
            asked: false,
        }
    }

    pub(super) fn complete(self, _: &mut Context, _: Instant, _: Event<'_>) -> Step {
        Step::Stay(State::Rebooting(self))
    }

    pub(super) fn step(self, cx: &mut Context, _: Instant) -> Step {
        let cancel = core::mem::take(&mut cx.cancel);
        if cancel && self.activated && !self.asked {
            let job = self.job.clone().unwrap_or_default();
            let rolling_back = RollingBack::new(job, FailureCode::Cancelled);
            return Step::Go(Trigger::CancelledLate, State::RollingBack(rolling_back));
        }
        Step::Stay(State::Rebooting(self))
    }

    pub(super) fn action(&mut self, cx: &mut Context, now: Instant) -> Option<Action> {
        let said_all = cx.flushed || cx.mqtt_since.is_none();
        if self.asked || !(said_all || now >= self.until) {
            return None;
        }
        self.asked = true;
        Some(Action::Reboot)
    }

    pub(super) fn poll_at(&self, _: &Context, _: Instant) -> Option<Instant> {
        (!self.asked).then_some(self.until)
    }
}
