//! What lies in flash when a device leaves the factory.

use otaria_wire::partitions::{
    Layout, PARTITION_TABLE_OFFSET, Partition, PartitionTable, default_4mb_partitions, encode,
};

use crate::flash::{SimFlash, Timing};

/// Makes flash as a factory would: a partition table, an app in slot 0, and nothing else.
///
/// Devices of one factory share their sectors until they change them.
#[derive(Clone)]
pub struct Factory {
    flash: SimFlash,
    layout: Layout,
}

impl Factory {
    /// A factory for 4 MB of flash with Otaria's default partitions.
    pub fn new(image: &[u8]) -> Self {
        Factory::with_partitions(0x40_0000, &default_4mb_partitions(), image)
    }

    /// A factory for other partitions, such as the small ones of an exhaustive test.
    ///
    /// # Panics
    /// If the partitions make no table that Otaria can work with, or the image does not fit into slot 0.
    pub fn with_partitions(capacity: u32, partitions: &[Partition], image: &[u8]) -> Self {
        let table = encode(partitions).expect("partitions make a table");
        let parsed = PartitionTable::parse(&table).expect("what was encoded parses");
        let layout = Layout::from_table(&parsed).expect("Otaria can work with the partitions");
        assert!(
            image.len() <= layout.slots[0].len as usize,
            "the image fits into slot 0"
        );
        let mut flash = SimFlash::new(capacity);
        flash.load(PARTITION_TABLE_OFFSET, &table);
        flash.load(layout.slots[0].offset, image);
        Factory { flash, layout }
    }

    /// The same factory with flash whose commands take time.
    #[must_use]
    pub fn with_timing(mut self, timing: Timing) -> Self {
        self.flash = self.flash.with_timing(timing);
        self
    }

    /// Where the partitions lie.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The flash of a new device.
    pub fn flash(&self) -> SimFlash {
        self.flash.clone()
    }
}
