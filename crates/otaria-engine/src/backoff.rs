//! How long to wait before the next try.

use crate::rng::Rng;
use crate::time::Duration;

/// The waits between tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffPolicy {
    /// Before the second try, at most.
    pub first: Duration,
    /// Each further wait is twice as long, up to this.
    pub longest: Duration,
    /// Quick retries that bring no progress before the device turns to slow ones.
    pub budget: u8,
    /// From then on: as long as the wish stands, at about this interval.
    pub slow: Duration,
}

impl BackoffPolicy {
    /// 2 s doubling to 5 min, eight quick retries, then hourly.
    pub const DEFAULT: Self = Self {
        first: Duration::from_secs(2),
        longest: Duration::from_secs(300),
        budget: 8,
        slow: Duration::from_secs(3_600),
    };
}

impl Default for BackoffPolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A wait, and whether it is one of the slow ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// How long.
    pub delay: Duration,
    /// The quick retries are used up.
    pub slow: bool,
}

impl Wait {
    /// At least what the other side has asked for, and a random tenth of it: all that it has turned away have been told the same.
    /// It is only a courier, so the longest quick wait is the most that it can ask for.
    pub(crate) fn not_before(self, after: Duration, policy: &BackoffPolicy, rng: &mut Rng) -> Self {
        let after = after.min(policy.longest);
        let asked = after.saturating_add(fraction(after / 10, rng));
        Self {
            delay: self.delay.max(asked),
            ..self
        }
    }
}

/// The wait after `failures` tries in a row without progress (1 after the first).
///
/// A quick wait lies between half and all of its exponential value, a slow one between nine and eleven tenths of the interval:
/// a thousand devices that lost the same server do not come back in the same second.
pub(crate) fn wait(policy: &BackoffPolicy, failures: u8, rng: &mut Rng) -> Wait {
    if failures > policy.budget {
        let tenth = policy.slow / 10;
        let delay = policy.slow - tenth + fraction(tenth * 2, rng);
        return Wait { delay, slow: true };
    }
    let doublings = failures.saturating_sub(1).min(31);
    let full = (policy.first * (1 << doublings)).min(policy.longest);
    let half = full / 2;
    Wait {
        delay: half + fraction(full - half, rng),
        slow: false,
    }
}

/// A random part of a duration.
fn fraction(of: Duration, rng: &mut Rng) -> Duration {
    Duration::from_micros(((u128::from(of.as_micros()) * u128::from(rng.next())) >> 64) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    #[test]
    fn waits_double_up_to_the_longest_and_then_turn_slow() {
        let policy = BackoffPolicy::DEFAULT;
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            for failures in 1..=policy.budget {
                let full = Duration::from_secs(1 << failures).min(policy.longest);
                let Wait { delay, slow } = wait(&policy, failures, &mut rng);
                assert!(
                    !slow && delay >= full / 2 && delay <= full,
                    "{failures}: {delay:?}"
                );
            }
            for failures in [policy.budget + 1, 100, 255] {
                let Wait { delay, slow } = wait(&policy, failures, &mut rng);
                assert!(slow && delay >= policy.slow * 9 / 10 && delay <= policy.slow * 11 / 10);
            }
        }
    }

    #[test]
    fn who_asks_for_time_gets_it_but_not_for_ever() {
        let policy = BackoffPolicy::DEFAULT;
        for seed in 0..200 {
            let mut rng = Rng::new(seed);
            let mut after = |secs| {
                let quick = wait(&policy, 1, &mut rng);
                quick.not_before(Duration::from_secs(secs), &policy, &mut rng)
            };
            let seconds = |secs| Duration::from_secs(secs);
            assert!(after(0).delay <= policy.first);
            assert!((seconds(30)..=seconds(33)).contains(&after(30).delay));
            for long in [300, 86_400, u64::from(u32::MAX)] {
                let delay = after(long).delay;
                assert!((policy.longest..=policy.longest * 11 / 10).contains(&delay));
            }
            assert!(!after(86_400).slow);
        }
    }

    #[test]
    fn the_same_seed_waits_alike_and_another_does_not() {
        let waits = |seed| {
            let mut rng = Rng::new(seed);
            (1..=8)
                .map(|failures| wait(&BackoffPolicy::DEFAULT, failures, &mut rng).delay)
                .collect::<Vec<_>>()
        };
        assert_eq!(waits(7), waits(7));
        assert_ne!(waits(7), waits(8));
    }

    #[test]
    fn no_policy_overflows() {
        let policy = BackoffPolicy {
            first: Duration::MAX,
            longest: Duration::MAX,
            budget: 255,
            slow: Duration::MAX,
        };
        let mut rng = Rng::new(1);
        for failures in 0..=255 {
            wait(&policy, failures, &mut rng);
        }
        wait(
            &BackoffPolicy {
                budget: 0,
                ..policy
            },
            1,
            &mut rng,
        );
    }
}
