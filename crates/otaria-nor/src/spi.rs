//! An SPI NOR chip: W25Q, GD25Q, MX25L, EN25Q, IS25LP and the like, from 64 KiB to 16 MiB.
//!
//! ```text
//! command              bytes on the bus                 then
//! 0x9F  JEDEC id       3 in: maker, type, log2(size)
//! 0x05  status         1 in: bit 0 busy, bit 1 write enabled, bits 2-4 protected blocks
//! 0x06  write enable                                    bit 1 of the status
//! 0x03  read           3 address, n in                  up to 50 MHz
//! 0x02  page program   3 address, 1-256 out             busy, 3 ms at most; wraps at the end of the page
//! 0x20  sector erase   3 address                        busy, 400 ms at most; 4 KiB
//! 0xD8  block erase    3 address                        busy, 2 s at most; 64 KiB
//! 0xAB  wake up                                         3 us
//! ```
//!
//! Commands and times are those of Winbond's W25Q32JV data sheet (revision I, 8.1.2 and 9.6), with which the others agree; what
//! is waited for has twice the time that is given there, and then is an error. So no chip, and none that is broken, can make a
//! device hang.
//!
//! The crates that there are wait for the chip without a limit (`w25q32jv` 0.5.1, `spi-memory` 0.2.0): on a bus without a chip,
//! which reads as ones, that is for ever.

use core::fmt;
use core::time::Duration;

use embedded_hal::delay::DelayNs;
use embedded_hal::spi::{Operation, SpiDevice};
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

const WRITE_ENABLE: u8 = 0x06;
const READ_STATUS: u8 = 0x05;
const READ: u8 = 0x03;
const PAGE_PROGRAM: u8 = 0x02;
const SECTOR_ERASE: u8 = 0x20;
const BLOCK_ERASE: u8 = 0xD8;
const WAKE_UP: u8 = 0xAB;
const JEDEC_ID: u8 = 0x9F;

const BUSY: u8 = 1 << 0;
const WRITE_ENABLED: u8 = 1 << 1;
const PROTECTED: u8 = 0b111 << 2;

/// What a bus says on which nobody answers: the line floats, or is pulled up or down.
const NOBODY: [u8; 2] = [0xFF, 0x00];

const PAGE_LEN: u32 = 256;
const SECTOR_LEN: u32 = 4096;
const BLOCK_LEN: u32 = 65536;

/// 64 KiB to 16 MiB: what three bytes of address reach.
const SIZES: core::ops::RangeInclusive<u8> = 16..=24;

/// A page is programmed after so long, or never.
pub const PROGRAM_LIMIT: Duration = Duration::from_millis(6);
/// A sector is erased after so long, or never.
pub const SECTOR_ERASE_LIMIT: Duration = Duration::from_millis(800);
/// A block is erased after so long, or never.
pub const BLOCK_ERASE_LIMIT: Duration = Duration::from_secs(4);

/// How often is asked whether a page is programmed: 0.7 ms typically.
const PROGRAM_POLL: Duration = Duration::from_micros(50);
/// How often is asked whether something is erased: 45 ms typically.
const ERASE_POLL: Duration = Duration::from_millis(1);
/// From sleep to the first command, with a reserve (`tRES1`, 3 us).
const WAKING: Duration = Duration::from_micros(10);

/// Why a command did not do what it should have. `E` is the bus's own error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpiNorError<E> {
    /// The bus failed.
    Spi(E),
    /// Nobody answers: no chip, no power, or a wire is off.
    NoChip,
    /// A chip whose size is not known: its JEDEC id, of which the last byte is no size that this driver can reach.
    UnknownChip([u8; 3]),
    /// Blocks of the chip are protected against writing by its status register, or the chip takes no write.
    Protected,
    /// The chip was busy for longer than it may be.
    Timeout,
    /// The command does not begin and end where the chip wants it to. Nothing was done.
    NotAligned,
    /// The command reaches behind the end of the chip. Nothing was done.
    OutOfBounds,
}

impl<E: fmt::Debug> fmt::Display for SpiNorError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Spi(error) => write!(f, "the SPI bus failed: {error:?}"),
            Self::NoChip => f.write_str("no flash chip answers on the SPI bus"),
            Self::UnknownChip([maker, kind, size]) => write!(
                f,
                "a flash chip of unknown size (JEDEC id {maker:02x} {kind:02x} {size:02x})"
            ),
            Self::Protected => f.write_str("the flash chip is protected against writing"),
            Self::Timeout => f.write_str("the flash chip does not get ready"),
            Self::NotAligned => f.write_str("the command is not aligned"),
            Self::OutOfBounds => f.write_str("the command reaches behind the end of the chip"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for SpiNorError<E> {}

impl<E: fmt::Debug> NorFlashError for SpiNorError<E> {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::NotAligned => NorFlashErrorKind::NotAligned,
            Self::OutOfBounds => NorFlashErrorKind::OutOfBounds,
            Self::Spi(_)
            | Self::NoChip
            | Self::UnknownChip(_)
            | Self::Protected
            | Self::Timeout => NorFlashErrorKind::Other,
        }
    }
}

/// An SPI NOR chip. `S` is the chip on its bus, mode 0 or 3, at most 50 MHz; `D` waits.
#[derive(Debug)]
pub struct SpiNor<S, D> {
    spi: S,
    delay: D,
    len: u32,
}

impl<S: SpiDevice, D: DelayNs> SpiNor<S, D> {
    /// Wakes the chip up, lets it finish what it was doing when the device was reset (at most [`BLOCK_ERASE_LIMIT`]), and asks it
    /// how large it is.
    ///
    /// # Errors
    /// [`SpiNorError::NoChip`], `UnknownChip`, `Protected`, `Timeout`, or the bus fails. Nothing in the chip was changed.
    pub fn open(spi: S, delay: D) -> Result<Self, SpiNorError<S::Error>> {
        let mut chip = Self { spi, delay, len: 0 };
        chip.command(&[WAKE_UP])?;
        chip.wait(WAKING);
        if chip.status()? == u8::MAX {
            // Every bit at once is no state of a chip.
            return Err(SpiNorError::NoChip);
        }
        chip.until_ready(ERASE_POLL, BLOCK_ERASE_LIMIT)?;
        let mut id = [0; 3];
        chip.ask(&[JEDEC_ID], &mut id)?;
        let [maker, _, size] = id;
        if NOBODY.contains(&maker) {
            return Err(SpiNorError::NoChip);
        }
        if !SIZES.contains(&size) {
            return Err(SpiNorError::UnknownChip(id));
        }
        if chip.status()? & PROTECTED != 0 {
            return Err(SpiNorError::Protected);
        }
        chip.len = 1 << size;
        Ok(chip)
    }

    fn command(&mut self, bytes: &[u8]) -> Result<(), SpiNorError<S::Error>> {
        self.spi.write(bytes).map_err(SpiNorError::Spi)
    }

    fn ask(&mut self, command: &[u8], answer: &mut [u8]) -> Result<(), SpiNorError<S::Error>> {
        let mut steps = [Operation::Write(command), Operation::Read(answer)];
        self.spi.transaction(&mut steps).map_err(SpiNorError::Spi)
    }

    fn status(&mut self) -> Result<u8, SpiNorError<S::Error>> {
        let mut status = [0];
        self.ask(&[READ_STATUS], &mut status)?;
        let [status] = status;
        Ok(status)
    }

    fn wait(&mut self, time: Duration) {
        self.delay
            .delay_us(u32::try_from(time.as_micros()).unwrap_or(u32::MAX));
    }

    /// Asks every `poll` whether the chip is ready, for `limit` at most (the time on the bus comes on top).
    fn until_ready(
        &mut self,
        poll: Duration,
        limit: Duration,
    ) -> Result<(), SpiNorError<S::Error>> {
        let mut waited = Duration::ZERO;
        while self.status()? & BUSY != 0 {
            if waited >= limit {
                return Err(SpiNorError::Timeout);
            }
            self.wait(poll);
            waited += poll;
        }
        Ok(())
    }

    /// The chip takes one command that changes it after each of these.
    fn enable_write(&mut self) -> Result<(), SpiNorError<S::Error>> {
        self.command(&[WRITE_ENABLE])?;
        match self.status()? {
            u8::MAX => Err(SpiNorError::NoChip),
            status if status & WRITE_ENABLED == 0 => Err(SpiNorError::Protected),
            _ => Ok(()),
        }
    }

    fn check(&self, offset: u32, len: usize) -> Result<(), SpiNorError<S::Error>> {
        let end = u32::try_from(len)
            .ok()
            .and_then(|len| offset.checked_add(len));
        match end {
            Some(end) if end <= self.len => Ok(()),
            Some(_) | None => Err(SpiNorError::OutOfBounds),
        }
    }
}

fn with_address(command: u8, address: u32) -> [u8; 4] {
    let [_, high, middle, low] = address.to_be_bytes();
    [command, high, middle, low]
}

impl<S: SpiDevice, D> ErrorType for SpiNor<S, D> {
    type Error = SpiNorError<S::Error>;
}

impl<S: SpiDevice, D: DelayNs> ReadNorFlash for SpiNor<S, D> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.check(offset, bytes.len())?;
        self.ask(&with_address(READ, offset), bytes)
    }

    fn capacity(&self) -> usize {
        self.len as usize
    }
}

impl<S: SpiDevice, D: DelayNs> NorFlash for SpiNor<S, D> {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = SECTOR_LEN as usize;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        let len = to.checked_sub(from).ok_or(SpiNorError::OutOfBounds)?;
        self.check(from, len as usize)?;
        if !from.is_multiple_of(SECTOR_LEN) || !len.is_multiple_of(SECTOR_LEN) {
            return Err(SpiNorError::NotAligned);
        }
        let mut at = from;
        while at < to {
            let is_block = at.is_multiple_of(BLOCK_LEN) && to - at >= BLOCK_LEN;
            let (command, len, limit) = if is_block {
                (BLOCK_ERASE, BLOCK_LEN, BLOCK_ERASE_LIMIT)
            } else {
                (SECTOR_ERASE, SECTOR_LEN, SECTOR_ERASE_LIMIT)
            };
            self.enable_write()?;
            self.command(&with_address(command, at))?;
            self.until_ready(ERASE_POLL, limit)?;
            at += len;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        self.check(offset, bytes.len())?;
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let room = (PAGE_LEN - at % PAGE_LEN) as usize;
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.enable_write()?;
            let head = with_address(PAGE_PROGRAM, at);
            let mut steps = [Operation::Write(&head), Operation::Write(now)];
            self.spi.transaction(&mut steps).map_err(SpiNorError::Spi)?;
            self.until_ready(PROGRAM_POLL, PROGRAM_LIMIT)?;
            // A page at most.
            at += now.len() as u32;
            rest = later;
        }
        Ok(())
    }
}
