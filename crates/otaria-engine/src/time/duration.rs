//! A span of time.

use core::fmt;
use core::ops::{Add, AddAssign, Div, Mul, Sub};

/// A span of time in microseconds: one number of 64 bits, where [`core::time::Duration`] has seconds and nanoseconds, which a
/// 32-bit core converts with every addition.
///
/// All arithmetic saturates: a span that does not fit is [`Duration::MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(u64);

impl Duration {
    /// No time.
    pub const ZERO: Self = Self(0);
    /// For ever (584,000 years).
    pub const MAX: Self = Self(u64::MAX);

    /// So many microseconds.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// So many milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// So many seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1_000_000))
    }

    /// Microseconds.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Whole milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }

    /// Whole seconds.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000
    }

    /// `self + other`, at most [`Duration::MAX`].
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// `self - other`, at least [`Duration::ZERO`].
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// `self * by`, at most [`Duration::MAX`].
    #[must_use]
    pub const fn saturating_mul(self, by: u32) -> Self {
        Self(self.0.saturating_mul(by as u64))
    }
}

/// Saturates, see [`Duration::saturating_add`].
impl Add for Duration {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        self.saturating_add(other)
    }
}

/// Saturates, see [`Duration::saturating_add`].
impl AddAssign for Duration {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

/// Saturates, see [`Duration::saturating_sub`].
impl Sub for Duration {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        self.saturating_sub(other)
    }
}

/// Saturates, see [`Duration::saturating_mul`].
impl Mul<u32> for Duration {
    type Output = Self;

    fn mul(self, by: u32) -> Self {
        self.saturating_mul(by)
    }
}

/// Saturates, see [`Duration::saturating_mul`].
impl Mul<Duration> for u32 {
    type Output = Duration;

    fn mul(self, span: Duration) -> Duration {
        span * self
    }
}

/// [`Duration::MAX`] if `by` is zero.
impl Div<u32> for Duration {
    type Output = Self;

    fn div(self, by: u32) -> Self {
        self.0.checked_div(u64::from(by)).map_or(Self::MAX, Self)
    }
}

/// For hosts: what is finer than a microsecond is cut off, what does not fit is [`Duration::MAX`].
impl From<core::time::Duration> for Duration {
    fn from(duration: core::time::Duration) -> Self {
        u64::try_from(duration.as_micros()).map_or(Self::MAX, Self)
    }
}

impl From<Duration> for core::time::Duration {
    fn from(duration: Duration) -> Self {
        Self::from_micros(duration.0)
    }
}

/// Seconds with milliseconds: `12.345s`.
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}s", self.as_secs(), self.as_millis() % 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_that_does_not_fit_lasts_for_ever() {
        assert_eq!(Duration::from_secs(u64::MAX), Duration::MAX);
        assert_eq!(Duration::from_millis(u64::MAX), Duration::MAX);
        assert_eq!(Duration::MAX + Duration::from_micros(1), Duration::MAX);
        assert_eq!(Duration::MAX * 2, Duration::MAX);
        assert_eq!(Duration::from_secs(1) / 0, Duration::MAX);
    }

    #[test]
    fn no_span_is_shorter_than_none() {
        assert_eq!(
            Duration::from_secs(1) - Duration::from_secs(2),
            Duration::ZERO
        );
    }

    #[test]
    fn a_span_of_the_host_keeps_its_microseconds() {
        let host = core::time::Duration::new(12, 345_678_999);
        let span = Duration::from(host);
        assert_eq!(span.as_micros(), 12_345_678);
        assert_eq!(
            core::time::Duration::from(span),
            core::time::Duration::from_micros(12_345_678)
        );
        assert_eq!(Duration::from(core::time::Duration::MAX), Duration::MAX);
    }
}
