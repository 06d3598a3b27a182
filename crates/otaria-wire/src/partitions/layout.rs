//! Where Otaria's partitions lie.

use core::fmt;

use super::{
    APP_FACTORY, APP_OTA_0, APP_OTA_LAST, DATA_NVS, DATA_OTADATA, DATA_OTALOG, DATA_OTARIA,
    DATA_PHY, Partition, PartitionTable, SECTOR_LEN, TYPE_APP, TYPE_DATA,
};
use crate::FixedText;

/// A run of bytes in flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Offset of the first byte.
    pub offset: u32,
    /// Length in bytes.
    pub len: u32,
}

impl Region {
    /// Offset behind the last byte.
    #[must_use]
    pub const fn end(&self) -> u32 {
        self.offset.saturating_add(self.len)
    }

    /// Whether the two have a byte in common.
    #[must_use]
    pub const fn overlaps(&self, other: &Self) -> bool {
        self.offset < other.end() && other.offset < self.end()
    }
}

/// The partitions that Otaria works with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Settings.
    pub nvs: Region,
    /// The bootloader's slot selection: two sectors.
    pub otadata: Region,
    /// The two app slots.
    pub slots: [Region; 2],
    /// The journal: at least 16 sectors.
    pub journal: Region,
    /// The log: at least 2 sectors.
    pub log: Region,
}

/// Why Otaria cannot work with a partition table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutError {
    /// The partition of this name is missing.
    Missing(&'static str),
    /// The partition of this name is too small.
    TooSmall(&'static str),
    /// There are more than two slots, or a factory app: the bootloader would
    /// count slots differently.
    Slots,
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "the partition table has no {name}"),
            Self::TooSmall(name) => write!(f, "the partition {name} is too small"),
            Self::Slots => {
                f.write_str("the partition table must have ota_0 and ota_1 and no other app")
            }
        }
    }
}

impl core::error::Error for LayoutError {}

const JOURNAL_SECTORS: u32 = 16;
const LOG_SECTORS: u32 = 2;

impl Layout {
    /// Finds the partitions by type and subtype.
    ///
    /// # Errors
    /// See [`LayoutError`].
    pub fn from_table(table: &PartitionTable<'_>) -> Result<Self, LayoutError> {
        let region = |kind, subtype, name| {
            let found = table.find(kind, subtype).map(|partition| partition.region);
            found.ok_or(LayoutError::Missing(name))
        };
        let layout = Self {
            nvs: region(TYPE_DATA, DATA_NVS, "nvs")?,
            otadata: region(TYPE_DATA, DATA_OTADATA, "otadata")?,
            slots: [
                region(TYPE_APP, APP_OTA_0, "ota_0")?,
                region(TYPE_APP, APP_OTA_0 + 1, "ota_1")?,
            ],
            journal: region(TYPE_DATA, DATA_OTARIA, "otaria")?,
            log: region(TYPE_DATA, DATA_OTALOG, "otalog")?,
        };
        let other_app = |partition: &Partition| {
            partition.kind == TYPE_APP
                && (partition.subtype == APP_FACTORY
                    || matches!(partition.subtype, APP_OTA_0..=APP_OTA_LAST))
        };
        if table.iter().filter(other_app).count() != layout.slots.len() {
            return Err(LayoutError::Slots);
        }
        if layout.otadata.len < 2 * SECTOR_LEN {
            return Err(LayoutError::TooSmall("otadata"));
        }
        if layout.journal.len < JOURNAL_SECTORS * SECTOR_LEN {
            return Err(LayoutError::TooSmall("otaria"));
        }
        if layout.log.len < LOG_SECTORS * SECTOR_LEN {
            return Err(LayoutError::TooSmall("otalog"));
        }
        Ok(layout)
    }

    /// Length of the smaller slot: the longest image that fits into either.
    #[must_use]
    pub const fn slot_len(&self) -> u32 {
        let [first, second] = &self.slots;
        if first.len < second.len {
            first.len
        } else {
            second.len
        }
    }
}

/// The layout for 4 MB of flash.
pub const DEFAULT_4MB: Layout = Layout {
    nvs: Region {
        offset: 0x9000,
        len: 0x4000,
    },
    otadata: Region {
        offset: 0xD000,
        len: 0x2000,
    },
    slots: [
        Region {
            offset: 0x1_0000,
            len: 0x1D_0000,
        },
        Region {
            offset: 0x1E_0000,
            len: 0x1D_0000,
        },
    ],
    journal: Region {
        offset: 0x3B_0000,
        len: 0x1_0000,
    },
    log: Region {
        offset: 0x3C_0000,
        len: 0x4_0000,
    },
};

/// The partitions for 4 MB of flash, in the order of the table.
#[must_use]
pub fn default_4mb_partitions() -> [Partition; 7] {
    let partition = |name: &str, kind, subtype, region| Partition {
        kind,
        subtype,
        region,
        name: FixedText::try_from(name).unwrap_or_default(),
        flags: 0,
    };
    let [slot_0, slot_1] = DEFAULT_4MB.slots;
    [
        partition("nvs", TYPE_DATA, DATA_NVS, DEFAULT_4MB.nvs),
        partition("otadata", TYPE_DATA, DATA_OTADATA, DEFAULT_4MB.otadata),
        partition(
            "phy_init",
            TYPE_DATA,
            DATA_PHY,
            Region {
                offset: 0xF000,
                len: 0x1000,
            },
        ),
        partition("ota_0", TYPE_APP, APP_OTA_0, slot_0),
        partition("ota_1", TYPE_APP, APP_OTA_0 + 1, slot_1),
        partition("otaria", TYPE_DATA, DATA_OTARIA, DEFAULT_4MB.journal),
        partition("otalog", TYPE_DATA, DATA_OTALOG, DEFAULT_4MB.log),
    ]
}
