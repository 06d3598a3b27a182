//! Packages that are good, but not for this device now.

use otaria_wire::messages::FailureCode;

use super::forge::{Forge, offset};
use super::{BadPackage, Material, Rows, Stage};

pub(super) fn bad(material: &Material<'_>, good: &Forge, all: &mut Vec<BadPackage>) {
    let target = material.target;
    let mut rows = Rows {
        all,
        stage: Stage::BeforeErase,
        only_device: true,
    };
    let signed = |at: usize, bytes: &[u8]| good.clone().head(at, bytes).sign(material.key);
    let mut product = [0; 32];
    product[..5].copy_from_slice(b"other");
    rows.add(
        "another product",
        FailureCode::WrongProduct,
        signed(offset::PRODUCT, &product),
    );
    // The last character of the field counts too.
    let mut near = [good.head[offset::PRODUCT]; 32];
    near.copy_from_slice(&good.head[offset::PRODUCT..offset::PRODUCT + 32]);
    let end = near.iter().position(|byte| *byte == 0).unwrap_or(31);
    near[end.min(31)] = b'x';
    rows.add(
        "a product that starts like ours",
        FailureCode::WrongProduct,
        signed(offset::PRODUCT, &near),
    );
    rows.add(
        "another chip",
        FailureCode::WrongChip,
        signed(offset::CHIP_ID, &[9, 0]),
    );
    rows.add(
        "a chip that does not exist",
        FailureCode::WrongChip,
        signed(offset::CHIP_ID, &[0xFE, 0xFF]),
    );
    let later = [target.chip_rev + 1, target.chip_rev + 2]
        .map(u16::to_le_bytes)
        .concat();
    rows.add(
        "later chip revisions",
        FailureCode::WrongChipRevision,
        signed(offset::MIN_CHIP_REV, &later),
    );
    let earlier = [0, target.chip_rev - 1].map(u16::to_le_bytes).concat();
    rows.add(
        "earlier chip revisions",
        FailureCode::WrongChipRevision,
        signed(offset::MIN_CHIP_REV, &earlier),
    );
    rows.add(
        "an image longer than the slot",
        FailureCode::ImageTooLarge,
        too_large(material, good),
    );
    let sequence = |n: u64| signed(offset::SEQUENCE, &n.to_le_bytes());
    rows.add("sequence 0", FailureCode::SequenceNotHigher, sequence(0));
    rows.add(
        "an older sequence",
        FailureCode::SequenceNotHigher,
        sequence(target.sequence_floor - 1),
    );
    rows.add(
        "the same sequence for another image",
        FailureCode::SequenceNotHigher,
        sequence(target.sequence_floor),
    );
    let security = (target.security_floor - 1).to_le_bytes();
    rows.add(
        "an older security version",
        FailureCode::SecurityVersionTooLow,
        signed(offset::SECURITY_VERSION, &security),
    );
    rows.add(
        "no boot guard, and the signer says so",
        FailureCode::UnguardedRefused,
        signed(offset::FLAGS, &[2, 0]),
    );
}

/// One byte more than the slot holds: header and table are right for it, the blocks never matter.
fn too_large(material: &Material<'_>, good: &Forge) -> Vec<u8> {
    let image_len = material.target.slot_size + 1;
    let block_len = 16_384_u32;
    let blocks = image_len.div_ceil(block_len);
    let entry = |i: u32| {
        if i + 1 < blocks {
            block_len
        } else {
            image_len - i * block_len
        }
    };
    let table: Vec<u8> = (0..blocks)
        .flat_map(|i| [&entry(i).to_le_bytes()[..], &[0x5A; 32]].concat())
        .collect();
    good.clone()
        .head(offset::IMAGE_LEN, &image_len.to_le_bytes())
        .head(offset::BLOCK_LEN, &block_len.to_le_bytes())
        .head(offset::TABLE_LEN, &(table.len() as u32).to_le_bytes())
        .table(table)
        .sign(material.key)
}
