//! The partition table at flash offset 0x8000 (ESP-IDF's format).
//!
//! ```text
//! entry, 32 bytes                             MD5 entry, 32 bytes
//!  0   2  magic 0x50AA (bytes AA 50)           0   2  0xEBEB
//!  2   1  type: 0 app, 1 data                  2  14  0xFF
//!  3   1  subtype                             16  16  MD5 of all entries before it
//!  4   4  offset in flash
//!  8   4  length
//! 12  16  name, zero-padded
//! 28   4  flags: bit 0 encrypted
//! ```
//!
//! Entries follow each other; the MD5 entry, if there is one, is the last, and
//! 32 bytes of 0xFF end the table. After `esp_partition_table_verify`
//! (ESP-IDF, `bootloader_support/src/flash_partitions.c`) and `gen_esp32part.py`.

mod layout;
#[cfg(test)]
mod tests;

use core::fmt;

use crate::FixedText;
use crate::bytes::{Reader, Writer};
use crate::md5::md5;

pub use layout::{DEFAULT_4MB, Layout, LayoutError, Region, default_4mb_partitions};

/// Where the table lies in flash.
pub const PARTITION_TABLE_OFFSET: u32 = 0x8000;
/// Length of the table in flash.
pub const PARTITION_TABLE_LEN: usize = 0xC00;
/// Length of an entry.
pub const ENTRY_LEN: usize = 32;
/// Most partitions: room for the MD5 entry has to be left.
pub const MAX_PARTITIONS: usize = PARTITION_TABLE_LEN / ENTRY_LEN - 1;
/// Alignment of every partition.
pub const SECTOR_LEN: u32 = 0x1000;
/// Alignment of app partitions: the unit of the flash MMU.
pub const APP_ALIGNMENT: u32 = 0x10000;

/// Type of partitions with an app image.
pub const TYPE_APP: u8 = 0x00;
/// Type of partitions with data.
pub const TYPE_DATA: u8 = 0x01;
/// App subtype: the factory app.
pub const APP_FACTORY: u8 = 0x00;
/// App subtype: slot 0; slot n is n more.
pub const APP_OTA_0: u8 = 0x10;
/// App subtype: the last slot there can be.
pub const APP_OTA_LAST: u8 = 0x1F;
/// Data subtype: the bootloader's slot selection.
pub const DATA_OTADATA: u8 = 0x00;
/// Data subtype: calibration of the radio.
pub const DATA_PHY: u8 = 0x01;
/// Data subtype: settings.
pub const DATA_NVS: u8 = 0x02;
/// Data subtype: Otaria's journal.
pub const DATA_OTARIA: u8 = 0x40;
/// Data subtype: Otaria's log.
pub const DATA_OTALOG: u8 = 0x41;

const ENTRY_MAGIC: [u8; 2] = [0xAA, 0x50];
const MD5_MAGIC: [u8; 2] = [0xEB, 0xEB];

/// One partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Type.
    pub kind: u8,
    /// Subtype within the type.
    pub subtype: u8,
    /// Where in flash.
    pub region: Region,
    /// Name.
    pub name: FixedText<16>,
    /// Flags.
    pub flags: u32,
}

impl Partition {
    fn parse(bytes: &[u8; ENTRY_LEN]) -> Result<Self, PartitionError> {
        let mut reader = Reader::new(bytes);
        if reader.array() != ENTRY_MAGIC {
            return Err(PartitionError::Magic);
        }
        let (kind, subtype) = (reader.u8(), reader.u8());
        let (offset, len) = (reader.u32(), reader.u32());
        let name = FixedText::from_field(&reader.array()).map_err(|_| PartitionError::Name)?;
        let flags = reader.u32();
        let alignment = if kind == TYPE_APP {
            APP_ALIGNMENT
        } else {
            SECTOR_LEN
        };
        let aligned = offset.is_multiple_of(alignment) && len.is_multiple_of(SECTOR_LEN);
        if !aligned || len == 0 || offset.checked_add(len).is_none() {
            return Err(PartitionError::Region);
        }
        Ok(Self {
            kind,
            subtype,
            region: Region { offset, len },
            name,
            flags,
        })
    }

    fn encode(&self) -> [u8; ENTRY_LEN] {
        Writer::new()
            .put(&ENTRY_MAGIC)
            .u8(self.kind)
            .u8(self.subtype)
            .u32(self.region.offset)
            .u32(self.region.len)
            .put(self.name.as_field())
            .u32(self.flags)
            .finish()
    }
}

/// Why bytes are no partition table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionError {
    /// Neither an entry nor the end, or no partition at all.
    Magic,
    /// A name that is not printable or not padded.
    Name,
    /// Not aligned, empty, or past the end of the address space.
    Region,
    /// Two partitions overlap.
    Overlap,
    /// The MD5 sum is wrong.
    Md5,
    /// The table ends without its end mark, or has more partitions than fit.
    TooLong,
}

impl fmt::Display for PartitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Magic => "there is no partition table",
            Self::Name => "a partition's name is not printable ASCII",
            Self::Region => "a partition is not aligned, empty, or outside of flash",
            Self::Overlap => "two partitions overlap",
            Self::Md5 => "the partition table's MD5 sum is wrong",
            Self::TooLong => "the partition table has no end",
        })
    }
}

impl core::error::Error for PartitionError {}

/// A partition table that was checked.
#[derive(Clone, Copy, Debug)]
pub struct PartitionTable<'a> {
    entries: &'a [[u8; ENTRY_LEN]],
    has_md5: bool,
}

impl<'a> PartitionTable<'a> {
    /// Checks the table at the start of `bytes`, of which at most
    /// [`PARTITION_TABLE_LEN`] are looked at.
    ///
    /// # Errors
    /// See [`PartitionError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PartitionError> {
        let bytes = bytes.get(..PARTITION_TABLE_LEN).unwrap_or(bytes);
        let (cells, _) = bytes.as_chunks::<ENTRY_LEN>();
        let count = cells
            .iter()
            .position(|cell| !cell.starts_with(&ENTRY_MAGIC))
            .ok_or(PartitionError::TooLong)?;
        let (entries, rest) = cells
            .split_at_checked(count)
            .ok_or(PartitionError::TooLong)?;
        let has_md5 = match rest.split_first() {
            Some((end, rest)) if end.starts_with(&MD5_MAGIC) => {
                check_md5(entries, end)?;
                // A table that is full to the last byte ends with its MD5 entry.
                if rest.first().is_some_and(|end| !is_end(end)) {
                    return Err(PartitionError::Magic);
                }
                true
            }
            Some((end, _)) if is_end(end) => false,
            _ => return Err(PartitionError::Magic),
        };
        if entries.is_empty() {
            return Err(PartitionError::Magic);
        }
        for entry in entries {
            Partition::parse(entry)?;
        }
        let table = Self { entries, has_md5 };
        for (index, partition) in table.iter().enumerate() {
            if table
                .iter()
                .take(index)
                .any(|earlier| earlier.region.overlaps(&partition.region))
            {
                return Err(PartitionError::Overlap);
            }
        }
        Ok(table)
    }

    /// All partitions in order.
    pub fn iter(&self) -> impl Iterator<Item = Partition> + use<'a> {
        self.entries
            .iter()
            .filter_map(|entry| Partition::parse(entry).ok())
    }

    /// The first partition of a type and subtype.
    #[must_use]
    pub fn find(&self, kind: u8, subtype: u8) -> Option<Partition> {
        self.iter()
            .find(|partition| partition.kind == kind && partition.subtype == subtype)
    }

    /// The first partition of a name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<Partition> {
        self.iter().find(|partition| partition.name == *name)
    }

    /// Whether the table has an MD5 entry (which then is right).
    #[must_use]
    pub fn has_md5(&self) -> bool {
        self.has_md5
    }
}

/// The table's bytes as they lie in flash: entries, MD5 entry, 0xFF.
///
/// # Errors
/// What [`PartitionTable::parse`] would refuse.
pub fn encode(partitions: &[Partition]) -> Result<[u8; PARTITION_TABLE_LEN], PartitionError> {
    if partitions.len() > MAX_PARTITIONS {
        return Err(PartitionError::TooLong);
    }
    let mut bytes = [0xFF; PARTITION_TABLE_LEN];
    let (cells, _) = bytes.as_chunks_mut::<ENTRY_LEN>();
    for (cell, partition) in cells.iter_mut().zip(partitions) {
        *cell = partition.encode();
    }
    let (entries, rest) = cells
        .split_at_mut_checked(partitions.len())
        .ok_or(PartitionError::TooLong)?;
    if let Some(end) = rest.first_mut() {
        *end = Writer::new()
            .put(&MD5_MAGIC)
            .put(&[0xFF; 14])
            .put(&md5_of(entries))
            .finish();
    }
    PartitionTable::parse(&bytes)?;
    Ok(bytes)
}

fn md5_of(entries: &[[u8; ENTRY_LEN]]) -> [u8; 16] {
    md5(entries.as_flattened())
}

fn check_md5(entries: &[[u8; ENTRY_LEN]], cell: &[u8; ENTRY_LEN]) -> Result<(), PartitionError> {
    let (_, sum) = cell.split_at(16);
    if sum == md5_of(entries) {
        Ok(())
    } else {
        Err(PartitionError::Md5)
    }
}

fn is_end(cell: &[u8; ENTRY_LEN]) -> bool {
    cell.iter().all(|byte| *byte == 0xFF)
}
