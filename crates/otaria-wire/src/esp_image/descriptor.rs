//! The app descriptor: what an image calls itself.

use super::ImageError;
use crate::bytes::Reader;
use crate::{FixedText, Sha256Digest};

/// Where the descriptor is in an image.
pub const APP_DESCRIPTOR_OFFSET: u32 = 32;
/// Length of the descriptor.
pub const APP_DESCRIPTOR_LEN: usize = 256;
/// Its first 4 bytes.
pub const APP_DESCRIPTOR_MAGIC: u32 = 0xABCD_5432;

/// What an image calls itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppDescriptor {
    /// Anti-rollback version.
    pub secure_version: u32,
    /// Version, for people.
    pub version: FixedText<32>,
    /// Project: what a package calls its product.
    pub project: FixedText<32>,
    /// Digest of the ELF file that the image was made from.
    pub elf_sha256: Sha256Digest,
}

impl AppDescriptor {
    /// Reads a descriptor.
    ///
    /// # Errors
    /// `NoDescriptor` or `DescriptorText`.
    pub fn parse(bytes: &[u8; APP_DESCRIPTOR_LEN]) -> Result<Self, ImageError> {
        let mut reader = Reader::new(bytes);
        if reader.u32() != APP_DESCRIPTOR_MAGIC {
            return Err(ImageError::NoDescriptor);
        }
        let secure_version = reader.u32();
        let _reserved = reader.u64();
        let mut text =
            || FixedText::from_field(&reader.array()).map_err(|_| ImageError::DescriptorText);
        let (version, project) = (text()?, text()?);
        // Time, date, version of ESP-IDF.
        reader.skip(64);
        Ok(Self {
            secure_version,
            version,
            project,
            elf_sha256: Sha256Digest(reader.array()),
        })
    }
}
