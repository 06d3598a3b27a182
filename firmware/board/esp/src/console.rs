//! The console: `log` to UART 0 or to USB-Serial-JTAG, or to whichever is connected (features `console-*`).
//!
//! A line is written as a whole, by whoever logs it: 100 characters take 9 ms on the UART. So there are few lines, and none on
//! the path of a download. USB without a listener drops what it cannot send.

use log::{LevelFilter, Log, Metadata, Record};

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
