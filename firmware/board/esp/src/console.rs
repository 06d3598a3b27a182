//! The console: `log` to UART 0 or to USB-Serial-JTAG, or to whichever is connected (features `console-*`).
//!
//! A line is written as a whole, by whoever logs it: 100 characters take 9 ms on the UART. So there are few lines, and none on
//! the path of a download. USB without a listener drops what it cannot send.

use log::{LevelFilter, Log, Metadata, Record};
use otaria_embassy::setup::Serial;

struct Console;

impl Log for Console {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let now = embassy_time::Instant::now().as_millis();
        let level = record.level().as_str().get(..1).unwrap_or("?");
        esp_println::println!("{level} {now:>8} {}", record.args());
    }

    fn flush(&self) {}
}

/// The console's other direction, and bytes that are no log: what set-up talks over. To be had once, which nobody checks: two
/// readers take bytes from each other, and nothing worse.
#[derive(Debug, Default)]
pub struct SerialPort;

impl Serial for SerialPort {
    fn read(&mut self) -> Option<u8> {
        #[cfg(all(
            not(feature = "console-uart"),
            any(feature = "esp32c3", feature = "esp32c6", feature = "esp32s3")
        ))]
        if let Some(byte) = usb() {
            return Some(byte);
        }
        #[cfg(not(feature = "console-usb"))]
        if let Some(byte) = uart() {
            return Some(byte);
        }
        None
    }

    fn write(&mut self, bytes: &[u8]) {
        esp_println::Printer::write_bytes(bytes);
    }
}

/// The ROM has set UART 0 up, pins and all, and esp-hal leaves that as it is: esp-println writes there, too.
#[cfg(not(feature = "console-usb"))]
fn uart() -> Option<u8> {
    let uart = esp_hal::peripherals::UART0::regs();
    if uart.status().read().rxfifo_cnt().bits() == 0 {
        return None;
    }
    Some(uart.fifo().read().rxfifo_rd_byte().bits())
}

#[cfg(all(
    not(feature = "console-uart"),
    any(feature = "esp32c3", feature = "esp32c6", feature = "esp32s3")
))]
fn usb() -> Option<u8> {
    let usb = esp_hal::peripherals::USB_DEVICE::regs();
    if usb
        .ep1_conf()
        .read()
        .serial_out_ep_data_avail()
        .bit_is_clear()
    {
        return None;
    }
    Some(usb.ep1().read().rdwr_byte().bits())
}

static CONSOLE: Console = Console;

/// Sends what is logged from now on to the console. To be called once, at the start.
#[allow(
    unsafe_code,
    reason = "`log` wants it on chips without compare-and-swap"
)]
pub fn init() {
    // SAFETY: `log::set_logger_racy`: not called while another thread or an interrupt calls one of its functions; this is the
    // start of the program, nothing else runs. Chips without atomic compare-and-swap have no other way.
    let set = unsafe { log::set_logger_racy(&CONSOLE) };
    if set.is_ok() {
        // SAFETY: as above.
        unsafe { log::set_max_level_racy(LevelFilter::Info) };
    }
}
