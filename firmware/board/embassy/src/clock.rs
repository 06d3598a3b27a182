//! Time, as embassy-time's driver counts it.

use core::cell::Cell;
use core::future::Future;

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use embassy_time::Timer;
use otaria_device::board::{Clock, Instant};

/// Unix time at tick zero, once somebody knows it. A signed number would do as well, but no clock here runs before 1970.
static EPOCH: Mutex<CriticalSectionRawMutex, Cell<Option<u64>>> = Mutex::new(Cell::new(None));

/// Tells the clock what time it is, in seconds since 1970. May be called again and again (by SNTP, say); what an unauthenticated
/// source says decides nothing about trust, see [`Clock::unix_time`].
pub fn set_unix_time(seconds: u64) {
    let since_boot = embassy_time::Instant::now().as_secs();
    EPOCH.lock(|epoch| epoch.set(Some(seconds.saturating_sub(since_boot))));
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
        let since_boot = embassy_time::Instant::now().as_secs();
        EPOCH.lock(|epoch| epoch.get()?.checked_add(since_boot))
    }
}
