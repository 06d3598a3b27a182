//! An entry that starts an item.

use core::fmt;

use super::{ENTRIES, ENTRY_LEN};
use crate::bytes::{Reader, Writer};
use crate::crc32::Crc32;

/// What an item holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// An unsigned byte.
    U8 = 0x01,
    /// A signed byte.
    I8 = 0x11,
    /// Two bytes.
    U16 = 0x02,
    /// Two bytes, signed.
    I16 = 0x12,
    /// Four bytes.
    U32 = 0x04,
    /// Four bytes, signed.
    I32 = 0x14,
    /// Eight bytes.
    U64 = 0x08,
    /// Eight bytes, signed.
    I64 = 0x18,
    /// A text with a zero byte at its end.
    Text = 0x21,
    /// A whole blob as ESP-IDF wrote it before 4.0.
    OldBlob = 0x41,
    /// A part of a blob.
    BlobPart = 0x42,
    /// How many parts a blob has.
    BlobIndex = 0x48,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 12] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::U64,
        Self::I64,
        Self::Text,
        Self::OldBlob,
        Self::BlobPart,
        Self::BlobIndex,
    ];

    fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// Whether a payload follows in the entries behind.
    #[must_use]
    pub const fn has_payload(self) -> bool {
        matches!(self, Self::Text | Self::OldBlob | Self::BlobPart)
    }
}

/// A name's field: up to 15 bytes and zeros.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name([u8; 16]);

impl Name {
    /// A name for the field; `None` if it is empty, longer than 15 bytes or has a zero byte.
    #[must_use]
    pub fn new(name: &str) -> Option<Self> {
        let mut field = [0; 16];
        if name.is_empty() || name.len() > 15 || name.contains('\0') {
            return None;
        }
        field
            .get_mut(..name.len())?
            .copy_from_slice(name.as_bytes());
        Some(Self(field))
    }

    /// Whether this is the field of `name`.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        Self::new(name).as_ref() == Some(self)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

/// The first entry of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryHeader {
    /// Number of the namespace; 0: the item names a namespace, whose number is its value.
    pub namespace: u8,
    /// What the item holds.
    pub kind: Kind,
    /// Entries of the item, this one included; at least 1.
    pub span: u8,
    /// Which part of a blob, or [`NO_CHUNK`](super::NO_CHUNK).
    pub chunk: u8,
    /// The item's name.
    pub name: Name,
    /// The value, or what is known of the payload.
    pub data: [u8; 8],
}

impl EntryHeader {
    /// Reads an entry; `None` if its CRC, type or span is wrong, as for any entry of a payload.
    #[must_use]
    pub fn parse(bytes: &[u8; ENTRY_LEN]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let [namespace, kind, span, chunk] = reader.array();
        let crc = reader.u32();
        let header = Self {
            namespace,
            kind: Kind::of(kind)?,
            span,
            chunk,
            name: Name(reader.array()),
            data: reader.array(),
        };
        let fits = (1..=ENTRIES).contains(&usize::from(span));
        (fits && crc == header.crc()).then_some(header)
    }

    /// The entry's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; ENTRY_LEN] {
        let [namespace, kind, span, chunk] = self.start();
        Writer::new()
            .put(&[namespace, kind, span, chunk])
            .u32(self.crc())
            .put(&self.name.0)
            .put(&self.data)
            .finish()
    }

    /// The value of a [`Kind::U8`].
    #[must_use]
    pub fn as_u8(&self) -> Option<u8> {
        let [value, ..] = self.data;
        (self.kind == Kind::U8).then_some(value)
    }

    /// The value of a [`Kind::U64`].
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        (self.kind == Kind::U64).then_some(u64::from_le_bytes(self.data))
    }

    /// Length of the whole blob, number of its parts and chunk index of the first, of a [`Kind::BlobIndex`].
    #[must_use]
    pub fn as_blob_index(&self) -> Option<(u32, u8, u8)> {
        let [a, b, c, d, count, first, ..] = self.data;
        (self.kind == Kind::BlobIndex).then_some((u32::from_le_bytes([a, b, c, d]), count, first))
    }

    /// Length and CRC of the payload.
    pub(super) fn payload(&self) -> Option<(u16, u32)> {
        let [a, b, _, _, crc @ ..] = self.data;
        self.kind
            .has_payload()
            .then_some((u16::from_le_bytes([a, b]), u32::from_le_bytes(crc)))
    }

    fn start(&self) -> [u8; 4] {
        [self.namespace, self.kind as u8, self.span, self.chunk]
    }

    fn crc(&self) -> u32 {
        Crc32::rom_all_ones()
            .with(&self.start())
            .with(&self.name.0)
            .with(&self.data)
            .finish()
    }
}
