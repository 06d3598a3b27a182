//! The app partitions, and in which order they are tried.

use embedded_storage::nor_flash::NorFlash;
use otaria_wire::partitions::{
    APP_FACTORY, APP_OTA_0, APP_OTA_LAST, DATA_OTADATA, PARTITION_TABLE_LEN,
    PARTITION_TABLE_OFFSET, PartitionTable, Region, TYPE_APP, TYPE_DATA,
};

use crate::{App, BootError};

/// App subtype of the test app. `esp_flash_partitions.h`: `PART_SUBTYPE_TEST`.
const APP_TEST: u8 = 0x20;
const MAX_SLOTS: usize = (APP_OTA_LAST - APP_OTA_0 + 1) as usize;

/// What the bootloader keeps of a partition table. `bootloader_config.h`: `bootloader_state_t`.
pub(crate) struct Apps {
    pub(crate) otadata: Option<Region>,
    pub(crate) factory: Option<Region>,
    test: Option<Region>,
    slots: [Option<Region>; MAX_SLOTS],
    /// How many slots there are; a sequence number counts modulo this.
    pub(crate) count: u8,
}

impl Apps {
    /// Reads the partition table.
    pub(crate) fn load<F: NorFlash>(flash: &mut F) -> Result<Self, BootError<F::Error>> {
        let mut bytes = [0; PARTITION_TABLE_LEN];
        flash
            .read(PARTITION_TABLE_OFFSET, &mut bytes)
            .map_err(BootError::Flash)?;
        let table = PartitionTable::parse(&bytes).map_err(BootError::PartitionTable)?;
        let mut apps = Self {
            otadata: None,
            factory: None,
            test: None,
            slots: [None; MAX_SLOTS],
            count: 0,
        };
        for partition in table.iter() {
            if partition.region.end() as usize > flash.capacity() {
                return Err(BootError::OutsideFlash);
            }
            let region = Some(partition.region);
            match (partition.kind, partition.subtype) {
                (TYPE_APP, APP_FACTORY) => apps.factory = region,
                (TYPE_APP, APP_TEST) => apps.test = region,
                (TYPE_APP, subtype @ APP_OTA_0..=APP_OTA_LAST) => {
                    if let Some(slot) = apps.slots.get_mut(usize::from(subtype - APP_OTA_0)) {
                        *slot = region;
                        apps.count += 1;
                    }
                }
                (TYPE_DATA, DATA_OTADATA) => apps.otadata = region,
                _ => {}
            }
        }
        Ok(apps)
    }

    /// Where an app lies, if there is such a partition.
    pub(crate) fn region(&self, app: App) -> Option<Region> {
        match app {
            App::Factory => self.factory,
            App::Slot(slot) => self.slots.get(usize::from(slot)).copied().flatten(),
            App::Test => self.test,
        }
    }

    /// The order in which apps are tried: from the start downwards to the factory app, then upwards, at last the test app.
    pub(crate) fn in_order(&self, start: App) -> impl Iterator<Item = App> + use<> {
        // The slots below this one, and this one, are tried on the way down.
        let below = match start {
            App::Slot(slot) => slot.saturating_add(1),
            App::Factory | App::Test => 0,
        };
        let down = (0..below).rev().map(App::Slot);
        let up = (below..self.count).map(App::Slot);
        down.chain([App::Factory]).chain(up).chain([App::Test])
    }
}
