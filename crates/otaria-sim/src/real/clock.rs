//! tokio's clock as a device's clock.

use core::cell::Cell;
use core::future::Future;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use otaria_device::board::{Clock, Instant};
use otaria_device::time::BUILT;
use tokio::time;

use crate::flash::Busy;

/// A device's clock in real time: microseconds since the boot.
///
/// Like [`SimClock`](crate::world::SimClock) it is ahead by what the device's flash has charged and
/// [`paced`](crate::world::paced) has not let pass yet.
#[derive(Clone)]
pub struct RealClock {
    booted: time::Instant,
    busy: Busy,
    floor: Rc<Cell<u64>>,
}

impl RealClock {
    /// A clock that shows 0 now. `busy` is the account of the device's flash.
    pub fn boot(busy: Busy) -> Self {
        RealClock {
            booted: time::Instant::now(),
            busy,
            floor: Rc::new(Cell::new(BUILT)),
        }
    }
}

impl Clock for RealClock {
    fn now(&self) -> Instant {
        Instant::ZERO + (self.booted.elapsed() + self.busy.pending()).into()
    }

    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> {
        let wait = at.since(self.now());
        // tokio itself caps what its timer cannot hold at about thirty years.
        let until = time::Instant::now().checked_add(wait.into());
        async move {
            match until {
                Some(until) => time::sleep_until(until).await,
                None => core::future::pending().await,
            }
        }
    }

    fn unix_time(&self) -> Option<u64> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.ok().map(|since| since.as_secs())
    }

    fn time_floor(&self) -> u64 {
        self.floor.get()
    }

    fn raise_time_floor(&self, to: u64) {
        self.floor.set(self.floor.get().max(to));
    }
}
