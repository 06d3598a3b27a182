//! The flash chip.
//!
//! [`esp_storage::FlashStorage`] is used as it is, because it does what Otaria wants of a flash:
//!
//! - an erase of an aligned 64 KiB is one command (`esp_rom_spiflash_erase_block`): 150 ms instead of 720, and the radio is kept
//!   waiting for one command at a time;
//! - each command runs in a critical section of its own, from RAM and ROM: nothing may be fetched from flash meanwhile;
//! - on chips with two cores the other one is parked while a command runs;
//! - buffers that do not begin at a word are copied through a sector on the stack. Otaria's own buffers all do.

use esp_hal::peripherals::FLASH;
use esp_storage::FlashStorage;

/// The flash chip.
pub type Flash = FlashStorage<'static>;

/// Takes the flash chip. It asks the chip how large it is; a chip that is not known has no bytes, and Otaria says that its
/// partitions do not lie in flash.
#[must_use]
pub fn open(flash: FLASH<'static>) -> Flash {
    let flash = FlashStorage::new(flash);
    cfg_select! {
        any(feature = "esp32", feature = "esp32s3") => { flash.multicore_auto_park() }
        _ => { flash }
    }
}
