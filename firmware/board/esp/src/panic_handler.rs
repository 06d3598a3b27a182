//! What happens at a panic: it is kept for the next boot, said on the console, and the chip resets.

use core::panic::PanicInfo;
use core::sync::atomic::{AtomicBool, Ordering};

use crate::backtrace;
use crate::reset::PanicRecord;

static PANICKING: AtomicBool = AtomicBool::new(false);

#[panic_handler]
#[allow(unsafe_code, reason = "a critical section without an end")]
fn panic(info: &PanicInfo<'_>) -> ! {
    // A panic in here (a stack that is broken, say) does not start over.
    if PANICKING.load(Ordering::Relaxed) {
        esp_hal::system::software_reset();
    }
    PANICKING.store(true, Ordering::Relaxed);
    // Nothing else has a turn any more: the radio's tasks would go on, and so would an image that is about to be confirmed.
    // SAFETY: `critical_section::acquire`: has to be released by whoever acquired it. It never is: the chip resets.
    let _held = unsafe { critical_section::acquire() };
    // Kept first, and first without a backtrace: the console may take its time, and the stack may be what is broken.
    keep(info, core::iter::empty());
    let backtrace = backtrace::capture();
    let addresses = || backtrace.iter().copied();
    keep(info, addresses());
    esp_println::println!("\nE panic: {info}");
    for address in addresses() {
        esp_println::println!("E   from 0x{address:08x}");
    }
    esp_hal::system::software_reset()
}

fn keep(info: &PanicInfo<'_>, addresses: impl Iterator<Item = u32>) {
    match info.location() {
        Some(at) => PanicRecord::keep(
            format_args!("{} at {}:{}", info.message(), at.file(), at.line()),
            addresses,
        ),
        None => PanicRecord::keep(format_args!("{}", info.message()), addresses),
    }
}
