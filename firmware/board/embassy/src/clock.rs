//! Time, as embassy-time's driver counts it.

use core::cell::Cell;
use core::future::Future;

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_time::Timer;
use otaria_device::board::{Clock, Instant};
use otaria_device::time::{Learned, WallClock};

/// What is known of the time of day.
static WALL: Mutex<CriticalSectionRawMutex, Cell<WallClock>> =
    Mutex::new(Cell::new(WallClock::new()));

fn with_wall<T>(act: impl FnOnce(&mut WallClock, Instant) -> T) -> T {
    let now = EmbassyClock.now();
    WALL.lock(|cell| {
        let mut wall = cell.get();
        let result = act(&mut wall, now);
        cell.set(wall);
        result
    })
}

/// Tells the clock what time it is, in seconds since 1970, for a board that has a clock with a battery, say. It is believed.
pub fn set_unix_time(seconds: u64) {
    with_wall(|wall, now| wall.set(now, seconds));
}

/// Tells the clock what a time server says. It is believed within limits, see [`WallClock`].
pub(crate) fn learn_unix_time(seconds: u64) -> Learned {
    with_wall(|wall, now| wall.learn(now, seconds))
}

/// The one clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct EmbassyClock;

impl Clock for EmbassyClock {
    fn now(&self) -> Instant {
        Instant::from_micros(embassy_time::Instant::now().as_micros())
    }

    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> {
        // Otaria's "never" is later than a tick can count: embassy's latest moment comes as little.
        let at = embassy_time::Instant::try_from_micros(at.as_micros());
        Timer::at(at.unwrap_or(embassy_time::Instant::MAX))
    }

    fn unix_time(&self) -> Option<u64> {
        with_wall(|wall, now| wall.unix_time(now))
    }

    fn time_floor(&self) -> u64 {
        with_wall(|wall, _| wall.floor())
    }

    fn raise_time_floor(&self, to: u64) {
        with_wall(|wall, _| wall.raise_floor(to));
    }
}
