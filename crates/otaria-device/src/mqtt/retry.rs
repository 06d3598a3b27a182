//! How long to wait before the next attempt.

use crate::board::Duration;

use super::MqttError;

/// The pause after the first failure is between half of this and all of it; each further one doubles it.
const FIRST: Duration = Duration::from_secs(2);
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60);
/// The pause (again: half of it to all of it) when another client has taken the session over. Two devices with one id throw
/// each other out for ever; at this pace they do no harm, and both still can be found and told apart.
const TAKEN_OVER: Duration = Duration::from_secs(300);
/// A connection that lasted this long was a good one: the next failure starts with the shortest pause again.
const GOOD: Duration = Duration::from_secs(60);

/// Exponential backoff with jitter: the devices of a fleet must not all come back in the same moment.
#[derive(Debug)]
pub(super) struct Retry {
    failures: u32,
    random: u64,
}

impl Retry {
    /// `seed` has to differ between devices.
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            failures: 0,
            random: seed,
        }
    }

    /// The pause after a connection that failed for `why`, having been up for `lasted`, if it ever was.
    pub(super) fn pause(&mut self, why: &MqttError, lasted: Option<Duration>) -> Duration {
        if lasted.is_some_and(|lasted| lasted >= GOOD) {
            self.failures = 0;
        }
        let longest = if *why == MqttError::TakenOver {
            TAKEN_OVER
        } else {
            let factor = 1u32.checked_shl(self.failures).unwrap_or(u32::MAX);
            self.failures = self.failures.saturating_add(1);
            FIRST.saturating_mul(factor).min(LONGEST)
        };
        let half = longest / 2;
        half + half * (self.random() >> 16) / u32::from(u16::MAX)
    }

    /// 32 random bits (splitmix64).
    fn random(&mut self) -> u32 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::LinkError;
    use std::vec::Vec;

    const CLOSED: MqttError = MqttError::Link(LinkError::Closed);

    #[test]
    fn pauses_double_from_a_second_to_a_minute() {
        for seed in 0..50 {
            let mut retry = Retry::new(seed);
            for longest in [2, 4, 8, 16, 32, 60, 60, 60] {
                let pause = retry.pause(&CLOSED, None);
                let longest = Duration::from_secs(longest);
                assert!(
                    pause >= longest / 2 && pause <= longest,
                    "{pause:?} of {longest:?}"
                );
            }
        }
    }

    #[test]
    fn only_a_connection_that_lasted_shortens_the_pause_again() {
        let mut retry = Retry::new(1);
        for _ in 0..10 {
            retry.pause(&CLOSED, Some(Duration::from_secs(59)));
        }
        assert!(retry.pause(&CLOSED, None) >= LONGEST / 2);
        assert!(retry.pause(&CLOSED, Some(GOOD)) <= FIRST);
    }

    #[test]
    fn a_session_that_is_taken_over_waits_for_minutes() {
        let mut retry = Retry::new(1);
        for _ in 0..3 {
            let pause = retry.pause(&MqttError::TakenOver, Some(Duration::from_secs(3_600)));
            assert!(pause >= TAKEN_OVER / 2 && pause <= TAKEN_OVER);
        }
    }

    #[test]
    fn devices_do_not_come_back_together() {
        let pauses: Vec<_> = (0..100)
            .map(|seed| Retry::new(seed).pause(&CLOSED, None))
            .collect();
        let first = Duration::from_millis(1_250);
        let early = pauses.iter().filter(|pause| **pause < first).count();
        assert!((10..40).contains(&early), "{early} in the first quarter");
    }
}
