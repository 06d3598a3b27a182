//! A flash image, and the NVS partition in it.

use otaria_package::elf::FlashParts;
use otaria_wire::partitions::{
    DATA_NVS, DEFAULT_4MB, PARTITION_TABLE_OFFSET, PartitionTable, TYPE_DATA,
    default_4mb_partitions, encode,
};
use zeroize::Zeroizing;

use super::{HostError, partition_image};
use crate::{Region, Settings};

/// Bytes of a flash image: a whole chip of 4 MB.
pub const FLASH_LEN: usize = 4 * 1024 * 1024;

/// A whole flash chip as a new board needs it: bootloader, partition table, settings if there are any, and the app in the first
/// slot. All else is erased.
///
/// # Errors
/// Something does not fit its place, or the settings are such that a device would refuse them.
pub fn flash_image(
    parts: &FlashParts,
    settings: Option<&Settings>,
) -> Result<Zeroizing<Vec<u8>>, HostError> {
    let [first, _] = DEFAULT_4MB.slots;
    let before_table = Region {
        offset: parts.bootloader_offset,
        len: PARTITION_TABLE_OFFSET.saturating_sub(parts.bootloader_offset),
    };
    let table = encode(&default_4mb_partitions()).map_err(HostError::Table)?;
    // Erased flash reads 0xFF: the other slot, otadata, journal and log are blank.
    let mut flash = Zeroizing::new(vec![0xFF; FLASH_LEN]);
    put("bootloader", &mut flash, before_table, &parts.bootloader)?;
    put("app", &mut flash, first, &parts.app)?;
    let table_place = Region {
        offset: PARTITION_TABLE_OFFSET,
        len: DEFAULT_4MB
            .nvs
            .offset
            .saturating_sub(PARTITION_TABLE_OFFSET),
    };
    put("partition table", &mut flash, table_place, &table)?;
    if let Some(settings) = settings {
        let nvs = partition_image(settings, DEFAULT_4MB.nvs.len as usize)?;
        put_into_flash(&mut flash, &nvs)?;
    }
    Ok(flash)
}

fn put(what: &'static str, flash: &mut [u8], place: Region, bytes: &[u8]) -> Result<(), HostError> {
    let room = flash
        .get_mut(place.offset as usize..place.end() as usize)
        .unwrap_or_default();
    let too_long = HostError::NoRoom {
        what,
        len: bytes.len(),
        room: room.len(),
    };
    let room = room.get_mut(..bytes.len()).ok_or(too_long)?;
    room.copy_from_slice(bytes);
    Ok(())
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WifiNetwork;
    use crate::host::read_partition;

    fn parts(bootloader: usize, app: usize) -> FlashParts {
        FlashParts {
            bootloader: vec![0xB0; bootloader],
            bootloader_offset: 0x1000,
            app: vec![0xA0; app],
        }
    }

    #[test]
    fn everything_is_where_it_is_looked_for_and_the_rest_is_erased() {
        let settings = Settings {
            wifi: vec![WifiNetwork::new("workshop", "a password").unwrap()],
            ..Settings::default()
        };
        let flash = flash_image(&parts(20_000, 70_000), Some(&settings)).unwrap();
        assert_eq!(flash.len(), FLASH_LEN);
        assert!(
            flash[0x1000..0x1000 + 20_000]
                .iter()
                .all(|byte| *byte == 0xB0)
        );
        assert!(
            flash[0x1_0000..0x1_0000 + 70_000]
                .iter()
                .all(|byte| *byte == 0xA0)
        );
        let nvs = nvs_region(&flash).unwrap();
        assert_eq!(nvs, DEFAULT_4MB.nvs);
        let nvs = &flash[nvs.offset as usize..nvs.end() as usize];
        assert_eq!(read_partition(nvs).unwrap(), settings);
        for blank in [0..0x1000, 0xD000..0x1_0000, 0x1_0000 + 70_000..FLASH_LEN] {
            assert!(
                flash[blank.clone()].iter().all(|byte| *byte == 0xFF),
                "{blank:x?}"
            );
        }
    }

    #[test]
    fn what_does_not_fit_its_place_is_named() {
        for (bootloader, app, named) in [
            (0x7001, 1, "bootloader"),
            (1, DEFAULT_4MB.slots[0].len as usize + 1, "app"),
        ] {
            let refused = flash_image(&parts(bootloader, app), None).unwrap_err();
            assert!(matches!(refused, HostError::NoRoom { what, .. } if what == named));
        }
        let largest = parts(0x7000, DEFAULT_4MB.slots[0].len as usize);
        assert!(flash_image(&largest, None).is_ok());
    }
}
