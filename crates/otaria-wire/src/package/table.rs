//! The block table: one entry a block.
//!
//! ```text
//! 0   4  stored_len, 1 to block_len + 64; with a cipher the tag of 16 bytes is part of it
//! 4  32  SHA-256 of the stored bytes
//! ```

use core::fmt;

use super::{Codec, Header, STORED_SLACK, TABLE_ENTRY_LEN, blocks_offset};
use crate::Sha256Digest;
use crate::bytes::{Reader, Writer};

/// One block: how long it is as stored, and what it hashes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockEntry {
    /// Length of the stored bytes.
    pub stored_len: u32,
    /// Digest of the stored bytes.
    pub sha256: Sha256Digest,
}

impl BlockEntry {
    /// Reads one entry; its length is not checked against a header here.
    #[must_use]
    pub fn parse(bytes: &[u8; TABLE_ENTRY_LEN]) -> Self {
        let mut reader = Reader::new(bytes);
        Self {
            stored_len: reader.u32(),
            sha256: Sha256Digest(reader.array()),
        }
    }

    /// The entry's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; TABLE_ENTRY_LEN] {
        Writer::new()
            .u32(self.stored_len)
            .put(&self.sha256.0)
            .finish()
    }

    /// Whether the entry can belong to this block of a package with this header.
    ///
    /// Beside what the cipher adds, a block of codec 0 has exactly the plain
    /// bytes' length, and any other one at least 1 byte. None is longer than
    /// `block_len + 64`.
    #[must_use]
    pub fn fits(&self, header: &Header, block: u32) -> bool {
        let Some(plain_len) = header.plain_len(block) else {
            return false;
        };
        let Some(encoded_len) = self.stored_len.checked_sub(header.cipher.overhead()) else {
            return false;
        };
        if header.codec == Codec::Stored {
            encoded_len == plain_len
        } else {
            encoded_len > 0
                && self.stored_len <= header.block_len.saturating_add(STORED_SLACK as u32)
        }
    }
}

/// Why bytes are not the table of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableError {
    /// Not `table_len` bytes.
    Len,
    /// Not the digest in the header.
    Hash,
    /// The stored length of this block is out of bounds.
    StoredLen {
        /// The block.
        block: u32,
    },
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Len => f.write_str("the block table has the wrong length"),
            Self::Hash => f.write_str("the block table does not match its digest"),
            Self::StoredLen { block } => write!(f, "block {block} has an impossible length"),
        }
    }
}

impl core::error::Error for TableError {}

/// A table that matches its header.
#[derive(Clone, Copy, Debug)]
pub struct BlockTable<'a> {
    header: &'a Header,
    bytes: &'a [u8],
}

impl<'a> BlockTable<'a> {
    /// Checks length, digest and every entry.
    ///
    /// # Errors
    /// See [`TableError`].
    pub fn check(header: &'a Header, bytes: &'a [u8]) -> Result<Self, TableError> {
        if bytes.len() as u64 != u64::from(header.table_len) {
            return Err(TableError::Len);
        }
        if Sha256Digest::of(bytes) != header.table_sha256 {
            return Err(TableError::Hash);
        }
        let table = Self { header, bytes };
        for block in 0..header.block_count() {
            if !table
                .entry(block)
                .ok_or(TableError::Len)?
                .fits(header, block)
            {
                return Err(TableError::StoredLen { block });
            }
        }
        Ok(table)
    }

    /// The entry of a block.
    #[must_use]
    pub fn entry(&self, block: u32) -> Option<BlockEntry> {
        let start = usize::try_from(block).ok()?.checked_mul(TABLE_ENTRY_LEN)?;
        let entry = self.bytes.get(start..)?.first_chunk()?;
        Some(BlockEntry::parse(entry))
    }

    /// All entries in order.
    pub fn iter(&self) -> impl Iterator<Item = BlockEntry> + use<'a> {
        let (entries, _) = self.bytes.as_chunks::<TABLE_ENTRY_LEN>();
        entries.iter().map(BlockEntry::parse)
    }

    /// Where a block starts in the package; for the number of blocks, where the
    /// package ends.
    #[must_use]
    pub fn offset_of(&self, block: u32, cosigners: u8) -> Option<u64> {
        if block > self.header.block_count() {
            return None;
        }
        let before = self
            .iter()
            .take(usize::try_from(block).ok()?)
            .map(|entry| u64::from(entry.stored_len));
        Some(blocks_offset(self.header, cosigners) + before.sum::<u64>())
    }

    /// Length of the whole package.
    #[must_use]
    pub fn package_len(&self, cosigners: u8) -> u64 {
        self.offset_of(self.header.block_count(), cosigners)
            .unwrap_or(0)
    }
}
