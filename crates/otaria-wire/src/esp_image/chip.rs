//! Chips, and where their memory lies.

use core::fmt;

/// A chip, as in the image header.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChipId(pub u16);

/// What a window of addresses leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// Flash through the MMU, in pages of at least so many bytes.
    Flash {
        /// Smallest page that this chip's MMU can be set to.
        page: u32,
    },
    /// RAM that the bootloader loads.
    Ram,
}

/// A window of addresses.
pub(super) struct Window {
    start: u32,
    end: u32,
    pub(super) memory: Memory,
}

impl Window {
    pub(super) fn holds(&self, start: u32, end: u32) -> bool {
        start >= self.start && end <= self.end
    }
}

const fn ram(start: u32, end: u32) -> Window {
    Window {
        start,
        end,
        memory: Memory::Ram,
    }
}

const fn flash(start: u32, end: u32, page: u32) -> Window {
    Window {
        start,
        end,
        memory: Memory::Flash { page },
    }
}

const PAGE_64K: u32 = 0x1_0000;
/// The later chips' MMU pages can be set down to 8 KiB (C6, H2) or 16 KiB (C2).
const PAGE_8K: u32 = 0x2000;

// Generous on purpose: all memory of a kind, whatever part of it a bootloader
// reserves. After the `MEMORY_MAP` of each chip in Espressif's esptool 5, with the
// sizes of internal RAM of the H2 (320 KB) and the P4 (768 KB and 8 KB of TCM)
// as in their technical reference manuals, chapter "System and Memory".

const ESP32: &[Window] = &[
    flash(0x3F40_0000, 0x3F80_0000, PAGE_64K),
    flash(0x400D_0000, 0x4040_0000, PAGE_64K),
    ram(0x3FF8_0000, 0x3FF8_2000),
    ram(0x3FFA_E000, 0x4000_0000),
    ram(0x4007_0000, 0x400C_2000),
    ram(0x5000_0000, 0x5000_2000),
];

const ESP32S2: &[Window] = &[
    flash(0x3F00_0000, 0x3F80_0000, PAGE_64K),
    flash(0x4008_0000, 0x40B8_0000, PAGE_64K),
    ram(0x3FF9_E000, 0x3FFA_0000),
    ram(0x3FFB_0000, 0x4000_0000),
    ram(0x4002_0000, 0x4007_2000),
    ram(0x5000_0000, 0x5000_2000),
];

const ESP32S3: &[Window] = &[
    flash(0x3C00_0000, 0x3E00_0000, PAGE_64K),
    flash(0x4200_0000, 0x4400_0000, PAGE_64K),
    ram(0x3FC8_8000, 0x3FD0_0000),
    ram(0x4037_0000, 0x403E_0000),
    ram(0x5000_0000, 0x5000_2000),
    ram(0x600F_E000, 0x6010_0000),
];

const ESP32C3: &[Window] = &[
    flash(0x3C00_0000, 0x3C80_0000, PAGE_64K),
    flash(0x4200_0000, 0x4280_0000, PAGE_64K),
    ram(0x3FC8_0000, 0x3FCE_0000),
    ram(0x4037_C000, 0x403E_0000),
    ram(0x5000_0000, 0x5000_2000),
];

const ESP32C2: &[Window] = &[
    flash(0x3C00_0000, 0x3C40_0000, PAGE_8K),
    flash(0x4200_0000, 0x4240_0000, PAGE_8K),
    ram(0x3FCA_0000, 0x3FCE_0000),
    ram(0x4037_C000, 0x403C_0000),
];

const ESP32C6: &[Window] = &[
    flash(0x4200_0000, 0x4300_0000, PAGE_8K),
    ram(0x4080_0000, 0x4088_0000),
    ram(0x5000_0000, 0x5000_4000),
];

const ESP32H2: &[Window] = &[
    flash(0x4200_0000, 0x4300_0000, PAGE_8K),
    ram(0x4080_0000, 0x4085_0000),
    ram(0x5000_0000, 0x5000_1000),
];

/// The ESP32-C61 has the same windows.
const ESP32C5: &[Window] = &[
    flash(0x4200_0000, 0x4400_0000, PAGE_8K),
    ram(0x4080_0000, 0x4086_0000),
    ram(0x5000_0000, 0x5000_4000),
];

const ESP32P4: &[Window] = &[
    flash(0x4000_0000, 0x4C00_0000, PAGE_8K),
    ram(0x3010_0000, 0x3010_2000),
    ram(0x4FF0_0000, 0x4FFC_0000),
    ram(0x5010_8000, 0x5011_0000),
];

/// QEMU's riscv32 `virt` machine, the virtual board: RAM behind its loader (`firmware/board/virt/src/map.rs`). Nothing is
/// mapped from flash there, the loader copies every segment.
const VIRT: &[Window] = &[ram(0x8010_0000, 0x8100_0000)];

impl ChipId {
    /// ESP32.
    pub const ESP32: Self = Self(0x00);
    /// ESP32-S2.
    pub const ESP32S2: Self = Self(0x02);
    /// ESP32-C3.
    pub const ESP32C3: Self = Self(0x05);
    /// ESP32-S3.
    pub const ESP32S3: Self = Self(0x09);
    /// ESP32-C2.
    pub const ESP32C2: Self = Self(0x0C);
    /// ESP32-C6.
    pub const ESP32C6: Self = Self(0x0D);
    /// ESP32-H2.
    pub const ESP32H2: Self = Self(0x10);
    /// ESP32-P4.
    pub const ESP32P4: Self = Self(0x12);
    /// ESP32-C61.
    pub const ESP32C61: Self = Self(0x14);
    /// ESP32-C5.
    pub const ESP32C5: Self = Self(0x17);
    /// The virtual board. A private number: Espressif's rise from 0 and its 0xFFFF stands for "invalid" (`esp_chip_id_t` in
    /// `esp_app_format.h`), so that no chip takes an image of the virtual board, and the virtual board takes none of a chip.
    pub const VIRT: Self = Self(0xFF01);

    /// All chips whose memory is known here.
    pub const KNOWN: [Self; 11] = [
        Self::ESP32,
        Self::ESP32S2,
        Self::ESP32C3,
        Self::ESP32S3,
        Self::ESP32C2,
        Self::ESP32C6,
        Self::ESP32H2,
        Self::ESP32P4,
        Self::ESP32C61,
        Self::ESP32C5,
        Self::VIRT,
    ];

    /// The chip's name as tools write it, such as `esp32c3`.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::ESP32 => Some("esp32"),
            Self::ESP32S2 => Some("esp32s2"),
            Self::ESP32C3 => Some("esp32c3"),
            Self::ESP32S3 => Some("esp32s3"),
            Self::ESP32C2 => Some("esp32c2"),
            Self::ESP32C6 => Some("esp32c6"),
            Self::ESP32H2 => Some("esp32h2"),
            Self::ESP32P4 => Some("esp32p4"),
            Self::ESP32C61 => Some("esp32c61"),
            Self::ESP32C5 => Some("esp32c5"),
            Self::VIRT => Some("virt"),
            _ => None,
        }
    }

    /// The chip's memory; `None` for a chip that is not known here.
    pub(super) fn windows(self) -> Option<&'static [Window]> {
        match self {
            Self::ESP32 => Some(ESP32),
            Self::ESP32S2 => Some(ESP32S2),
            Self::ESP32C3 => Some(ESP32C3),
            Self::ESP32S3 => Some(ESP32S3),
            Self::ESP32C2 => Some(ESP32C2),
            Self::ESP32C6 => Some(ESP32C6),
            Self::ESP32H2 => Some(ESP32H2),
            Self::ESP32P4 => Some(ESP32P4),
            Self::ESP32C61 | Self::ESP32C5 => Some(ESP32C5),
            Self::VIRT => Some(VIRT),
            _ => None,
        }
    }
}

impl fmt::Display for ChipId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "chip {:#06x}", self.0),
        }
    }
}

impl fmt::Debug for ChipId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
