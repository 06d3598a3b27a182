//! What time it is: as time servers say, and never before what is certain.
//!
//! Three things are known of the wall clock. They are not worth the same:
//!
//! | what | who says so | kept |
//! |---|---|---|
//! | [`BUILT`] | the running image, which is signed | in the image |
//! | the floor | signed moments: when a confirmed package was made, when a verified server's certificate began | in the journal |
//! | the learned time | time servers ([`sntp`]), whom nobody has to believe; or the board | until the restart |
//!
//! A certificate is looked at with [`validity_time`], which is the latest of the three.
//!
//! # What a time server that lies can do
//! It can say any time from the floor on, until the restart or until two answers in a row agree on another one ([`WallClock`]).
//! Nothing that it says goes into flash: the floor rises only to a moment that somebody has signed whom the device trusts, and
//! only if by the learned time that moment has passed ([`witness`]). So neither a liar alone nor a signer whose own clock is
//! wrong can move the floor into the future, where every certificate would have run out for ever.
//!
//! # Wear
//! The floor is written when an image is confirmed, and when it has risen by more than a day ([`FLOOR_STEP`]): one cell of the
//! journal each time.

mod client;
pub mod sntp;
#[cfg(test)]
mod tests;
mod wall;

pub use client::{MAX_SERVERS, Outcome, PATIENCE, Sntp};
pub use wall::{Learned, WallClock};

use crate::board::Clock;

/// No version of Otaria is older than 1 January 2026.
const RELEASED: u64 = 1_767_225_600;

/// A time in unix seconds before which the running image was not there: `OTARIA_BUILT` of the build's environment, as
/// `cargo xtask firmware` sets it from the commit; never before Otaria was released.
pub const BUILT: u64 = match option_env!("OTARIA_BUILT") {
    Some(digits) => later(seconds(digits.as_bytes()), RELEASED),
    None => RELEASED,
};

/// The floor in flash follows the one in memory in steps of this many seconds: a day.
pub const FLOOR_STEP: u64 = 24 * 60 * 60;

/// With what time a certificate is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ValidityTime {
    /// Unix seconds. The true time is this one if it is known, and else this one or later.
    pub seconds: u64,
    /// Whether the time was learned. If it was not, a certificate that is not valid *yet* may be valid by now, and only one that
    /// has run out is refused: a device that has been in a box for a year meets servers whose certificates are younger than itself.
    pub is_known: bool,
}

impl ValidityTime {
    /// Whether something that is valid from `not_before` to `not_after` may be valid now.
    ///
    /// # Errors
    /// See [`NotValid`].
    pub const fn check(self, not_before: u64, not_after: u64) -> Result<(), NotValid> {
        if self.seconds > not_after {
            Err(NotValid::Expired)
        } else if self.is_known && self.seconds < not_before {
            Err(NotValid::NotYet)
        } else {
            Ok(())
        }
    }
}

/// Why something is not valid at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotValid {
    /// It has run out.
    Expired,
    /// It begins later.
    NotYet,
}

/// The time by which certificates are judged: the latest of the floor, the image's own time, and the learned time.
#[must_use]
pub const fn validity_time(floor: u64, built: u64, learned: Option<u64>) -> ValidityTime {
    let certain = later(floor, built);
    match learned {
        Some(seconds) if seconds >= certain => ValidityTime {
            seconds,
            is_known: true,
        },
        Some(_) | None => ValidityTime {
            seconds: certain,
            is_known: false,
        },
    }
}

/// [`validity_time`] by a board's clock.
pub fn validity_time_of<K: Clock>(clock: &K) -> ValidityTime {
    validity_time(clock.time_floor(), BUILT, clock.unix_time())
}

/// Somebody whom the device trusts has signed that `moment` has passed. If the learned time says so as well, it is a floor.
pub fn witness<K: Clock>(clock: &K, moment: u64) {
    if clock.unix_time().is_some_and(|now| moment <= now) {
        clock.raise_time_floor(moment);
    }
}

const fn later(a: u64, b: u64) -> u64 {
    if a > b { a } else { b }
}

/// A number of a build's environment.
#[allow(
    clippy::panic,
    clippy::indexing_slicing,
    reason = "evaluated while compiling"
)]
const fn seconds(digits: &[u8]) -> u64 {
    let mut value: u64 = 0;
    let mut at = 0;
    while at < digits.len() {
        assert!(
            digits[at].is_ascii_digit() && at < 12,
            "OTARIA_BUILT is not a number of seconds since 1970"
        );
        value = value * 10 + (digits[at] - b'0') as u64;
        at += 1;
    }
    value
}
