//! The ESP app image, as the second-stage bootloader reads it.
//!
//! ```text
//!   0  1  0xE9                    segment, `segments` times
//!   1  1  segments, 1 to 16        0  4  load address
//!   2  2  SPI mode, speed, size    4  4  length, a multiple of 4, below 16 MB
//!   4  4  entry point              8     data
//!   8  4  (pins)
//!  12  2  chip id                 behind the last segment
//!  14  1  (old revision field)     0-15  zeros, until the checksum is the
//!  15  2  lowest revision                last byte of a 16-byte block
//!  17  2  highest revision         1     XOR of all segments' data and 0xEF
//!  19  4  (reserved)              32     SHA-256 of everything before
//!  23  1  1: a SHA-256 is appended
//!
//! app descriptor, 256 bytes at offset 32 (the start of the first segment)
//!   0  4  0xABCD5432              48 32  project
//!   4  4  secure version          80     (date, time, IDF version)
//!   8  8  (reserved)             144 32  SHA-256 of the ELF file
//!  16 32  version                176     (later fields)
//! ```
//!
//! After `esp_app_format.h`, `esp_app_desc.h` and the checks in
//! `esp_image_format.c` (ESP-IDF v5, `bootloader_support`). What that
//! bootloader refuses is refused here too, before the image is ever selected;
//! the appended SHA-256 is optional there and required here.

mod checker;
mod chip;
mod descriptor;
mod segments;
#[cfg(test)]
pub(crate) mod test_image;
#[cfg(test)]
mod tests;

use core::fmt;

pub use checker::ImageChecker;
pub use chip::ChipId;
pub use descriptor::{
    APP_DESCRIPTOR_LEN, APP_DESCRIPTOR_MAGIC, APP_DESCRIPTOR_OFFSET, AppDescriptor,
};

use crate::guard::GuardMarker;

/// First byte of an image.
pub const MAGIC: u8 = 0xE9;
/// Length of the image header.
pub const HEADER_LEN: usize = 24;
/// Length of a segment's header.
pub const SEGMENT_HEADER_LEN: usize = 8;
/// Most segments.
pub const MAX_SEGMENTS: usize = 16;
/// Segments are shorter than this.
pub const MAX_SEGMENT_LEN: u32 = 16 * 1024 * 1024;
/// Start value of the checksum.
pub const CHECKSUM_SEED: u8 = 0xEF;

/// Why an image would not start, or is not what it seems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageError {
    /// The first byte is not 0xE9.
    Magic,
    /// No segment, or more than 16.
    SegmentCount(u8),
    /// A length that is not a multiple of 4, or not below 16 MB.
    SegmentLen {
        /// The segment.
        segment: u8,
    },
    /// A segment that does not lie in memory of this chip, or wraps around.
    LoadAddress {
        /// The segment.
        segment: u8,
    },
    /// A segment over an earlier one.
    Overlap {
        /// The later segment.
        segment: u8,
    },
    /// A flash segment whose place in the file does not suit the flash MMU.
    Misaligned {
        /// The segment.
        segment: u8,
    },
    /// The entry point is in no segment.
    EntryPoint,
    /// Bytes other than zero before the checksum.
    Padding,
    /// The checksum is wrong.
    Checksum,
    /// No SHA-256 is appended.
    NoHash,
    /// The appended SHA-256 is wrong.
    Hash,
    /// There is no app descriptor at offset 32.
    NoDescriptor,
    /// A text in the app descriptor is not printable ASCII.
    DescriptorText,
    /// The bytes end before the image does.
    Truncated,
    /// The bytes go on behind the image.
    TrailingBytes,
}

impl fmt::Display for ImageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str("this is not an ESP image"),
            Self::SegmentCount(count) => {
                write!(f, "the image has {count} segments; 1 to 16 are allowed")
            }
            Self::SegmentLen { segment } => write!(f, "segment {segment} has an impossible length"),
            Self::LoadAddress { segment } => {
                write!(f, "segment {segment} does not lie in the chip's memory")
            }
            Self::Overlap { segment } => write!(f, "segment {segment} overlaps an earlier one"),
            Self::Misaligned { segment } => write!(
                f,
                "segment {segment} cannot be mapped from its place in the file"
            ),
            Self::EntryPoint => f.write_str("the entry point is in no segment"),
            Self::Padding => f.write_str("the padding before the checksum is not zero"),
            Self::Checksum => f.write_str("the image's checksum is wrong"),
            Self::NoHash => f.write_str("the image has no SHA-256 appended"),
            Self::Hash => f.write_str("the image's appended SHA-256 is wrong"),
            Self::NoDescriptor => f.write_str("the image has no app descriptor"),
            Self::DescriptorText => {
                f.write_str("the app descriptor's project or version is not printable ASCII")
            }
            Self::Truncated => f.write_str("the image ends early"),
            Self::TrailingBytes => f.write_str("something follows the image"),
        }
    }
}

impl core::error::Error for ImageError {}

/// What a good image says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageInfo {
    /// The chip that it is for.
    pub chip: ChipId,
    /// Lowest chip revision, major x 100 + minor.
    pub min_rev_full: u16,
    /// Highest chip revision; 0 and 65535 stand for "any".
    pub max_rev_full: u16,
    /// Entry point.
    pub entry: u32,
    /// Number of segments.
    pub segments: u8,
    /// Length in bytes, the appended SHA-256 included.
    pub len: u32,
    /// The app descriptor.
    pub desc: AppDescriptor,
    /// The boot guard's marker, if the image has one.
    pub guard: Option<GuardMarker>,
}

/// Checks an image that is in memory as a whole.
///
/// # Errors
/// See [`ImageError`].
pub fn check(image: &[u8]) -> Result<ImageInfo, ImageError> {
    let mut checker = ImageChecker::new();
    checker.update(image)?;
    checker.finish()
}
