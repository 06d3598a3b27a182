//! The console: a 16550 UART, polled.

use core::fmt;
use core::ptr::{read_volatile, write_volatile};

use crate::map;

/// How often the UART is asked for room before a byte is dropped. QEMU's always has room.
const POLLS: u32 = 10_000;

/// The console. Bytes of several writers may mix; nothing else can go wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Console;

const LINE_STATUS: *const u8 = (map::UART + 5) as *const u8;
const DATA: *mut u8 = map::UART as *mut u8;

impl Console {
    /// A byte that has come.
    pub fn get(self) -> Option<u8> {
        /// National Semiconductor PC16550D, 8.6.3: data ready.
        const READY: u8 = 1;
        // SAFETY: as in `put`. Nobody else reads the line status for what it says about receiving.
        if unsafe { read_volatile(LINE_STATUS) } & READY == 0 {
            return None;
        }
        // SAFETY: as in `put`; reading takes the byte. Without a FIFO there is one, and QEMU holds the next one back until then
        // (hw/char/serial.c, `serial_can_receive`).
        Some(unsafe { read_volatile(DATA) })
    }

    /// Sends a byte, unless there is no room for too long.
    pub fn put(self, byte: u8) {
        /// National Semiconductor PC16550D, 8.6.1: transmitter holding register empty.
        const EMPTY: u8 = 1 << 5;
        for _ in 0..POLLS {
            // SAFETY: `virt_memmap[VIRT_UART0]` of hw/riscv/virt.c: a 16550 with registers of one byte, one after another.
            // Reading the line status has no effect but to clear receive errors, which nobody looks at.
            if unsafe { read_volatile(LINE_STATUS) } & EMPTY != 0 {
                // SAFETY: as above; this sends the byte.
                unsafe { write_volatile(DATA, byte) };
                return;
            }
        }
    }
}

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.put(b'\r');
            }
            self.put(byte);
        }
        Ok(())
    }
}

/// Prints a line on the console.
#[macro_export]
macro_rules! println {
    ($($arg:tt)*) => {{
        use ::core::fmt::Write as _;
        let _ = ::core::writeln!($crate::uart::Console, $($arg)*);
    }};
}
