//! Reading and writing TLS's numbers and vectors (RFC 8446, 3): big-endian, each vector behind its length.

use super::TlsError;

/// What is left of a message. Whatever is not there is [`TlsError::Protocol`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) const fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], TlsError> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(TlsError::Protocol)?;
        self.0 = rest;
        Ok(head)
    }

    /// A number of `len` bytes, at most four.
    fn number(&mut self, len: usize) -> Result<usize, TlsError> {
        let bytes = self.take(len)?;
        Ok(bytes
            .iter()
            .fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    pub(super) fn u8(&mut self) -> Result<u8, TlsError> {
        Ok(self.number(1)? as u8)
    }

    pub(super) fn u16(&mut self) -> Result<u16, TlsError> {
        Ok(self.number(2)? as u16)
    }

    /// A vector whose length is a number of `len` bytes.
    pub(super) fn vector(&mut self, len: usize) -> Result<Self, TlsError> {
        let len = self.number(len)?;
        self.take(len).map(Self)
    }

    /// The end of the message: there must be nothing left.
    pub(super) const fn end(&self) -> Result<(), TlsError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(TlsError::Protocol)
        }
    }
}

/// A message that is being written. What does not fit is noticed at the end.
#[derive(Debug)]
pub(super) struct Writer<'b> {
    buf: &'b mut [u8],
    len: usize,
}

impl<'b> Writer<'b> {
    pub(super) const fn new(buf: &'b mut [u8]) -> Self {
        Self { buf, len: 0 }
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        let end = self.len.saturating_add(bytes.len());
        if let Some(room) = self.buf.get_mut(self.len..end) {
            room.copy_from_slice(bytes);
        }
        self.len = end;
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_be_bytes());
    }

    /// Begins a vector whose length is a number of two bytes; the result is for [`close`](Self::close).
    pub(super) fn open(&mut self) -> usize {
        self.u16(0);
        self.len
    }

    /// Ends the vector that began at `start`.
    pub(super) fn close(&mut self, start: usize) {
        let len = self.len.saturating_sub(start) as u16;
        if let Some(field) = start
            .checked_sub(2)
            .and_then(|at| self.buf.get_mut(at..start))
        {
            field.copy_from_slice(&len.to_be_bytes());
        }
    }

    /// How long the message is, and what of it is written.
    pub(super) fn end(self) -> Result<&'b mut [u8], TlsError> {
        self.buf.get_mut(..self.len).ok_or(TlsError::TooLarge)
    }
}
