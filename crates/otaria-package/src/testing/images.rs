//! Packages in perfect order around an image that would not boot or is not what the header says. Only the trusted key
//! could make them, so what is tested is that a slip of the signer bricks nothing.

use otaria_wire::Sha256Digest;
use otaria_wire::messages::FailureCode;
use otaria_wire::package::{BlockEntry, TABLE_ENTRY_LEN};

use super::forge::{Forge, offset};
use super::image::{DESCRIPTOR, body, rehash, seal, segment, without_hash};
use super::{BadPackage, Material, Rows, Stage};

pub(super) fn bad(material: &Material<'_>, good: &Forge, all: &mut Vec<BadPackage>) {
    let mut rows = Rows {
        all,
        stage: Stage::Image,
        only_device: false,
    };
    let wrapped = |image: Vec<u8>| wrap(good, &image).sign(material.key);
    let mut sha256 = image_digest(good);
    sha256[0] ^= 1;
    let other_hash = good
        .clone()
        .head(offset::IMAGE_SHA256, &sha256)
        .sign(material.key);
    rows.add(
        "another image digest in the header",
        FailureCode::ImageHash,
        other_hash,
    );

    for (name, image) in unbootable(material.image) {
        rows.add(name, FailureCode::ImageMalformed, wrapped(image));
    }

    let edited = |at: usize, bytes: &[u8]| {
        let mut image = body(material.image);
        image[at..at + bytes.len()].copy_from_slice(bytes);
        wrapped(seal(image))
    };
    let code = FailureCode::DescriptorMismatch;
    rows.add(
        "another version in the image",
        code,
        edited(DESCRIPTOR + 16, b"9.9.9\0"),
    );
    rows.add(
        "another project in the image",
        code,
        edited(DESCRIPTOR + 48, b"other\0\0\0\0\0\0\0"),
    );
    rows.add(
        "another security version in the image",
        code,
        edited(DESCRIPTOR + 4, &0x7FFF_u32.to_le_bytes()),
    );
    // ESP32-S3: its memory is where that of the ESP32-C3 is.
    rows.add("another chip in the image", code, edited(12, &[9, 0]));
    let guard_changed = |at_in_marker: usize, byte: u8| {
        let mut image = body(material.image);
        let markers: Vec<usize> = (0..image.len() - 12)
            .filter(|at| image[*at..].starts_with(b"OTARIA-GUARD"))
            .collect();
        for at in markers {
            image[at + at_in_marker] = byte;
        }
        wrapped(seal(image))
    };
    let code = FailureCode::GuardMissing;
    rows.add(
        "no boot guard, and the header does not say so",
        code,
        guard_changed(0, b'o'),
    );
    rows.add(
        "a boot guard for another version of the journal",
        code,
        guard_changed(12, 0xEE),
    );
}

fn unbootable(image: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let edited = |at: usize, bytes: &[u8]| {
        let mut image = body(image);
        image[at..at + bytes.len()].copy_from_slice(bytes);
        seal(image)
    };
    let first = segment(image, 0);
    let second = segment(image, 1);
    let second_load = [
        image[second],
        image[second + 1],
        image[second + 2],
        image[second + 3],
    ];
    let mut checksum = without_hash(image);
    if let Some(last) = checksum.last_mut() {
        *last ^= 1;
    }
    let mut hash = image.to_vec();
    if let Some(last) = hash.last_mut() {
        *last ^= 1;
    }
    let mut no_hash = without_hash(image);
    no_hash[23] = 0;
    let mut trailing = image.to_vec();
    trailing.extend_from_slice(&[0; 16]);
    let overlapping = {
        // A third segment of 16 bytes, in the middle of the second.
        let mut image = body(image);
        let load = u32::from_le_bytes(second_load) + 8;
        image.extend_from_slice(&load.to_le_bytes());
        image.extend_from_slice(&16_u32.to_le_bytes());
        image.extend_from_slice(&[0; 16]);
        image[1] += 1;
        seal(image)
    };
    vec![
        ("an image with another magic", edited(0, &[0xEA])),
        ("an image without segments", edited(1, &[0])),
        ("an image with 17 segments", edited(1, &[17])),
        (
            "a segment more than the image has",
            edited(1, &[image[1] + 1]),
        ),
        ("a wrong checksum", rehash(checksum)),
        ("a wrong appended hash", hash),
        ("no appended hash", no_hash),
        ("bytes behind the appended hash", trailing),
        (
            "a segment of 0xFFFFFFFC bytes",
            edited(first + 4, &0xFFFF_FFFC_u32.to_le_bytes()),
        ),
        (
            "a segment of 16 MiB",
            edited(first + 4, &0x0100_0000_u32.to_le_bytes()),
        ),
        (
            "a segment length that is no multiple of 4",
            edited(second + 4, &[image[second + 4] - 2]),
        ),
        (
            "a segment that would overwrite the ROM's memory",
            edited(second, &0x4000_0000_u32.to_le_bytes()),
        ),
        (
            "a segment that wraps around the address space",
            edited(second, &0xFFFF_FFF0_u32.to_le_bytes()),
        ),
        ("two segments that overlap", overlapping),
        (
            "an image without app descriptor",
            edited(DESCRIPTOR, &[0; 4]),
        ),
    ]
}

fn image_digest(good: &Forge) -> [u8; 32] {
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(&good.head[offset::IMAGE_SHA256..offset::IMAGE_SHA256 + 32]);
    sha256
}

/// Puts any bytes into a stored package as its image: blocks, table and digests are right, the rest of the header
/// stays.
fn wrap(good: &Forge, image: &[u8]) -> Forge {
    let blocks: Vec<Vec<u8>> = image.chunks(4096).map(<[u8]>::to_vec).collect();
    let table: Vec<u8> = blocks
        .iter()
        .flat_map(|block| {
            BlockEntry {
                stored_len: block.len() as u32,
                sha256: Sha256Digest::of(block),
            }
            .encode()
        })
        .collect();
    let table_len = (blocks.len() * TABLE_ENTRY_LEN) as u32;
    Forge {
        blocks,
        ..good.clone()
    }
    .head(offset::IMAGE_LEN, &(image.len() as u32).to_le_bytes())
    .head(offset::TABLE_LEN, &table_len.to_le_bytes())
    .head(offset::IMAGE_SHA256, &Sha256Digest::of(image).0)
    .table(table)
}
