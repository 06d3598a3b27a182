//! What is known about the job in hand.

use otaria_wire::Sha256Digest;
use otaria_wire::messages::{Desired, FailureCode, Job};

use super::interface::{Admitted, JobRef};
use crate::admission::job_name;
use crate::retry::{Disposition, disposition};

/// The job in hand: an update under way, or the job of a trial. At most one is, so it lives once, in the context; a state says
/// how far the job is, not which it is. In Idle, where none is in hand, nobody looks at what the last one has left.
#[derive(Debug, Default)]
pub(super) struct Run {
    /// The wish; of a trial's job, as much of it as the journal knows.
    pub(super) wish: Desired,
    /// The job's name: the wish's, or the package's identity once that is known.
    pub(super) name: Option<Job>,
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
            name: wish.job.clone(),
            wish,
            ..Self::default()
        }
    }

    /// The job of a trial.
    pub(super) fn of(job: JobRef) -> Self {
        Self::new(Desired {
            job: Some(job.job),
            url: job.url,
            ..Desired::default()
        })
    }

    /// Whether a wish asks for this job. One without a name is named by its package, which is what its URL leads to.
    pub(super) fn is_for(&self, wish: &Desired) -> bool {
        match &wish.job {
            Some(_) => wish.job == self.name,
            None => wish.url == self.wish.url,
        }
    }

    pub(super) fn admitted(&mut self, admitted: Admitted) {
        self.identity = Some(admitted.identity);
        self.name = Some(job_name(&self.wish, &admitted.identity));
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
