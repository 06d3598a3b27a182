//! How long to wait before the next attempt.

use crate::board::Duration;

use super::MqttError;

/// The pause after the first failure is between half of this and all of it, in milliseconds; each further one doubles it.
const FIRST: u32 = 2_000;
/// The longest pause.
const LONGEST: u32 = 60_000;
/// The pause (again: half of it to all of it) when another client has taken the session over. Two devices with one id throw
/// each other out for ever; at this pace they do no harm, and both still can be found and told apart.
const TAKEN_OVER: u32 = 300_000;
/// A connection that lasted this long was a good one: the next failure starts with the shortest pause again.
const GOOD: Duration = Duration::from_secs(60);

/// Exponential backoff with jitter: the devices of a fleet must not all come back in the same moment.
#[derive(Debug)]
pub(super) struct Retry {
    /// The longest that the next pause may be.
    longest: u32,
    random: u32,
}

impl Retry {
    /// `seed` has to differ between devices.
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            longest: FIRST,
            random: (seed ^ (seed >> 32)) as u32,
        }
    }

    /// The pause after a connection that failed for `why`, having been up for `lasted`, if it ever was.
    pub(super) fn pause(&mut self, why: &MqttError, lasted: Option<Duration>) -> Duration {
        if lasted.is_some_and(|lasted| lasted >= GOOD) {
            self.longest = FIRST;
        }
        let longest = if *why == MqttError::TakenOver {
            TAKEN_OVER
        } else {
            let longest = self.longest;
            self.longest = (longest * 2).min(LONGEST);
            longest
        };
        let half = longest / 2;
        Duration::from_millis(u64::from(half + self.random() % (half + 1)))
    }

    /// 32 random bits: a counter, and the finalizer of MurmurHash3.
    fn random(&mut self) -> u32 {
        self.random = self.random.wrapping_add(0x9E37_79B9);
        let mut z = self.random;
        z = (z ^ (z >> 16)).wrapping_mul(0x85EB_CA6B);
        z = (z ^ (z >> 13)).wrapping_mul(0xC2B2_AE35);
        z ^ (z >> 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::LinkError;
    use std::vec::Vec;

    const fn millis(millis: u32) -> Duration {
        Duration::from_millis(millis as u64)
    }

    const CLOSED: MqttError = MqttError::Link(LinkError::Closed);

    #[test]
    fn pauses_double_from_a_second_to_a_minute() {
        for seed in 0..50 {
            let mut retry = Retry::new(seed);
            for longest in [2, 4, 8, 16, 32, 60, 60, 60] {
                let pause = retry.pause(&CLOSED, None);
                let longest = longest * 1_000;
                assert!(
                    pause >= millis(longest / 2) && pause <= millis(longest),
                    "{pause:?} of {longest} ms"
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
        assert!(retry.pause(&CLOSED, None) >= millis(LONGEST / 2));
        assert!(retry.pause(&CLOSED, Some(GOOD)) <= millis(FIRST));
    }

    #[test]
    fn a_session_that_is_taken_over_waits_for_minutes() {
        let mut retry = Retry::new(1);
        for _ in 0..3 {
            let pause = retry.pause(&MqttError::TakenOver, Some(Duration::from_secs(3_600)));
            assert!(pause >= millis(TAKEN_OVER / 2) && pause <= millis(TAKEN_OVER));
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
