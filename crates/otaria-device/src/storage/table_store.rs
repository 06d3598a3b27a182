//! Header and block table of the package that is being downloaded, kept so that a resumed download need not fetch them again.
//!
//! ```text
//! otaria partition, sectors 8..13
//!   0 320  header with signature, as at the start of the package
//! 320   4  where block 0 begins in the package
//! 324   4  the same with every bit flipped
//! 328   n  block table, table_len bytes, at most 16 KiB
//! 328+n 124  of an encrypted package: this device's entry among the recipients, and 3 zeros
//! ```
//!
//! # What a cut here leaves
//!
//! | step | command | a cut leaves |
//! |---|---|---|
//! | 1 | journal: progress of the new package, nothing held | the old package's table, which no longer belongs to the journal's progress: not used |
//! | 2 | erase the sectors, one by one | the old header, or none, or bits that read differently every time: not used, as above |
//! | 3 | write the table, 1008 bytes at a time | no header: not used |
//! | 4 | write the recipient, if there is one | no header: not used |
//! | 5 | write header and offset | a header whose digest or signature is wrong, or all of it |
//!
//! Nothing that is read back is trusted for having been written: the header's signature and the table's digest are checked
//! again before the first entry is used ([`TableStore::check`]); a recipient opens only for its header. What is not used is written anew from a new download.

#[cfg(test)]
mod tests;

use core::fmt;

use embedded_storage::nor_flash::NorFlash;
use otaria_wire::package::{
    BlockEntry, BlockTable, Cipher, HEADER_LEN, Header, MAX_BLOCK_LEN, RECIPIENT_LEN, Recipient,
    SignedHeader, TABLE_ENTRY_LEN, VerifiedHeader,
};
use otaria_wire::{Sha256Digest, Sha256Hasher};

use super::{Aligned, FlashFault, SECTOR_LEN, erase, read, write};

/// Sectors that the store needs.
pub const TABLE_STORE_SECTORS: u32 = 5;

const OFFSET_AT: u32 = HEADER_LEN as u32;
const TABLE_AT: u32 = OFFSET_AT + 8;
/// A recipient with what fills it up to whole words.
const RECIPIENT_ROOM: usize = RECIPIENT_LEN.next_multiple_of(4);
const _: () = assert!(
    TABLE_AT as usize + MAX_BLOCK_LEN + RECIPIENT_ROOM
        <= (TABLE_STORE_SECTORS * SECTOR_LEN) as usize
);

/// Entries that one step writes: most of 1 KiB, four pages.
const ENTRIES_PER_WRITE: u32 = 28;
/// Entries that are read at once: most of 256 bytes.
const ENTRIES_PER_READ: u32 = 7;

/// Why the table cannot be kept or used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableStoreError {
    /// The region has fewer than [`TABLE_STORE_SECTORS`] sectors. Nothing was done.
    WrongSize,
    /// A flash command failed.
    Flash(FlashFault),
    /// What is stored is not this package's header and table: they have to be fetched.
    NotStored,
    /// There is no such block.
    NoSuchBlock,
}

impl From<FlashFault> for TableStoreError {
    fn from(fault: FlashFault) -> Self {
        Self::Flash(fault)
    }
}

impl fmt::Display for TableStoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongSize => f.write_str("the table store has too few sectors"),
            Self::Flash(fault) => write!(f, "table store: {fault}"),
            Self::NotStored => f.write_str("the package's header and table are not stored"),
            Self::NoSuchBlock => f.write_str("the package has no such block"),
        }
    }
}

impl core::error::Error for TableStoreError {}

/// What was found in the store: signed by nobody knows whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredHeader {
    /// The header, to be verified like one from the network.
    pub header: SignedHeader,
    /// Where block 0 begins in the package. Nobody has signed it: a wrong one leads to bytes with the wrong hash.
    pub blocks_offset: u32,
}

/// Proof that the stored table is that of a verified header: it was hashed as it lies in flash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedTable {
    identity: Sha256Digest,
    blocks: u32,
    blocks_offset: u32,
}

impl CheckedTable {
    /// Identity of the package that the table belongs to.
    #[must_use]
    pub fn identity(&self) -> Sha256Digest {
        self.identity
    }

    /// Number of blocks.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Where block 0 begins in the package, as it was stored.
    pub(crate) fn blocks_offset(&self) -> u32 {
        self.blocks_offset
    }
}

/// The store.
#[derive(Debug)]
pub struct TableStore<R> {
    region: R,
}

impl<R: NorFlash> TableStore<R> {
    /// A store in the first [`TABLE_STORE_SECTORS`] sectors of `region`.
    ///
    /// # Errors
    /// [`TableStoreError::WrongSize`] if it has fewer.
    pub fn new(region: R) -> Result<Self, TableStoreError> {
        if region.capacity() < (TABLE_STORE_SECTORS * SECTOR_LEN) as usize {
            return Err(TableStoreError::WrongSize);
        }
        Ok(Self { region })
    }

    /// The header that lies here, if what lies here reads as one.
    ///
    /// # Errors
    /// The flash cannot be read.
    pub fn load(&mut self) -> Result<Option<StoredHeader>, TableStoreError> {
        let mut bytes = Aligned::<{ TABLE_AT as usize }>::new();
        read(&mut self.region, 0, &mut bytes.0)?;
        let Some((header, offset)) = bytes.0.split_first_chunk::<HEADER_LEN>() else {
            return Ok(None);
        };
        let Some(blocks_offset) = decode_offset(offset) else {
            return Ok(None);
        };
        Ok(SignedHeader::parse(header).ok().map(|header| StoredHeader {
            header,
            blocks_offset,
        }))
    }

    /// Checks that the stored header is `header` and hashes the stored table, at most 16 KiB.
    ///
    /// # Errors
    /// [`TableStoreError::NotStored`] if anything differs.
    pub fn check(&mut self, header: &VerifiedHeader) -> Result<CheckedTable, TableStoreError> {
        let stored = self.load()?.ok_or(TableStoreError::NotStored)?;
        if stored.header.to_bytes() != *header.as_bytes() {
            return Err(TableStoreError::NotStored);
        }
        let blocks = header.block_count();
        let mut hasher = Sha256Hasher::new();
        let mut fits = true;
        let mut block = 0;
        while block < blocks {
            let n = (blocks - block).min(ENTRIES_PER_READ);
            self.with_entries(block, n, |bytes| {
                hasher.update(bytes);
                for (entry, block) in bytes.as_chunks::<TABLE_ENTRY_LEN>().0.iter().zip(block..) {
                    fits &= BlockEntry::parse(entry).fits(header, block);
                }
            })?;
            block += n;
        }
        if !fits || hasher.finish() != header.table_sha256 {
            return Err(TableStoreError::NotStored);
        }
        Ok(CheckedTable {
            identity: header.identity(),
            blocks,
            blocks_offset: stored.blocks_offset,
        })
    }

    /// [`TableStore::check`], and that this recipient lies beside the table.
    ///
    /// # Errors
    /// [`TableStoreError::NotStored`] if anything differs.
    pub fn kept(
        &mut self,
        header: &VerifiedHeader,
        recipient: Option<&Recipient>,
    ) -> Result<CheckedTable, TableStoreError> {
        let table = self.check(header)?;
        if self.recipient(header)?.as_ref() != recipient {
            return Err(TableStoreError::NotStored);
        }
        Ok(table)
    }

    /// What lies where this device's recipient of a package lies; `None` if the package is not encrypted.
    ///
    /// # Errors
    /// The flash cannot be read.
    pub fn recipient(
        &mut self,
        header: &VerifiedHeader,
    ) -> Result<Option<Recipient>, TableStoreError> {
        if header.cipher == Cipher::None {
            return Ok(None);
        }
        let mut bytes = Aligned::<RECIPIENT_ROOM>::new();
        read(&mut self.region, recipient_at(header), &mut bytes.0)?;
        Ok(bytes.0.first_chunk().map(Recipient::parse))
    }

    /// The entry of a block.
    ///
    /// # Errors
    /// There is no such block, or the flash cannot be read.
    pub fn entry(
        &mut self,
        table: &CheckedTable,
        block: u32,
    ) -> Result<BlockEntry, TableStoreError> {
        if block >= table.blocks {
            return Err(TableStoreError::NoSuchBlock);
        }
        let mut entry = None;
        self.with_entries(block, 1, |bytes| {
            entry = bytes.first_chunk().map(BlockEntry::parse);
        })?;
        entry.ok_or(TableStoreError::NoSuchBlock)
    }

    /// Where a block begins in the package; for the number of blocks, where the package ends. Reads the table up to there.
    ///
    /// # Errors
    /// There is no such block, or the flash cannot be read.
    pub fn offset_of(&mut self, table: &CheckedTable, block: u32) -> Result<u64, TableStoreError> {
        if block > table.blocks {
            return Err(TableStoreError::NoSuchBlock);
        }
        let mut offset = u64::from(table.blocks_offset);
        let mut at = 0;
        while at < block {
            let n = (block - at).min(ENTRIES_PER_READ);
            self.with_entries(at, n, |bytes| {
                let (entries, _) = bytes.as_chunks::<TABLE_ENTRY_LEN>();
                offset += entries
                    .iter()
                    .map(|entry| u64::from(BlockEntry::parse(entry).stored_len))
                    .sum::<u64>();
            })?;
            at += n;
        }
        Ok(offset)
    }

    /// Reads `n <= ENTRIES_PER_READ` entries from `block` on.
    fn with_entries(
        &mut self,
        block: u32,
        n: u32,
        then: impl FnOnce(&[u8]),
    ) -> Result<(), TableStoreError> {
        let mut bytes = Aligned::<{ ENTRIES_PER_READ as usize * TABLE_ENTRY_LEN }>::new();
        let bytes = bytes
            .0
            .get_mut(..n as usize * TABLE_ENTRY_LEN)
            .ok_or(TableStoreError::NoSuchBlock)?;
        read(
            &mut self.region,
            entry_at(block).ok_or(TableStoreError::NoSuchBlock)?,
            bytes,
        )?;
        then(bytes);
        Ok(())
    }
}

fn entry_at(block: u32) -> Option<u32> {
    block
        .checked_mul(TABLE_ENTRY_LEN as u32)?
        .checked_add(TABLE_AT)
}

/// Behind the table. A verified header's table is no longer than the store has room for.
fn recipient_at(header: &Header) -> u32 {
    TABLE_AT.saturating_add(header.table_len)
}

fn decode_offset(bytes: &[u8]) -> Option<u32> {
    let (offset, rest) = bytes.split_first_chunk::<4>()?;
    let flipped = rest.first_chunk::<4>()?;
    let offset = u32::from_le_bytes(*offset);
    (offset == !u32::from_le_bytes(*flipped)).then_some(offset)
}

/// The steps of keeping a table, one flash command each.
///
/// ```text
/// while !writer.step(&mut store, &header, &table)? { yield_now().await }
/// ```
#[derive(Debug)]
pub struct TableWriter<'r> {
    blocks_offset: u32,
    recipient: Option<&'r Recipient>,
    next: Step,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Erase { sector: u32 },
    Table { block: u32 },
    Recipient,
    Header,
    Done,
}

impl<'r> TableWriter<'r> {
    /// To be made after the journal's progress record names the new package: [`super::slot::start_download`] does both.
    pub(super) fn new(blocks_offset: u32) -> Self {
        Self {
            blocks_offset,
            recipient: None,
            next: Step::Erase { sector: 0 },
        }
    }

    /// Keeps this recipient, too.
    #[must_use]
    pub fn with_recipient(self, recipient: Option<&'r Recipient>) -> Self {
        Self { recipient, ..self }
    }

    /// Does the next step; true when all is written. `header` and `table` are the same in every call.
    ///
    /// # Errors
    /// A flash command failed.
    pub fn step<R: NorFlash>(
        &mut self,
        store: &mut TableStore<R>,
        header: &VerifiedHeader,
        table: &BlockTable<'_>,
    ) -> Result<bool, TableStoreError> {
        self.next = match self.next {
            Step::Erase { sector } => {
                let from = sector * SECTOR_LEN;
                erase(&mut store.region, from, from + SECTOR_LEN)?;
                let used = recipient_at(header)
                    .saturating_add(self.recipient.map_or(0, |_| RECIPIENT_ROOM as u32))
                    .div_ceil(SECTOR_LEN)
                    .min(TABLE_STORE_SECTORS);
                if sector + 1 < used {
                    Step::Erase { sector: sector + 1 }
                } else {
                    Step::Table { block: 0 }
                }
            }
            Step::Table { block } => {
                let mut bytes = Aligned::<{ ENTRIES_PER_WRITE as usize * TABLE_ENTRY_LEN }>::new();
                let mut n = 0;
                let (room, _) = bytes.0.as_chunks_mut::<TABLE_ENTRY_LEN>();
                for (room, at) in room.iter_mut().zip(block..header.block_count()) {
                    let entry = table.entry(at).ok_or(TableStoreError::NoSuchBlock)?;
                    *room = entry.encode();
                    n += 1;
                }
                let bytes = bytes
                    .0
                    .get(..n as usize * TABLE_ENTRY_LEN)
                    .ok_or(TableStoreError::NoSuchBlock)?;
                write(
                    &mut store.region,
                    entry_at(block).ok_or(TableStoreError::NoSuchBlock)?,
                    bytes,
                )?;
                let block = block + n;
                if block < header.block_count() {
                    Step::Table { block }
                } else if self.recipient.is_some() {
                    Step::Recipient
                } else {
                    Step::Header
                }
            }
            Step::Recipient => {
                let mut bytes = Aligned::<RECIPIENT_ROOM>::new();
                if let (Some(room), Some(recipient)) = (bytes.0.first_chunk_mut(), self.recipient) {
                    *room = recipient.encode();
                }
                write(&mut store.region, recipient_at(header), &bytes.0)?;
                Step::Header
            }
            Step::Header => {
                let mut bytes = Aligned::<{ TABLE_AT as usize }>::new();
                let fields = header.as_bytes().iter().copied();
                let offset = self.blocks_offset.to_le_bytes();
                let flipped = (!self.blocks_offset).to_le_bytes();
                for (byte, field) in bytes.0.iter_mut().zip(fields.chain(offset).chain(flipped)) {
                    *byte = field;
                }
                write(&mut store.region, 0, &bytes.0)?;
                Step::Done
            }
            Step::Done => Step::Done,
        };
        Ok(matches!(self.next, Step::Done))
    }
}
