//! Partition tables, and the order in which apps are tried.

use OtaState::Valid;
use Sector::{BadCrc, Good};
use otaria_wire::partitions::APP_FACTORY;

use super::*;

fn factory_partition() -> Partition {
    partition("factory", TYPE_APP, APP_FACTORY, 0x50000, 0x10000)
}

fn test_partition() -> Partition {
    partition("test", TYPE_APP, 0x20, 0x40000, 0x10000)
}

/// What boots with these partitions, of which those at the given places hold an image.
fn boots(partitions: &[Partition], otadata: [Sector; 2], images: &[u32]) -> Option<App> {
    let mut flash = flash_with(partitions);
    for (at, sector) in [OTADATA, OTADATA + 0x1000].into_iter().zip(otadata) {
        load(&mut flash, at, &sector.bytes());
    }
    for at in images {
        load(&mut flash, *at, &image());
    }
    match boot(&mut flash, false) {
        Ok(booted) => Some(booted.app),
        Err(BootError::NothingToBoot(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn bad_images_lead_down_to_the_factory_app_then_up_then_to_the_test_app() {
    let partitions = [
        otadata_partition(),
        slot_partition(0),
        slot_partition(1),
        slot_partition(2),
        test_partition(),
        factory_partition(),
    ];
    let (slot_0, slot_1, slot_2) = (0x10000, 0x20000, 0x30000);
    let (test, factory) = (0x40000, 0x50000);
    let second = [Good(2, Valid), Sector::Blank];
    let boots = |images: &[u32]| boots(&partitions, second, images);
    let all = [slot_1, slot_0, factory, slot_2, test];
    let order = [
        App::Slot(1),
        App::Slot(0),
        App::Factory,
        App::Slot(2),
        App::Test,
    ];
    for (gone, app) in order.into_iter().enumerate() {
        assert_eq!(boots(&all[gone..]), Some(app));
    }
    assert_eq!(boots(&[]), None);
}

#[test]
fn with_blank_otadata_a_factory_app_boots_and_nothing_is_written() {
    let mut flash = flash_with(&[otadata_partition(), slot_partition(0), factory_partition()]);
    load(&mut flash, 0x10000, &image());
    load(&mut flash, 0x50000, &image());
    let booted = boot(&mut flash, true).unwrap();
    assert_eq!(
        (booted.app, booted.slot(), flash.commands),
        (App::Factory, None, 0)
    );
}

#[test]
fn with_bad_crcs_a_factory_app_boots() {
    let partitions = [otadata_partition(), slot_partition(0), factory_partition()];
    let bad = [BadCrc(1, Valid), BadCrc(2, Valid)];
    assert_eq!(
        boots(&partitions, bad, &[0x10000, 0x50000]),
        Some(App::Factory)
    );
}

#[test]
fn without_otadata_the_factory_app_or_the_first_slot_boots() {
    let blank = [Sector::Blank; 2];
    let partitions = [slot_partition(0), factory_partition()];
    assert_eq!(
        boots(&partitions, blank, &[0x10000, 0x50000]),
        Some(App::Factory)
    );
    assert_eq!(boots(&partitions, blank, &[0x10000]), Some(App::Slot(0)));
}

#[test]
fn the_sequence_number_counts_modulo_the_number_of_slots() {
    let partitions = [0, 1, 2].map(slot_partition);
    let partitions = [&[otadata_partition()][..], &partitions].concat();
    let images = [0x10000, 0x20000, 0x30000];
    for (seq, slot) in [(1, 0), (2, 1), (3, 2), (4, 0), (3000, 2)] {
        let otadata = [Good(seq, Valid), Sector::Blank];
        assert_eq!(
            boots(&partitions, otadata, &images),
            Some(App::Slot(slot)),
            "seq {seq}"
        );
    }
}

#[test]
fn a_damaged_partition_table_boots_nothing() {
    let mut damaged = flash(Good(1, Valid), Sector::Blank);
    damaged.cells[PARTITION_TABLE_OFFSET as usize + 4] ^= 1;
    let error = boot(&mut damaged, false).unwrap_err();
    assert!(matches!(error, BootError::PartitionTable(_)), "{error}");
}

#[test]
fn a_partition_behind_the_end_of_flash_boots_nothing() {
    let mut flash = flash(Good(1, Valid), Sector::Blank);
    flash.cells.truncate(0x28000);
    assert_eq!(boot(&mut flash, false), Err(BootError::OutsideFlash));
}

#[test]
fn an_otadata_partition_of_one_sector_boots_nothing() {
    let small = partition("otadata", TYPE_DATA, DATA_OTADATA, OTADATA, 0x1000);
    let mut flash = flash_with(&[small, slot_partition(0), slot_partition(1)]);
    load(&mut flash, 0x10000, &image());
    assert_eq!(boot(&mut flash, false), Err(BootError::OtadataTooSmall));
}
