//! What is logged goes to the console.

use log::{Level, LevelFilter, Log, Metadata, Record};

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // What was negotiated with a virtio device is nobody's business.
        metadata.level() <= Level::Warn || !metadata.target().starts_with("virtio_drivers")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let now = embassy_time_driver::now() / (embassy_time_driver::TICK_HZ / 1000);
        let level = record.level().as_str().get(..1).unwrap_or("?");
        crate::println!("{level} {now:>8} {}", record.args());
    }

    fn flush(&self) {}
}

static LOGGER: Logger = Logger;

/// To be called once, at the start, before interrupts are on.
pub(crate) fn init() {
    // SAFETY: `log::set_logger_racy`: not called while another thread or an interrupt calls one of its functions; this is the start
    // of the program, nothing else runs. Without atomic compare-and-swap there is no other way.
    if unsafe { log::set_logger_racy(&LOGGER) }.is_ok() {
        // SAFETY: as above.
        unsafe { log::set_max_level_racy(LevelFilter::Info) };
    }
}
