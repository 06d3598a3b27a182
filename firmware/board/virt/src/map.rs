//! Where things are: QEMU's riscv32 `virt` machine, and how this board divides its RAM.
//!
//! ```text
//! 0x0010_0000  sifive_test   reset and power-off        0x8000_0000  loader: code, data, stack (256 KiB)
//! 0x0010_1000  goldfish-rtc  wall clock                 0x8008_0000  kept over a reset: reason, last panic (4 KiB)
//! 0x0200_0000  CLINT         mtime, mtimecmp, msip      0x800C_0000  app: stack (256 KiB), above a gap
//! 0x0C00_0000  PLIC          interrupts of devices      0x8010_0000  app: the ESP image's segments, .bss with the heap
//!                                                       0x80E0_0000  QEMU's device tree, with 16 MiB of RAM
//! 0x1000_0000  UART 16550    console
//! 0x1000_1000  virtio-mmio   8 places, 4 KiB each
//! 0x2000_0000  flash bank 0  (left empty: QEMU starts in it if there is one)
//! 0x2200_0000  flash bank 1  the 4 MiB of flash
//! ```
//!
//! After `hw/riscv/virt.c` of QEMU 7.2: `virt_memmap`, `virt_machine_init`, and `include/hw/riscv/virt.h` for the interrupts.

/// `sifive_test`: a word written here resets or ends the machine.
pub const TEST: usize = 0x0010_0000;
/// The goldfish real-time clock.
pub const RTC: usize = 0x0010_1000;
/// The core-local interruptor.
pub const CLINT: usize = 0x0200_0000;
/// The platform-level interrupt controller.
pub const PLIC: usize = 0x0C00_0000;
/// The UART.
pub const UART: usize = 0x1000_0000;
/// The first virtio-mmio place.
pub const VIRTIO: usize = 0x1000_1000;
/// Bytes from one virtio-mmio place to the next.
pub const VIRTIO_STRIDE: usize = 0x1000;
/// How many virtio-mmio places there are.
pub const VIRTIO_PLACES: usize = 8;
/// The PLIC's number for the interrupt of the first virtio-mmio place; the others follow.
pub const VIRTIO_IRQ: u32 = 1;
/// The second bank of flash, which holds the 4 MiB.
pub const FLASH: usize = 0x2200_0000;
/// Bytes of that bank.
pub const FLASH_BANK_LEN: usize = 32 * 1024 * 1024;
/// Bytes of it that the board uses, from its start: as a chip with 4 MiB.
pub const FLASH_LEN: usize = 4 * 1024 * 1024;
/// RAM that neither QEMU nor the loader writes at a reset.
pub const RETAINED: usize = 0x8008_0000;
/// Bytes kept there.
pub const RETAINED_LEN: usize = 4096;
/// The last word of that page: see [`crate::straps`].
pub const STRAPS: usize = RETAINED + RETAINED_LEN - 4;
/// Where an app's segments may lie.
pub const APP_START: u32 = 0x8010_0000;
/// End of that: below QEMU's device tree, which lies in the last 2 MiB of 16 (`hw/riscv/boot.c`, `riscv_compute_fdt_addr`).
pub const APP_END: u32 = 0x80E0_0000;
