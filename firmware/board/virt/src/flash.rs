//! The flash: Intel's CFI command set, made to behave like the SPI NOR chip of a board.
//!
//! QEMU's `virt` has banks of 32 MiB, each two 16-bit chips side by side on a 32-bit bus, in sectors of 256 KiB
//! (`hw/riscv/virt.c`, `virt_flash_create`). Its model of them lets a program command *set* bits (`hw/block/pflash_cfi01.c`
//! stores what it is given). A board has 4 MiB in sectors of 4 KiB that only an erase sets. So this driver
//!
//! - uses the first 4 MiB of the bank;
//! - erases 4 KiB by programming 0xFF: nothing else is ever set to 1;
//! - refuses a write that would set a bit, before anything is programmed, so that what passes here passes on a chip.
//!
//! | call | commands | what a kill of QEMU leaves |
//! |---|---|---|
//! | `write` | a buffered program for each 2 KiB begun | whole buffers: what was flushed to the file, nothing of the rest |
//! | `erase` | two buffered programs for each 4 KiB | a sector may be half erased |
//!
//! A call blocks until the flash is ready, and gives up after [`POLLS`] looks at its status.

use core::cell::Cell;
use core::fmt;
use core::ptr::{read_volatile, write_volatile};

use critical_section::Mutex;
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

use crate::map;

/// Bytes of one erase.
pub const SECTOR_LEN: u32 = 4096;

/// Bytes of one buffered program. QEMU flushes to its file the 2 KiB in which the last word of a buffer lies
/// (`writeblock_size` in `pflash_cfi01.c`; the CFI table says 2 KiB for each of the two chips), so a buffer never crosses such
/// a boundary.
const BUFFER_LEN: u32 = 2048;

/// How often the status is looked at before a command counts as failed. QEMU's flash is ready at once.
const POLLS: u32 = 100_000;

// Commands and status bits of the Intel/Sharp extended command set (CFI primary command set 1; Intel 28F128J3A datasheet,
// tables 4 and 15), once for each of the two chips.
const READ_ARRAY: u32 = 0x00FF_00FF;
const READ_QUERY: u32 = 0x0098_0098;
const CLEAR_STATUS: u32 = 0x0050_0050;
const WRITE_TO_BUFFER: u32 = 0x00E8_00E8;
const CONFIRM: u32 = 0x00D0_00D0;
const READY: u32 = 0x0080_0080;
/// Programming, voltage and lock errors.
const FAILED: u32 = 0x001A_001A;

/// Why a call did not do what it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlashError {
    /// Address or length is not a multiple of what the call needs.
    NotAligned,
    /// The range ends behind the 4 MiB.
    OutOfBounds,
    /// The write would set a bit that is 0, which only an erase can do. Nothing was written.
    SetsBit {
        /// The first such word.
        addr: u32,
    },
    /// A command did not end well. The range may be written in part.
    Failed {
        /// Where.
        addr: u32,
    },
}

impl NorFlashError for FlashError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::NotAligned => NorFlashErrorKind::NotAligned,
            Self::OutOfBounds => NorFlashErrorKind::OutOfBounds,
            Self::SetsBit { .. } | Self::Failed { .. } => NorFlashErrorKind::Other,
        }
    }
}

impl fmt::Display for FlashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAligned => f.write_str("flash address or length is not aligned"),
            Self::OutOfBounds => f.write_str("flash range is out of bounds"),
            Self::SetsBit { addr } => {
                write!(f, "flash write at {addr:#x} sets a bit that is 0")
            }
            Self::Failed { addr } => write!(f, "flash command at {addr:#x} failed"),
        }
    }
}

impl core::error::Error for FlashError {}

/// Ticks of the machine timer that went into flash commands so far.
static BUSY: Mutex<Cell<u64>> = Mutex::new(Cell::new(0));

/// How long erasing and writing has taken in this boot, in microseconds.
#[must_use]
pub fn busy_micros() -> u64 {
    critical_section::with(|cs| BUSY.borrow(cs).get()) / crate::clint::TICKS_PER_MICRO
}

/// The 4 MiB. There is one.
#[derive(Debug)]
pub struct CfiFlash(());

impl CfiFlash {
    /// The flash, once it has shown to be what this driver knows.
    ///
    /// # Errors
    /// Says what is missing: usually `-drive if=pflash,unit=1,...` on QEMU's command line.
    ///
    /// # Safety
    /// There must be no other `CfiFlash` while this one is used: the chips have one command state for all.
    pub unsafe fn open() -> Result<Self, &'static str> {
        let flash = Self(());
        flash.command(0, READ_QUERY);
        // CFI (JEDEC JESD68.01), 4.3.2: "QRY" at word 0x10 of each chip, then the number of the command set.
        let query = [0x10, 0x11, 0x12, 0x13].map(|word| flash.word(word * 4));
        flash.command(0, READ_ARRAY);
        if query != [0x0051_0051, 0x0052_0052, 0x0059_0059, 0x0001_0001] {
            return Err("there is no CFI flash with Intel's command set in bank 1");
        }
        Ok(flash)
    }

    fn word(&self, offset: u32) -> u32 {
        debug_assert!(offset.is_multiple_of(4) && (offset as usize) < map::FLASH_LEN);
        let at = (map::FLASH + offset as usize) as *const u32;
        // SAFETY: `virt_memmap[VIRT_FLASH]` of hw/riscv/virt.c: 32 MiB of flash from `map::FLASH` on, which takes reads of
        // words; callers stay within its first 4 MiB. Volatile, because commands change what is read.
        unsafe { read_volatile(at) }
    }

    fn command(&self, offset: u32, value: u32) {
        debug_assert!(offset.is_multiple_of(4) && (offset as usize) < map::FLASH_LEN);
        let at = (map::FLASH + offset as usize) as *mut u32;
        // SAFETY: as in `word`. A write is a command to the chips (CFI, 4.1), never a plain store to memory.
        unsafe { write_volatile(at, value) }
    }

    /// Waits until both chips are ready, and whether they say that all went well.
    fn finish(&self, offset: u32) -> Result<(), FlashError> {
        for _ in 0..POLLS {
            let status = self.word(offset);
            if status & READY == READY {
                return match status & FAILED {
                    0 => Ok(()),
                    _ => Err(FlashError::Failed { addr: offset }),
                };
            }
        }
        Err(FlashError::Failed { addr: offset })
    }

    /// One buffered program: words that lie in one buffer.
    fn program(
        &self,
        offset: u32,
        words: impl ExactSizeIterator<Item = u32>,
    ) -> Result<(), FlashError> {
        let start = crate::clint::ticks();
        let done = self.buffered(offset, words);
        self.command(offset, READ_ARRAY);
        let took = crate::clint::ticks().saturating_sub(start);
        critical_section::with(|cs| {
            let busy = BUSY.borrow(cs);
            busy.set(busy.get().saturating_add(took));
        });
        done
    }

    fn buffered(
        &self,
        offset: u32,
        words: impl ExactSizeIterator<Item = u32>,
    ) -> Result<(), FlashError> {
        // Each chip counts its own 16-bit words from 0: as many as there are 32-bit words.
        let Some(last) = u32::try_from(words.len())
            .ok()
            .and_then(|len| len.checked_sub(1))
        else {
            return Ok(());
        };
        self.command(offset, CLEAR_STATUS);
        self.command(offset, WRITE_TO_BUFFER);
        self.finish(offset)?;
        self.command(offset, last << 16 | last);
        for (word, at) in words.zip((offset..).step_by(4)) {
            self.command(at, word);
        }
        self.command(offset, CONFIRM);
        self.finish(offset)
    }
}

/// Whether the range is inside the flash and made of whole units.
fn check(unit: u32, offset: u32, len: usize) -> Result<u32, FlashError> {
    let len = u32::try_from(len).map_err(|_| FlashError::OutOfBounds)?;
    if !offset.is_multiple_of(unit) || !len.is_multiple_of(unit) {
        return Err(FlashError::NotAligned);
    }
    match offset.checked_add(len) {
        Some(end) if end as usize <= map::FLASH_LEN => Ok(end),
        _ => Err(FlashError::OutOfBounds),
    }
}

fn word_of(bytes: &[u8]) -> u32 {
    bytes
        .first_chunk()
        .map_or(u32::MAX, |word| u32::from_le_bytes(*word))
}

impl ErrorType for CfiFlash {
    type Error = FlashError;
}

impl ReadNorFlash for CfiFlash {
    const READ_SIZE: usize = 4;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FlashError> {
        check(Self::READ_SIZE as u32, offset, bytes.len())?;
        for (piece, at) in bytes.chunks_exact_mut(4).zip((offset..).step_by(4)) {
            piece.copy_from_slice(&self.word(at).to_le_bytes());
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        map::FLASH_LEN
    }
}

impl NorFlash for CfiFlash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = SECTOR_LEN as usize;

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FlashError> {
        check(Self::WRITE_SIZE as u32, offset, bytes.len())?;
        let words = || bytes.chunks_exact(4).map(word_of);
        for (word, addr) in words().zip((offset..).step_by(4)) {
            if word & !self.word(addr) != 0 {
                return Err(FlashError::SetsBit { addr });
            }
        }
        let mut rest = bytes;
        let mut at = offset;
        while !rest.is_empty() {
            let room = BUFFER_LEN - at % BUFFER_LEN;
            let (now, later) = rest.split_at(rest.len().min(room as usize));
            self.program(at, now.chunks_exact(4).map(word_of))?;
            at += now.len() as u32;
            rest = later;
        }
        Ok(())
    }

    fn erase(&mut self, from: u32, to: u32) -> Result<(), FlashError> {
        let len = to.checked_sub(from).ok_or(FlashError::OutOfBounds)?;
        check(SECTOR_LEN, from, len as usize)?;
        const BLANK: [u32; BUFFER_LEN as usize / 4] = [u32::MAX; BUFFER_LEN as usize / 4];
        for at in (from..to).step_by(BUFFER_LEN as usize) {
            self.program(at, BLANK.iter().copied())?;
        }
        Ok(())
    }
}
