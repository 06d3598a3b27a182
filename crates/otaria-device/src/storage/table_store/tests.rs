use core::cell::RefCell;

use super::super::region::Region;
use super::super::test_flash::{Cut, TestFlash};
use otaria_wire::package::{Codec, ENCAPSULATED_LEN, KEM_DHKEM_P256, KeyId, SEALED_KEY_LEN};

use super::super::test_package::{TestPackage, image};
use super::*;

struct Bench(RefCell<TestFlash>);

impl Bench {
    fn new() -> Self {
        Self(RefCell::new(TestFlash::new(5)))
    }

    fn store(&self) -> TableStore<Region<'_, TestFlash>> {
        TableStore::new(Region::new(&self.0, 0, 5 * SECTOR_LEN).unwrap()).unwrap()
    }

    fn keep(&self, package: &TestPackage) -> Result<usize, TableStoreError> {
        let mut store = self.store();
        let recipient = (package.header.cipher != Cipher::None).then_some(&RECIPIENT);
        let mut writer = TableWriter::new(1234).with_recipient(recipient);
        let mut steps = 1;
        loop {
            let before = self.0.borrow().ops;
            let done = writer.step(&mut store, &package.header, &package.table())?;
            assert_eq!(self.0.borrow().ops, before + 1, "one flash command a step");
            if done {
                return Ok(steps);
            }
            steps += 1;
        }
    }
}

/// 60 blocks: three writes of table entries, into one sector.
fn package(n: u8) -> TestPackage {
    TestPackage::new(n, 60 * 4096, 4096)
}

const RECIPIENT: Recipient = Recipient {
    key_id: KeyId([7; 8]),
    encapsulated: [4; ENCAPSULATED_LEN],
    sealed_key: [9; SEALED_KEY_LEN],
};

/// The same, encrypted. (Blocks of codec 0 would have to be longer than their plain bytes.)
fn encrypted(n: u8, blocks: usize) -> TestPackage {
    let image = image(n, blocks * 4096, true);
    TestPackage::with(image, n, 4096, |header| {
        header.codec = Codec::Deflate;
        header.cipher = Cipher::ChaCha20Poly1305;
        header.recipients = 1;
        header.recipients_len = RECIPIENT_LEN as u32;
        header.kem = KEM_DHKEM_P256;
    })
}

#[test]
fn the_recipient_of_an_encrypted_package_comes_back() {
    for blocks in [1, 60, 101, 102] {
        let bench = Bench::new();
        let package = encrypted(1, blocks);
        bench.keep(&package).unwrap();
        let mut store = bench.store();
        store.check(&package.header).unwrap();
        assert_eq!(store.recipient(&package.header), Ok(Some(RECIPIENT)));
        // A table of 102 entries leaves too little of the first sector.
        let sectors = if blocks < 102 { 1 } else { 2 };
        assert_eq!(bench.0.borrow().sectors_erased, sectors, "{blocks}");
    }
    let bench = Bench::new();
    bench.keep(&package(1)).unwrap();
    assert_eq!(bench.store().recipient(&package(1).header), Ok(None));
}

#[test]
fn a_cut_at_every_command_leaves_no_header_without_its_recipient() {
    let (old, new) = (encrypted(1, 60), encrypted(2, 60));
    for op in 0..6 {
        for cut in [Cut::Before, Cut::Half, Cut::After] {
            let bench = Bench::new();
            bench.keep(&old).unwrap();
            bench.0.borrow_mut().cut_at(op, cut);
            bench.keep(&new).unwrap_err();
            bench.0.borrow_mut().power_on();
            let mut store = bench.store();
            if store.check(&new.header).is_ok() {
                assert_eq!(store.recipient(&new.header), Ok(Some(RECIPIENT)));
                assert_eq!((op, cut), (5, Cut::After));
            }
        }
    }
}

#[test]
fn header_table_and_offset_come_back() {
    let bench = Bench::new();
    let package = package(1);
    assert_eq!(bench.keep(&package), Ok(1 + 3 + 1));
    let mut store = bench.store();
    let stored = store.load().unwrap().unwrap();
    assert_eq!(stored.header.to_bytes(), *package.header.as_bytes());
    assert_eq!(stored.blocks_offset, 1234);
    let table = store.check(&package.header).unwrap();
    assert_eq!(
        (table.blocks(), table.identity()),
        (60, package.header.identity())
    );
    for block in 0..60 {
        let entry = store.entry(&table, block).unwrap();
        assert_eq!(Some(entry), package.table().entry(block));
        assert_eq!(
            store.offset_of(&table, block),
            Ok(1234 + u64::from(block) * 4096)
        );
    }
    assert_eq!(store.offset_of(&table, 60), Ok(1234 + 60 * 4096));
    assert_eq!(store.entry(&table, 60), Err(TableStoreError::NoSuchBlock));
    assert_eq!(
        store.offset_of(&table, 61),
        Err(TableStoreError::NoSuchBlock)
    );
}

#[test]
fn only_the_sectors_that_the_table_needs_are_erased() {
    let bench = Bench::new();
    bench.keep(&TestPackage::new(1, 16 * 4096, 16384)).unwrap();
    assert_eq!(bench.0.borrow().sectors_erased, 1);
    let bench = Bench::new();
    // 455 blocks, the longest table that a block of 16 KiB has room for.
    let package = TestPackage::new(1, 455 * 16384, 16384);
    bench.keep(&package).unwrap();
    assert_eq!(bench.0.borrow().sectors_erased, 5);
    assert_eq!(bench.store().check(&package.header).unwrap().blocks(), 455);
}

#[test]
fn an_empty_store_holds_nothing() {
    let bench = Bench::new();
    assert_eq!(bench.store().load(), Ok(None));
    assert_eq!(
        bench.store().check(&package(1).header),
        Err(TableStoreError::NotStored)
    );
}

#[test]
fn the_table_of_another_package_is_not_taken() {
    let bench = Bench::new();
    bench.keep(&package(1)).unwrap();
    assert_eq!(
        bench.store().check(&package(2).header),
        Err(TableStoreError::NotStored)
    );
    bench.keep(&package(2)).unwrap();
    assert!(bench.store().check(&package(2).header).is_ok());
}

#[test]
fn any_flipped_bit_is_found() {
    let bench = Bench::new();
    let package = package(1);
    bench.keep(&package).unwrap();
    for at in 0..TABLE_AT as usize + package.table.len() {
        bench.0.borrow_mut().bytes_mut()[at] ^= 0x20;
        let checked = bench.store().check(&package.header);
        assert_eq!(checked, Err(TableStoreError::NotStored), "byte {at}");
        bench.0.borrow_mut().bytes_mut()[at] ^= 0x20;
    }
    assert!(bench.store().check(&package.header).is_ok());
}

#[test]
fn a_cut_at_every_command_leaves_all_or_nothing() {
    let (old, new) = (package(1), package(2));
    for op in 0..5 {
        for cut in [Cut::Before, Cut::After, Cut::Half] {
            let bench = Bench::new();
            bench.keep(&old).unwrap();
            bench.0.borrow_mut().cut_at(op, cut);
            bench.keep(&new).unwrap_err();
            bench.0.borrow_mut().power_on();
            let checked = bench.store().check(&new.header);
            assert_eq!(
                checked.is_ok(),
                op == 4 && cut == Cut::After,
                "op {op}, {cut:?}"
            );
            bench.keep(&new).unwrap();
            assert!(bench.store().check(&new.header).is_ok());
        }
    }
}

#[test]
fn a_region_that_is_too_small_is_refused() {
    let flash = RefCell::new(TestFlash::new(4));
    let region = Region::new(&flash, 0, 4 * SECTOR_LEN).unwrap();
    assert_eq!(
        TableStore::new(region).err(),
        Some(TableStoreError::WrongSize)
    );
}
