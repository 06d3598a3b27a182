//! What is known about the job that is being worked on.

use otaria_wire::Sha256Digest;
use otaria_wire::messages::{Desired, FailureCode, Job};

use super::interface::Admitted;
use crate::admission::job_name;
use crate::retry::{Disposition, disposition};

/// A job under way, handed on from state to state.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) wish: Desired,
    /// Known from the moment that the header is admitted.
    pub(super) identity: Option<Sha256Digest>,
    pub(super) total: u32,
    pub(super) done: u32,
    /// The most that was ever done: only going beyond it counts as progress, so that a file that keeps changing, or a server
    /// that keeps closing at the same place, uses up its retries.
    best: u32,
    /// Tries in a row that brought no progress.
    pub(super) failures: u8,
    /// The last failure that is tried again only so often, and how often it came.
    counted: Option<(FailureCode, u8)>,
    /// The quick retries are used up, and that was said.
    pub(super) slow: bool,
}

impl Run {
    pub(super) fn new(wish: Desired) -> Self {
        Self {
            wish,
            identity: None,
            total: 0,
            done: 0,
            best: 0,
            failures: 0,
            counted: None,
            slow: false,
        }
    }

    /// The job's name: the wish's, or the package's identity once that is known.
    pub(super) fn job(&self) -> Option<Job> {
        match self.identity {
            Some(identity) => Some(job_name(&self.wish, &identity)),
            None => self.wish.job.clone(),
        }
    }

    pub(super) fn admitted(&mut self, admitted: Admitted) {
        self.identity = Some(admitted.identity);
        self.total = admitted.total;
        self.progress(admitted.held);
    }

    pub(super) fn progress(&mut self, done: u32) {
        self.done = done;
        if done > self.best {
            self.best = done;
            self.failures = 0;
            self.slow = false;
        }
    }

    /// Counts a failure; whether it is final.
    pub(super) fn failed(&mut self, code: FailureCode) -> bool {
        self.failures = self.failures.saturating_add(1);
        match disposition(code) {
            Disposition::Final => true,
            Disposition::Transient => false,
            Disposition::Again(limit) => {
                let times = match self.counted {
                    Some((last, times)) if last == code => times.saturating_add(1),
                    Some(_) | None => 1,
                };
                self.counted = Some((code, times));
                times > limit
            }
        }
    }
}
