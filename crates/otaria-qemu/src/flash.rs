//! The board's flash, as a file for QEMU.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use otaria_wire::partitions::{
    DEFAULT_4MB, PARTITION_TABLE_OFFSET, PartitionError, default_4mb_partitions, encode,
};

/// Bytes that the board uses.
pub const FLASH_LEN: usize = 4 * 1024 * 1024;
/// Bytes of one of QEMU's flash banks: it takes no file of another length.
pub const BANK_LEN: u64 = 32 * 1024 * 1024;

/// What a board leaves the factory with.
#[derive(Clone, Debug)]
pub struct FlashImage {
    bytes: Vec<u8>,
}

/// Why there is no flash image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlashImageError {
    /// The app does not fit its slot.
    #[error("the app is {len} bytes, and a slot holds {slot}")]
    AppTooLong {
        /// Bytes of the app's image.
        len: usize,
        /// Bytes of a slot.
        slot: usize,
    },
    /// The settings do not fit their partition.
    #[error("the settings are {len} bytes, and their partition holds {partition}")]
    SettingsTooLong {
        /// Bytes of the NVS image.
        len: usize,
        /// Bytes of the partition.
        partition: usize,
    },
    /// The partition table.
    #[error("{0}")]
    Table(#[from] PartitionError),
}

impl FlashImage {
    /// The default layout with `app` in the first slot and `nvs` as settings; everything else is blank.
    ///
    /// # Errors
    /// See [`FlashImageError`].
    pub fn new(app: &[u8], nvs: &[u8]) -> Result<Self, FlashImageError> {
        let slot = DEFAULT_4MB.slots[0];
        let settings = DEFAULT_4MB.nvs;
        if app.len() > slot.len as usize {
            return Err(FlashImageError::AppTooLong {
                len: app.len(),
                slot: slot.len as usize,
            });
        }
        if nvs.len() > settings.len as usize {
            return Err(FlashImageError::SettingsTooLong {
                len: nvs.len(),
                partition: settings.len as usize,
            });
        }
        let table = encode(&default_4mb_partitions())?;
        let mut bytes = vec![0xFF; FLASH_LEN];
        for (offset, part) in [
            (PARTITION_TABLE_OFFSET, &table[..]),
            (settings.offset, nvs),
            (slot.offset, app),
        ] {
            bytes[offset as usize..][..part.len()].copy_from_slice(part);
        }
        Ok(Self { bytes })
    }

    /// Writes it to a file of the length of QEMU's bank, for its owner alone: there are keys in the settings. What is behind the
    /// 4 MiB takes no room on disk.
    ///
    /// # Errors
    /// Of the file.
    pub fn write_to(&self, path: &Path) -> io::Result<()> {
        let mut file = File::create(path)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
        }
        file.write_all(&self.bytes)?;
        file.set_len(BANK_LEN)
    }
}
