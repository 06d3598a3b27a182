//! A package taken apart, to be changed anywhere and signed again.

use otaria_wire::Sha256Digest;
use otaria_wire::package::{
    BlockEntry, HEADER_LEN, SIGNATURE_DOMAIN, SIGNED_LEN, TABLE_ENTRY_LEN, blocks_offset,
};

use crate::keys::SigningKey;
use crate::pack::Package;

/// Offsets of the header's fields (see [`otaria_wire::package::Header`] for the diagram).
pub mod offset {
    #![allow(missing_docs, reason = "the names are those of the fields")]
    pub const MAGIC: usize = 0;
    pub const HEADER_LEN: usize = 8;
    pub const FLAGS: usize = 10;
    pub const CODEC: usize = 12;
    pub const CIPHER: usize = 13;
    pub const SIGNATURE_ALGORITHM: usize = 14;
    pub const ZERO_BYTE: usize = 15;
    pub const CHIP_ID: usize = 16;
    pub const MIN_CHIP_REV: usize = 18;
    pub const MAX_CHIP_REV: usize = 20;
    pub const ZERO_HALF: usize = 22;
    pub const SECURITY_VERSION: usize = 24;
    pub const IMAGE_LEN: usize = 28;
    pub const BLOCK_LEN: usize = 32;
    pub const TABLE_LEN: usize = 36;
    pub const SEQUENCE: usize = 40;
    pub const KEY_ID: usize = 56;
    pub const IMAGE_SHA256: usize = 64;
    pub const TABLE_SHA256: usize = 96;
    pub const BASE_SHA256: usize = 128;
    pub const PRODUCT: usize = 160;
    pub const VERSION: usize = 192;
    pub const RECIPIENTS_LEN: usize = 224;
    pub const RECIPIENTS: usize = 228;
    pub const KEM: usize = 230;
    pub const RECIPIENTS_DIGEST: usize = 232;
}

/// The parts of a package. Nothing is checked: that is the point.
#[derive(Clone, Debug)]
pub struct Forge {
    /// The 256 bytes to be signed.
    pub head: [u8; SIGNED_LEN],
    /// The block table.
    pub table: Vec<u8>,
    /// What stands between table and blocks.
    pub middle: Vec<u8>,
    /// The blocks as stored.
    pub blocks: Vec<Vec<u8>>,
    /// What follows the last block.
    pub tail: Vec<u8>,
}

impl Forge {
    /// Takes a good package apart.
    pub fn new(package: &Package) -> Self {
        let table_end = HEADER_LEN + package.header.table_len as usize;
        let table = package.bytes[HEADER_LEN..table_end].to_vec();
        let blocks_at = blocks_offset(&package.header, 0) as usize;
        let mut rest = &package.bytes[blocks_at..];
        let (entries, _) = table.as_chunks::<TABLE_ENTRY_LEN>();
        let blocks = entries
            .iter()
            .map(|entry| {
                let (block, behind) = rest.split_at(BlockEntry::parse(entry).stored_len as usize);
                rest = behind;
                block.to_vec()
            })
            .collect();
        Self {
            head: package.header.encode(),
            table,
            middle: package.bytes[table_end..blocks_at].to_vec(),
            blocks,
            tail: Vec::new(),
        }
    }

    /// Writes bytes into the header.
    #[must_use]
    pub fn head(mut self, at: usize, bytes: &[u8]) -> Self {
        self.head[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    /// Replaces the table, and its digest in the header.
    #[must_use]
    pub fn table(mut self, table: Vec<u8>) -> Self {
        self.table = table;
        let digest = Sha256Digest::of(&self.table);
        self.head(offset::TABLE_SHA256, &digest.0)
    }

    /// Replaces one block, its entry in the table, and the table's digest.
    #[must_use]
    pub fn block(mut self, index: usize, stored: Vec<u8>) -> Self {
        let entry = BlockEntry {
            stored_len: stored.len() as u32,
            sha256: Sha256Digest::of(&stored),
        };
        let mut table = self.table.clone();
        table[index * TABLE_ENTRY_LEN..(index + 1) * TABLE_ENTRY_LEN]
            .copy_from_slice(&entry.encode());
        self.blocks[index] = stored;
        self.table(table)
    }

    /// What is signed.
    pub fn message(&self) -> Vec<u8> {
        [&SIGNATURE_DOMAIN[..], &self.head[..]].concat()
    }

    /// Signs, and puts the file together.
    pub fn sign(&self, key: &SigningKey) -> Vec<u8> {
        self.with_signature(key.sign(&self.message()))
    }

    /// Puts the file together with any signature.
    pub fn with_signature(&self, signature: [u8; 64]) -> Vec<u8> {
        let blocks = self.blocks.concat();
        [
            &self.head[..],
            &signature[..],
            &self.table,
            &self.middle,
            &blocks,
            &self.tail,
        ]
        .concat()
    }
}
