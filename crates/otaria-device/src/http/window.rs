//! The bytes that have been read from the connection, but not used yet.

use super::HttpError;

/// Holds the longest line that matters (a Location of 2048 bytes), and the longest request.
pub(super) const WINDOW_LEN: usize = 2304;

/// A window over the stream.
pub(super) struct Window {
    buf: [u8; WINDOW_LEN],
    start: usize,
    end: usize,
}

/// What stands at the start of the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line<'w> {
    /// A line, without its end, and the bytes that it takes with it.
    Whole(&'w [u8], usize),
    /// The start of a line: more has to be read.
    Partial,
    /// The start of a line that is longer than the window.
    TooLong(&'w [u8]),
}

impl Window {
    pub(super) const fn new() -> Self {
        Self {
            buf: [0; WINDOW_LEN],
            start: 0,
            end: 0,
        }
    }

    /// The whole buffer, for something else before the first byte of a connection arrives.
    pub(super) fn idle_buffer(&mut self) -> &mut [u8] {
        self.start = 0;
        self.end = 0;
        &mut self.buf
    }

    /// What has been read and not been used.
    pub(super) fn unread(&self) -> &[u8] {
        self.buf.get(self.start..self.end).unwrap_or_default()
    }

    /// Where the next bytes go. Empty only if the window is full of unread bytes.
    pub(super) fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buf.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        self.buf.get_mut(self.end..).unwrap_or_default()
    }

    /// `n` bytes have been written to the start of [`space`](Self::space).
    pub(super) fn filled(&mut self, n: usize) {
        self.end = self.end.saturating_add(n).min(WINDOW_LEN);
    }

    /// `n` unread bytes have been used.
    pub(super) fn consume(&mut self, n: usize) {
        self.start = self.start.saturating_add(n).min(self.end);
    }

    /// Moves unread bytes to `out`, as many as fit.
    pub(super) fn copy_to(&mut self, out: &mut [u8]) -> usize {
        let unread = self.unread();
        let n = unread.len().min(out.len());
        if let (Some(to), Some(from)) = (out.get_mut(..n), unread.get(..n)) {
            to.copy_from_slice(from);
        }
        self.consume(n);
        n
    }

    /// The line at the start. It ends with CR LF, or LF alone (RFC 9112, 2.2).
    ///
    /// # Errors
    ///
    /// [`HttpError::Malformed`] if there is a CR elsewhere, or a NUL: what one reader takes for a line's end, another does not.
    pub(super) fn line(&self) -> Result<Line<'_>, HttpError> {
        let unread = self.unread();
        let Some(end) = unread.iter().position(|byte| *byte == b'\n') else {
            return Ok(if unread.len() < WINDOW_LEN {
                Line::Partial
            } else {
                Line::TooLong(unread)
            });
        };
        let line = unread.get(..end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.iter().any(|byte| matches!(byte, b'\r' | 0)) {
            return Err(HttpError::Malformed);
        }
        Ok(Line::Whole(line, end + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(bytes: &[u8]) -> Window {
        let mut window = Window::new();
        window.space()[..bytes.len()].copy_from_slice(bytes);
        window.filled(bytes.len());
        window
    }

    #[test]
    fn lines_end_with_cr_lf_or_lf() {
        let mut window = window(b"one\r\ntwo\n\r\nhalf");
        for (line, len) in [(&b"one"[..], 5), (b"two", 4), (b"", 2)] {
            assert_eq!(window.line(), Ok(Line::Whole(line, len)));
            window.consume(len);
        }
        assert_eq!(window.line(), Ok(Line::Partial));
        assert_eq!(window.unread(), b"half");
    }

    #[test]
    fn a_stray_cr_or_nul_is_malformed() {
        for bytes in [&b"a\rb\r\n"[..], b"a\0\r\n", b"a\r\r\n"] {
            assert_eq!(window(bytes).line(), Err(HttpError::Malformed));
        }
    }

    #[test]
    fn only_a_full_window_without_a_line_end_is_too_long() {
        let mut bytes = [b'x'; WINDOW_LEN];
        assert_eq!(
            window(&bytes[1..]).line(),
            Ok(Line::Partial),
            "there is still room"
        );
        assert_eq!(window(&bytes).line(), Ok(Line::TooLong(&bytes)));
        bytes[WINDOW_LEN - 1] = b'\n';
        assert_eq!(
            window(&bytes).line(),
            Ok(Line::Whole(&bytes[..WINDOW_LEN - 1], WINDOW_LEN))
        );
    }
}
