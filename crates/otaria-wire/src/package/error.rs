//! Why bytes are no package header.

use core::fmt;

/// What bytes that are no package look like, for a helpful answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookalike {
    /// A plain ESP image: to be packaged first.
    EspImage,
    /// An ELF program: to be packaged first.
    Elf,
    /// A web page, such as a login or an error page.
    WebPage,
    /// Nothing known.
    Unknown,
}

impl Lookalike {
    pub(super) fn of(bytes: &[u8]) -> Self {
        match bytes {
            [0xE9, ..] => Self::EspImage,
            [0x7F, b'E', b'L', b'F', ..] => Self::Elf,
            _ if bytes.trim_ascii_start().starts_with(b"<") => Self::WebPage,
            _ => Self::Unknown,
        }
    }
}

/// Why bytes are not a header of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// The magic bytes are missing.
    NotAPackage(Lookalike),
    /// Fewer bytes than a header has.
    Truncated,
    /// A header length of another version.
    UnknownLength(u16),
    /// A field that must be zero is not.
    NotZero,
    /// Flags of a later version.
    UnknownFlags(u16),
    /// A codec of a later version.
    UnknownCodec(u8),
    /// A cipher of a later version.
    UnknownCipher(u8),
    /// A signature algorithm of a later version.
    UnknownSignatureAlgorithm(u8),
    /// The highest chip revision is below the lowest.
    ChipRevisions,
    /// Not a multiple of 4096, zero, or more than 16384.
    BlockLen(u32),
    /// An image of no bytes.
    EmptyImage,
    /// Not 36 bytes a block, or more than a block.
    TableLen(u32),
    /// A delta without a base, or a base without a delta.
    Base,
    /// Product: empty, not printable or not padded.
    Product,
    /// Version: empty, not printable or not padded.
    Version,
    /// Recipients, KEM and cipher do not fit each other.
    Recipients,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAPackage(Lookalike::EspImage) => {
                f.write_str("this is a plain ESP image; make a package of it with `otaria package`")
            }
            Self::NotAPackage(Lookalike::Elf) => {
                f.write_str("this is an ELF program; make a package of it with `otaria package`")
            }
            Self::NotAPackage(Lookalike::WebPage) => {
                f.write_str("this is a web page, not a package")
            }
            Self::NotAPackage(Lookalike::Unknown) => {
                f.write_str("this is not a package made by `otaria package`")
            }
            Self::Truncated => f.write_str("the package ends within its header"),
            Self::UnknownLength(len) => write!(
                f,
                "header length {len} belongs to another version of the format"
            ),
            Self::NotZero => f.write_str("a header field that must be zero is not"),
            Self::UnknownFlags(bits) => write!(
                f,
                "flags {bits:#06x} belong to another version of the format"
            ),
            Self::UnknownCodec(codec) => write!(f, "codec {codec} is unknown"),
            Self::UnknownCipher(cipher) => write!(f, "cipher {cipher} is unknown"),
            Self::UnknownSignatureAlgorithm(number) => {
                write!(f, "signature algorithm {number} is unknown")
            }
            Self::ChipRevisions => f.write_str("the highest chip revision is below the lowest"),
            Self::BlockLen(len) => {
                write!(f, "block length {len} is not 4096, 8192, 12288 or 16384")
            }
            Self::EmptyImage => f.write_str("the image is empty"),
            Self::TableLen(len) => {
                write!(f, "table length {len} does not fit image and block length")
            }
            Self::Base => f.write_str("a base image belongs to a delta, and a delta needs one"),
            Self::Product => f.write_str("the product is empty or not printable ASCII"),
            Self::Version => f.write_str("the version is empty or not printable ASCII"),
            Self::Recipients => f.write_str("recipients and cipher do not fit each other"),
        }
    }
}

impl core::error::Error for HeaderError {}
