//! A flash image, and the NVS partition in it.

use otaria_wire::partitions::{DATA_NVS, PARTITION_TABLE_OFFSET, PartitionTable, TYPE_DATA};

use super::HostError;
use crate::Region;

/// Bit 0 of a partition's flags (ESP-IDF, `esp_flash_partitions.h`).
const ENCRYPTED: u32 = 1;

/// Where the NVS partition of a flash image lies, by the partition table in it.
///
/// # Errors
/// There is no table, no such partition, it is encrypted, or it ends behind the image.
pub fn nvs_region(flash: &[u8]) -> Result<Region, HostError> {
    let table = flash
        .get(PARTITION_TABLE_OFFSET as usize..)
        .unwrap_or_default();
    let table = PartitionTable::parse(table).map_err(HostError::Table)?;
    let partition = table.find(TYPE_DATA, DATA_NVS).ok_or(HostError::NoNvs)?;
    if partition.flags & ENCRYPTED != 0 {
        return Err(HostError::Encrypted);
    }
    let region = partition.region;
    if region.end() as usize > flash.len() {
        return Err(HostError::Outside {
            end: region.end(),
            len: flash.len(),
        });
    }
    Ok(region)
}

/// Puts an NVS partition into a flash image, in place of the one there; where it went.
///
/// # Errors
/// See [`nvs_region`]; and the partition in the table must be as long as the new one.
pub fn put_into_flash(flash: &mut [u8], partition: &[u8]) -> Result<Region, HostError> {
    let region = nvs_region(flash)?;
    let other_length = HostError::OtherLength {
        there: region.len,
        new: partition.len(),
    };
    if partition.len() != region.len as usize {
        return Err(other_length);
    }
    let place = flash.get_mut(region.offset as usize..region.end() as usize);
    place.ok_or(other_length)?.copy_from_slice(partition);
    Ok(region)
}
