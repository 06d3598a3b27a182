//! Where a body begins and ends (RFC 9112, 6 and 7).

use super::HttpError;
use super::text::{number, split_at_byte};
use super::window::{Line, WINDOW_LEN, Window};

/// The longest line before a chunk, extensions included.
const CHUNK_LINE_MAX: usize = 256;
/// The most bytes behind the last chunk.
const TRAILERS_MAX: usize = 4 * 1024;

/// What is still to come of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Body {
    framing: Framing,
    /// Bytes that are still to come, if the head says so.
    left: Option<u64>,
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// By its length.
    Length,
    /// By a chunk of no bytes.
    Chunks(Chunk),
    /// By the connection's end.
    UntilClose,
    /// There it is.
    Done,
}

/// Where in a chunked body the window stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chunk {
    /// Before the line with the size of the next chunk.
    Size,
    /// In a chunk: so many bytes are left of it. Never 0.
    Data(u64),
    /// Before the line end behind a chunk.
    DataEnd,
    /// Behind the last chunk: so many bytes of trailers have been skipped.
    Trailers(usize),
}

/// What to do to get on with the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// So many bytes have been put into the buffer.
    Copied(usize),
    /// Read at most so many bytes straight into the buffer, then call [`Body::took`].
    Direct(usize),
    /// Read into the window.
    More,
    /// The body has ended as it should.
    End,
}

impl Body {
    /// Nothing.
    pub(super) const NONE: Self = Self {
        framing: Framing::Done,
        left: None,
    };

    /// A body of `left` bytes, or of as many as come; in chunks or in one piece.
    pub(super) const fn new(left: Option<u64>, chunked: bool) -> Self {
        let framing = match left {
            _ if chunked => Framing::Chunks(Chunk::Size),
            Some(0) => Framing::Done,
            Some(_) => Framing::Length,
            None => Framing::UntilClose,
        };
        Self { framing, left }
    }

    /// Goes on, with the bytes that are in the window. `out` must not be empty.
    pub(super) fn step(&mut self, window: &mut Window, out: &mut [u8]) -> Result<Step, HttpError> {
        loop {
            let left = match self.framing {
                // Chunks may add up to less than the range that was announced.
                Framing::Done => {
                    return match self.left {
                        Some(1..) => Err(HttpError::LengthMismatch),
                        Some(0) | None => Ok(Step::End),
                    };
                }
                Framing::Chunks(Chunk::Data(left)) => left,
                Framing::Chunks(chunk) => match chunk.next(window)? {
                    Some(next) => {
                        self.framing = next;
                        continue;
                    }
                    None => return Ok(Step::More),
                },
                Framing::Length | Framing::UntilClose => self.left.unwrap_or(u64::MAX),
            };
            let room = usize::try_from(left).map_or(out.len(), |left| left.min(out.len()));
            if window.unread().is_empty() {
                return Ok(Step::Direct(room));
            }
            let n = window.copy_to(out.get_mut(..room).unwrap_or_default());
            self.took(n)?;
            return Ok(Step::Copied(n));
        }
    }

    /// `n` bytes of the body have been read. Chunks may add up to more than the range that was announced.
    pub(super) fn took(&mut self, n: usize) -> Result<(), HttpError> {
        let n = n as u64;
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(n).ok_or(HttpError::LengthMismatch)?;
        }
        match &mut self.framing {
            Framing::Length if self.left == Some(0) => self.framing = Framing::Done,
            Framing::Chunks(Chunk::Data(left)) if *left > n => *left -= n,
            Framing::Chunks(chunk @ Chunk::Data(_)) => *chunk = Chunk::DataEnd,
            Framing::Length | Framing::Chunks(_) | Framing::UntilClose | Framing::Done => {}
        }
        Ok(())
    }

    /// The connection has been closed.
    pub(super) fn closed(&mut self) -> Result<(), HttpError> {
        match self.framing {
            Framing::UntilClose | Framing::Done => {
                self.framing = Framing::Done;
                Ok(())
            }
            Framing::Length | Framing::Chunks(_) => Err(HttpError::EarlyClose),
        }
    }
}

impl Chunk {
    /// What follows the line that stands in the window; `None` if that is not whole.
    fn next(self, window: &mut Window) -> Result<Option<Framing>, HttpError> {
        let longest = match self {
            Self::Size | Self::Data(_) | Self::DataEnd => CHUNK_LINE_MAX,
            Self::Trailers(_) => WINDOW_LEN,
        };
        let (line, len) = match window.line()? {
            Line::Whole(line, len) if len <= longest => (line, len),
            Line::Partial if window.unread().len() < longest => return Ok(None),
            Line::Whole(..) | Line::Partial | Line::TooLong(_) => return Err(HttpError::Malformed),
        };
        let next = match self {
            Self::Size => Framing::Chunks(match chunk_size(line).ok_or(HttpError::Malformed)? {
                0 => Self::Trailers(0),
                size => Self::Data(size),
            }),
            Self::DataEnd if line.is_empty() => Framing::Chunks(Self::Size),
            Self::Trailers(_) if line.is_empty() => Framing::Done,
            Self::Trailers(skipped) if skipped + len <= TRAILERS_MAX => {
                Framing::Chunks(Self::Trailers(skipped + len))
            }
            Self::Data(_) | Self::DataEnd | Self::Trailers(_) => {
                return Err(HttpError::Malformed);
            }
        };
        window.consume(len);
        Ok(Some(next))
    }
}

/// The size in hexadecimal; what follows a semicolon is an extension, and ignored (RFC 9112, 7.1.1).
fn chunk_size(line: &[u8]) -> Option<u64> {
    let size = split_at_byte(line, b';').map_or(line, |(size, _)| size);
    // White space may follow the size, but not go before it. No digits at all are no size: an empty line must not pass for
    // the end of the body.
    number(size.trim_ascii_end(), 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunk_sizes_are_hexadecimal_and_nothing_else() {
        for (line, size) in [
            ("0", Some(0)),
            ("000", Some(0)),
            ("1aB", Some(0x1AB)),
            ("5;name=value", Some(5)),
            ("5 \t;name", Some(5)),
            ("5  ", Some(5)),
            ("ffffffffffffffff", Some(u64::MAX)),
            ("10000000000000000", None),
            ("", None),
            (";x", None),
            (" 5", None),
            ("+5", None),
            ("-5", None),
            ("0x5", None),
            ("5 5", None),
            ("5g", None),
        ] {
            assert_eq!(chunk_size(line.as_bytes()), size, "{line:?}");
        }
    }
}
