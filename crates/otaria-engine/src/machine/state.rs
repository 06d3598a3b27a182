//! The states, and what they have in common.

use otaria_wire::messages::Phase;

use super::context::Context;
use super::interface::{Action, Event, Status};
use super::run::Run;
use super::transitions::{StateName, Trigger};
use super::trial::{Closing, Confirming, Inconclusive, Reactivating, RollingBack, Trial};
use super::update::{Activating, Backoff, Checking, Downloading, Idle, Rebooting, Verifying};
use crate::time::Instant;

/// One struct per state: its fields exist only when they mean something.
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

/// What an event made of a state.
#[derive(Debug)]
pub(super) enum Step {
    Stay(State),
    Go(Trigger, State),
}

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
    pub(super) fn complete(self, cx: &mut Context, now: Instant, event: Event<'_>) -> Step {
        each!(self, state => state.complete(cx, now, event))
    }

    /// Time or an input: whether the state has come to its end.
    pub(super) fn step(self, cx: &mut Context, now: Instant) -> Step {
        each!(self, state => state.step(cx, now))
    }

    pub(super) fn action(&mut self, cx: &mut Context, now: Instant) -> Option<Action> {
        each!(self, state => state.action(cx, now))
    }

    pub(super) fn poll_at(&self, cx: &Context, now: Instant) -> Option<Instant> {
        each!(self, state => state.poll_at(cx, now))
    }

    /// The job that is being worked on.
    pub(super) fn run(&self) -> Option<&Run> {
        match self {
            Self::Checking(Checking { run, .. })
            | Self::Downloading(Downloading { run, .. })
            | Self::Backoff(Backoff { run, .. })
            | Self::Verifying(Verifying { run, .. })
            | Self::Activating(Activating { run, .. }) => Some(run),
            Self::Idle(_)
            | Self::Rebooting(_)
            | Self::Trial(_)
            | Self::Confirming(_)
            | Self::RollingBack(_)
            | Self::Inconclusive(_)
            | Self::Reactivating(_)
            | Self::Closing(_) => None,
        }
    }

    pub(super) fn status(&self) -> Status {
        let (phase, job) = match self {
            Self::Idle(_) => (Phase::Idle, None),
            Self::Checking(Checking { run, .. }) => (Phase::Checking, run.job()),
            Self::Downloading(Downloading { run, .. }) => (Phase::Downloading, run.job()),
            Self::Backoff(Backoff { run, .. }) => match run.identity {
                Some(_) => (Phase::Downloading, run.job()),
                None => (Phase::Checking, run.job()),
            },
            Self::Verifying(Verifying { run, .. }) => (Phase::Verifying, run.job()),
            Self::Activating(Activating { run, .. }) => (Phase::Activating, run.job()),
            Self::Rebooting(Rebooting { job, .. }) => (Phase::Rebooting, job.clone()),
            Self::Trial(Trial { job, .. })
            | Self::Confirming(Confirming {
                trial: Trial { job, .. },
                ..
            }) => (Phase::Trial, Some(job.job.clone())),
            Self::RollingBack(RollingBack { job, .. }) => (Phase::Rebooting, Some(job.clone())),
            Self::Inconclusive(Inconclusive { job, .. }) | Self::Closing(Closing { job, .. }) => {
                (Phase::Idle, Some(job.job.clone()))
            }
            Self::Reactivating(Reactivating { job, .. }) => {
                (Phase::Activating, Some(job.job.clone()))
            }
        };
        let (done, total) = self.run().map_or((0, 0), |run| (run.done, run.total));
        Status {
            state: self.name(),
            phase,
            job,
            done,
            total,
        }
    }
}
