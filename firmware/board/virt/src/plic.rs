//! The interrupts of devices.

use core::ptr::{read_volatile, write_volatile};

use crate::map;

// RISC-V PLIC specification 1.0.0, chapter 3 "Memory Map". Context 0 is hart 0 in machine mode (hw/riscv/virt.c,
// `plic_hart_config_string`: "M,S" for each hart).
const PRIORITY: *mut u32 = map::PLIC as *mut u32;
const ENABLE: *mut u32 = (map::PLIC + 0x2000) as *mut u32;
const THRESHOLD: *mut u32 = (map::PLIC + 0x20_0000) as *mut u32;
const CLAIM: *mut u32 = (map::PLIC + 0x20_0004) as *mut u32;

/// Lets this interrupt through; number 1 to 31.
pub(crate) fn enable(irq: u32) {
    let irq = irq.clamp(1, 31);
    // SAFETY: `virt_memmap[VIRT_PLIC]` of hw/riscv/virt.c, sources 1 to 31 of its 96. From here on the machine's external
    // interrupt may come, for which there is a handler.
    unsafe {
        write_volatile(PRIORITY.add(irq as usize), 1);
        write_volatile(ENABLE, read_volatile(ENABLE) | 1 << irq);
        write_volatile(THRESHOLD, 0);
    }
}

/// Serves everything that is pending: `handle` is given its number.
pub(crate) fn interrupt(mut handle: impl FnMut(u32)) {
    /// At most each source once; what comes meanwhile raises the interrupt again.
    const MOST: usize = 32;
    for _ in 0..MOST {
        // SAFETY: as above; reading claims the highest pending interrupt, 0 if there is none.
        let irq = unsafe { read_volatile(CLAIM) };
        if irq == 0 {
            return;
        }
        handle(irq);
        // SAFETY: as above; completes what was claimed.
        unsafe { write_volatile(CLAIM, irq) }
    }
}
