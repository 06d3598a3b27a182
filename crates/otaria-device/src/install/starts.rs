//! The account of downloads that were begun, between the engine's rule and the journal.

use core::cell::Cell;

use embedded_storage::nor_flash::NorFlash;
use otaria_engine::wear::{self, Try};
use otaria_wire::journal::Wear;

use crate::board::Instant;
use crate::storage::journal::{Journal, JournalError};

/// What was begun so far; the rule is in [`otaria_engine::wear`].
#[derive(Debug)]
pub struct Starts {
    /// As the journal has it.
    account: Cell<Wear>,
    /// The moment that it is of. What ran in earlier boots after it was kept is lost.
    kept_at: Cell<Instant>,
}

impl Starts {
    /// Reads the account, at `now`. One that cannot be read is as good as none.
    pub fn load<R: NorFlash>(journal: &mut Journal<R>, now: Instant) -> Self {
        Self {
            account: Cell::new(journal.latest(0).ok().flatten().unwrap_or_default()),
            kept_at: Cell::new(now),
        }
    }

    /// Whether this try may change flash; the journal knows of it before it does. Else how many seconds it has to wait.
    ///
    /// # Errors
    /// The journal does not take it.
    pub(super) fn begin<R: NorFlash>(
        &self,
        journal: &mut Journal<R>,
        now: Instant,
        attempt: &Try,
    ) -> Result<Result<(), u32>, JournalError> {
        match wear::begin(&self.account.get(), self.passed(now), attempt) {
            Ok(account) => self.keep(journal, now, account).map(Ok),
            Err(wait) => Ok(Err(wait)),
        }
    }

    /// To be called now and then: what has been paid for by running is not lost with the next restart.
    ///
    /// # Errors
    /// The journal does not take it. It is not tried again for a while.
    pub(crate) fn recover<R: NorFlash>(
        &self,
        journal: &mut Journal<R>,
        now: Instant,
    ) -> Result<(), JournalError> {
        match wear::recovered(&self.account.get(), self.passed(now)) {
            Some(account) => self.keep(journal, now, account),
            None => Ok(()),
        }
    }

    /// Whole seconds since the account was kept: what is cut off is lost to who asks often.
    fn passed(&self, now: Instant) -> u32 {
        u32::try_from((now - self.kept_at.get()).as_secs()).unwrap_or(u32::MAX)
    }

    fn keep<R: NorFlash>(
        &self,
        journal: &mut Journal<R>,
        now: Instant,
        account: Wear,
    ) -> Result<(), JournalError> {
        self.account.set(account);
        self.kept_at.set(now);
        journal.append(0, &account)
    }
}
