//! The heap: what it is made of, and what for.
//!
//! | region | bytes on ESP32-C3 | where |
//! |---|---|---|
//! | reclaimed | 64 KiB | what the second-stage bootloader ran in |
//! | own | 90 KiB | `.bss` |
//!
//! Who takes from it: the radio (buffers, the stacks of its tasks, keys), the settings (under 4 KiB, once), and the application.
//! Otaria itself allocates nothing while it runs.
//!
//! # The radio's share
//! [`RADIO_RESERVE`]. What esp-radio 1.0.0-beta.1 allocates for a station, by its own documentation (`ControllerConfig`) and
//! ESP-IDF's "Wi-Fi Buffer Usage" (programming guide, ESP32-C3): static receive buffers 10 x 1.6 KiB; the stacks of its tasks
//! (Wi-Fi 6.5 KiB, timer 8 KiB); the driver's own state, about 20 KiB; and up to [`crate::wifi::DYNAMIC_BUFFERS`] receive and
//! send buffers of 1.6 KiB each, of which a window of 16 KiB (11 segments) fills no more than twelve at a time.

use esp_hal::ram;

/// Bytes of the region in `.bss`.
const OWN: usize = 90 * 1024;

/// Bytes of the reclaimed region: as much as every chip's bootloader leaves, in whole KiB.
const RECLAIMED: usize = cfg_select! {
    feature = "esp32c2" => { 0x3fcd_eb70 - (0x3FCA_0000 + 186 * 1024) }
    _ => { 64 * 1024 }
};

/// Bytes that are kept for the radio when the free heap is computed from a build; at run time `heap_min` tells the truth.
pub const RADIO_RESERVE: usize = 64 * 1024;

/// Gives the regions to the allocator. To be called once, behind the boot guard.
#[allow(unsafe_code, reason = "esp-alloc's macro")]
#[allow(
    clippy::undocumented_unsafe_blocks,
    reason = "in esp-alloc's macro: a static that nobody else can name"
)]
pub fn init() {
    esp_alloc::heap_allocator!(#[ram(reclaimed)] size: RECLAIMED);
    esp_alloc::heap_allocator!(size: OWN);
}

/// Bytes that are free now.
#[must_use]
pub fn free() -> usize {
    esp_alloc::HEAP.free()
}

/// The fewest bytes that were ever free in this boot.
#[must_use]
pub fn least_free() -> usize {
    let stats = esp_alloc::HEAP.stats();
    stats.size.saturating_sub(stats.max_usage)
}
