//! What the image calls itself: `esp_app_desc_t`, as bootloader, packager and device read it.

/// ESP-IDF's app descriptor, 256 bytes (`esp_app_desc.h`), at the start of the image's first segment.
#[repr(C)]
pub struct AppDescriptor {
    magic: u32,
    secure_version: u32,
    reserved_1: [u32; 2],
    version: [u8; 32],
    project: [u8; 32],
    time: [u8; 16],
    date: [u8; 16],
    idf_version: [u8; 32],
    /// Filled in when the ELF becomes an image.
    elf_sha256: [u8; 32],
    min_efuse_block_rev_full: u16,
    max_efuse_block_rev_full: u16,
    mmu_page_size: u8,
    reserved_2: [u8; 3],
    reserved_3: [u32; 18],
}

const _: () = assert!(size_of::<AppDescriptor>() == otaria_wire::esp_image::APP_DESCRIPTOR_LEN);

impl AppDescriptor {
    /// A descriptor for this project (which is the product) and version, at most 31 bytes each.
    ///
    /// # Panics
    /// At compile time, if one is longer.
    #[must_use]
    pub const fn new(project: &str, version: &str, secure_version: u32) -> Self {
        Self {
            magic: otaria_wire::esp_image::APP_DESCRIPTOR_MAGIC,
            secure_version,
            reserved_1: [0; 2],
            version: field(version),
            project: field(project),
            time: [0; 16],
            date: [0; 16],
            idf_version: field("none"),
            elf_sha256: [0; 32],
            min_efuse_block_rev_full: 0,
            max_efuse_block_rev_full: u16::MAX,
            mmu_page_size: 16,
            reserved_2: [0; 3],
            reserved_3: [0; 18],
        }
    }
}

#[allow(clippy::indexing_slicing, reason = "evaluated while compiling")]
const fn field(text: &str) -> [u8; 32] {
    let text = text.as_bytes();
    assert!(text.len() < 32, "at most 31 bytes");
    let mut field = [0; 32];
    let mut at = 0;
    while at < text.len() {
        field[at] = text[at];
        at += 1;
    }
    field
}

/// Puts the app descriptor into the image, where the linker script wants it first.
#[macro_export]
macro_rules! app_descriptor {
    ($project:expr, $version:expr, $secure_version:expr) => {
        #[used]
        #[unsafe(link_section = ".app_descriptor")]
        static APP_DESCRIPTOR: $crate::descriptor::AppDescriptor =
            $crate::descriptor::AppDescriptor::new($project, $version, $secure_version);
    };
}
