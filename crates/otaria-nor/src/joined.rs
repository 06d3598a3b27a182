//! Two flash chips as one.
//!
//! ```text
//!  0                      len of the first        + len of the second
//!  +----------------------+-----------------------+
//!  | first                | second                |
//!  +----------------------+-----------------------+
//!    what the program       attached later: nothing of it is needed
//!    runs from              until then
//! ```
//!
//! The second chip may come later than the first, because the boot guard comes before everything that can crash, and the driver
//! of a bus can. Until it is there, and if it never is, commands on its part fail, and Otaria works without a log.

use core::fmt;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash,
};

/// Two flash chips as one, see the [module](self).
#[derive(Debug)]
pub struct Joined<A, B> {
    first: A,
    second: Option<B>,
    second_len: u32,
}

/// Why a command on two chips failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinedError<A, B> {
    /// The first chip failed.
    First(A),
    /// The second chip failed.
    Second(B),
    /// The second chip is not there. Nothing was done.
    Missing,
    /// The command reaches behind the end of the second chip, or over the border between the two. Nothing was done.
    OutOfBounds,
}

impl<A: NorFlashError, B: NorFlashError> NorFlashError for JoinedError<A, B> {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::First(error) => error.kind(),
            Self::Second(error) => error.kind(),
            Self::Missing => NorFlashErrorKind::Other,
            Self::OutOfBounds => NorFlashErrorKind::OutOfBounds,
        }
    }
}

impl<A: fmt::Debug, B: fmt::Debug> fmt::Display for JoinedError<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::First(error) => write!(f, "the first flash chip failed: {error:?}"),
            Self::Second(error) => write!(f, "the second flash chip failed: {error:?}"),
            Self::Missing => f.write_str("the second flash chip is not there"),
            Self::OutOfBounds => f.write_str("the command does not lie in one flash chip"),
        }
    }
}

impl<A: fmt::Debug, B: fmt::Debug> core::error::Error for JoinedError<A, B> {}

/// The second chip is smaller than was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSmall {
    /// Bytes that it has.
    pub has: usize,
}

impl fmt::Display for TooSmall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the second flash chip has only {} bytes", self.has)
    }
}

impl core::error::Error for TooSmall {}

impl<A: ReadNorFlash, B: ReadNorFlash> Joined<A, B> {
    /// `first`, with room for `second_len` bytes of a second chip behind it.
    #[must_use]
    pub const fn new(first: A, second_len: u32) -> Self {
        Self {
            first,
            second: None,
            second_len,
        }
    }

    /// Puts the second chip in its place.
    ///
    /// # Errors
    /// It is smaller than the room; then it is not taken.
    pub fn attach(&mut self, second: B) -> Result<(), TooSmall> {
        let has = second.capacity();
        if has < self.second_len as usize {
            return Err(TooSmall { has });
        }
        self.second = Some(second);
        Ok(())
    }

    /// Where the second chip begins: the length of the first.
    #[must_use]
    pub fn border(&self) -> u32 {
        u32::try_from(self.first.capacity()).unwrap_or(u32::MAX)
    }

    /// The chip that `len` bytes from `offset` on lie in, and where in it.
    fn part(
        &mut self,
        offset: u32,
        len: usize,
    ) -> Result<Part<'_, A, B>, JoinedError<A::Error, B::Error>> {
        let len = u32::try_from(len).map_err(|_| JoinedError::OutOfBounds)?;
        let end = offset.checked_add(len).ok_or(JoinedError::OutOfBounds)?;
        let border = self.border();
        if end <= border {
            return Ok(Part::First(&mut self.first, offset));
        }
        let at = offset.checked_sub(border).ok_or(JoinedError::OutOfBounds)?;
        if end - border > self.second_len {
            return Err(JoinedError::OutOfBounds);
        }
        match &mut self.second {
            Some(second) => Ok(Part::Second(second, at)),
            None => Err(JoinedError::Missing),
        }
    }
}

enum Part<'a, A, B> {
    First(&'a mut A, u32),
    Second(&'a mut B, u32),
}

impl<A: ReadNorFlash, B: ReadNorFlash> ErrorType for Joined<A, B> {
    type Error = JoinedError<A::Error, B::Error>;
}

const fn larger(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

impl<A: ReadNorFlash, B: ReadNorFlash> ReadNorFlash for Joined<A, B> {
    const READ_SIZE: usize = larger(A::READ_SIZE, B::READ_SIZE);

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        match self.part(offset, bytes.len())? {
            Part::First(first, at) => first.read(at, bytes).map_err(JoinedError::First),
            Part::Second(second, at) => second.read(at, bytes).map_err(JoinedError::Second),
        }
    }

    fn capacity(&self) -> usize {
        self.first
            .capacity()
            .saturating_add(self.second_len as usize)
    }
}

impl<A: NorFlash, B: NorFlash> NorFlash for Joined<A, B> {
    const WRITE_SIZE: usize = larger(A::WRITE_SIZE, B::WRITE_SIZE);
    const ERASE_SIZE: usize = larger(A::ERASE_SIZE, B::ERASE_SIZE);

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        let len = to.checked_sub(from).ok_or(JoinedError::OutOfBounds)?;
        // Neither sum overflows: `part` has checked that both ends lie within a chip.
        match self.part(from, len as usize)? {
            Part::First(first, at) => first.erase(at, at + len).map_err(JoinedError::First),
            Part::Second(second, at) => second.erase(at, at + len).map_err(JoinedError::Second),
        }
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        match self.part(offset, bytes.len())? {
            Part::First(first, at) => first.write(at, bytes).map_err(JoinedError::First),
            Part::Second(second, at) => second.write(at, bytes).map_err(JoinedError::Second),
        }
    }
}
