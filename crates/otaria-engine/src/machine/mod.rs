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
use trial::{Inconclusive, Trial};
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
    pub fn new(now: Instant, policy: Policy, mut facts: BootFacts) -> Self {
        let role = core::mem::take(&mut facts.role);
        let mut cx = Context::new(policy, facts);
        let state = match role {
            BootRole::Plain => State::Idle(Idle),
            BootRole::OnTrial(job) => State::Trial(Trial::new(&mut cx, now, job)),
            BootRole::Inconclusive(job) => {
                State::Inconclusive(Inconclusive::new(&mut cx, now, job))
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
                let n = self.cx.next_number();
                self.cx.queue(Report {
                    code: Some(code),
                    of_message: true,
                    ..Report::new(n, EventKind::Refused)
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
                let step = self.state.complete(&mut self.cx, now, event);
                self.go(step);
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
    pub fn status(&self) -> Status<'_> {
        self.state.status(&self.cx.run)
    }

    /// The wish that is being worked on.
    #[must_use]
    pub fn job(&self) -> Option<&Desired> {
        self.state.is_update().then_some(&self.cx.run.wish)
    }

    /// What is wanted, whether or not it is being worked on.
    #[must_use]
    pub fn wish(&self) -> Option<&Desired> {
        self.cx.wish.as_ref()
    }

    /// Lets states go on for which the time or a condition has come.
    fn settle(&mut self, now: Instant) {
        for _ in 0..MAX_STEPS {
            let step = self.state.step(&mut self.cx, now);
            if !self.go(step) {
                return;
            }
        }
        self.logic_bug();
    }

    /// Takes a step, if there is one; whether the state changed.
    fn go(&mut self, step: Step) -> bool {
        let Some((trigger, next)) = step else {
            return false;
        };
        let (from, to) = (self.state.name(), next.name());
        if transitions::allowed(from, trigger, to) {
            #[cfg(test)]
            tests::walked(from, trigger, to);
            self.state = next;
        } else {
            self.logic_bug();
        }
        true
    }

    /// A step that cannot be. The engine rests: the wish is not touched again in this boot, and the report says why.
    fn logic_bug(&mut self) {
        self.state = State::Idle(Idle);
        self.cx.settled = true;
        let n = self.cx.next_number();
        self.cx.queue(Report {
            code: Some(FailureCode::LogicBug),
            ..Report::new(n, EventKind::Failed)
        });
    }
}
