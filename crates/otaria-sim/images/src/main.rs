//! The smallest firmware an ESP32-C3 boots: it says on UART0 what it is, then behaves as the field [`BEHAVIOUR`] says.
//!
//! It stands in for real firmware in the simulator, which reads the same field out of the flash to decide what the
//! device does. The program follows it as well, so that the image is not a mere file format: on a board, `crash`
//! really crashes.
//!
//! It carries the boot guard's marker, because that is what the packager and the device look for, but **not the boot
//! guard itself**: it is for simulators and for boards on a cable, not for boards that only the air reaches.
#![no_std]
#![no_main]

use core::arch::{asm, global_asm};
use core::ptr::{read_volatile, write_volatile};

mod watchdog;

/// `esp_app_desc_t` of ESP-IDF, 256 bytes at file offset 32.
#[repr(C)]
struct AppDescriptor {
    magic: u32,
    secure_version: u32,
    reserved1: [u32; 2],
    version: [u8; 32],
    project_name: [u8; 32],
    time: [u8; 16],
    date: [u8; 16],
    idf_version: [u8; 32],
    /// Filled in when the ELF becomes an image.
    elf_sha256: [u8; 32],
    min_efuse_block_rev_full: u16,
    max_efuse_block_rev_full: u16,
    /// log2 of the MMU page: 64 KiB.
    mmu_page_size: u8,
    reserved3: [u8; 3],
    reserved2: [u32; 18],
}

#[used]
#[unsafe(link_section = ".flash.appdesc")]
static APP_DESCRIPTOR: AppDescriptor = AppDescriptor {
    magic: 0xABCD_5432,
    secure_version: 0,
    reserved1: [0; 2],
    version: padded(b"1.0.0"),
    project_name: padded(b"otaria-demo"),
    time: padded(b"00:00:00"),
    date: padded(b"Jan  1 2026"),
    idf_version: padded(b"none (bare metal)"),
    elf_sha256: [0; 32],
    min_efuse_block_rev_full: 0,
    max_efuse_block_rev_full: 0xFFFF,
    mmu_page_size: 16,
    reserved3: [0; 3],
    reserved2: [0; 18],
};

/// The marker of the boot guard, journal version 1, marker format 1.
#[used]
#[unsafe(link_section = ".rodata.otaria.guard")]
static GUARD_MARKER: [u8; 16] = *b"OTARIA-GUARD\x01\x01\0\0";

/// What this image does once it runs: `good`, `crash`, `hang` or `unhealthy`. A field of fixed size, so that a tool can
/// write another word into a finished image.
#[used]
#[unsafe(link_section = ".rodata.otaria.behaviour")]
static BEHAVIOUR: [u8; 32] = padded(b"OTARIA-SIM:good;");

/// Which chip this is for, in the place and form of esp-hal, where espflash looks for it (in an ELF with symbols).
#[used]
#[unsafe(link_section = ".espressif.metadata")]
#[unsafe(export_name = "build_info.CHIP_NAME")]
static CHIP_NAME: [u8; 7] = *b"esp32c3";

const fn padded<const N: usize>(text: &[u8]) -> [u8; N] {
    let mut field = [0; N];
    let mut i = 0;
    while i < text.len() {
        field[i] = text[i];
        i += 1;
    }
    field
}

// The bootloader jumps here with an arbitrary stack and with .bss as it was.
global_asm!(
    ".section .init, \"ax\"",
    ".global _start",
    "_start:",
    "    la sp, _stack_top",
    "    la t0, _bss_start",
    "    la t1, _bss_end",
    "1:  bgeu t0, t1, 2f",
    "    sw zero, 0(t0)",
    "    addi t0, t0, 4",
    "    j 1b",
    "2:  call {main}",
    "3:  j 3b",
    main = sym main,
);

extern "C" fn main() -> ! {
    watchdog::arm();
    print(b"otaria-demo ");
    print_field(&APP_DESCRIPTOR.version);
    print(b" ");
    print_field(&BEHAVIOUR);
    print(b"\r\n");
    // Behind "OTARIA-SIM:". Volatile: the value in the finished image is not the one that the compiler sees.
    // SAFETY: an aligned read of one byte inside a static.
    match unsafe { read_volatile(&raw const BEHAVIOUR[11]) } {
        // SAFETY: an illegal instruction; the exception is taken by the bootloader's vector, and the watchdog ends it.
        b'c' => unsafe { asm!("unimp", options(noreturn)) },
        b'h' => loop {
            // SAFETY: does nothing, for ever; the watchdog is not fed.
            unsafe { asm!("nop") }
        },
        // "good" and "unhealthy" differ in what the network sees, and this firmware has none.
        _ => loop {
            watchdog::feed();
        },
    }
}

/// Prints a zero-padded field.
fn print_field(field: &'static [u8; 32]) {
    for byte in field {
        // SAFETY: a read through a valid reference. Volatile for the same reason as in `main`.
        let byte = unsafe { read_volatile(byte) };
        if byte == 0 {
            break;
        }
        put(byte);
    }
}

fn print(text: &[u8]) {
    for &byte in text {
        put(byte);
    }
}

/// Sends a byte on UART0, which the ROM has set to 115200 baud.
fn put(byte: u8) {
    const UART0_FIFO: *mut u32 = 0x6000_0000 as *mut u32;
    const UART0_STATUS: *const u32 = 0x6000_001C as *const u32;
    // ESP32-C3 TRM, register 26.8, UART_STATUS_REG: bits 25..16 count the bytes that wait; the FIFO holds 128.
    // Bounded: a clock that stands still must not keep the firmware from its business.
    for _ in 0..100_000 {
        // SAFETY: a register of UART0, which nothing else uses.
        if (unsafe { read_volatile(UART0_STATUS) } >> 16) & 0x3FF < 120 {
            break;
        }
    }
    // SAFETY: as above.
    unsafe { write_volatile(UART0_FIFO, u32::from(byte)) }
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    // The watchdog resets the chip.
    loop {
        // SAFETY: does nothing.
        unsafe { asm!("nop") }
    }
}
