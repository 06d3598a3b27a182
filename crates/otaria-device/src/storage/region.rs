//! A window over one partition of the flash chip.
//!
//! Several stores lie on one chip, and each needs it for the length of one command. Flash commands block, so no two of them
//! ever overlap: a [`RefCell`] is enough to share the chip, and no borrow lives longer than one command.

use core::cell::RefCell;
use core::fmt;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

use super::SECTOR_LEN;

/// A part of a flash chip that reads, writes and erases like a chip of its own. Offset 0 is its first byte; nothing outside
/// can be reached through it.
pub struct Region<'a, F> {
    flash: &'a RefCell<F>,
    start: u32,
    len: u32,
}

impl<F> Clone for Region<'_, F> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<F> Copy for Region<'_, F> {}

impl<F> fmt::Debug for Region<'_, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Region")
            .field("start", &self.start)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl<'a, F: NorFlash> Region<'a, F> {
    /// The `len` bytes from `start`, both multiples of a sector and inside the chip.
    ///
    /// # Errors
    /// [`RegionError::OutOfBounds`] if the window does not lie within the chip, [`RegionError::NotAligned`] if it does not
    /// begin and end at a sector, [`RegionError::Busy`] if the chip is borrowed right now.
    pub fn new(flash: &'a RefCell<F>, start: u32, len: u32) -> Result<Self, RegionError<F::Error>> {
        const {
            // What the stores are laid out for. All of Espressif's chips have 4, 4, 4096.
            assert!(F::READ_SIZE <= 4 && 4 % F::READ_SIZE == 0);
            assert!(F::WRITE_SIZE <= 4 && 4 % F::WRITE_SIZE == 0);
            assert!(F::ERASE_SIZE == SECTOR_LEN as usize);
        }
        let end = start.checked_add(len).ok_or(RegionError::OutOfBounds)?;
        let capacity = flash
            .try_borrow()
            .map_err(|_| RegionError::Busy)?
            .capacity();
        if usize::try_from(end).map_or(true, |end| end > capacity) {
            return Err(RegionError::OutOfBounds);
        }
        if !start.is_multiple_of(SECTOR_LEN) || !len.is_multiple_of(SECTOR_LEN) {
            return Err(RegionError::NotAligned);
        }
        Ok(Self { flash, start, len })
    }

    /// The part of this region that begins at `start` and has `len` bytes.
    ///
    /// # Errors
    /// As [`Region::new`].
    pub fn part(&self, start: u32, len: u32) -> Result<Self, RegionError<F::Error>> {
        let end = start.checked_add(len).ok_or(RegionError::OutOfBounds)?;
        if end > self.len {
            return Err(RegionError::OutOfBounds);
        }
        if !start.is_multiple_of(SECTOR_LEN) || !len.is_multiple_of(SECTOR_LEN) {
            return Err(RegionError::NotAligned);
        }
        let start = self
            .start
            .checked_add(start)
            .ok_or(RegionError::OutOfBounds)?;
        Ok(Self {
            flash: self.flash,
            start,
            len,
        })
    }

    /// Runs one command on the chip, after checking that `offset..offset + len` lies within the window.
    fn with<T>(
        &self,
        offset: u32,
        len: usize,
        command: impl FnOnce(&mut F, u32) -> Result<T, F::Error>,
    ) -> Result<T, RegionError<F::Error>> {
        let len = u32::try_from(len).map_err(|_| RegionError::OutOfBounds)?;
        let end = offset.checked_add(len).ok_or(RegionError::OutOfBounds)?;
        if end > self.len {
            return Err(RegionError::OutOfBounds);
        }
        // Cannot overflow: `new` has checked that start + len lies within the chip.
        let at = self
            .start
            .checked_add(offset)
            .ok_or(RegionError::OutOfBounds)?;
        let mut flash = self.flash.try_borrow_mut().map_err(|_| RegionError::Busy)?;
        command(&mut flash, at).map_err(RegionError::Flash)
    }
}

/// Why a command on a [`Region`] failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RegionError<E> {
    /// It reaches outside of the region. Nothing was done.
    OutOfBounds,
    /// It does not begin and end where the chip wants it to. Nothing was done.
    NotAligned,
    /// The chip is borrowed elsewhere, which one thread of blocking commands cannot bring about. Nothing was done.
    Busy,
    /// The chip says no.
    Flash(E),
}

impl<E: NorFlashError> NorFlashError for RegionError<E> {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::OutOfBounds => NorFlashErrorKind::OutOfBounds,
            Self::NotAligned => NorFlashErrorKind::NotAligned,
            Self::Busy => NorFlashErrorKind::Other,
            Self::Flash(error) => error.kind(),
        }
    }
}

impl<E: fmt::Debug> fmt::Display for RegionError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfBounds => f.write_str("the command reaches outside of the partition"),
            Self::NotAligned => f.write_str("the command is not aligned"),
            Self::Busy => f.write_str("the flash is borrowed elsewhere"),
            Self::Flash(error) => write!(f, "the flash failed: {error:?}"),
        }
    }
}

impl<E: fmt::Debug> core::error::Error for RegionError<E> {}

impl<F: NorFlash> ErrorType for Region<'_, F> {
    type Error = RegionError<F::Error>;
}

impl<F: NorFlash> ReadNorFlash for Region<'_, F> {
    const READ_SIZE: usize = F::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.with(offset, bytes.len(), |flash, at| flash.read(at, bytes))
    }

    fn capacity(&self) -> usize {
        self.len as usize
    }
}

impl<F: NorFlash> NorFlash for Region<'_, F> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        let len = to.checked_sub(from).ok_or(RegionError::OutOfBounds)?;
        if !from.is_multiple_of(SECTOR_LEN) || !len.is_multiple_of(SECTOR_LEN) {
            return Err(RegionError::NotAligned);
        }
        self.with(from, len as usize, |flash, at| {
            flash.erase(at, at.saturating_add(len))
        })
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        self.with(offset, bytes.len(), |flash, at| flash.write(at, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_flash::TestFlash;
    use super::*;

    fn flash() -> RefCell<TestFlash> {
        RefCell::new(TestFlash::new(8))
    }

    #[test]
    fn a_command_lands_at_the_windows_offset() {
        let flash = flash();
        let mut region = Region::new(&flash, 0x2000, 0x2000).unwrap();
        region.write(0x1004, &[1, 2, 3, 4]).unwrap();
        let mut seen = [0; 4];
        region.read(0x1004, &mut seen).unwrap();
        assert_eq!(seen, [1, 2, 3, 4]);
        assert_eq!(flash.borrow().bytes()[0x3004..0x3008], [1, 2, 3, 4]);
        region.erase(0x1000, 0x2000).unwrap();
        assert_eq!(flash.borrow().bytes()[0x3004..0x3008], [0xFF; 4]);
    }

    #[test]
    fn nothing_outside_the_window_can_be_reached() {
        let flash = flash();
        let mut region = Region::new(&flash, 0x2000, 0x2000).unwrap();
        let before = flash.borrow().bytes().to_vec();
        let mut buf = [0; 8];
        for offset in [0x1FFC, 0x2000, 0xFFFF_FFFC, u32::MAX] {
            assert_eq!(
                region.read(offset, &mut buf),
                Err(RegionError::OutOfBounds),
                "{offset:#x}"
            );
            assert_eq!(
                region.write(offset, &buf),
                Err(RegionError::OutOfBounds),
                "{offset:#x}"
            );
        }
        for (from, to) in [
            (0, 0x3000),
            (0x2000, 0x3000),
            (0x1000, 0),
            (0xFFFF_F000, 0),
            (0, 0xFFFF_F000),
        ] {
            assert_eq!(
                region.erase(from, to),
                Err(RegionError::OutOfBounds),
                "{from:#x}..{to:#x}"
            );
        }
        assert_eq!(region.erase(0x10, 0x1010), Err(RegionError::NotAligned));
        assert_eq!(flash.borrow().bytes(), before);
    }

    #[test]
    fn a_window_that_does_not_fit_the_chip_is_refused() {
        let flash = flash();
        for (start, len) in [
            (0x8000, 0x1000),
            (0x7000, 0x2000),
            (0xFFFF_F000, 0x1000),
            (0x1000, 0xFFFF_F000),
        ] {
            assert_eq!(
                Region::new(&flash, start, len).unwrap_err(),
                RegionError::OutOfBounds
            );
        }
        for (start, len) in [(0x10, 0x1000), (0x1000, 0x10)] {
            assert_eq!(
                Region::new(&flash, start, len).unwrap_err(),
                RegionError::NotAligned
            );
        }
        assert!(Region::new(&flash, 0x7000, 0x1000).is_ok());
    }

    #[test]
    fn a_part_stays_inside_its_region() {
        let flash = flash();
        let region = Region::new(&flash, 0x1000, 0x4000).unwrap();
        let mut part = region.part(0x1000, 0x2000).unwrap();
        part.write(0, &[9; 4]).unwrap();
        assert_eq!(flash.borrow().bytes()[0x2000..0x2004], [9; 4]);
        assert_eq!(part.capacity(), 0x2000);
        assert_eq!(
            region.part(0x3000, 0x2000).unwrap_err(),
            RegionError::OutOfBounds
        );
        assert_eq!(
            region.part(0x10, 0x1000).unwrap_err(),
            RegionError::NotAligned
        );
    }

    #[test]
    fn a_borrowed_chip_is_an_error_and_no_panic() {
        let flash = flash();
        let mut region = Region::new(&flash, 0, 0x1000).unwrap();
        let held = flash.borrow_mut();
        assert_eq!(region.read(0, &mut [0; 4]), Err(RegionError::Busy));
        drop(held);
        assert_eq!(region.read(0, &mut [0; 4]), Ok(()));
    }
}
