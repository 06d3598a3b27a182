//! A page, and the items on it.

use core::fmt;
use core::iter::FusedIterator;

use super::{ENTRY_LEN, EntryHeader, PAGE_LEN, crc};
use crate::bytes::{Reader, Writer};

/// What becomes of a page. Pages in any other state hold nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum PageState {
    /// Items are appended to it.
    Active = 0xFFFF_FFFE,
    /// No room is left.
    Full = 0xFFFF_FFFC,
    /// Its items are being copied to another page.
    Freeing = 0xFFFF_FFF8,
}

/// Why a page holds nothing that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageError {
    /// The header is blank.
    Blank,
    /// The header's CRC or state is wrong: an erase or the first write was cut short, or it is no NVS page.
    Header,
    /// A page of another version of the format.
    Version,
}

impl fmt::Display for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Blank => "the page is blank",
            Self::Header => "the page's header is no NVS header",
            Self::Version => "the page is of another version of NVS",
        })
    }
}

impl core::error::Error for PageError {}

/// A page's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageHeader {
    /// What becomes of the page.
    pub state: PageState,
    /// The page with the higher sequence is newer.
    pub sequence: u32,
}

const HEADER_LEN: usize = 32;
const VERSION_2: u8 = 0xFE;

impl PageHeader {
    /// Reads a header.
    ///
    /// # Errors
    /// See [`PageError`].
    pub fn parse(bytes: &[u8; HEADER_LEN]) -> Result<Self, PageError> {
        if bytes.iter().all(|byte| *byte == 0xFF) {
            return Err(PageError::Blank);
        }
        let mut reader = Reader::new(bytes);
        let (state, sequence, version) = (reader.u32(), reader.u32(), reader.u8());
        reader.skip(19);
        if bytes.get(4..28).map(crc) != Some(reader.u32()) {
            return Err(PageError::Header);
        }
        if version != VERSION_2 {
            return Err(PageError::Version);
        }
        let states = [PageState::Active, PageState::Full, PageState::Freeing];
        let state = states.into_iter().find(|known| *known as u32 == state);
        Ok(Self {
            state: state.ok_or(PageError::Header)?,
            sequence,
        })
    }

    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let checked: [u8; 24] = Writer::new()
            .u32(self.sequence)
            .u8(VERSION_2)
            .put(&[0xFF; 19])
            .finish();
        Writer::new()
            .u32(self.state as u32)
            .put(&checked)
            .u32(crc(&checked))
            .finish()
    }
}

/// A page that was checked as far as its header goes.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    header: PageHeader,
    states: &'a [u8; 32],
    entries: &'a [[u8; ENTRY_LEN]],
}

impl<'a> Page<'a> {
    /// Checks a page's header.
    ///
    /// # Errors
    /// See [`PageError`].
    pub fn parse(bytes: &'a [u8; PAGE_LEN]) -> Result<Self, PageError> {
        let (header, rest) = bytes.split_first_chunk().ok_or(PageError::Header)?;
        let (states, entries) = rest.split_first_chunk().ok_or(PageError::Header)?;
        Ok(Self {
            header: PageHeader::parse(header)?,
            states,
            entries: entries.as_chunks().0,
        })
    }

    /// The page's header.
    #[must_use]
    pub fn header(&self) -> PageHeader {
        self.header
    }

    /// The items that count, in the order in which they were written; and for each entry that is marked written but is neither
    /// an item nor part of one, an error.
    #[must_use]
    pub fn items(&self) -> Items<'a> {
        Items {
            page: *self,
            at: 0,
            unfinished_until: 0,
        }
    }

    fn is_written(&self, entry: usize) -> bool {
        let pair = self
            .states
            .get(entry / 4)
            .map(|byte| byte >> (2 * (entry % 4)) & 0b11);
        pair == Some(0b10)
    }
}

/// An entry is marked written, but its CRC fails and it is no item's payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// Which entry, 0 to 125.
    pub entry: u8,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {} is damaged", self.entry)
    }
}

impl core::error::Error for Damaged {}

/// Iterates over the items of a page.
#[derive(Clone, Debug)]
pub struct Items<'a> {
    page: Page<'a>,
    at: usize,
    /// Before this entry, those that are no items may be the payload of one that is not wholly marked written.
    unfinished_until: usize,
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<Item<'a>, Damaged>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let at = self.at;
            let bytes = self.page.entries.get(at)?;
            let header = EntryHeader::parse(bytes);
            let item = header.and_then(|header| {
                let end = at.checked_add(usize::from(header.span))?;
                let payload = self.page.entries.get(at.checked_add(1)?..end)?;
                Some((header, payload, end))
            });
            let Some((header, payload, end)) = item else {
                self.at = at + 1;
                if self.page.is_written(at) && at >= self.unfinished_until {
                    let entry = u8::try_from(at).unwrap_or(u8::MAX);
                    return Some(Err(Damaged { entry }));
                }
                continue;
            };
            if (at..end).all(|entry| self.page.is_written(entry)) {
                self.at = end;
                return Some(Ok(Item {
                    header,
                    payload: payload.as_flattened(),
                }));
            }
            // Marking its entries was cut short, as written or as erased. The next item may begin right behind this entry: a
            // writer may have used the place again.
            self.at = at + 1;
            self.unfinished_until = self.unfinished_until.max(end);
        }
    }
}

impl FusedIterator for Items<'_> {}

/// An item whose first entry is good. Its payload is checked when it is asked for.
#[derive(Clone, Copy)]
pub struct Item<'a> {
    header: EntryHeader,
    payload: &'a [u8],
}

impl fmt::Debug for Item<'_> {
    /// Without the value: it may be a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EntryHeader {
            namespace,
            kind,
            span,
            chunk,
            name,
            ..
        } = self.header;
        write!(
            f,
            "Item({namespace}:{name:?} {kind:?} span {span} chunk {chunk})"
        )
    }
}

/// Why an item's payload is not what its first entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueError {
    /// The item is of another kind.
    Kind,
    /// The payload is longer than its entries, or a blob's parts are not as long as it.
    Length,
    /// The payload's CRC is wrong.
    Crc,
    /// The text has no zero byte at its end, one before it, or is not UTF-8.
    Text,
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kind => "it is of another type",
            Self::Length => "its length is wrong",
            Self::Crc => "its CRC is wrong",
            Self::Text => "it is no UTF-8 text with a zero byte at its end",
        })
    }
}

impl core::error::Error for ValueError {}

impl<'a> Item<'a> {
    /// The first entry.
    #[must_use]
    pub fn header(&self) -> &EntryHeader {
        &self.header
    }

    /// The payload of a text, zero byte included, of a blob's part, or of an old blob.
    ///
    /// # Errors
    /// See [`ValueError`].
    pub fn payload(&self) -> Result<&'a [u8], ValueError> {
        let (len, expected) = self.header.payload().ok_or(ValueError::Kind)?;
        let payload = self
            .payload
            .get(..usize::from(len))
            .ok_or(ValueError::Length)?;
        if crc(payload) == expected {
            Ok(payload)
        } else {
            Err(ValueError::Crc)
        }
    }

    /// The text without its zero byte.
    ///
    /// # Errors
    /// See [`ValueError`].
    pub fn text(&self) -> Result<&'a str, ValueError> {
        if self.header.kind != super::Kind::Text {
            return Err(ValueError::Kind);
        }
        let text = self.payload()?.strip_suffix(&[0]).ok_or(ValueError::Text)?;
        let text = core::str::from_utf8(text).map_err(|_| ValueError::Text)?;
        if text.contains('\0') {
            return Err(ValueError::Text);
        }
        Ok(text)
    }
}
