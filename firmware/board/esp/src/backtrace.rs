//! Where a panic came from.
//!
//! Frame pointers would make that a walk along a list, but they are a twentieth of the image (45 kB on ESP32-C3), and nobody else
//! looks at them. So on RISC-V the stack is searched instead: a word on it that points behind a call, in the code of this image,
//! is a return address. Some of them are what an earlier, deeper call has left there; the order is right all the same. Xtensa's
//! register windows are a list by themselves.

use crate::reset::MAX_BACKTRACE;

/// Return addresses on the caller's stack, innermost first.
pub(crate) fn capture() -> heapless::Vec<u32, MAX_BACKTRACE> {
    cfg_select! {
        target_arch = "riscv32" => { riscv::capture() }
        _ => {
            let backtrace = esp_backtrace::Backtrace::capture();
            backtrace.frames().iter().map(|frame| frame.program_counter() as u32).take(MAX_BACKTRACE).collect()
        }
    }
}

#[cfg(target_arch = "riscv32")]
mod riscv {
    use core::ops::Range;

    use crate::chip::RAM_END;
    use crate::reset::MAX_BACKTRACE;

    /// Words of the stack that are looked at: the deepest futures have frames of a few kilobytes.
    const REACH: usize = 4096;

    #[allow(unsafe_code, reason = "symbols of the linker script")]
    unsafe extern "C" {
        /// The entry point, in the first page of the code in flash (esp-hal 1.2, `ld/sections/text.x`: `.init` comes first).
        static _start: u32;
        /// The code in RAM (esp-hal 1.2, `ld/sections/rwtext.x`).
        static _rwtext_start: u32;
        static _rwtext_end: u32;
    }

    #[inline(never)]
    pub(super) fn capture() -> heapless::Vec<u32, MAX_BACKTRACE> {
        let in_flash = code_in_flash();
        let in_ram = (&raw const _rwtext_start) as usize..(&raw const _rwtext_end) as usize;
        let mut found = heapless::Vec::new();
        let here = 0_u32;
        let stack = &raw const here as usize & !3;
        for address in (stack..RAM_END).step_by(4).take(REACH) {
            let word = word_at(address);
            let to = word as usize;
            let is_code = in_flash.contains(&to) || in_ram.contains(&to);
            if is_code && to.is_multiple_of(2) && is_call(half_at(to - 4), half_at(to - 2)) {
                // The next one, so that the line of the call is found and not the one behind it.
                if found.push(word - 2).is_err() {
                    break;
                }
            }
        }
        found
    }

    /// The image's code in flash. How long it is says the header of its segment, which the MMU maps with it: load address and
    /// length (ESP-IDF 5.5, `esp_image_segment_header_t`), 0x18 bytes into the first page, as behind the image's own header.
    fn code_in_flash() -> Range<usize> {
        let start = ((&raw const _start) as usize & !0xFFFF) + 0x20;
        if word_at(start - 8) as usize != start {
            return 0..0;
        }
        start + 4..start + word_at(start - 4) as usize
    }

    #[allow(unsafe_code, reason = "the stack and the code, read as numbers")]
    fn word_at(address: usize) -> u32 {
        // SAFETY: a multiple of four, from the stack to the end of RAM, or in code that lies in RAM or is mapped: memory that can
        // be read by words on either bus (ESP32-C3 TRM 1.1, 3.3.2 and 3.3.4).
        unsafe { (address as *const u32).read_volatile() }
    }

    fn half_at(address: usize) -> u16 {
        (word_at(address & !3) >> (address % 4 * 8)) as u16
    }

    /// Whether one of two halfwords before an address ends a call that returns there (The RISC-V Instruction Set Manual, Volume I,
    /// 2.5 and 16.4).
    const fn is_call(first: u16, second: u16) -> bool {
        let wide = (second as u32) << 16 | first as u32;
        let jal = wide & 0xFFF == 0x0EF;
        let jalr = wide & 0x7FFF == 0x00E7;
        let c_jalr = second & 0xF07F == 0x9002 && second & 0x0F80 != 0;
        let c_jal = second & 0xE003 == 0x2001;
        jal || jalr || c_jalr || c_jal
    }

    // jalr ra, -596(ra); jal ra, .; c.jalr a5; c.jal .; and what is none: ret, c.ebreak, addi sp, sp, 32; c.mv ra, a0.
    const _: () = assert!(is_call(0x80E7, 0xDAC0) && is_call(0x00EF, 0x0000));
    const _: () = assert!(is_call(0, 0x9782) && is_call(0, 0x2001));
    const _: () = assert!(
        !is_call(0, 0x8082) && !is_call(0, 0x9002) && !is_call(0, 0x6105) && !is_call(0, 0x80AA)
    );
}
