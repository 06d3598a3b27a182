//! Which images are booted.

use OtaState::Valid;
use Sector::Good;
use otaria_wire::esp_image::ChipId;

use super::*;

/// Why this image is refused in slot 1, with a good one in slot 0.
fn refusal(image: &[u8], bootloader: Bootloader) -> Option<Refusal> {
    let mut flash = flash(Good(2, Valid), Sector::Blank);
    flash.cells[0x20000..0x30000].fill(0xFF);
    load(&mut flash, 0x20000, image);
    let booted = bootloader.boot(&mut flash).unwrap();
    let slot = if booted.refused.is_some() { 0 } else { 1 };
    assert_eq!(booted.slot(), Some(slot));
    booted.refused.map(|(app, refusal)| {
        assert_eq!(app, App::Slot(1));
        refusal
    })
}

fn refused_as(image: &[u8]) -> Option<Refusal> {
    refusal(image, Bootloader::new(false))
}

#[test]
fn what_follows_an_image_in_its_slot_does_not_matter() {
    assert_eq!(refused_as(&image()), None);
    assert_eq!(refused_as(&[image(), vec![0x5A; 3000]].concat()), None);
}

#[test]
fn a_slot_without_an_image_is_refused() {
    assert_eq!(refused_as(&[]), Some(Refusal::Image(ImageError::Magic)));
    assert_eq!(
        refused_as(&[0xE9]),
        Some(Refusal::Image(ImageError::SegmentCount(0xFF)))
    );
}

#[test]
fn any_flipped_bit_of_an_image_is_noticed() {
    let good = image();
    for at in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        // The field at 4 is the entry point, which another place of the same segment suits as well; the hash notices.
        assert!(refused_as(&bad).is_some(), "byte {at}");
    }
}

#[test]
fn an_image_that_is_cut_short_is_refused() {
    let good = image();
    for len in (0..good.len()).step_by(16) {
        assert!(refused_as(&good[..len]).is_some(), "{len} bytes");
    }
}

#[test]
fn an_image_that_would_not_fit_into_its_partition_is_refused() {
    let mut long = image();
    long[28..32].copy_from_slice(&0x10000u32.to_le_bytes());
    assert_eq!(refused_as(&long), Some(Refusal::TooLong));
    // The last segment just fits, checksum and hash do not.
    let mut long = image();
    let last = SLOT_LEN - 24 - 8 - 256 - 8;
    long[292..296].copy_from_slice(&last.to_le_bytes());
    assert_eq!(refused_as(&long), Some(Refusal::TooLong));
}

#[test]
fn lengths_that_no_segment_has_are_refused() {
    for len in [257u32, 0x100_0000, u32::MAX] {
        let mut odd = image();
        odd[28..32].copy_from_slice(&len.to_le_bytes());
        let expected = Refusal::Image(ImageError::SegmentLen { segment: 0 });
        assert_eq!(refused_as(&odd), Some(expected), "{len:#x}");
    }
}

#[test]
fn an_image_for_another_chip_or_revision_is_refused() {
    let on = |chip, revision| {
        let mut flash = flash(Good(1, Valid), Sector::Blank);
        let bootloader = Bootloader::new(false).on_chip(chip, revision);
        match bootloader.boot(&mut flash) {
            Ok(_) => None,
            Err(BootError::NothingToBoot(Some((_, refusal)))) => Some(refusal),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(on(ChipId::ESP32C3, 3), None);
    assert_eq!(on(ChipId::ESP32C3, 199), None);
    assert_eq!(on(ChipId::ESP32C3, 2), Some(Refusal::Revision));
    assert_eq!(on(ChipId::ESP32C3, 200), Some(Refusal::Revision));
    assert_eq!(on(ChipId::ESP32S3, 3), Some(Refusal::Chip(ChipId::ESP32C3)));
}

#[test]
fn a_highest_revision_of_zero_or_all_ones_is_any() {
    for any in [[0, 0], [0xFF, 0xFF]] {
        let mut image = image();
        image[17..19].copy_from_slice(&any);
        let end = image.len() - 32;
        let hash = Sha256Digest::of(&image[..end]).0;
        image[end..].copy_from_slice(&hash);
        let bootloader = Bootloader::new(false).on_chip(ChipId::ESP32C3, 900);
        // The other slot's image ends at revision 1.99, so only this one can boot.
        let mut flash = flash(Good(2, Valid), Sector::Blank);
        load(&mut flash, 0x20000, &image);
        assert_eq!(bootloader.boot(&mut flash).unwrap().slot(), Some(1));
    }
}
