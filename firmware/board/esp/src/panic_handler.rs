//! What happens at a panic: it is kept for the next boot, said on the console, and the chip resets.

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::backtrace;
use crate::reset::PanicRecord;

static PANICKING: AtomicBool = AtomicBool::new(false);

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    // A panic in here (a stack that is broken, say) does not start over.
    if PANICKING.load(Ordering::Relaxed) {
        esp_hal::system::software_reset();
    }
    PANICKING.store(true, Ordering::Relaxed);
    let backtrace = backtrace::capture();
    let addresses = || backtrace.iter().copied();
    // Kept first: the console may take its time, or be what is broken.
    match info.location() {
        Some(at) => PanicRecord::keep(
            format_args!("{} at {}:{}", info.message(), at.file(), at.line()),
            addresses(),
        ),
        None => PanicRecord::keep(format_args!("{}", info.message()), addresses()),
    }
    esp_println::println!("\nE panic: {info}");
    for address in addresses() {
        esp_println::println!("E   from 0x{address:08x}");
    }
    esp_hal::system::software_reset()
}
