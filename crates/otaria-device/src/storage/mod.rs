//! Everything that Otaria keeps in flash: what it keeps, in which order it is written, and what a power cut leaves.
//!
//! | store | where | holds |
//! |---|---|---|
//! | [`journal`] | `otaria`, sectors 0..8 | records, the latest of each kind wins: trial, floors, quarantine, progress |
//! | [`table_store`] | `otaria`, sectors 8..13 | header and block table of the package that is being downloaded |
//! | [`otadata`] | `otadata` | which slot the bootloader takes |
//! | [`slot`] | `ota_0`, `ota_1` | the images: written by [`slot::SlotWriter`], read back by [`verify::ImageVerifier`] |
//! | [`log`] | `otalog` | a ring of log lines |
//!
//! All of them work on any `NorFlash`, normally a [`region::Region`]. They block, for one flash command at a time: whoever runs
//! beside others calls the functions that end in one command, and yields in between. No flash command is ever inside a future
//! that somebody might drop.
//!
//! # What is assumed of the flash
//! A write clears bits, an erase sets all bits of a sector. A write that is cut leaves any of the bits that it should have
//! cleared as they were; bits outside of it stay. An erase that is cut leaves a mixture of the old bits, of ones, and of bits
//! that read differently every time, or that look erased until something is written beside them. Therefore:
//! - no word is written twice between two erases;
//! - a sector that was not seen to be erased to the end *by this run of the program, or by a journal record* is erased before
//!   it is written, whatever it reads as;
//! - a record counts only with its checksum.

pub mod journal;
pub mod log;
pub mod otadata;
pub mod region;
pub mod slot;
pub mod table_store;
pub mod trial;
pub mod verify;

use core::fmt;

use embedded_storage::nor_flash::{NorFlash, NorFlashError, NorFlashErrorKind};

#[cfg(test)]
pub(crate) mod test_flash;
#[cfg(test)]
pub(crate) mod test_package;

/// Bytes that the smallest erase command clears.
pub const SECTOR_LEN: u32 = 4096;

/// Bytes that the large erase command clears, at an address that is a multiple of it: 150 ms for what sector by sector takes
/// 720 ms (Winbond W25Q32JV, datasheet revision G, 9.6).
pub const ERASE_BLOCK_LEN: u32 = 0x1_0000;

/// Bytes that the chip programs in one go; a write that crosses such a boundary takes one program cycle more.
pub const PAGE_LEN: u32 = 256;

/// Bytes that are read at once where flash is looked through: few enough for the stack, enough to make the call worth it.
const CHUNK_LEN: usize = 256;

/// A flash command failed. What the store says is unchanged in flash unless its documentation says otherwise; the next mount
/// finds out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlashFault(pub NorFlashErrorKind);

impl fmt::Display for FlashFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "flash: {}", self.0)
    }
}

impl core::error::Error for FlashFault {}

/// Bytes that begin at a word, as DMA and the ROM's flash functions want them; from anything else esp-storage copies through
/// a whole sector on the stack.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(4))]
pub(crate) struct Aligned<const N: usize>(pub(crate) [u8; N]);

impl<const N: usize> Aligned<N> {
    pub(crate) const fn new() -> Self {
        Self([0; N])
    }
}

pub(crate) fn read<R: NorFlash>(
    region: &mut R,
    offset: u32,
    bytes: &mut [u8],
) -> Result<(), FlashFault> {
    region
        .read(offset, bytes)
        .map_err(|error| FlashFault(error.kind()))
}

pub(crate) fn write<R: NorFlash>(
    region: &mut R,
    offset: u32,
    bytes: &[u8],
) -> Result<(), FlashFault> {
    region
        .write(offset, bytes)
        .map_err(|error| FlashFault(error.kind()))
}

/// Erases `from..to`: one command if that is one sector, or one aligned block of [`ERASE_BLOCK_LEN`].
pub(crate) fn erase<R: NorFlash>(region: &mut R, from: u32, to: u32) -> Result<(), FlashFault> {
    region
        .erase(from, to)
        .map_err(|error| FlashFault(error.kind()))
}

/// Whether `len` bytes from `offset` (multiples of 4) all read 0xFF. Stops at the first that does not.
pub(crate) fn reads_blank<R: NorFlash>(
    region: &mut R,
    offset: u32,
    len: u32,
) -> Result<bool, FlashFault> {
    let mut chunk = Aligned::<CHUNK_LEN>::new();
    let mut done = 0;
    while done < len {
        let n = (len - done).min(CHUNK_LEN as u32);
        let Some(bytes) = chunk.0.get_mut(..n as usize) else {
            break;
        };
        read(region, offset.saturating_add(done), bytes)?;
        if bytes.iter().any(|byte| *byte != 0xFF) {
            return Ok(false);
        }
        done += n;
    }
    Ok(true)
}

/// Whether flash holds `expected` (a multiple of 4 long) at `offset`.
pub(crate) fn reads_as<R: NorFlash>(
    region: &mut R,
    offset: u32,
    expected: &[u8],
) -> Result<bool, FlashFault> {
    let mut chunk = Aligned::<CHUNK_LEN>::new();
    let mut at = offset;
    for expected in expected.chunks(CHUNK_LEN) {
        let Some(bytes) = chunk.0.get_mut(..expected.len()) else {
            return Ok(false);
        };
        read(region, at, bytes)?;
        if bytes != expected {
            return Ok(false);
        }
        at = at.saturating_add(expected.len() as u32);
    }
    Ok(true)
}
