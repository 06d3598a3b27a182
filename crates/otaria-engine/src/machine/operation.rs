//! A fetch or a verification under way, and what becomes of a job whose one was stopped or failed.

use otaria_wire::messages::{EventKind, FailureCode};

use super::context::{Context, Unwanted};
use super::interface::{Action, Failure, Policy};
use super::state::{State, Step};
use super::transitions::Trigger;
use super::update::{Backoff, Idle};
use crate::backoff;
use crate::retry;
use crate::time::{Duration, Instant};

/// Why a fetch or a verification is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Nobody wants it, or not so.
    Unwanted(Unwanted),
    /// It takes too long.
    TooSlow,
}

const CANCELLED: Option<Stop> = Some(Stop::Unwanted(Unwanted::Cancelled));

/// Which of the two it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Fetch,
    Verify,
}

impl Kind {
    /// How long it may be silent, and how long it may take.
    fn limits(self, policy: &Policy) -> (Duration, Duration) {
        match self {
            Self::Fetch => (policy.stall, policy.fetch),
            Self::Verify => (policy.verify, policy.verify),
        }
    }
}

/// A fetch or a verification, from the asking to the completion.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    kind: Kind,
    pub(super) asked: bool,
    pub(super) stop: Option<Stop>,
    stop_asked: bool,
    started: Instant,
    /// When something was last seen to happen.
    pub(super) active: Instant,
}

impl Operation {
    pub(super) fn fetch(now: Instant) -> Self {
        Self::new(Kind::Fetch, now)
    }

    pub(super) fn verify(now: Instant) -> Self {
        Self::new(Kind::Verify, now)
    }

    fn new(kind: Kind, now: Instant) -> Self {
        Self {
            kind,
            asked: false,
            stop: None,
            stop_asked: false,
            started: now,
            active: now,
        }
    }

    /// Looks for a reason to stop. If it comes before anything was asked for, there is no completion to wait for.
    pub(super) fn step(&mut self, cx: &mut Context, now: Instant) -> Step {
        self.watch(cx, now);
        match self.stop {
            Some(why) if !self.asked => self.stopped(why, cx, now),
            Some(_) | None => None,
        }
    }

    fn watch(&mut self, cx: &mut Context, now: Instant) {
        if core::mem::take(&mut cx.cancel) {
            self.stop = CANCELLED;
        }
        // The wish may change back while the stop is under way. What was asked for is then done all the same.
        if self.stop_asked {
            return;
        }
        let unwanted = cx.follow_wish().map(Stop::Unwanted);
        let slow = (now >= self.slow_at(&cx.policy)).then_some(Stop::TooSlow);
        if self.stop != CANCELLED {
            self.stop = unwanted.or(slow);
        }
    }

    fn slow_at(&self, policy: &Policy) -> Instant {
        let (silent, whole) = self.kind.limits(policy);
        (self.active + silent).min(self.started + whole)
    }

    pub(super) fn action(&mut self) -> Option<Action> {
        match (self.asked, self.stop) {
            (false, None) => {
                self.asked = true;
                Some(match self.kind {
                    Kind::Fetch => Action::Fetch,
                    Kind::Verify => Action::Verify,
                })
            }
            (true, Some(_)) if !self.stop_asked => {
                self.stop_asked = true;
                Some(Action::Stop)
            }
            // Nothing has begun; `step` ends it.
            (false, Some(_)) | (true, Some(_) | None) => None,
        }
    }

    pub(super) fn poll_at(&self, policy: &Policy) -> Option<Instant> {
        self.stop.is_none().then(|| self.slow_at(policy))
    }

    /// What becomes of the job when it was stopped.
    pub(super) fn stopped(&self, why: Stop, cx: &mut Context, now: Instant) -> Step {
        match (why, self.kind) {
            (Stop::Unwanted(why), Kind::Fetch | Kind::Verify) => given_up(why, cx),
            (Stop::TooSlow, Kind::Fetch) => failed(FailureCode::Stalled.into(), cx, now),
            (Stop::TooSlow, Kind::Verify) => failed(FailureCode::FlashRead.into(), cx, now),
        }
    }
}

/// What becomes of a job that nobody wants any more, or not so.
pub(super) fn given_up(why: Unwanted, cx: &mut Context) -> Step {
    match why {
        Unwanted::Cancelled => ended(cx, FailureCode::Cancelled, ""),
        Unwanted::Superseded => ended(cx, FailureCode::Superseded, ""),
        Unwanted::Withdrawn => {
            cx.end_harmlessly(EventKind::Cancelled, FailureCode::Cancelled);
            Some((Trigger::Ended, State::Idle(Idle)))
        }
        Unwanted::Changed => Some((Trigger::Changed, State::Idle(Idle))),
    }
}

/// The job is over.
pub(super) fn ended(cx: &mut Context, code: FailureCode, text: &str) -> Step {
    cx.end(retry::final_event(code), Some(code), text);
    Some((Trigger::Ended, State::Idle(Idle)))
}

/// A try failed: wait for the next one, or give up.
pub(super) fn failed(failure: Failure<'_>, cx: &mut Context, now: Instant) -> Step {
    let Failure {
        code,
        text,
        retry_after,
    } = failure;
    if cx.run.failed(code) {
        return ended(cx, code, text);
    }
    let wait = backoff::wait(&cx.policy.backoff, cx.run.failures, &mut cx.rng);
    let wait = match retry_after {
        Some(after) => wait.not_before(after, &cx.policy.backoff, &mut cx.rng),
        None => wait,
    };
    let (said, text) = if wait.slow && !cx.run.slow {
        cx.run.slow = true;
        let last = if text.is_empty() { code.name() } else { text };
        (FailureCode::RetriesExhausted, last)
    } else {
        (code, text)
    };
    cx.report_wait(said, text, Some(wait.delay));
    Some((
        Trigger::Failed,
        State::Backoff(Backoff {
            until: now + wait.delay,
            for_link: code == FailureCode::NoNetwork,
            link_away: false,
        }),
    ))
}
