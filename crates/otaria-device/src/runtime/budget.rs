//! How many records may be written because somebody sent a message.

use core::cell::Cell;

use crate::board::{Duration, Instant};

/// Records that may be written at once.
const BURST: u8 = 20;
/// One more after each of these. Ten thousand a day: a journal sector is then erased less than once in an hour.
const REFILL: Duration = Duration::from_secs(8);

/// A bucket of tokens: whoever may publish to a device must not be able to wear out its flash.
#[derive(Debug)]
pub(super) struct Budget {
    tokens: Cell<u8>,
    since: Cell<Instant>,
}

impl Budget {
    pub(super) const fn new() -> Self {
        Self {
            tokens: Cell::new(BURST),
            since: Cell::new(Instant::ZERO),
        }
    }

    /// Whether one more record may be written at `now`.
    pub(super) fn take(&self, now: Instant) -> bool {
        while self.tokens.get() < BURST && now >= self.since.get() + REFILL {
            self.tokens.set(self.tokens.get() + 1);
            self.since.set(self.since.get() + REFILL);
        }
        if self.tokens.get() == BURST {
            self.since.set(now);
        }
        let Some(left) = self.tokens.get().checked_sub(1) else {
            return false;
        };
        self.tokens.set(left);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_allowed_and_after_it_one_at_a_time() {
        let budget = Budget::new();
        let start = Instant::from_secs(1_000);
        let burst = (0..100).filter(|_| budget.take(start)).count();
        assert_eq!(burst, usize::from(BURST));
        let hour = (1..=3_600)
            .filter(|second| budget.take(start + Duration::from_secs(*second)))
            .count();
        assert_eq!(hour, 450);
    }

    #[test]
    fn a_long_silence_brings_back_one_burst_and_no_more() {
        let budget = Budget::new();
        while budget.take(Instant::ZERO) {}
        let later = Instant::from_secs(1_000_000);
        assert_eq!(
            (0..100).filter(|_| budget.take(later)).count(),
            usize::from(BURST)
        );
    }
}
