//! Making packages: what is refused, and that what is made is what is read.

mod common;

use common::{key, options};
use otaria_package::elf::{self, ElfError};
use otaria_package::keys::Keyring;
use otaria_package::pack::{CodecChoice, Options, PackError, TimeStamp, pack};
use otaria_package::read::{Trust, read, read_into};
use otaria_sim::images::{DEMO_ESP32C3, Stamp};
use otaria_wire::esp_image::{ChipId, ImageError};
use otaria_wire::package::{Codec, Flags};

fn refused(image: &[u8], options: &Options) -> PackError {
    pack(image, &key(), options).expect_err("the image is refused")
}

#[test]
fn what_is_packed_is_read_back_byte_for_byte() {
    for (size, block_len) in [
        (848, 4096),
        (4096, 4096),
        (12_288, 8192),
        (65_536, 12_288),
        (262_144, 16_384),
    ] {
        let image = if size == 848 {
            DEMO_ESP32C3.to_vec()
        } else {
            Stamp::new("1.1.0").size(size).image()
        };
        for codec in [CodecChoice::Stored, CodecChoice::Deflate, CodecChoice::Auto] {
            let package = pack(
                &image,
                &key(),
                &Options {
                    codec,
                    block_len,
                    ..options()
                },
            )
            .unwrap();
            let mut plain = Vec::new();
            let keyring = Keyring::new([key().public_key()]);
            let contents = read_into(&package.bytes[..], Trust::Keys(&keyring), &[], |piece| {
                plain.extend_from_slice(piece);
                Ok(())
            })
            .unwrap();
            assert!(
                plain == image,
                "{size} bytes in blocks of {block_len}, {codec:?}"
            );
            assert_eq!(contents.header, package.header);
            assert_eq!(contents.package_len, package.bytes.len() as u64);
            assert_eq!(contents.stored_len, package.stored_len());
            assert!(contents.signature_verified);
        }
    }
}

#[test]
fn the_header_says_what_the_image_says() {
    let image = Stamp::new("2.0.1")
        .project("thermostat")
        .secure_version(3)
        .image();
    let header = pack(&image, &key(), &options()).unwrap().header;
    assert_eq!(header.product, "thermostat");
    assert_eq!(header.version, "2.0.1");
    assert_eq!(header.security_version, 3);
    assert_eq!(ChipId(header.chip_id), ChipId::ESP32C3);
    assert_eq!((header.min_chip_rev, header.max_chip_rev), (0, 199));
    assert_eq!(header.sequence, 1_700_000_000_123);
    assert_eq!(header.created, 1_700_000_000);
    assert_eq!(header.key_id, key().public_key().key_id());
    assert_eq!(header.flags, Flags::default());
}

#[test]
fn the_same_input_makes_the_same_bytes() {
    let image = Stamp::new("1.1.0").size(32_768).image();
    let package = || pack(&image, &key(), &options()).unwrap().bytes;
    assert!(package() == package());
}

#[test]
fn source_date_epoch_sets_sequence_and_time() {
    let stamp = TimeStamp::from_source_date_epoch("1700000000").unwrap();
    assert_eq!(
        stamp,
        TimeStamp {
            sequence: 1_700_000_000_000,
            created: 1_700_000_000
        }
    );
    for bad in ["", "yesterday", "-1", "1.5", "18446744073709551615"] {
        assert_eq!(TimeStamp::from_source_date_epoch(bad), None, "{bad}");
    }
}

#[test]
fn deflate_is_given_up_when_it_does_not_pay() {
    let firmware = Stamp::new("1.1.0").size(32_768).image();
    assert_eq!(
        pack(&firmware, &key(), &options()).unwrap().header.codec,
        Codec::Deflate
    );
    let noise = with_noise();
    assert_eq!(
        pack(&noise, &key(), &options()).unwrap().header.codec,
        Codec::Stored
    );
    let told = Options {
        codec: CodecChoice::Deflate,
        ..options()
    };
    let package = pack(&noise, &key(), &told).unwrap();
    assert_eq!(package.header.codec, Codec::Deflate);
    read(&package.bytes[..], Trust::Anyone).expect("blocks that grew are still within the slack");
}

/// The demo image with a segment of 32 KiB that does not compress.
fn with_noise() -> Vec<u8> {
    let mut state = 1_u32;
    let noise = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    });
    // Without 8 bytes of padding and checksum, and the SHA-256.
    let mut body = DEMO_ESP32C3[..DEMO_ESP32C3.len() - 32 - 8].to_vec();
    body[1] = 3;
    body.extend(0x3FC9_0000_u32.to_le_bytes());
    body.extend(0x8000_u32.to_le_bytes());
    body.extend(noise.take(0x8000));
    // The stamp adds padding, checksum and hash again.
    Stamp::new("1.1.0").apply(&body).unwrap()
}

#[test]
fn files_that_are_no_image_are_named() {
    let package = pack(DEMO_ESP32C3, &key(), &options()).unwrap();
    assert!(matches!(
        refused(&package.bytes, &options()),
        PackError::IsPackage
    ));
    for (bytes, words) in [
        (&b""[..], "empty"),
        (b"<html>", "web page"),
        (b"\xAA\x50\x01\x02", "partition table"),
        (b"\x1F\x8B\x08", "archive"),
        (b"hello", "0xE9"),
    ] {
        let error = refused(bytes, &options());
        assert!(matches!(error, PackError::NotAnImage(_)), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn damaged_images_are_refused_with_what_is_wrong() {
    let good = Stamp::new("1.1.0").size(4096).image();
    let problem = |image: &[u8]| match refused(image, &options()) {
        PackError::Image { problem, .. } => problem,
        other => panic!("{other}"),
    };
    let flipped = |at: usize| {
        let mut image = good.clone();
        image[at] ^= 1;
        image
    };
    assert_eq!(problem(&flipped(1000)), ImageError::Checksum);
    assert_eq!(problem(&flipped(good.len() - 1)), ImageError::Hash);
    assert_eq!(problem(&flipped(32)), ImageError::NoDescriptor);
    assert_eq!(problem(&flipped(23)), ImageError::NoHash);
    for len in [1, 23, 24, 100, 3000, good.len() - 33, good.len() - 1] {
        assert_eq!(problem(&good[..len]), ImageError::Truncated, "{len} bytes");
    }
}

#[test]
fn bytes_behind_the_image_are_refused_with_where_they_start() {
    for extra in [1, 16, 5000] {
        let mut image = DEMO_ESP32C3.to_vec();
        image.resize(image.len() + extra, 0xFF);
        match refused(&image, &options()) {
            PackError::TrailingBytes {
                image_len,
                trailing,
            } => {
                assert_eq!((image_len, trailing), (DEMO_ESP32C3.len(), extra));
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn an_image_must_fit_the_slot() {
    let image = Stamp::new("1.1.0").size(0x1d_0000).image();
    pack(
        &image,
        &key(),
        &Options {
            codec: CodecChoice::Stored,
            ..options()
        },
    )
    .expect("it fits exactly");
    let image = Stamp::new("1.1.0").size(0x1d_0000 + 16).image();
    let error = refused(&image, &options());
    assert!(
        matches!(
            error,
            PackError::TooBig {
                image_len: 0x1d_0010,
                slot_size: 0x1d_0000
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("16 too many"), "{error}");
}

#[test]
fn an_image_without_boot_guard_is_taken_only_when_told() {
    let mut body = DEMO_ESP32C3.to_vec();
    let at = body
        .windows(12)
        .position(|window| window == b"OTARIA-GUARD")
        .unwrap();
    body[at] = b'o';
    let image = Stamp::new("1.1.0").apply(&body).unwrap();
    assert!(matches!(
        refused(&image, &options()),
        PackError::NoBootGuard
    ));
    let told = Options {
        allow_unguarded: true,
        ..options()
    };
    assert!(pack(&image, &key(), &told).unwrap().header.flags.unguarded);
    body[at] = b'O';
    body[at + 12] = 200;
    let image = Stamp::new("1.1.0").apply(&body).unwrap();
    let error = refused(&image, &options());
    assert!(
        matches!(error, PackError::OtherBootGuard { found: 200 }),
        "{error}"
    );
    assert!(pack(&image, &key(), &told).unwrap().header.flags.unguarded);
    let guarded = pack(DEMO_ESP32C3, &key(), &told).unwrap();
    assert!(
        !guarded.header.flags.unguarded,
        "leave to do without a guard is no claim that there is none"
    );
}

#[test]
fn product_and_version_must_be_what_the_caller_expects() {
    let image = Stamp::new("1.1.0").image();
    let expecting = |product: &str, version: &str| Options {
        product: Some(product.to_owned()),
        version: Some(version.to_owned()),
        ..options()
    };
    pack(&image, &key(), &expecting("otaria-demo", "1.1.0")).expect("both agree");
    let error = refused(&image, &expecting("otaria-dem", "1.1.0"));
    assert!(
        matches!(
            error,
            PackError::Disagrees {
                field: "product",
                ..
            }
        ),
        "{error}"
    );
    let error = refused(&image, &expecting("otaria-demo", "1.1"));
    assert!(
        matches!(
            error,
            PackError::Disagrees {
                field: "version",
                ..
            }
        ),
        "{error}"
    );
    let error = refused(&Stamp::new("").image(), &options());
    assert!(
        matches!(
            error,
            PackError::EmptyField {
                field: "version",
                ..
            }
        ),
        "{error}"
    );
    let error = refused(&Stamp::new("1").project("").image(), &options());
    assert!(
        matches!(
            error,
            PackError::EmptyField {
                field: "project name",
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn block_lengths_that_no_device_takes_are_refused() {
    let image = Stamp::new("1.1.0").size(0x8_0000).image();
    for block_len in [0, 1, 4095, 4097, 20_480, u32::MAX] {
        let error = refused(
            &image,
            &Options {
                block_len,
                ..options()
            },
        );
        assert!(matches!(error, PackError::BlockLen(_)), "{error}");
    }
    // 512 KiB in blocks of 4 KiB has a table of 4608 bytes, more than a block.
    let error = refused(
        &image,
        &Options {
            block_len: 4096,
            ..options()
        },
    );
    assert!(
        matches!(error, PackError::BlockLenTooSmall { needed: 8192, .. }),
        "{error}"
    );
    let slot_size = 16 << 20;
    let huge = Stamp::new("1.1.0").size(8 << 20).image();
    let error = refused(
        &huge,
        &Options {
            slot_size,
            ..options()
        },
    );
    assert!(matches!(error, PackError::TooManyBlocks(_)), "{error}");
}

#[test]
fn elfs_for_other_machines_are_refused_by_name() {
    let header = |class: u8, order: u8, machine: u16| {
        let mut elf = vec![0; 64];
        elf[..4].copy_from_slice(b"\x7fELF");
        (elf[4], elf[5]) = (class, order);
        let bytes = if order == 2 {
            machine.to_be_bytes()
        } else {
            machine.to_le_bytes()
        };
        elf[18..20].copy_from_slice(&bytes);
        elf
    };
    let refused = |elf: &[u8], chip| elf::to_image(elf, chip, 0x1d_0000).unwrap_err();
    for (elf, words) in [
        (header(2, 1, 62), "x86-64"),
        (header(1, 1, 3), "x86"),
        (header(2, 1, 183), "64-bit Arm"),
        (header(1, 1, 40), "32-bit Arm"),
        (header(2, 1, 243), "64-bit RISC-V"),
        (header(1, 2, 8), "machine type 8"),
    ] {
        let error = refused(&elf, None);
        assert!(matches!(error, ElfError::Architecture { .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
    let riscv = header(1, 1, 243);
    assert!(matches!(refused(&riscv, None), ElfError::ChipNeeded));
    assert!(matches!(
        refused(&riscv, Some("esp8266")),
        ElfError::UnknownChip { .. }
    ));
    assert!(matches!(
        refused(&riscv, Some("esp32s3")),
        ElfError::OtherChip { .. }
    ));
    assert!(matches!(
        refused(&header(1, 1, 94), Some("ESP32-C3")),
        ElfError::OtherChip { .. }
    ));
    assert!(matches!(
        refused(&riscv, Some("esp32c3")),
        ElfError::Unusable(_)
    ));
    assert!(matches!(refused(b"\x7fELF", None), ElfError::Unusable(_)));
    for chip in elf::CHIPS {
        assert!(
            !matches!(refused(&riscv, Some(chip)), ElfError::UnknownChip { .. }),
            "{chip}"
        );
    }
}
