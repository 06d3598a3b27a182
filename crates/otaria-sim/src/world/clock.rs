//! The clock of a simulated device.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;

use otaria_device::board::{Clock, Instant};

use super::Handle;
use crate::flash::Busy;

/// A device's clock in a world: microseconds since the boot.
///
/// It runs on during flash commands, although the world has not gone on yet: code that looks at the clock before and after an
/// erase sees how long the erase took.
#[derive(Clone)]
pub struct SimClock {
    world: Handle,
    booted: Duration,
    busy: Busy,
    unix_at_start: Option<u64>,
}

impl SimClock {
    /// A clock that shows 0 now. `busy` is the account of the device's flash.
    pub fn boot(world: Handle, busy: Busy) -> Self {
        SimClock {
            booted: world.now(),
            world,
            busy,
            unix_at_start: None,
        }
    }

    /// The same clock for a board that knows the date: it was `seconds` since 1970 when the world began.
    #[must_use]
    pub fn with_unix_time(mut self, seconds: u64) -> Self {
        self.unix_at_start = Some(seconds);
        self
    }

    fn elapsed(&self) -> Duration {
        self.world.now() + self.busy.pending() - self.booted
    }
}

impl Clock for SimClock {
    fn now(&self) -> Instant {
        Instant::ZERO + self.elapsed().into()
    }

    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> {
        // Rounded up to a microsecond of the device's clock, else it would find itself woken too early.
        let wake = self
            .booted
            .saturating_add(Duration::from_micros(at.as_micros()));
        async move {
            let mut sleep = pin!(self.world.sleep_until(wake));
            poll_fn(|cx| {
                if self.now() >= at {
                    Poll::Ready(())
                } else {
                    sleep.as_mut().poll(cx)
                }
            })
            .await;
        }
    }

    fn unix_time(&self) -> Option<u64> {
        self.unix_at_start
            .map(|start| start + (self.world.now() + self.busy.pending()).as_secs())
    }
}
