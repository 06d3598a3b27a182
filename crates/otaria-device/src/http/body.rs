//! Where a body begins and ends (RFC 9112, 6 and 7).

use super::HttpError;
use super::window::{Line, WINDOW_LEN, Window};

/// The longest line before a chunk, extensions included.
const CHUNK_LINE_MAX: usize = 256;
/// The most bytes behind the last chunk.
const TRAILERS_MAX: usize = 4 * 1024;

/// What is still to come of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// So many bytes. Never 0.
    Length(u64),
    /// Chunks.
    Chunked(Chunk),
    /// Everything until the connection is closed.
    UntilClose,
    /// Nothing.
    Done,
}

/// Where in a chunked body the window stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunk {
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
    /// A body of `len` bytes.
    pub(super) const fn of_length(len: u64) -> Self {
        match len {
            0 => Self::Done,
            len => Self::Length(len),
        }
    }

    /// Goes on, with the bytes that are in the window. `out` must not be empty.
    pub(super) fn step(&mut self, window: &mut Window, out: &mut [u8]) -> Result<Step, HttpError> {
        loop {
            let left = match *self {
                Self::Done => return Ok(Step::End),
                Self::UntilClose => u64::MAX,
                Self::Length(left) | Self::Chunked(Chunk::Data(left)) => left,
                Self::Chunked(chunk) => match chunk.next(window)? {
                    Some(next) => {
                        *self = next;
                        continue;
                    }
                    None => return Ok(Step::More),
                },
            };
            let room = usize::try_from(left).map_or(out.len(), |left| left.min(out.len()));
            if window.unread().is_empty() {
                return Ok(Step::Direct(room));
            }
            let n = window.copy_to(out.get_mut(..room).unwrap_or_default());
            self.took(n);
            return Ok(Step::Copied(n));
        }
    }

    /// `n` bytes of the body have been read.
    pub(super) fn took(&mut self, n: usize) {
        let after = |left: u64| left.saturating_sub(n as u64);
        match *self {
            Self::Length(left) => *self = Self::of_length(after(left)),
            Self::Chunked(Chunk::Data(left)) => {
                *self = Self::Chunked(match after(left) {
                    0 => Chunk::DataEnd,
                    left => Chunk::Data(left),
                });
            }
            Self::Chunked(Chunk::Size | Chunk::DataEnd | Chunk::Trailers(_))
            | Self::UntilClose
            | Self::Done => {}
        }
    }

    /// The connection has been closed.
    pub(super) fn closed(&mut self) -> Result<(), HttpError> {
        match self {
            Self::UntilClose | Self::Done => {
                *self = Self::Done;
                Ok(())
            }
            Self::Length(_) | Self::Chunked(_) => Err(HttpError::EarlyClose),
        }
    }
}

impl Chunk {
    /// What follows the line that stands in the window; `None` if that is not whole.
    fn next(self, window: &mut Window) -> Result<Option<Body>, HttpError> {
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
            Self::Size => Body::Chunked(match chunk_size(line).ok_or(HttpError::Malformed)? {
                0 => Self::Trailers(0),
                size => Self::Data(size),
            }),
            Self::DataEnd if line.is_empty() => Body::Chunked(Self::Size),
            Self::Data(_) | Self::DataEnd => return Err(HttpError::Malformed),
            Self::Trailers(_) if line.is_empty() => Body::Done,
            Self::Trailers(skipped) if skipped + len <= TRAILERS_MAX => {
                Body::Chunked(Self::Trailers(skipped + len))
            }
            Self::Trailers(_) => return Err(HttpError::Malformed),
        };
        window.consume(len);
        Ok(Some(next))
    }
}

/// The size in hexadecimal; what follows a semicolon is an extension, and ignored (RFC 9112, 7.1.1).
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line
        .iter()
        .position(|byte| !byte.is_ascii_hexdigit())
        .unwrap_or(line.len());
    let (digits, rest) = line.split_at_checked(digits)?;
    if !matches!(rest.trim_ascii_start(), [] | [b';', ..]) {
        return None;
    }
    // No digits at all are no size: an empty line must not pass for the end of the body.
    u64::from_str_radix(core::str::from_utf8(digits).ok()?, 16).ok()
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
