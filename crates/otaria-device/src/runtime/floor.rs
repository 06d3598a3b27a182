//! The time floor between clock and journal; the rule is in [`crate::time`].

use embedded_storage::nor_flash::NorFlash;
use otaria_wire::journal::TimeFloor;
use otaria_wire::messages::Level;

use super::shared::Shared;
use crate::board::{Board, Clock};
use crate::time::{self, BUILT, FLOOR_STEP};

impl<B: Board, K: Clock, F: NorFlash> Shared<'_, B, K, F> {
    /// The clock learns the floor that is in flash. Without a record, or with one that cannot be read, it has the image's own.
    pub(super) fn restore_time_floor(&self) {
        match self.stores.journal.borrow_mut().latest::<TimeFloor>(0) {
            Ok(None) => {}
            Ok(Some(TimeFloor { seconds })) => {
                self.floor_in_flash.set(seconds);
                self.clock.raise_time_floor(seconds);
            }
            Err(error) => self.note(Level::Error, format_args!("time floor: {error}")),
        }
    }

    /// Flash follows the clock's floor once that has risen by a day. The image's own time needs no record: the image has it.
    pub(super) fn follow_time_floor(&self) {
        let known = self.floor_in_flash.get().max(BUILT);
        if self.clock.time_floor() >= known.saturating_add(FLOOR_STEP) {
            self.keep_time_floor();
        }
    }

    /// The running image is confirmed, and its package was made at `created`: neither may be forgotten by an older image that
    /// comes back.
    pub(super) fn time_has_passed(&self, created: u64) {
        time::witness(self.clock, created);
        self.keep_time_floor();
    }

    fn keep_time_floor(&self) {
        let seconds = self.clock.time_floor();
        if seconds <= self.floor_in_flash.get() {
            return;
        }
        // Not tried again before it has risen by another day: a journal that takes nothing must not be asked at every turn.
        self.floor_in_flash.set(seconds);
        let mut journal = self.stores.journal.borrow_mut();
        if let Err(error) = journal.append(0, &TimeFloor { seconds }) {
            self.note(Level::Error, format_args!("time floor: {error}"));
        }
    }
}
