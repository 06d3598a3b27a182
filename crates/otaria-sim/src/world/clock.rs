//! The clock of a simulated device.

use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;
use core::time::Duration;
use std::cell::RefCell;
use std::rc::Rc;

use otaria_device::board::{Clock, Instant};
use otaria_device::time::{Learned, WallClock};

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
    wall: Rc<RefCell<WallClock>>,
}

impl SimClock {
    /// A clock that shows 0 now. `busy` is the account of the device's flash.
    pub fn boot(world: Handle, busy: Busy) -> Self {
        SimClock {
            booted: world.now(),
            world,
            busy,
            wall: Rc::default(),
        }
    }

    /// The same clock for a board that knows the date: it was `seconds` since 1970 when the world began.
    #[must_use]
    pub fn with_unix_time(self, seconds: u64) -> Self {
        self.set_unix_time(seconds + self.elapsed_in_world().as_secs());
        self
    }

    /// The board learns, by a clock with a battery say, that it is `seconds` since 1970 now. A test sets it to whatever it wants.
    pub fn set_unix_time(&self, seconds: u64) {
        self.wall.borrow_mut().set(self.now(), seconds);
    }

    /// A time server says so.
    pub fn learn_unix_time(&self, seconds: u64) -> Learned {
        self.wall.borrow_mut().learn(self.now(), seconds)
    }

    fn elapsed_in_world(&self) -> Duration {
        self.world.now() + self.busy.pending()
    }

    fn elapsed(&self) -> Duration {
        self.elapsed_in_world() - self.booted
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
        self.wall.borrow().unix_time(self.now())
    }

    fn time_floor(&self) -> u64 {
        self.wall.borrow().floor()
    }

    fn raise_time_floor(&self, to: u64) {
        self.wall.borrow_mut().raise_floor(to);
    }
}
