//! Headers that contradict the format. All are signed by the trusted key: a device refuses them for what they say.

use otaria_wire::messages::FailureCode;

use super::forge::{Forge, offset};
use super::{BadPackage, Material, Rows, Stage};

pub(super) fn bad(material: &Material<'_>, good: &Forge, all: &mut Vec<BadPackage>) {
    let mut rows = Rows {
        all,
        stage: Stage::BeforeErase,
        only_device: false,
    };
    not_packages(material, good, &mut rows);
    unknown_values(material, good, &mut rows);
    contradictions(material, good, &mut rows);
}

fn not_packages(material: &Material<'_>, good: &Forge, rows: &mut Rows<'_>) {
    let code = FailureCode::NotAPackage;
    rows.add("an empty file", code, Vec::new());
    rows.add(
        "a web page",
        code,
        b"<!doctype html><title>404</title>".repeat(20),
    );
    rows.add("a plain ESP image", code, material.image.to_vec());
    rows.add(
        "an ELF program",
        code,
        [&b"\x7fELF\x01\x01\x01"[..], &[0; 400]].concat(),
    );
    rows.add("blank flash", code, vec![0xFF; 4096]);
    rows.add(
        "one bit of the magic flipped",
        code,
        good.clone()
            .head(offset::MAGIC, b"nTARIAP1")
            .sign(material.key),
    );
    rows.add(
        "the magic of another version",
        code,
        good.clone()
            .head(offset::MAGIC, b"OTARIAP2")
            .sign(material.key),
    );
}

fn unknown_values(material: &Material<'_>, good: &Forge, rows: &mut Rows<'_>) {
    let signed = |at: usize, bytes: &[u8]| good.clone().head(at, bytes).sign(material.key);
    rows.add(
        "a header length of 321",
        FailureCode::UnsupportedVersion,
        signed(offset::HEADER_LEN, &321_u16.to_le_bytes()),
    );
    rows.add(
        "a header length of 0",
        FailureCode::UnsupportedVersion,
        signed(offset::HEADER_LEN, &[0, 0]),
    );
    rows.add(
        "flag bit 2",
        FailureCode::UnsupportedFlags,
        signed(offset::FLAGS, &[4, 0]),
    );
    rows.add(
        "flag bit 15",
        FailureCode::UnsupportedFlags,
        signed(offset::FLAGS, &[0, 0x80]),
    );
    rows.add(
        "codec 3",
        FailureCode::UnsupportedCodec,
        signed(offset::CODEC, &[3]),
    );
    rows.add(
        "codec 255",
        FailureCode::UnsupportedCodec,
        signed(offset::CODEC, &[255]),
    );
    rows.add(
        "cipher 2",
        FailureCode::UnsupportedCipher,
        signed(offset::CIPHER, &[2]),
    );
    let algorithm = FailureCode::UnsupportedSignatureAlgorithm;
    rows.add(
        "signature algorithm 0",
        algorithm,
        signed(offset::SIGNATURE_ALGORITHM, &[0]),
    );
    rows.add(
        "signature algorithm 2",
        algorithm,
        signed(offset::SIGNATURE_ALGORITHM, &[2]),
    );
    let delta = good
        .clone()
        .head(offset::CODEC, &[2])
        .head(offset::BASE_SHA256, &[0x5A; 32])
        .sign(material.key);
    rows.add("a delta", FailureCode::UnsupportedCodec, delta);
}

fn contradictions(material: &Material<'_>, good: &Forge, rows: &mut Rows<'_>) {
    let table_len = good.table.len() as u32;
    let mut padded_text = [0; 32];
    padded_text[..4].copy_from_slice(b"a\0b\0");
    let changes: [(&'static str, usize, &[u8]); 23] = [
        ("a byte that must be zero", offset::ZERO_BYTE, &[1]),
        ("two bytes that must be zero", offset::ZERO_HALF, &[0, 1]),
        (
            "a highest chip revision below the lowest",
            offset::MIN_CHIP_REV,
            &[3, 0, 2, 0],
        ),
        ("an image of 0 bytes", offset::IMAGE_LEN, &[0; 4]),
        ("an image of 4 GiB", offset::IMAGE_LEN, &[0xFF; 4]),
        (
            "an image of one block more",
            offset::IMAGE_LEN,
            &(table_len / 36 * 4096 + 1).to_le_bytes(),
        ),
        ("blocks of 0 bytes", offset::BLOCK_LEN, &[0; 4]),
        (
            "blocks of 4095 bytes",
            offset::BLOCK_LEN,
            &4095_u32.to_le_bytes(),
        ),
        (
            "blocks of 20480 bytes",
            offset::BLOCK_LEN,
            &20_480_u32.to_le_bytes(),
        ),
        (
            "blocks of 2 GiB",
            offset::BLOCK_LEN,
            &0x8000_0000_u32.to_le_bytes(),
        ),
        ("a table of 0 bytes", offset::TABLE_LEN, &[0; 4]),
        (
            "a table of one entry more",
            offset::TABLE_LEN,
            &(table_len + 36).to_le_bytes(),
        ),
        (
            "a table of half an entry more",
            offset::TABLE_LEN,
            &(table_len + 18).to_le_bytes(),
        ),
        ("a table of 4 GiB", offset::TABLE_LEN, &[0xFF; 4]),
        ("a base image without a delta", offset::BASE_SHA256, &[1]),
        ("a delta without a base image", offset::CODEC, &[2]),
        ("no product", offset::PRODUCT, &[0; 32]),
        (
            "a product with bytes behind its end",
            offset::PRODUCT,
            &padded_text,
        ),
        (
            "a version that is not ASCII",
            offset::VERSION,
            &[0xC3, 0xA9],
        ),
        ("no version", offset::VERSION, &[0; 32]),
        (
            "recipients without a cipher",
            offset::RECIPIENTS_LEN,
            &[64, 0, 0, 0, 1, 0],
        ),
        ("a cipher without recipients", offset::CIPHER, &[1]),
        (
            "a digest of no recipients",
            offset::RECIPIENTS_DIGEST,
            &[0x5A; 24],
        ),
    ];
    for (name, at, bytes) in changes {
        rows.add(
            name,
            FailureCode::HeaderMalformed,
            good.clone().head(at, bytes).sign(material.key),
        );
    }
}
