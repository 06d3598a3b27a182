//! Resetting the machine, and leaving word of why.

use core::fmt::{self, Write as _};
use core::ptr::write_volatile;

use otaria_wire::messages::ResetReason;

use crate::map;
use crate::retained::Record;

/// Resets the machine. The next boot learns reason and text.
pub fn reset(reason: ResetReason, text: fmt::Arguments<'_>) -> ! {
    let mut record = Record::new(reason);
    let _ = record.write_fmt(text);
    record.keep();
    reset_now()
}

/// Resets the machine and says nothing.
pub fn reset_now() -> ! {
    /// `include/hw/misc/sifive_test.h`, `FINISHER_RESET`.
    const RESET: u32 = 0x7777;
    loop {
        // SAFETY: `virt_memmap[VIRT_TEST]` of hw/riscv/virt.c; this word makes hw/misc/sifive_test.c request a system reset,
        // which QEMU carries out at the end of this instruction or shortly after: hence the loop.
        unsafe { write_volatile(map::TEST as *mut u32, RESET) }
    }
}

/// Ends QEMU with this exit code, for what only its command line can mend.
pub fn power_off(code: u16) -> ! {
    /// `include/hw/misc/sifive_test.h`, `FINISHER_FAIL`; the code is in the upper half.
    const FAIL: u32 = 0x3333;
    loop {
        // SAFETY: as in `reset_now`; this word makes QEMU exit.
        unsafe { write_volatile(map::TEST as *mut u32, u32::from(code) << 16 | FAIL) }
    }
}
