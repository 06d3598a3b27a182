//! The board as Otaria sees it.

use otaria_device::board::{Board, Duration, ResetReason, Slot};
use otaria_wire::esp_image::ChipId;

use crate::heap::Heap;
use crate::{clint, reset, rtc};

/// The virtual board in one boot. See [`crate::Machine::take`].
pub struct VirtBoard {
    pub(crate) slot: Option<Slot>,
    pub(crate) reset_reason: ResetReason,
    pub(crate) heap: &'static Heap,
    pub(crate) random: u64,
}

impl VirtBoard {
    /// Seeds the generator with what differs from boot to boot: the host's clock in nanoseconds, and the machine's.
    pub(crate) fn seed() -> u64 {
        rtc::unix_nanos() ^ clint::ticks().rotate_left(32)
    }
}

/// SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", 2014). It names an installation and
/// spreads retries and ports, as [`Board::random_u64`] wants it: nothing here is secret.
pub(crate) fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Fills `bytes` with numbers that differ from boot to boot. They are no secret, whatever is made of them: this machine has no
/// source of noise, and is for tests.
pub fn random(bytes: &mut [u8]) {
    let mut state = VirtBoard::seed();
    for piece in bytes.chunks_mut(8) {
        for (byte, drawn) in piece.iter_mut().zip(next_random(&mut state).to_le_bytes()) {
            *byte = drawn;
        }
    }
}

impl Board for VirtBoard {
    fn reset(&mut self) {
        reset::reset(ResetReason::Software, format_args!(""))
    }

    fn reset_reason(&self) -> ResetReason {
        self.reset_reason
    }

    fn random_u64(&mut self) -> u64 {
        next_random(&mut self.random)
    }

    fn running_slot(&self) -> Option<Slot> {
        self.slot
    }

    fn chip_id(&self) -> u16 {
        ChipId::VIRT.0
    }

    fn chip_revision(&self) -> u16 {
        0
    }

    fn arm_watchdog(&mut self, timeout: Duration) {
        clint::arm_watchdog(timeout.as_micros());
    }

    fn feed_watchdog(&mut self) {
        clint::feed_watchdog();
    }

    fn disarm_watchdog(&mut self) {
        clint::disarm_watchdog();
    }

    /// Only the network stack knows; see `otaria_embassy::Networked`.
    fn link_up(&self) -> bool {
        false
    }

    fn heap_free(&self) -> Option<u32> {
        u32::try_from(self.heap.free()).ok()
    }

    fn heap_min(&self) -> Option<u32> {
        u32::try_from(self.heap.least_free()).ok()
    }

    fn identify(&mut self) {
        crate::println!("identify: this is the board");
    }
}
