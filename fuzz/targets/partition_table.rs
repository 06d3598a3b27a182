//! The partition table at 0x8000.
#![no_main]

use libfuzzer_sys::fuzz_target;
use otaria_wire::partitions::{Layout, PartitionTable};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(table) = PartitionTable::parse(bytes) {
        let _ = Layout::from_table(&table);
    }
});
