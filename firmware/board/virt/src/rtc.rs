//! The wall clock: the host's, through QEMU's goldfish real-time clock.

use core::ptr::read_volatile;

use crate::map;

/// Nanoseconds since 1970. On a board this would come from the network.
#[must_use]
pub fn unix_nanos() -> u64 {
    // `include/hw/timer/goldfish_rtc.h`: reading the low word latches the high one.
    const LOW: *const u32 = map::RTC as *const u32;
    const HIGH: *const u32 = (map::RTC + 4) as *const u32;
    // SAFETY: `virt_memmap[VIRT_RTC]` of hw/riscv/virt.c; reading these registers has no other effect.
    let (low, high) = unsafe { (read_volatile(LOW), read_volatile(HIGH)) };
    u64::from(high) << 32 | u64::from(low)
}
