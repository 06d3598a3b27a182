//! DER (ITU-T X.690), as far as certificates need it.

use super::TlsError;

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OBJECT: u8 = 0x06;
pub(super) const UTC_TIME: u8 = 0x17;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;

/// An element that is not formed as DER wants it.
const MALFORMED: TlsError = TlsError::BadCertificate;

/// What is left of some DER. Whatever is malformed is [`TlsError::BadCertificate`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Der<'a>(&'a [u8]);

/// One element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    /// What is in it.
    pub(super) content: &'a [u8],
    /// The element with its tag and its length.
    pub(super) whole: &'a [u8],
}

impl<'a> Der<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element. Lengths are of at most three bytes, and as short as they can be (10.1).
    #[inline(never)]
    pub(super) fn element(&mut self) -> Result<Element<'a>, TlsError> {
        let (&[tag, first], rest) = self.0.split_first_chunk().ok_or(MALFORMED)?;
        // Tags of several bytes are in no certificate.
        if tag & 0x1f == 0x1f {
            return Err(MALFORMED);
        }
        let more = if first < 0x80 {
            0
        } else {
            usize::from(first & 0x7f)
        };
        let bytes = rest.get(..more).ok_or(MALFORMED)?;
        let len = match first {
            0..=0x7f => usize::from(first),
            0x81..=0x83 => bytes
                .iter()
                .fold(0, |len, byte| len << 8 | usize::from(*byte)),
            _ => return Err(MALFORMED),
        };
        let needed = match len {
            0..0x80 => 0,
            0x80..0x100 => 1,
            0x100..0x1_0000 => 2,
            _ => 3,
        };
        if more != needed {
            return Err(MALFORMED);
        }
        let (whole, rest) = self.0.split_at_checked(2 + more + len).ok_or(MALFORMED)?;
        self.0 = rest;
        Ok(Element {
            tag,
            content: whole.get(2 + more..).ok_or(MALFORMED)?,
            whole,
        })
    }

    /// The next element, which has to be of this kind.
    pub(super) fn expect(&mut self, tag: u8) -> Result<Self, TlsError> {
        match self.element()? {
            element if element.tag == tag => Ok(Self(element.content)),
            _ => Err(MALFORMED),
        }
    }

    /// The next element, if it is of this kind.
    pub(super) fn optional(&mut self, tag: u8) -> Result<Option<Self>, TlsError> {
        match self.0.first() {
            Some(next) if *next == tag => self.expect(tag).map(Some),
            _ => Ok(None),
        }
    }

    /// A bit string of whole bytes.
    pub(super) fn bytes_of_bits(&mut self) -> Result<&'a [u8], TlsError> {
        match self.expect(BIT_STRING)?.0 {
            [0, bytes @ ..] => Ok(bytes),
            _ => Err(MALFORMED),
        }
    }

    /// A truth value, if there is one; DER leaves out what is false.
    pub(super) fn flag(&mut self) -> Result<bool, TlsError> {
        match self.optional(BOOLEAN)?.map(|flag| flag.0) {
            None => Ok(false),
            Some([0xff]) => Ok(true),
            Some(_) => Err(MALFORMED),
        }
    }

    pub(super) const fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// The end: there must be nothing left.
    pub(super) const fn end(&self) -> Result<(), TlsError> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(MALFORMED)
        }
    }
}

/// A whole number that is not negative, of at most `N` bytes without its sign, right-aligned.
pub(super) fn unsigned<const N: usize>(der: &mut Der<'_>) -> Result<[u8; N], TlsError> {
    let digits = match der.expect(INTEGER)?.0 {
        [0] => &[],
        // A sign byte is there only in front of a bit that would be taken for one (8.3.2).
        [0, rest @ ..] if rest.first().is_some_and(|byte| *byte >= 0x80) => rest,
        [0x80..=0xff, ..] | [0, ..] | [] => return Err(MALFORMED),
        digits => digits,
    };
    let mut number = [0; N];
    let start = N.checked_sub(digits.len()).ok_or(MALFORMED)?;
    number
        .get_mut(start..)
        .ok_or(MALFORMED)?
        .copy_from_slice(digits);
    Ok(number)
}

/// The certificates in `bytes`, one behind the other. Ends behind the first that is malformed.
pub(in super::super) fn certificates(
    bytes: &[u8],
) -> impl Iterator<Item = Result<&[u8], TlsError>> {
    let mut der = Der::new(bytes);
    core::iter::from_fn(move || {
        if der.is_empty() {
            return None;
        }
        let next = der.element();
        if next.is_err() {
            der = Der::new(&[]);
        }
        Some(next.and_then(|element| match element.tag {
            SEQUENCE => Ok(element.whole),
            _ => Err(MALFORMED),
        }))
    })
}
