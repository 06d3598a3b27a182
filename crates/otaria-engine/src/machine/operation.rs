//! A fetch or a verification under way, and what becomes of a job whose one was stopped or failed.

use otaria_wire::messages::{EventKind, FailureCode};

use super::context::{Change, Context};
use super::interface::{Action, Failure, Text};
use super::run::Run;
use super::state::{State, Step};
use super::transitions::Trigger;
use super::update::{Backoff, Idle};
use crate::backoff;
use crate::retry;
use crate::time::{Duration, Instant};

/// Why a fetch or a verification is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    Cancelled,
    Withdrawn,
    Superseded,
    Changed,
    TooSlow,
}

/// A fetch or a verification, from the asking to the completion.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) asked: bool,
    pub(super) stop: Option<Stop>,
    stop_asked: bool,
    started: Instant,
    /// When something was last seen to happen.
    pub(super) active: Instant,
}

impl Operation {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            asked: false,
            stop: None,
            stop_asked: false,
            started: now,
            active: now,
        }
    }

    /// Looks for a reason to stop.
    pub(super) fn watch(
        &mut self,
        cx: &mut Context,
        run: &mut Run,
        now: Instant,
        stall: Duration,
        whole: Duration,
    ) {
        if core::mem::take(&mut cx.cancel) {
            self.stop = Some(Stop::Cancelled);
        }
        // The wish may change back while the stop is under way. What was asked for is then done all the same.
        if self.stop_asked {
            return;
        }
        let change = match cx.change(run) {
            Change::Same => {
                if let Some(wish) = &cx.wish {
                    run.wish.not_before = wish.not_before;
                    run.wish.deadline = wish.deadline;
                }
                None
            }
            Change::Withdrawn => Some(Stop::Withdrawn),
            Change::Superseded => Some(Stop::Superseded),
            Change::Restart => Some(Stop::Changed),
        };
        let slow =
            (now >= self.active + stall || now >= self.started + whole).then_some(Stop::TooSlow);
        if self.stop != Some(Stop::Cancelled) {
            self.stop = change.or(slow);
        }
    }

    pub(super) fn action(&mut self, ask: Action) -> Option<Action> {
        if !self.asked {
            if self.stop.is_some() {
                // Nothing has begun; `complete_unasked` ends it.
                return None;
            }
            self.asked = true;
            return Some(ask);
        }
        if self.stop.is_some() && !self.stop_asked {
            self.stop_asked = true;
            return Some(Action::Stop);
        }
        None
    }

    /// A stop that came before anything was asked for needs no completion.
    pub(super) fn stopped_unasked(&self) -> Option<Stop> {
        self.stop.filter(|_| !self.asked)
    }

    pub(super) fn poll_at(&self, stall: Duration, whole: Duration) -> Option<Instant> {
        if self.stop.is_some() {
            None
        } else {
            Some((self.active + stall).min(self.started + whole))
        }
    }
}

/// What becomes of a job whose fetch or verification was stopped.
pub(super) fn stopped(
    why: Stop,
    run: Run,
    cx: &mut Context,
    now: Instant,
    slow: FailureCode,
) -> Step {
    match why {
        Stop::Cancelled => ended(&run, cx, FailureCode::Cancelled, Text::new()),
        Stop::Superseded => ended(&run, cx, FailureCode::Superseded, Text::new()),
        Stop::Withdrawn => {
            cx.end_harmlessly(&run, EventKind::Cancelled, FailureCode::Cancelled);
            Step::Go(Trigger::Ended, State::Idle(Idle))
        }
        Stop::Changed => Step::Go(Trigger::Changed, State::Idle(Idle)),
        Stop::TooSlow => failed(run, slow.into(), cx, now),
    }
}

/// The job is over.
pub(super) fn ended(run: &Run, cx: &mut Context, code: FailureCode, text: Text) -> Step {
    cx.end(run, retry::final_event(code), Some(code), text);
    Step::Go(Trigger::Ended, State::Idle(Idle))
}

/// A try failed: wait for the next one, or give up.
pub(super) fn failed(mut run: Run, failure: Failure, cx: &mut Context, now: Instant) -> Step {
    let Failure {
        code,
        text,
        retry_after,
    } = failure;
    if run.failed(code) {
        return ended(&run, cx, code, text);
    }
    let wait = backoff::wait(&cx.policy.backoff, run.failures, &mut cx.rng);
    let wait = match retry_after {
        Some(after) => wait.not_before(after, &cx.policy.backoff, &mut cx.rng),
        None => wait,
    };
    let (said, text) = if wait.slow && !run.slow {
        run.slow = true;
        let mut last = Text::new();
        let _ = last.push_str(code.name());
        (
            FailureCode::RetriesExhausted,
            if text.is_empty() { last } else { text },
        )
    } else {
        (code, text)
    };
    cx.report_wait(run.job(), said, text, Some(wait.delay));
    let for_link = code == FailureCode::NoNetwork;
    Step::Go(
        Trigger::Failed,
        State::Backoff(Backoff {
            run,
            until: now + wait.delay,
            for_link,
            link_away: false,
        }),
    )
}
