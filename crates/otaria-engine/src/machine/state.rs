//! The states, and what they have in common.

use otaria_wire::messages::Phase;

use super::context::Context;
use super::interface::{Action, Event, Status};
use super::run::Run;
use super::transitions::{StateName, Trigger};
use super::trial::{Closing, Confirming, Inconclusive, Reactivating, RollingBack, Trial};
use super::update::{Activating, Backoff, Checking, Downloading, Idle, Rebooting, Verifying};
use crate::time::Instant;

/// One struct per state: its fields exist only when they mean something. The job is in the context.
#[derive(Debug)]
pub(super) enum State {
    Idle(Idle),
    Checking(Checking),
    Downloading(Downloading),
    Backoff(Backoff),
    Verifying(Verifying),
    Activating(Activating),
    Rebooting(Rebooting),
    Trial(Trial),
    Confirming(Confirming),
    RollingBack(RollingBack),
    Inconclusive(Inconclusive),
    Reactivating(Reactivating),
    Closing(Closing),
}

// Every step hands the next state on.
const _: () = assert!(size_of::<State>() <= 96);

/// What an event, a time or an input makes of a state: the next one and what led to it, or nothing but what changed within.
pub(super) type Step = Option<(Trigger, State)>;

/// Hands a call on to the struct of the state.
macro_rules! each {
    ($state:expr, $inner:ident => $call:expr) => {
        match $state {
            State::Idle($inner) => $call,
            State::Checking($inner) => $call,
            State::Downloading($inner) => $call,
            State::Backoff($inner) => $call,
            State::Verifying($inner) => $call,
            State::Activating($inner) => $call,
            State::Rebooting($inner) => $call,
            State::Trial($inner) => $call,
            State::Confirming($inner) => $call,
            State::RollingBack($inner) => $call,
            State::Inconclusive($inner) => $call,
            State::Reactivating($inner) => $call,
            State::Closing($inner) => $call,
        }
    };
}

impl State {
    pub(super) fn name(&self) -> StateName {
        match self {
            Self::Idle(_) => StateName::Idle,
            Self::Checking(_) => StateName::Checking,
            Self::Downloading(_) => StateName::Downloading,
            Self::Backoff(_) => StateName::Backoff,
            Self::Verifying(_) => StateName::Verifying,
            Self::Activating(_) => StateName::Activating,
            Self::Rebooting(_) => StateName::Rebooting,
            Self::Trial(_) => StateName::Trial,
            Self::Confirming(_) => StateName::Confirming,
            Self::RollingBack(_) => StateName::RollingBack,
            Self::Inconclusive(_) => StateName::Inconclusive,
            Self::Reactivating(_) => StateName::Reactivating,
            Self::Closing(_) => StateName::Closing,
        }
    }

    /// The completion of an action.
    pub(super) fn complete(&mut self, cx: &mut Context, now: Instant, event: Event<'_>) -> Step {
        each!(self, state => state.complete(cx, now, event))
    }

    /// Time or an input: whether the state has come to its end.
    pub(super) fn step(&mut self, cx: &mut Context, now: Instant) -> Step {
        each!(self, state => state.step(cx, now))
    }

    pub(super) fn action(&mut self, cx: &mut Context, now: Instant) -> Option<Action> {
        each!(self, state => state.action(cx, now))
    }

    pub(super) fn poll_at(&self, cx: &Context, now: Instant) -> Option<Instant> {
        each!(self, state => state.poll_at(cx, now))
    }

    /// Whether a wish is being worked on.
    pub(super) fn is_update(&self) -> bool {
        match self {
            Self::Checking(_)
            | Self::Downloading(_)
            | Self::Backoff(_)
            | Self::Verifying(_)
            | Self::Activating(_) => true,
            Self::Idle(_)
            | Self::Rebooting(_)
            | Self::Trial(_)
            | Self::Confirming(_)
            | Self::RollingBack(_)
            | Self::Inconclusive(_)
            | Self::Reactivating(_)
            | Self::Closing(_) => false,
        }
    }

    pub(super) fn status<'e>(&self, run: &'e Run) -> Status<'e> {
        let job = run.name.as_ref();
        let (phase, job) = match self {
            Self::Idle(_) => (Phase::Idle, None),
            Self::Checking(_) => (Phase::Checking, job),
            Self::Downloading(_) => (Phase::Downloading, job),
            Self::Backoff(_) if run.identity.is_some() => (Phase::Downloading, job),
            Self::Backoff(_) => (Phase::Checking, job),
            Self::Verifying(_) => (Phase::Verifying, job),
            Self::Activating(_) | Self::Reactivating(_) => (Phase::Activating, job),
            Self::Rebooting(_) | Self::RollingBack(_) => (Phase::Rebooting, job),
            Self::Trial(_) | Self::Confirming(_) => (Phase::Trial, job),
            Self::Inconclusive(_) | Self::Closing(_) => (Phase::Idle, job),
        };
        let (done, total) = if self.is_update() {
            (run.done, run.total)
        } else {
            (0, 0)
        };
        Status {
            state: self.name(),
            phase,
            job,
            done,
            total,
        }
    }
}
