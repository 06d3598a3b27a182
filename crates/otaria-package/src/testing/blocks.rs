//! Tables and blocks that are not what the header promises, and files of the wrong length.

use otaria_wire::messages::FailureCode;
use otaria_wire::package::{HEADER_LEN, TABLE_ENTRY_LEN};

use super::forge::{Forge, offset};
use super::{BadPackage, Material, Rows, Stage};
use crate::codec;

pub(super) fn bad(
    material: &Material<'_>,
    stored: &Forge,
    deflated: &Forge,
    all: &mut Vec<BadPackage>,
) {
    tables(
        material,
        stored,
        deflated,
        &mut Rows {
            all,
            stage: Stage::BeforeErase,
            only_device: false,
        },
    );
    damaged(
        material,
        stored,
        &mut Rows {
            all,
            stage: Stage::Blocks,
            only_device: false,
        },
    );
    undecodable(
        material,
        deflated,
        &mut Rows {
            all,
            stage: Stage::Blocks,
            only_device: false,
        },
    );
    lengths(material, stored, all);
}

fn tables(material: &Material<'_>, stored: &Forge, deflated: &Forge, rows: &mut Rows<'_>) {
    let flipped = |at: usize| {
        let mut forge = stored.clone();
        forge.table[at] ^= 1;
        forge.sign(material.key)
    };
    let code = FailureCode::TableHash;
    rows.add("the first byte of the table flipped", code, flipped(0));
    rows.add(
        "the last byte of the table flipped",
        code,
        flipped(stored.table.len() - 1),
    );
    let mut swapped = stored.clone();
    swapped.table.rotate_left(TABLE_ENTRY_LEN);
    rows.add(
        "table entries in another order",
        code,
        swapped.sign(material.key),
    );
    rows.add(
        "a table digest of zeros",
        code,
        stored
            .clone()
            .head(offset::TABLE_SHA256, &[0; 32])
            .sign(material.key),
    );

    let with_len = |forge: &Forge, len: u32| {
        let mut table = forge.table.clone();
        table[..4].copy_from_slice(&len.to_le_bytes());
        forge.clone().table(table).sign(material.key)
    };
    let code = FailureCode::TableMalformed;
    rows.add("a block of 0 stored bytes", code, with_len(deflated, 0));
    rows.add(
        "a block one byte longer than allowed",
        code,
        with_len(deflated, 4096 + 65),
    );
    rows.add("a block of 4 GiB", code, with_len(deflated, u32::MAX));
    rows.add(
        "a stored block shorter than its plain bytes",
        code,
        with_len(stored, 4095),
    );
    rows.add(
        "a stored block longer than its plain bytes",
        code,
        with_len(stored, 4097),
    );
}

fn damaged(material: &Material<'_>, good: &Forge, rows: &mut Rows<'_>) {
    let last = good.blocks.len() - 1;
    let flipped = |block: usize, byte: usize| {
        let mut forge = good.clone();
        forge.blocks[block][byte] ^= 1;
        forge.sign(material.key)
    };
    let code = FailureCode::BlockHash;
    rows.add(
        "the first byte of the first block flipped",
        code,
        flipped(0, 0),
    );
    rows.add(
        "the last byte of the first block flipped",
        code,
        flipped(0, good.blocks[0].len() - 1),
    );
    rows.add("a byte of the last block flipped", code, flipped(last, 0));
    let mut swapped = good.clone();
    swapped.blocks.swap(0, 1);
    rows.add("two blocks swapped", code, swapped.sign(material.key));
    let mut zeros = good.clone();
    zeros.blocks[1].fill(0);
    rows.add("a block of zeros", code, zeros.sign(material.key));
    let mut inserted = good.clone();
    inserted.middle = vec![0];
    rows.add(
        "a byte between table and blocks",
        code,
        inserted.sign(material.key),
    );
}

fn undecodable(material: &Material<'_>, good: &Forge, rows: &mut Rows<'_>) {
    let replaced = |stored: Vec<u8>| good.clone().block(1, stored).sign(material.key);
    let block = &good.blocks[1];
    let code = FailureCode::Decode;
    rows.add(
        "a block that is no deflate, signed",
        code,
        replaced(vec![0xFF; 100]),
    );
    rows.add(
        "a block that ends too early, signed",
        code,
        replaced(block[..block.len() - 1].to_vec()),
    );
    // Fixed Huffman codes (RFC 1951, 3.2.6), a match 4 bytes back before any literal, end of block.
    rows.add(
        "a block that refers to bytes before its start, signed",
        code,
        replaced(vec![0x03, 0x62, 0x00, 0x00]),
    );
    rows.add(
        "a block with a byte behind its end, signed",
        code,
        replaced([&block[..], &[0]].concat()),
    );
    let code = FailureCode::BlockLength;
    rows.add(
        "a block that decodes to one byte less, signed",
        code,
        replaced(codec::deflate(&[7; 4095])),
    );
    rows.add(
        "a block that decodes to one byte more, signed",
        code,
        replaced(codec::deflate(&[7; 4097])),
    );
    rows.add(
        "a block that decodes to nothing, signed",
        code,
        replaced(codec::deflate(&[])),
    );
    rows.add(
        "a block that decodes to a megabyte, signed",
        code,
        replaced(codec::deflate(&[0; 1 << 20])),
    );
}

/// The device compares the length that the server announces (Content-Length) with that of header and table as soon as
/// it knows them. A server that announces none lets a short file be found out only at its end, with `early_close`, and
/// bytes behind the end never be read.
fn lengths(material: &Material<'_>, good: &Forge, all: &mut Vec<BadPackage>) {
    let whole = good.sign(material.key);
    let blocks_at = HEADER_LEN + good.table.len();
    let mut rows = Rows {
        all,
        stage: Stage::BeforeErase,
        only_device: false,
    };
    let code = FailureCode::EarlyClose;
    rows.add(
        "a file that ends inside the magic",
        code,
        whole[..5].to_vec(),
    );
    rows.add(
        "a file that ends inside the header",
        code,
        whole[..HEADER_LEN - 1].to_vec(),
    );
    rows.add(
        "a file that ends behind the header",
        code,
        whole[..HEADER_LEN].to_vec(),
    );
    rows.add(
        "a file that ends inside the table",
        code,
        whole[..blocks_at - 1].to_vec(),
    );
    let code = FailureCode::LengthMismatch;
    rows.add(
        "a file that ends behind the table",
        code,
        whole[..blocks_at].to_vec(),
    );
    rows.add(
        "a file that ends inside the second block",
        code,
        whole[..blocks_at + 4096 + 100].to_vec(),
    );
    rows.add(
        "a file without its last byte",
        code,
        whole[..whole.len() - 1].to_vec(),
    );
    let with_tail = |tail: &[u8]| {
        Forge {
            tail: tail.to_vec(),
            ..good.clone()
        }
        .sign(material.key)
    };
    rows.add("a byte behind the end", code, with_tail(&[0]));
    rows.add("another package behind the end", code, with_tail(&whole));
}
