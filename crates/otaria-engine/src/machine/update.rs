//! From a wish to the restart: the states that run in an image that is not on trial.

use otaria_wire::messages::{EventKind, FailureCode};

use super::context::{Context, Unwanted};
use super::interface::{Action, Event};
use super::operation::{Operation, Stop, ended, failed, given_up};
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
    pub(super) fn complete(&mut self, _: &mut Context, _: Instant, _: Event<'_>) -> Step {
        None
    }

    pub(super) fn step(&mut self, cx: &mut Context, now: Instant) -> Step {
        let cancel = core::mem::take(&mut cx.cancel);
        let wish = cx.wish.as_ref().filter(|_| !cx.settled)?;
        let end = if cancel {
            (EventKind::Cancelled, Some(FailureCode::Cancelled))
        } else if cx.awaiting_ack {
            return None;
        } else if wish.image_sha256.is_some() && wish.image_sha256 == cx.running_image {
            (EventKind::AlreadyRunning, None)
        } else if cx.deadline_passed(now, wish) {
            (EventKind::Failed, Some(FailureCode::DeadlinePassed))
        } else {
            return Self::start(cx, now);
        };
        cx.take_up_wish();
        cx.end(end.0, end.1, "");
        None
    }

    fn start(cx: &mut Context, now: Instant) -> Step {
        match Self::hurdle(cx, now) {
            Hurdle::None => {
                cx.said = None;
                cx.again = false;
                cx.start_at = now + cx.policy.pace;
                cx.take_up_wish();
                let operation = Operation::fetch(now);
                Some((Trigger::Wish, State::Checking(Checking { operation })))
            }
            Hurdle::Said(code, retry_in, _) => {
                if cx.said.replace(code) != Some(code) {
                    cx.take_up_wish();
                    cx.report_wait(code, "", retry_in);
                }
                None
            }
            Hurdle::Event | Hurdle::Time(_) => None,
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
    operation: Operation,
}

impl Checking {
    pub(super) fn complete(&mut self, cx: &mut Context, now: Instant, event: Event<'_>) -> Step {
        if !self.operation.asked {
            return None;
        }
        let Event::Admitted(admitted) = event else {
            return fetch_complete(&self.operation, cx, now, event);
        };
        let first = cx.run.identity != Some(admitted.identity);
        cx.run.admitted(admitted);
        if admitted.held > 0 {
            cx.report_step(EventKind::Resumed);
        } else if first {
            cx.report_step(EventKind::Accepted);
        }
        let mut operation = self.operation;
        operation.active = now;
        Some((
            Trigger::Admitted,
            State::Downloading(Downloading { operation }),
        ))
    }

    pub(super) fn step(&mut self, cx: &mut Context, now: Instant) -> Step {
        self.operation.step(cx, now)
    }

    pub(super) fn action(&mut self, _: &mut Context, _: Instant) -> Option<Action> {
        self.operation.action()
    }

    pub(super) fn poll_at(&self, cx: &Context, _: Instant) -> Option<Instant> {
        self.operation.poll_at(&cx.policy)
    }
}

/// The blocks are fetched and written.
#[derive(Debug)]
pub(super) struct Downloading {
    operation: Operation,
}

impl Downloading {
    pub(super) fn complete(&mut self, cx: &mut Context, now: Instant, event: Event<'_>) -> Step {
        match event {
            Event::Progress(done) => cx.run.progress(done),
            // The file had changed, and the download began again.
            Event::Admitted(admitted) => cx.run.admitted(admitted),
            Event::Fetched(Ok(())) if !matches!(self.operation.stop, Some(Stop::Unwanted(_))) => {
                cx.report_step(EventKind::Downloaded);
                let operation = Operation::verify(now);
                return Some((
                    Trigger::Downloaded,
                    State::Verifying(Verifying { operation }),
                ));
            }
            event => return fetch_complete(&self.operation, cx, now, event),
        }
        self.operation.active = now;
        None
    }

    pub(super) fn step(&mut self, cx: &mut Context, now: Instant) -> Step {
        self.operation.step(cx, now)
    }

    pub(super) fn action(&mut self, _: &mut Context, _: Instant) -> Option<Action> {
        self.operation.action()
    }

    pub(super) fn poll_at(&self, cx: &Context, _: Instant) -> Option<Instant> {
        self.operation.poll_at(&cx.policy)
    }
}

/// The fetch is complete, or the event is none of its.
fn fetch_complete(operation: &Operation, cx: &mut Context, now: Instant, event: Event<'_>) -> Step {
    match (event, operation.stop) {
        // It came to its end before the stop did. Only a stop for slowness has thereby lost its reason.
        (Event::Fetched(_) | Event::AlreadyRunning, Some(Stop::Unwanted(why))) => given_up(why, cx),
        (Event::Stopped, Some(why)) => operation.stopped(why, cx, now),
        // The body ended before there was a header, in this try.
        (Event::Fetched(Ok(())), _) => failed(FailureCode::EarlyClose.into(), cx, now),
        (Event::AlreadyRunning, _) => {
            cx.end(EventKind::AlreadyRunning, None, "");
            Some((Trigger::Ended, State::Idle(Idle)))
        }
        (Event::Fetched(Err(failure)), _) => failed(failure, cx, now),
        _ => None,
    }
}

/// A try failed; the next one waits for its time.
#[derive(Debug)]
pub(super) struct Backoff {
    pub(super) until: Instant,
    /// The link was lost: its return is reason enough to try again soon.
    pub(super) for_link: bool,
    /// The link has been away since the failure.
    pub(super) link_away: bool,
}

impl Backoff {
    pub(super) fn complete(&mut self, _: &mut Context, _: Instant, _: Event<'_>) -> Step {
        None
    }

    pub(super) fn step(&mut self, cx: &mut Context, now: Instant) -> Step {
        if core::mem::take(&mut cx.cancel) {
            return given_up(Unwanted::Cancelled, cx);
        }
        if let Some(why) = cx.follow_wish() {
            return given_up(why, cx);
        }
        if cx.deadline_passed(now, &cx.run.wish) {
            return ended(cx, FailureCode::DeadlinePassed, "");
        }
        if core::mem::take(&mut cx.again) {
            cx.run.failures = 0;
            cx.run.slow = false;
            self.until = now;
        }
        let link_up = cx.link_since.is_some();
        let due = now >= self.until;
        if link_up && self.link_away && (self.for_link || due) {
            // Everybody at this access point has got it back just now.
            let soon = now + backoff::wait(&cx.policy.backoff, 1, &mut cx.rng).delay;
            self.until = if due { soon } else { self.until.min(soon) };
        } else if link_up && due {
            let operation = Operation::fetch(now);
            return Some((Trigger::Retry, State::Checking(Checking { operation })));
        }
        self.link_away = !link_up;
        None
    }

    pub(super) fn action(&mut self, _: &mut Context, _: Instant) -> Option<Action> {
        None
    }

    pub(super) fn poll_at(&self, cx: &Context, now: Instant) -> Option<Instant> {
        let retry = cx.link_since.is_some().then_some(self.until);
        Instant::earliest(retry, cx.deadline_at(now, &cx.run.wish))
    }
}

/// The whole image is read back from flash.
#[derive(Debug)]
pub(super) struct Verifying {
    operation: Operation,
}

impl Verifying {
    pub(super) fn complete(&mut self, cx: &mut Context, now: Instant, event: Event<'_>) -> Step {
        if !self.operation.asked {
            return None;
        }
        match (event, self.operation.stop) {
            (Event::Verified(_), Some(Stop::Unwanted(why))) => given_up(why, cx),
            (Event::Stopped, Some(why)) => self.operation.stopped(why, cx, now),
            (Event::Verified(Ok(())), _) => {
                cx.report_step(EventKind::Verified);
                Some((
                    Trigger::Verified,
                    State::Activating(Activating {
                        asked: false,
                        cancelled: false,
                    }),
                ))
            }
            (Event::Verified(Err(failure)), _) => failed(failure, cx, now),
            _ => None,
        }
    }

    pub(super) fn step(&mut self, cx: &mut Context, now: Instant) -> Step {
        self.operation.step(cx, now)
    }

    pub(super) fn action(&mut self, _: &mut Context, _: Instant) -> Option<Action> {
        self.operation.action()
    }

    pub(super) fn poll_at(&self, cx: &Context, _: Instant) -> Option<Instant> {
        self.operation.poll_at(&cx.policy)
    }
}

/// The trial record and then otadata are written. It takes a moment, and cannot be stopped half-way.
#[derive(Debug)]
pub(super) struct Activating {
    asked: bool,
    cancelled: bool,
}

impl Activating {
    pub(super) fn complete(&mut self, cx: &mut Context, now: Instant, event: Event<'_>) -> Step {
        match event {
            Event::Activated(Ok(())) if self.asked => {
                cx.report_step(EventKind::Activated);
                cx.cancel |= self.cancelled;
                let rebooting = Rebooting::new(true, cx, now);
                Some((Trigger::Activated, State::Rebooting(rebooting)))
            }
            Event::Activated(Err(_)) if self.asked && self.cancelled => {
                given_up(Unwanted::Cancelled, cx)
            }
            Event::Activated(Err(failure)) if self.asked => failed(failure, cx, now),
            _ => None,
        }
    }

    pub(super) fn step(&mut self, cx: &mut Context, _: Instant) -> Step {
        self.cancelled |= core::mem::take(&mut cx.cancel);
        None
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
    until: Instant,
    /// An image was activated, and a cancellation can still take that back.
    activated: bool,
    asked: bool,
}

impl Rebooting {
    pub(super) fn new(activated: bool, cx: &Context, now: Instant) -> Self {
        Self {
            until: now + cx.policy.farewell,
            activated,
            asked: false,
        }
    }

    pub(super) fn complete(&mut self, _: &mut Context, _: Instant, _: Event<'_>) -> Step {
        None
    }

    pub(super) fn step(&mut self, cx: &mut Context, _: Instant) -> Step {
        let cancel = core::mem::take(&mut cx.cancel);
        (cancel && self.activated && !self.asked).then(|| {
            let rolling_back = RollingBack::new(FailureCode::Cancelled);
            (Trigger::CancelledLate, State::RollingBack(rolling_back))
        })
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
