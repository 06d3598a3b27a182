//! What Otaria asks of a board: a clock, a network, and a few facts and acts of the chip.
//!
//! These are all the traits that a port implements, beside `embedded_storage`'s `NorFlash` for the flash. The simulation
//! implements the same ones, so that the code above them runs on a chip and in a test unchanged.

use core::fmt;
use core::future::Future;
use core::net::Ipv4Addr;

use embedded_nal_async::{Dns, TcpConnect};
pub use otaria_engine::reset::ResetReason;
pub use otaria_engine::slot::Slot;
pub use otaria_engine::time::{Duration, Instant};

/// Time. One clock serves all tasks, so everything takes `&self`.
pub trait Clock {
    /// Time since this boot. Never goes back.
    fn now(&self) -> Instant;

    /// Completes at `at` or shortly after; at once if that has passed. Dropping the future cancels the wait.
    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()>;

    /// Seconds since 1970, once the board has learned them (by SNTP, say); `None` until then.
    ///
    /// By itself it decides nothing about trust, only when a wish begins and ends; for certificates see
    /// [`validity_time`](crate::time::validity_time). Not below [`Clock::time_floor`].
    fn unix_time(&self) -> Option<u64>;

    /// Seconds since 1970 that have certainly passed: [`BUILT`](crate::time::BUILT) at least. A board that keeps a
    /// [`WallClock`](crate::time::WallClock) has it there; the runtime keeps it in flash.
    fn time_floor(&self) -> u64 {
        crate::time::BUILT
    }

    /// `to` has certainly passed, too: somebody has signed it, see [`crate::time`]. Never lowers the floor.
    fn raise_time_floor(&self, to: u64) {
        let _ = to;
    }
}

impl<C: Clock + ?Sized> Clock for &C {
    fn now(&self) -> Instant {
        (**self).now()
    }

    fn sleep_until(&self, at: Instant) -> impl Future<Output = ()> {
        (**self).sleep_until(at)
    }

    fn unix_time(&self) -> Option<u64> {
        (**self).unix_time()
    }

    fn time_floor(&self) -> u64 {
        (**self).time_floor()
    }

    fn raise_time_floor(&self, to: u64) {
        (**self).raise_time_floor(to);
    }
}

/// TCP connections and name look-ups. Nobody implements this: whatever has both has it.
pub trait Network: TcpConnect + Dns {}

impl<N: TcpConnect + Dns> Network for N {}

/// The facts and acts of a chip and its board.
///
/// Nothing here blocks for longer than reading a register takes.
pub trait Board {
    /// Restarts the chip by software.
    ///
    /// On a chip this does not come back. In a simulation it does, and then the caller does nothing more: it awaits
    /// [`core::future::pending`], and the world starts the device again.
    fn reset(&mut self);

    /// Why this boot happened. The same answer during the whole boot.
    fn reset_reason(&self) -> ResetReason;

    /// 64 random bits from the hardware generator. They pick jitter and the install number, never a secret.
    fn random_u64(&mut self) -> u64;

    /// The slot that the running image was mapped from, read from the MMU: never from otadata, because a bootloader may boot
    /// another slot than otadata says. `None` if it runs from neither slot (a factory partition, RAM).
    fn running_slot(&self) -> Option<Slot>;

    /// The chip, numbered as in the ESP image header (0 ESP32, 5 ESP32-C3, ...).
    fn chip_id(&self) -> u16;

    /// The chip's revision as the ESP image header counts it: major x 100 + minor.
    fn chip_revision(&self) -> u16;

    /// Arms the watchdog that survives everything but a reset (the RTC watchdog), or changes its time-out. Without a feed for
    /// `timeout` the chip resets with [`ResetReason::Watchdog`].
    fn arm_watchdog(&mut self, timeout: Duration);

    /// Restarts the watchdog's time-out. Does nothing if it is not armed.
    fn feed_watchdog(&mut self);

    /// Stops the watchdog.
    fn disarm_watchdog(&mut self);

    /// Whether the link is up and has an address.
    fn link_up(&self) -> bool;

    /// The address that the device has now. IPv4, as are Otaria's ports: to write one of IPv6 takes 2 kB of flash.
    fn ip(&self) -> Option<Ipv4Addr> {
        None
    }

    /// Signal strength in dBm, if the link is a radio.
    fn rssi(&self) -> Option<i8> {
        None
    }

    /// Bytes free on the heap, if there is one.
    fn heap_free(&self) -> Option<u32> {
        None
    }

    /// The fewest bytes that were ever free on the heap in this boot.
    fn heap_min(&self) -> Option<u32> {
        None
    }

    /// Shows a person which board this is (blinks, say). Called for the `identify` command; returns at once.
    fn identify(&mut self) {}

    /// Says something to whoever stands beside the device, on its console, if it has one: what cannot be reported while there is
    /// no broker. Called now and then; returns at once.
    fn say(&mut self, text: fmt::Arguments<'_>) {
        let _ = text;
    }
}
