//! What differs from chip to chip.

use otaria_wire::esp_image::ChipId;

/// The chip that this is built for, numbered as in the ESP image header.
pub const CHIP: ChipId = cfg_select! {
    feature = "esp32" => { ChipId::ESP32 }
    feature = "esp32c2" => { ChipId::ESP32C2 }
    feature = "esp32c3" => { ChipId::ESP32C3 }
    feature = "esp32c6" => { ChipId::ESP32C6 }
    feature = "esp32s2" => { ChipId::ESP32S2 }
    feature = "esp32s3" => { ChipId::ESP32S3 }
    _ => { compile_error!("choose a chip: one of the features esp32, esp32c2, esp32c3, esp32c6, esp32s2, esp32s3") }
};

/// Where the RAM for data ends (ESP-IDF 5.5, `SOC_DRAM_HIGH` in `soc/<chip>/include/soc/soc.h`).
#[cfg(all(target_arch = "riscv32", feature = "panic-handler"))]
pub(crate) const RAM_END: usize = cfg_select! {
    feature = "esp32c6" => { 0x4088_0000 }
    _ => { 0x3FCE_0000 }
};

/// Bytes that one entry of the flash MMU maps, as the second-stage bootloader sets it up. (An image that is linked for smaller
/// pages says so in its app descriptor; esp-hal's are not.)
const MMU_PAGE_LEN: u32 = 0x1_0000;

/// Bits of an entry that hold the page's number: 16 MiB of flash. The bits above say whether the entry maps anything; one that
/// does not has a number of no slot.
const MMU_PAGE: u32 = 0xFF;

/// Offset in flash that the start of the running image was mapped from: by the MMU's entry for the first page of constants,
/// where the app descriptor lies.
///
/// The registers are those of ESP-IDF's `hal/<chip>/include/hal/mmu_ll.h` and `soc/<chip>/include/soc/ext_mem_defs.h`
/// (ESP-IDF 5.5).
#[must_use]
#[allow(unsafe_code, reason = "esp-hal has no driver for the flash MMU")]
pub fn mapped_offset() -> u32 {
    let entry = cfg_select! {
        feature = "esp32" => {
            // SAFETY: DPORT_PRO_FLASH_MMU_TABLE (ESP32 TRM 5.2, 4.3.2): a read has no effect. The second core, beside which a
            // read of DPORT may return nonsense (ESP32 errata 3.10), is not started yet.
            unsafe { (0x3FF1_0000 as *const u32).read_volatile() }
        }
        feature = "esp32s2" => {
            // SAFETY: the MMU's table; entry 128 is the first one for constants (SOC_MMU_VADDR0_START_ADDR). A read has no
            // effect.
            unsafe { (0x6180_1200 as *const u32).read_volatile() }
        }
        any(feature = "esp32s3", feature = "esp32c2", feature = "esp32c3") => {
            // SAFETY: DR_REG_MMU_TABLE, entry 0: a read has no effect.
            unsafe { (0x600C_5000 as *const u32).read_volatile() }
        }
        feature = "esp32c6" => {
            // SAFETY: SPI_MEM_MMU_ITEM_INDEX_REG chooses the entry that SPI_MEM_MMU_ITEM_CONTENT_REG shows. Nobody else uses
            // the pair: this is called before anything else runs.
            unsafe {
                (0x6000_2380 as *mut u32).write_volatile(0);
                (0x6000_237C as *const u32).read_volatile()
            }
        }
        _ => { 0_u32 }
    };
    (entry & MMU_PAGE) * MMU_PAGE_LEN
}
