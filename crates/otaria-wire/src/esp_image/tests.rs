//! Tests of the image check.

use std::vec::Vec;

use proptest::prelude::*;

use super::test_image::{TestImage, descriptor};
use super::*;
use crate::guard::MARKER;

/// What makes an image bad.
type Break = fn(&mut TestImage);

#[test]
fn a_good_image_is_described() {
    let image = TestImage::good().build();
    let info = check(&image).unwrap();
    assert_eq!(info.chip, ChipId::ESP32C3);
    assert_eq!((info.min_rev_full, info.max_rev_full), (3, 199));
    assert_eq!((info.entry, info.segments), (0x4038_0004, 2));
    assert_eq!(info.len as usize, image.len());
    assert_eq!(info.desc.project, "pump");
    assert_eq!(info.desc.version, "1.2.3");
    assert_eq!(info.desc.secure_version, 7);
    assert_eq!(info.desc.elf_sha256.0, [0xE1; 32]);
    assert_eq!(info.guard, None);
}

#[test]
fn each_defect_has_its_own_refusal() {
    let table: &[(&str, Break, ImageError)] = &[
        ("magic", |image| image.magic = 0x7F, ImageError::Magic),
        (
            "no segment",
            |image| image.segments.clear(),
            ImageError::SegmentCount(0),
        ),
        (
            "17 segments",
            |image| image.segment_count = Some(17),
            ImageError::SegmentCount(17),
        ),
        (
            "odd length",
            |image| image.segments[1].1.truncate(23),
            ImageError::SegmentLen { segment: 1 },
        ),
        (
            "ROM",
            |image| image.segments[1].0 = 0x4000_0000,
            ImageError::LoadAddress { segment: 1 },
        ),
        (
            "peripherals",
            |image| image.segments[1].0 = 0x6000_0000,
            ImageError::LoadAddress { segment: 1 },
        ),
        (
            "end of a window",
            |image| image.segments[1].0 = 0x403D_FFF0,
            ImageError::LoadAddress { segment: 1 },
        ),
        (
            "wrap",
            |image| image.segments[1].0 = 0xFFFF_FFF0,
            ImageError::LoadAddress { segment: 1 },
        ),
        (
            "wrap on an unknown chip",
            |image| {
                image.chip = ChipId(0x7777);
                image.segments[1].0 = 0xFFFF_FFF0;
            },
            ImageError::LoadAddress { segment: 1 },
        ),
        (
            "overlap",
            |image| image.segments.push((0x4038_0014, [0; 8].to_vec())),
            ImageError::Overlap { segment: 2 },
        ),
        (
            "flash alignment",
            |image| image.segments[0].0 = 0x3C00_0000,
            ImageError::Misaligned { segment: 0 },
        ),
        (
            "entry",
            |image| image.entry = 0x4038_0018,
            ImageError::EntryPoint,
        ),
        ("padding", |image| image.padding = 1, ImageError::Padding),
        (
            "checksum",
            |image| image.checksum_mask = 1,
            ImageError::Checksum,
        ),
        (
            "no hash",
            |image| image.hash_appended = 0,
            ImageError::NoHash,
        ),
        ("hash", |image| image.hash_mask = 1, ImageError::Hash),
        (
            "no descriptor",
            |image| image.segments[0].1[0] ^= 1,
            ImageError::NoDescriptor,
        ),
        (
            "short first segment",
            |image| image.segments[0].1.truncate(252),
            ImageError::NoDescriptor,
        ),
        (
            "text",
            |image| image.segments[0].1[16] = 0xFF,
            ImageError::DescriptorText,
        ),
    ];
    for (name, spoil, error) in table {
        let mut image = TestImage::good();
        spoil(&mut image);
        assert_eq!(check(&image.build()), Err(*error), "{name}");
    }
}

#[test]
fn a_length_near_4_gib_is_refused_at_the_segment_header() {
    let mut image = TestImage::good().build();
    image[28..32].copy_from_slice(&0xFFFF_FFFCu32.to_le_bytes());
    assert_eq!(check(&image), Err(ImageError::SegmentLen { segment: 0 }));
    image[28..32].copy_from_slice(&MAX_SEGMENT_LEN.to_le_bytes());
    assert_eq!(check(&image), Err(ImageError::SegmentLen { segment: 0 }));
}

#[test]
fn every_shorter_image_is_truncated_and_every_longer_one_is_refused() {
    let image = TestImage::good().build();
    for len in 0..image.len() {
        assert_eq!(check(&image[..len]), Err(ImageError::Truncated), "{len}");
    }
    let mut longer = image;
    longer.push(0);
    assert_eq!(check(&longer), Err(ImageError::TrailingBytes));
}

#[test]
fn every_flipped_bit_is_noticed() {
    let image = TestImage::good().build();
    for bit in 0..image.len() * 8 {
        let mut flipped = image.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(check(&flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn padding_segments_are_not_loaded_and_an_unknown_chip_may_load_anywhere() {
    let mut image = TestImage::good();
    image.segments.push((0, [0; 64].to_vec()));
    assert_eq!(check(&image.build()).map(|info| info.segments), Ok(3));

    image.chip = ChipId(0x7777);
    image.segments[1].0 = 0x7000_0000;
    image.entry = 0x7000_0000;
    assert!(check(&image.build()).is_ok());
}

#[test]
fn an_empty_segment_is_passed_over() {
    let mut image = TestImage::good();
    image.segments.push((0x3FC8_0000, Vec::new()));
    image.segments.insert(1, (0x3FC8_0000, Vec::new()));
    assert_eq!(check(&image.build()).map(|info| info.segments), Ok(4));
}

#[test]
fn sixteen_segments_are_the_most() {
    let mut image = TestImage::good();
    for n in image.segments.len() as u32..16 {
        image
            .segments
            .push((0x3FC8_0000 + n * 16, [0; 16].to_vec()));
    }
    assert_eq!(check(&image.build()).map(|info| info.segments), Ok(16));
}

#[test]
fn the_windows_of_every_known_chip_take_its_usual_segments() {
    // Flash (rodata, text) and RAM as the linker scripts of ESP-IDF and esp-hal place them.
    let usual = [
        (ChipId::ESP32, 0x3F40_0020, 0x400D_0000, 0x4008_0000),
        (ChipId::ESP32S2, 0x3F00_0020, 0x4008_0000, 0x4002_2000),
        (ChipId::ESP32C3, 0x3C00_0020, 0x4200_0000, 0x4038_0000),
        (ChipId::ESP32S3, 0x3C00_0020, 0x4200_0000, 0x4037_4000),
        (ChipId::ESP32C2, 0x3C00_0020, 0x4200_0000, 0x4038_0000),
        (ChipId::ESP32C6, 0x4280_0020, 0x4200_0000, 0x4080_0000),
        (ChipId::ESP32H2, 0x4280_0020, 0x4200_0000, 0x4080_0000),
        (ChipId::ESP32P4, 0x4000_0020, 0x4001_0000, 0x4FF0_0000),
        (ChipId::ESP32C61, 0x4200_0020, 0x4201_0000, 0x4080_0000),
        (ChipId::ESP32C5, 0x4200_0020, 0x4201_0000, 0x4080_0000),
        // As board/virt/app.x places them: all in RAM.
        (ChipId::VIRT, 0x8010_0000, 0x8012_0000, 0x8014_0000),
    ];
    assert_eq!(usual.map(|(chip, ..)| chip), ChipId::KNOWN);
    for (chip, rodata, text, ram) in usual {
        let mut image = TestImage::good();
        image.chip = chip;
        image.entry = ram;
        let mut first = descriptor("pump", "1", 0);
        // Fill up so that the next segment's data starts at a page boundary.
        let first_len = 0x1_0000 - HEADER_LEN - 2 * SEGMENT_HEADER_LEN;
        first.resize(first_len, 0);
        image.segments = [
            (rodata, first),
            (text, [0; 16].to_vec()),
            (ram, [0; 16].to_vec()),
        ]
        .to_vec();
        let info = check(&image.build());
        assert_eq!(info.map(|info| info.segments), Ok(3), "{chip}");
        assert_eq!(info.map(|info| info.chip.name().is_some()), Ok(true));
    }
    assert_eq!(ChipId(0x7777).name(), None);
}

#[test]
fn the_guard_marker_is_found_anywhere_and_in_any_pieces() {
    for at in 0..24 - MARKER.len() {
        let mut image = TestImage::good();
        image.segments[1].1[at..at + MARKER.len()].copy_from_slice(&MARKER);
        let bytes = image.build();
        for cut in 0..bytes.len() {
            let mut checker = ImageChecker::new();
            checker.update(&bytes[..cut]).unwrap();
            checker.update(&bytes[cut..]).unwrap();
            let guard = checker.finish().unwrap().guard;
            assert_eq!(
                guard,
                Some(GuardMarker { journal_version: 1 }),
                "at {at}, cut {cut}"
            );
        }
    }
}

#[test]
fn after_an_error_nothing_is_good_again() {
    let mut checker = ImageChecker::new();
    assert_eq!(checker.update(&[0]), Err(ImageError::Magic));
    assert_eq!(
        checker.update(&TestImage::good().build()),
        Err(ImageError::Magic)
    );
    assert_eq!(checker.finish(), Err(ImageError::Magic));
}

/// Checks in pieces of the given lengths, and what is left as the last one.
fn check_in_pieces(mut bytes: &[u8], pieces: &[usize]) -> Result<ImageInfo, ImageError> {
    let mut checker = ImageChecker::new();
    for len in pieces {
        let (piece, rest) = bytes.split_at(bytes.len().min(*len));
        checker.update(piece)?;
        bytes = rest;
    }
    checker.update(bytes)?;
    checker.finish()
}

proptest! {
    #[test]
    fn any_pieces_give_the_same_result(
        flip in proptest::option::of((any::<prop::sample::Index>(), 1u8..)),
        pieces in proptest::collection::vec(0usize..100, 0..20),
    ) {
        let mut image = TestImage::good().build();
        if let Some((at, mask)) = flip {
            let at = at.index(image.len());
            image[at] ^= mask;
        }
        prop_assert_eq!(check_in_pieces(&image, &pieces), check(&image));
    }

    #[test]
    fn any_bytes_are_refused_without_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(check(&bytes).is_err());
        if let Some(first) = bytes.first_mut() {
            *first = MAGIC;
        }
        prop_assert!(check(&bytes).is_err());
    }
}
