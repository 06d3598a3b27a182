//! The time that the whole device side counts in: microseconds since boot.
//!
//! Nothing here reads a clock. Whoever needs the time is given `now`, so that every decision can be replayed, and so that
//! simulated devices run in virtual time. All arithmetic saturates: a deadline that does not fit is "never", not "long ago".

mod duration;

use core::fmt;
use core::ops::{Add, AddAssign, Sub};

pub use duration::Duration;

/// A moment, in microseconds since this boot. It starts at zero with every boot and says nothing about the wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The moment of the boot.
    pub const ZERO: Self = Self(0);
    /// A moment that never comes (584,000 years after the boot).
    pub const MAX: Self = Self(u64::MAX);

    /// The moment `micros` microseconds after the boot.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The moment `millis` milliseconds after the boot; [`Instant::MAX`] if that does not fit.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// The moment `secs` seconds after the boot; [`Instant::MAX`] if that does not fit.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since the boot.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the boot.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }

    /// Whole seconds since the boot.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000
    }

    /// The time from `earlier` to `self`; zero if `earlier` is the later one.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// `self + duration`, at most [`Instant::MAX`].
    #[must_use]
    pub const fn saturating_add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_micros()))
    }

    /// `self - duration`, at least [`Instant::ZERO`].
    #[must_use]
    pub const fn saturating_sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(duration.as_micros()))
    }

    /// The earlier of two moments, where `None` never comes.
    #[must_use]
    pub fn earliest(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        match (a, b) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (Some(at), None) | (None, Some(at)) => Some(at),
            (None, None) => None,
        }
    }
}

/// Saturates, see [`Instant::saturating_add`].
impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        self.saturating_add(duration)
    }
}

/// Saturates, see [`Instant::saturating_add`].
impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = self.saturating_add(duration);
    }
}

/// Saturates, see [`Instant::saturating_sub`].
impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        self.saturating_sub(duration)
    }
}

/// The time between two moments; zero if the right one is the later one, see [`Instant::since`].
impl Sub for Instant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

/// Seconds with milliseconds, as a log line shows it: `12.345s`.
impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}s", self.as_secs(), self.as_millis() % 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn a_deadline_that_does_not_fit_never_comes() {
        assert_eq!(Instant::from_secs(u64::MAX), Instant::MAX);
        assert_eq!(Instant::MAX + Duration::from_micros(1), Instant::MAX);
        assert_eq!(Instant::from_secs(1) + Duration::MAX, Instant::MAX);
        assert_eq!(Instant::from_secs(1) - Duration::MAX, Instant::ZERO);
    }

    #[test]
    fn time_never_runs_backwards_between_two_moments() {
        let early = Instant::from_millis(5);
        let late = Instant::from_secs(2);
        assert_eq!(late - early, Duration::from_millis(1_995));
        assert_eq!(early - late, Duration::ZERO);
    }

    #[test]
    fn nothing_is_later_than_something_when_the_earliest_is_asked_for() {
        let at = Instant::from_secs(3);
        assert_eq!(Instant::earliest(None, None), None);
        assert_eq!(Instant::earliest(Some(at), None), Some(at));
        assert_eq!(Instant::earliest(None, Some(at)), Some(at));
        assert_eq!(
            Instant::earliest(Some(at), Some(Instant::ZERO)),
            Some(Instant::ZERO)
        );
    }

    #[test]
    fn a_moment_is_shown_in_seconds_with_milliseconds() {
        assert_eq!(Instant::from_millis(12_345).to_string(), "12.345s");
    }
}
