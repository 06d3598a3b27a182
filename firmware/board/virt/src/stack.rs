//! How much stack was ever used.

use core::ptr::read_volatile;

/// What the stack is filled with before a program starts.
pub const PAINT: u32 = 0x5AFE_57AC;

unsafe extern "C" {
    /// Lowest word of the stack, by the linker script.
    static _stack_bottom: u32;
    /// Just behind its highest word.
    static _stack_top: u32;
}

/// Bytes of the stack that were ever used in this boot.
#[must_use]
pub fn worst_used() -> usize {
    let (bottom, top) = (&raw const _stack_bottom, &raw const _stack_top);
    let mut at = bottom;
    // SAFETY: words between the two symbols are RAM that the linker script gives to the stack. Volatile, because nobody else
    // in the program owns these words, and the compiler knows nothing of what is in them.
    while at < top && unsafe { read_volatile(at) } == PAINT {
        // At most one behind the last word.
        at = at.wrapping_add(1);
    }
    top as usize - at as usize
}
