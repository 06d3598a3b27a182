//! The wall clock: what was learned of the time, on top of what is certain.

use super::BUILT;
use crate::board::Instant;

/// Answers that differ by less agree: drift of the chip's clock over a day, and the way from the server.
const SLACK: u64 = 10;

/// The time of day, and the floor below which it never goes. Boards keep one, and give it what they learn.
///
/// In a boot it never goes back, with one exception: a time that differs from what is shown by more than ten seconds, either way,
/// is taken once two answers in a row agree on it. So a time server that has lied is put right by those that do not.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    floor: u64,
    /// When the boot was.
    booted: Option<u64>,
    /// When it was by the last answer that nobody else has given so far.
    doubted: Option<u64>,
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learned {
    /// The clock shows it, or shows a little more already.
    Taken,
    /// It is far from what is shown: another answer has to agree.
    Doubted,
    /// It is before the floor, so it is wrong.
    BeforeFloor,
}

impl WallClock {
    /// A clock that knows no time, but when its image was built.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            floor: BUILT,
            booted: None,
            doubted: None,
        }
    }

    /// The board knows the time, from a clock with a battery for example: from `now` on it is `seconds` since 1970.
    pub fn set(&mut self, now: Instant, seconds: u64) {
        self.booted = Some(seconds.saturating_sub(now.as_secs()));
        self.doubted = None;
    }

    /// A time server says that it is `seconds` since 1970.
    pub fn learn(&mut self, now: Instant, seconds: u64) -> Learned {
        if seconds < self.floor {
            return Learned::BeforeFloor;
        }
        let booted = seconds.saturating_sub(now.as_secs());
        let agrees = |other: u64| other.abs_diff(booted) <= SLACK;
        match (self.booted, self.doubted) {
            (Some(shown), _) if agrees(shown) => self.booted = Some(shown.max(booted)),
            (Some(_), doubted) if !doubted.is_some_and(agrees) => {
                self.doubted = Some(booted);
                return Learned::Doubted;
            }
            (Some(_) | None, _) => self.booted = Some(booted),
        }
        self.doubted = None;
        Learned::Taken
    }

    /// Seconds since 1970, if they are known; not below the floor.
    #[must_use]
    pub fn unix_time(&self, now: Instant) -> Option<u64> {
        let shown = self.booted?.saturating_add(now.as_secs());
        Some(shown.max(self.floor))
    }

    /// What is certain.
    #[must_use]
    pub const fn floor(&self) -> u64 {
        self.floor
    }

    /// This moment has passed, too.
    pub fn raise_floor(&mut self, to: u64) {
        self.floor = self.floor.max(to);
    }
}

impl Default for WallClock {
    fn default() -> Self {
        Self::new()
    }
}
