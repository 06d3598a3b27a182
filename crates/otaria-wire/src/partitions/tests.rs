//! Tests of the partition table.

use std::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::golden::hex;

/// What makes a table bad.
type Break = fn(&mut Vec<Partition>);

/// The table of the design, as ESP-IDF's own tool writes it.
fn golden() -> Vec<u8> {
    let mut bytes = hex("
aa50 01 02 00900000 00400000 6e767300000000000000000000000000 00000000 ; nvs
aa50 01 00 00d00000 00200000 6f746164617461000000000000000000 00000000 ; otadata
aa50 01 01 00f00000 00100000 7068795f696e69740000000000000000 00000000 ; phy_init
aa50 00 10 00000100 00001d00 6f74615f300000000000000000000000 00000000 ; ota_0
aa50 00 11 00001e00 00001d00 6f74615f310000000000000000000000 00000000 ; ota_1
aa50 01 40 00003b00 00000100 6f746172696100000000000000000000 00000000 ; otaria
aa50 01 41 00003c00 00000400 6f74616c6f6700000000000000000000 00000000 ; otalog
ebeb ffffffffffffffffffffffffffff 3b630ab2d2faf35aa8bc23f48de318fd ; MD5");
    bytes.resize(PARTITION_TABLE_LEN, 0xFF);
    bytes
}

fn refused(bytes: &[u8]) -> Option<PartitionError> {
    PartitionTable::parse(bytes).err()
}

#[test]
fn the_default_table_is_fixed() {
    assert_eq!(
        encode(&default_4mb_partitions()).unwrap().to_vec(),
        golden()
    );
    let bytes = golden();
    let table = PartitionTable::parse(&bytes).unwrap();
    assert!(table.has_md5());
    assert_eq!(table.iter().collect::<Vec<_>>(), default_4mb_partitions());
    assert_eq!(Layout::from_table(&table), Ok(DEFAULT_4MB));
    assert_eq!(DEFAULT_4MB.log.end(), 4 * 1024 * 1024);
    assert_eq!(DEFAULT_4MB.slot_len(), 0x1D_0000);
}

#[test]
fn partitions_are_found_by_type_and_by_name() {
    let bytes = golden();
    let table = PartitionTable::parse(&bytes).unwrap();
    assert_eq!(table.find(TYPE_APP, APP_OTA_0).unwrap().name, "ota_0");
    assert_eq!(table.find(TYPE_APP, APP_FACTORY), None);
    assert_eq!(table.by_name("otalog").unwrap().region, DEFAULT_4MB.log);
    assert_eq!(table.by_name("otalo"), None);
}

#[test]
fn a_table_without_md5_is_taken() {
    let mut bytes = golden();
    bytes[7 * ENTRY_LEN..8 * ENTRY_LEN].fill(0xFF);
    let table = PartitionTable::parse(&bytes).unwrap();
    assert!(!table.has_md5());
    assert_eq!(table.iter().count(), 7);
}

#[test]
fn every_flipped_byte_of_the_entries_is_noticed() {
    let bytes = golden();
    for at in 0..8 * ENTRY_LEN {
        let mut flipped = bytes.clone();
        flipped[at] ^= 0x01;
        // The 14 bytes between the MD5 entry's magic and its sum say nothing.
        let unused = (7 * ENTRY_LEN + 2..7 * ENTRY_LEN + 16).contains(&at);
        assert_eq!(refused(&flipped).is_none(), unused, "byte {at}");
    }
}

#[test]
fn what_is_no_table_is_refused() {
    assert_eq!(
        refused(&[0xFF; PARTITION_TABLE_LEN]),
        Some(PartitionError::Magic)
    );
    assert_eq!(
        refused(&[0; PARTITION_TABLE_LEN]),
        Some(PartitionError::Magic)
    );
    assert_eq!(refused(&[]), Some(PartitionError::TooLong));
    assert_eq!(
        refused(&golden()[..7 * ENTRY_LEN]),
        Some(PartitionError::TooLong)
    );
    assert_eq!(refused(&golden()[..8 * ENTRY_LEN]), None);
    let mut after_md5 = golden();
    after_md5[8 * ENTRY_LEN] = 0xAA;
    assert_eq!(refused(&after_md5), Some(PartitionError::Magic));
}

#[test]
fn each_defect_has_its_own_refusal() {
    let table: &[(&str, Break, PartitionError)] = &[
        (
            "unaligned data",
            |parts| parts[0].region.offset += 0x800,
            PartitionError::Region,
        ),
        (
            "unaligned app",
            |parts| parts[3].region.offset += 0x1000,
            PartitionError::Region,
        ),
        (
            "unaligned length",
            |parts| parts[6].region.len -= 1,
            PartitionError::Region,
        ),
        (
            "no length",
            |parts| parts[6].region.len = 0,
            PartitionError::Region,
        ),
        (
            "wrapping length",
            |parts| parts[6].region.len = 0xFFFF_F000,
            PartitionError::Region,
        ),
        (
            "overlap",
            |parts| parts[0].region.len += 0x1000,
            PartitionError::Overlap,
        ),
        (
            "twice",
            |parts| parts.push(parts[0]),
            PartitionError::Overlap,
        ),
        ("none", Vec::clear, PartitionError::Magic),
        (
            "too many",
            |parts| {
                let one = parts[0];
                parts.extend((0..=MAX_PARTITIONS).map(|_| one));
            },
            PartitionError::TooLong,
        ),
    ];
    for (name, spoil, error) in table {
        let mut parts = default_4mb_partitions().to_vec();
        spoil(&mut parts);
        assert_eq!(encode(&parts).err(), Some(*error), "{name}");
    }
    let mut bytes = golden();
    bytes[7 * ENTRY_LEN..8 * ENTRY_LEN].fill(0xFF);
    bytes[14] = 1;
    assert_eq!(refused(&bytes), Some(PartitionError::Name));
}

#[test]
fn a_full_table_ends_with_its_md5() {
    let mut parts = Vec::new();
    for n in 0..MAX_PARTITIONS as u32 {
        parts.push(Partition {
            region: Region {
                offset: 0x10_0000 + n * 0x1000,
                len: 0x1000,
            },
            ..default_4mb_partitions()[0]
        });
    }
    let bytes = encode(&parts).unwrap();
    assert_eq!(
        PartitionTable::parse(&bytes).map(|table| table.iter().count()),
        Ok(MAX_PARTITIONS)
    );
}

#[test]
fn a_layout_names_what_is_missing_or_too_small() {
    let layout = |spoil: Break| {
        let mut parts = default_4mb_partitions().to_vec();
        spoil(&mut parts);
        let bytes = encode(&parts).unwrap();
        Layout::from_table(&PartitionTable::parse(&bytes).unwrap()).err()
    };
    for (index, name) in [
        (0, "nvs"),
        (1, "otadata"),
        (3, "ota_0"),
        (4, "ota_1"),
        (5, "otaria"),
        (6, "otalog"),
    ] {
        let mut parts = default_4mb_partitions().to_vec();
        parts.remove(index);
        let bytes = encode(&parts).unwrap();
        let found = Layout::from_table(&PartitionTable::parse(&bytes).unwrap());
        assert_eq!(found, Err(LayoutError::Missing(name)));
    }
    assert_eq!(
        layout(|parts| parts[1].region.len = 0x1000),
        Some(LayoutError::TooSmall("otadata"))
    );
    assert_eq!(
        layout(|parts| parts[5].region.len = 0xF000),
        Some(LayoutError::TooSmall("otaria"))
    );
    assert_eq!(
        layout(|parts| parts[6].region.len = 0x1000),
        Some(LayoutError::TooSmall("otalog"))
    );
    for subtype in [APP_FACTORY, APP_OTA_0 + 2] {
        let mut parts = default_4mb_partitions().to_vec();
        let region = Region {
            offset: 0x40_0000,
            len: 0x1_0000,
        };
        parts.push(Partition {
            subtype,
            region,
            ..parts[3]
        });
        let bytes = encode(&parts).unwrap();
        let found = Layout::from_table(&PartitionTable::parse(&bytes).unwrap());
        assert_eq!(found, Err(LayoutError::Slots));
    }
}

proptest! {
    #[test]
    fn what_is_encoded_decodes_to_the_same(
        parts in proptest::collection::vec((any::<u8>(), any::<u8>(), 1..16u32, "[ -~]{0,16}", any::<u32>()), 1..20),
    ) {
        let mut offset = 0x1_0000;
        let parts: Vec<Partition> = parts
            .into_iter()
            .map(|(kind, subtype, sectors, name, flags)| {
                let region = Region { offset, len: sectors * SECTOR_LEN };
                offset += 0x1_0000;
                Partition { kind, subtype, region, name: FixedText::try_from(name.as_str()).unwrap(), flags }
            })
            .collect();
        let bytes = encode(&parts).unwrap();
        let table = PartitionTable::parse(&bytes).unwrap();
        prop_assert_eq!(table.iter().collect::<Vec<_>>(), parts);
    }
}
