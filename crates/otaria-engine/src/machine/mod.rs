//! The machine: from a wish to a confirmed image, or to a reported failure.
//!
//! It does nothing itself. [`Engine::handle`] takes what happened, [`Engine::next_action`] gives what is to be done,
//! [`Engine::poll_at`] says when it wants to be asked again although nothing happens, [`Engine::status`] is for people.
//!
//! - A state is left only when something *happened*: an action's completion, an input, or a time. Asking for an action changes
//!   nothing but that it is not asked for twice.
//! - Every action that was handed out gets exactly one completion, see [`Event`]. Completions that nobody waits for are ignored.
//! - The states and the steps between them are a table, [`transitions::TRANSITIONS`]; a step that is not in it is a
//!   [`FailureCode::LogicBug`], and the engine comes to rest.

mod context;
mod interface;
mod operation;
mod run;
mod state;
#[cfg(test)]
mod tests;
pub mod transitions;
mod trial;
mod update;

use otaria_wire::messages::{Desired, EventKind, FailureCode};

pub use interface::{
    Action, Admitted, BootFacts, BootRole, Event, FAILURE_TEXT_LEN, Failure, Health, JobRef,
    Policy, Report, Status, Text,
};

use crate::time::Instant;
use context::Context;
use state::{State, Step};
use update::Idle;

/// Steps that may follow from one event without another one: from an end over Idle to the next check is three.
const MAX_STEPS: u8 = 8;

/// The decisions of one boot.
#[derive(Debug)]
pub struct Engine {
    cx: Context,
    state: State,
}

impl Engine {
    /// The engine at the start of a boot.
    #[must_use]
    pub fn new(now: Instant, policy: Policy, facts: BootFacts) -> Self {
        let role = facts.role.clone();
        let mut cx = Context::new(policy, facts);
        let state = match role {
            BootRole::Plain => State::Idle(Idle),
            BootRole::OnTrial(job) => State::Trial(trial::Trial::new(&mut cx, now, job)),
            BootRole::Inconclusive(job) => {
                State::Inconclusive(trial::Inconclusive::new(&mut cx, now, job))
            }
        };
        Self { cx, state }
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Instant, event: Event<'_>) {
        match event {
            Event::Link(up) => self.cx.set_link(now, up),
            Event::Mqtt(up) => self.cx.set_mqtt(now, up),
            Event::UnixTime(seconds) => self.cx.set_unix_time(now, seconds),
            Event::Wish { wish, fresh } => self.cx.set_wish(wish, fresh),
            Event::Cancel => self.cx.cancel = true,
            Event::Refused(code) => {
                let report = self
                    .cx
                    .number(EventKind::Refused, None, Some(code), Text::new());
                self.cx.report(Report {
                    of_message: true,
                    ..report
                });
            }
            Event::Delivered => self.cx.awaiting_ack = false,
            Event::Flushed => self.cx.flushed = true,
            Event::Admitted(_)
            | Event::Progress(_)
            | Event::Fetched(_)
            | Event::AlreadyRunning
            | Event::Verified(_)
            | Event::Stopped
            | Event::Activated(_)
            | Event::Probed(_)
            | Event::Health(_)
            | Event::Confirmed(_)
            | Event::RolledBack
            | Event::Reactivated(_)
            | Event::Closed => {
                self.go(|state, cx| state.complete(cx, now, event));
            }
        }
        self.settle(now);
    }

    /// The next thing to be done. Asked again until there is none; then again after every event and at [`Engine::poll_at`].
    pub fn next_action(&mut self, now: Instant) -> Option<Action> {
        self.settle(now);
        match self.cx.take_report() {
            Some(report) => Some(Action::Report(report)),
            None => self.state.action(&mut self.cx, now),
        }
    }

    /// When time alone may change something. `None`: only an event can.
    #[must_use]
    pub fn poll_at(&self, now: Instant) -> Option<Instant> {
        self.state.poll_at(&self.cx, now)
    }

    /// What the engine is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        self.state.status()
    }

    /// The wish that is being worked on.
    #[must_use]
    pub fn job(&self) -> Option<&Desired> {
        self.state.run().map(|run| &run.wish)
    }

    /// What is wanted, whether or not it is being worked on.
    #[must_use]
    pub fn wish(&self) -> Option<&Desired> {
        self.cx.wish.as_ref()
    }

    /// Lets states go on for which the time or a condition has come.
    fn settle(&mut self, now: Instant) {
        for _ in 0..MAX_STEPS {
            if !self.go(|state, cx| state.step(cx, now)) {
                return;
            }
        }
        self.logic_bug();
    }

    /// Takes one step; whether the state changed.
    fn go(&mut self, step: impl FnOnce(State, &mut Context) -> Step) -> bool {
        let from = self.state.name();
        let state = core::mem::replace(&mut self.state, State::Idle(Idle));
        match step(state, &mut self.cx) {
            Step::Stay(state) => {
                self.state = state;
                false
            }
            Step::Go(trigger, state) => {
                if transitions::allowed(from, trigger, state.name()) {
                    #[cfg(test)]
                    tests::walked(from, trigger, state.name());
                    self.state = state;
                } else {
                    self.logic_bug();
                }
                true
            }
        }
    }

    /// A step that cannot be. The engine rests: the wish is not touched again in this boot, and the report says why.
    fn logic_bug(&mut self) {
        self.state = State::Idle(Idle);
        self.cx.settled = true;
        let report = self.cx.number(
            EventKind::Failed,
            None,
            Some(FailureCode::LogicBug),
            Text::new(),
        );
        self.cx.report(report);
    }
}
