//! What was asked of the flash: one record per command, and totals.

use core::fmt;

use super::SECTOR_LEN;

/// The kind of a command that changes flash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OpKind {
    /// One write call, whatever number of pages it touches.
    Write,
    /// Erase of one 4 KiB sector.
    SectorErase,
    /// Erase of one aligned 64 KiB block.
    BlockErase,
}

impl OpKind {
    /// Whether the command erases.
    pub fn is_erase(self) -> bool {
        match self {
            OpKind::SectorErase | OpKind::BlockErase => true,
            OpKind::Write => false,
        }
    }
}

/// One command, as it stands in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Op {
    /// Position among all commands of this flash, from 0.
    pub index: u64,
    /// What was done.
    pub kind: OpKind,
    /// First byte touched.
    pub addr: u32,
    /// Number of bytes touched.
    pub len: u32,
}

impl Op {
    /// The first and the last sector that it touches.
    pub(super) fn sectors(&self) -> (usize, usize) {
        let sector = |addr: u32| (addr / SECTOR_LEN) as usize;
        (sector(self.addr), sector(self.addr + self.len - 1))
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.kind {
            OpKind::Write => "write",
            OpKind::SectorErase => "erase sector",
            OpKind::BlockErase => "erase block",
        };
        write!(f, "#{} {name} {:#x}+{:#x}", self.index, self.addr, self.len)
    }
}

/// Totals since the flash was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Write commands.
    pub writes: u64,
    /// Sector erase commands.
    pub sector_erases: u64,
    /// Block erase commands.
    pub block_erases: u64,
    /// Bytes given to write commands.
    pub bytes_written: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Words that were written although they were not blank. Legal on a bare NOR chip as long as bits are only cleared, but not
    /// under flash encryption, and not by the contract of `embedded_storage::nor_flash::NorFlash::write`.
    pub rewritten_words: u64,
    /// Reads whose address or length is not a multiple of 4, which a driver with `READ_SIZE = 4` would refuse.
    pub unaligned_reads: u64,
}
