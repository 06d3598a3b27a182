//! The RTC watchdog. The bootloader leaves it running, and so do we: what hangs is reset.
//!
//! Registers: ESP32-C3 Technical Reference Manual, chapter "Low-power Management", section "Registers" (base 0x60008000).

use core::ptr::{read_volatile, write_volatile};

const CONFIG0: *mut u32 = 0x6000_8090 as *mut u32;
const CONFIG1: *mut u32 = 0x6000_8094 as *mut u32;
const FEED: *mut u32 = 0x6000_80A4 as *mut u32;
const WRITE_PROTECT: *mut u32 = 0x6000_80A8 as *mut u32;
const WRITE_KEY: u32 = 0x50D8_3AA1;
const SUPER_CONFIG: *mut u32 = 0x6000_80AC as *mut u32;
const SUPER_WRITE_PROTECT: *mut u32 = 0x6000_80B0 as *mut u32;
const SUPER_WRITE_KEY: u32 = 0x8F1D_312A;

/// Enabled; stage 0 ends in a system reset (3 in bits 30..28); longest reset pulses.
const ENABLED_RESETS_SYSTEM: u32 = (1 << 31) | (3 << 28) | (7 << 16) | (7 << 13);
/// About 5 s of the 136 kHz slow clock.
const TIMEOUT: u32 = 5 * 136_000;

/// Resets the chip unless [`feed`] is called every few seconds from now on. The super watchdog is set to feed itself:
/// it guards the power-up of the chip, not the firmware.
pub(crate) fn arm() {
    // SAFETY: registers of the RTC watchdogs, which nothing else uses while this single-threaded program runs.
    unsafe {
        write_volatile(SUPER_WRITE_PROTECT, SUPER_WRITE_KEY);
        write_volatile(SUPER_CONFIG, read_volatile(SUPER_CONFIG) | 1 << 31);
        write_volatile(SUPER_WRITE_PROTECT, 0);
        write_volatile(WRITE_PROTECT, WRITE_KEY);
        write_volatile(CONFIG1, TIMEOUT);
        write_volatile(CONFIG0, ENABLED_RESETS_SYSTEM);
        write_volatile(WRITE_PROTECT, 0);
    }
    feed();
}

/// Starts the timeout again.
pub(crate) fn feed() {
    // SAFETY: as in `arm`.
    unsafe {
        write_volatile(WRITE_PROTECT, WRITE_KEY);
        write_volatile(FEED, 1 << 31);
        write_volatile(WRITE_PROTECT, 0);
    }
}
