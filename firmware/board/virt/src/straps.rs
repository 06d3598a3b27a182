//! What a chip has in eFuses, or in how its bootloader was built: a word that QEMU's command line sets.
//!
//! `-device loader,addr=0x80080ffc,data=1,data-len=4` writes it at each reset (QEMU's `docs/system/generic-loader.rst`); without
//! that it is 0, as RAM is at power-on.

use core::ptr::read_volatile;

use crate::map;

/// The straps of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Straps(u32);

impl Straps {
    /// Reads them.
    #[must_use]
    pub fn read() -> Self {
        // SAFETY: RAM of the machine that no linker script of this board hands out, in the same page as the record of the last
        // reset and behind it (see `map` and `retained`).
        Self(unsafe { read_volatile(map::STRAPS as *const u32) })
    }

    /// Bit 0: the bootloader is one with `CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE`.
    #[must_use]
    pub fn bootloader_rollback(self) -> bool {
        self.0 & 1 != 0
    }
}
