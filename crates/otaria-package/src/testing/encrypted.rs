//! Encrypted packages that are damaged, for somebody else, or sealed wrongly. What is sealed wrongly only the trusted key could
//! have signed; the device finds it out before it decrypts a byte.

use otaria_wire::messages::FailureCode;
use otaria_wire::package::{RECIPIENT_LEN, TAG_LEN, recipients_digest};

use super::forge::{Forge, offset};
use super::{BadPackage, Material, Rows, Stage};

/// `good` and `other` are packages of the same image with different sequences, encrypted to the device and to somebody else;
/// `strangers` is encrypted to somebody else alone.
pub(super) fn bad(
    material: &Material<'_>,
    good: &Forge,
    other: &Forge,
    strangers: &Forge,
    all: &mut Vec<BadPackage>,
) {
    damaged_recipients(
        material,
        good,
        &mut Rows {
            all,
            stage: Stage::BeforeErase,
            only_device: false,
        },
    );
    damaged_blocks(
        material,
        good,
        &mut Rows {
            all,
            stage: Stage::Blocks,
            only_device: false,
        },
    );
    // A reader without a key takes the rest: it cannot look inside.
    not_for_it(
        material,
        [good, other, strangers],
        &mut Rows {
            all,
            stage: Stage::BeforeErase,
            only_device: true,
        },
    );
    sealed_wrongly(
        material,
        good,
        other,
        &mut Rows {
            all,
            stage: Stage::Blocks,
            only_device: true,
        },
    );
}

fn damaged_recipients(material: &Material<'_>, good: &Forge, rows: &mut Rows<'_>) {
    let flipped = |at: usize| {
        let mut forge = good.clone();
        forge.middle[at] ^= 1;
        forge.sign(material.key)
    };
    let code = FailureCode::RecipientsHash;
    rows.add("a bit of a recipient's key id flipped", code, flipped(0));
    rows.add("a bit of an encapsulated key flipped", code, flipped(40));
    rows.add(
        "a bit of a sealed content key flipped",
        code,
        flipped(RECIPIENT_LEN - 1),
    );
    rows.add(
        "a digest of other recipients",
        code,
        good.clone()
            .head(offset::RECIPIENTS_DIGEST, &[0; 24])
            .sign(material.key),
    );
    let mut flipped_table = good.clone();
    flipped_table.table[4] ^= 1;
    rows.add(
        "a bit of an encrypted package's table flipped",
        FailureCode::TableHash,
        flipped_table.sign(material.key),
    );
    let code = FailureCode::HeaderMalformed;
    let header = |at, bytes: &[u8]| good.clone().head(at, bytes).sign(material.key);
    rows.add(
        "an encrypted package that names no recipient",
        code,
        header(offset::RECIPIENTS, &[0; 2]),
    );
    rows.add(
        "recipients of another length",
        code,
        header(offset::RECIPIENTS_LEN, &[121, 0]),
    );
    rows.add(
        "more recipients than allowed",
        code,
        good.clone()
            .head(offset::RECIPIENTS, &1025_u16.to_le_bytes())
            .head(
                offset::RECIPIENTS_LEN,
                &(1025 * RECIPIENT_LEN as u32).to_le_bytes(),
            )
            .sign(material.key),
    );
    rows.add("another KEM", code, header(offset::KEM, &[0x20, 0]));
    rows.add(
        "an encrypted package that says that it is not",
        code,
        header(offset::CIPHER, &[0]),
    );
}

fn damaged_blocks(material: &Material<'_>, good: &Forge, rows: &mut Rows<'_>) {
    let flipped = |block: usize, from_end: usize| {
        let mut forge = good.clone();
        let at = forge.blocks[block].len() - from_end;
        forge.blocks[block][at] ^= 1;
        forge.sign(material.key)
    };
    let code = FailureCode::BlockHash;
    let last = good.blocks.len() - 1;
    rows.add("a bit of the first tag flipped", code, flipped(0, 1));
    rows.add(
        "a bit of the first ciphertext flipped",
        code,
        flipped(0, TAG_LEN + 1),
    );
    rows.add(
        "a bit of the last tag flipped",
        code,
        flipped(last, TAG_LEN),
    );
}

fn not_for_it(material: &Material<'_>, [good, other, strangers]: [&Forge; 3], rows: &mut Rows<'_>) {
    rows.add(
        "encrypted to somebody else",
        FailureCode::NotARecipient,
        strangers.sign(material.key),
    );
    let with = |recipients| with_recipients(good, recipients).sign(material.key);
    let code = FailureCode::ContentKey;
    rows.add(
        "a content key that was sealed for another package",
        code,
        with(other.middle.clone()),
    );
    let mut off_curve = good.middle.clone();
    off_curve[8 + 64] ^= 1;
    rows.add(
        "an encapsulated key that is no point",
        code,
        with(off_curve),
    );
    let mut renamed = good.middle.clone();
    renamed.rotate_left(RECIPIENT_LEN);
    renamed[..8].copy_from_slice(&good.middle[..8]);
    rows.add(
        "a content key for somebody else under the device's id",
        code,
        with(renamed),
    );
}

fn sealed_wrongly(material: &Material<'_>, good: &Forge, other: &Forge, rows: &mut Rows<'_>) {
    let code = FailureCode::Decrypt;
    let replaced = |index: usize, stored: &[u8]| {
        good.clone()
            .block(index, stored.to_vec())
            .sign(material.key)
    };
    rows.add(
        "a sealed block in another's place",
        code,
        replaced(0, &good.blocks[1]),
    );
    rows.add(
        "a sealed block of another package",
        code,
        replaced(1, &other.blocks[1]),
    );
    let mut untagged = good.blocks[1].clone();
    let end = untagged.len() - TAG_LEN;
    untagged[end..].fill(0);
    rows.add("a block with a tag of zeros", code, replaced(1, &untagged));
    // The device's own entry still opens; the blocks are bound to all of them.
    let mut others = good.middle.clone();
    others[RECIPIENT_LEN] ^= 1;
    rows.add(
        "blocks that were sealed beside other recipients",
        code,
        with_recipients(good, others).sign(material.key),
    );
}

/// Replaces the recipients by as many others, and their digest.
fn with_recipients(good: &Forge, recipients: Vec<u8>) -> Forge {
    let mut forge = good.clone();
    forge.middle = recipients;
    let digest = recipients_digest(&forge.middle);
    forge.head(offset::RECIPIENTS_DIGEST, &digest)
}
