//! The last look at an image before it may be selected: everything is read from flash again, nothing is believed for having
//! been written.
//!
//! [`ImageVerifier::step`] reads one sector, so that other tasks run in between. At the end come, in this order: the digest of
//! the whole image against the signed one; the ESP image in it, which the bootloader is going to load; its description
//! against the signed header.

#[cfg(test)]
mod tests;

use core::fmt;

use embedded_storage::nor_flash::NorFlash;
use otaria_engine::slot::Slot;
use otaria_wire::esp_image::{ImageChecker, ImageError, ImageInfo};
use otaria_wire::journal::JOURNAL_VERSION;
use otaria_wire::package::VerifiedHeader;
use otaria_wire::{Sha256Digest, Sha256Hasher};

use super::slot::TargetSlot;
use super::{Aligned, FlashFault, SECTOR_LEN};

/// Bytes that are read at once, on the stack.
const CHUNK: usize = 512;

/// Why an image may not be selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyError {
    /// The flash cannot be read.
    Flash(FlashFault),
    /// What lies in the slot is not the signed image.
    Hash,
    /// The signed image is not one that the bootloader would start.
    Image(ImageError),
    /// Chip, product, version or security version in the image are not those of the header.
    Description,
    /// The header does not say that the image has no boot guard, and it has none that reads this journal.
    NoGuard,
}

impl From<FlashFault> for VerifyError {
    fn from(fault: FlashFault) -> Self {
        Self::Flash(fault)
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flash(fault) => write!(f, "image: {fault}"),
            Self::Hash => f.write_str("the image in the slot is not the signed one"),
            Self::Image(error) => error.fmt(f),
            Self::Description => {
                f.write_str("the image's own description contradicts the package's header")
            }
            Self::NoGuard => f.write_str("the image has no boot guard of a version that fits"),
        }
    }
}

impl core::error::Error for VerifyError {}

/// Proof that the image of a verified header lies whole and sound in a slot that does not run: what a trial is opened with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedImage {
    slot: Slot,
    image_sha256: Sha256Digest,
    identity: Sha256Digest,
    sequence: u64,
    security_version: u32,
    created: u64,
}

impl VerifiedImage {
    /// The slot that it lies in.
    #[must_use]
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// Its digest.
    #[must_use]
    pub fn image_sha256(&self) -> Sha256Digest {
        self.image_sha256
    }

    /// Identity of the package that it came in.
    #[must_use]
    pub fn identity(&self) -> Sha256Digest {
        self.identity
    }

    /// The package's sequence.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The package's security version.
    #[must_use]
    pub fn security_version(&self) -> u32 {
        self.security_version
    }

    /// When the package was made, in unix seconds, by its signer's clock.
    #[must_use]
    pub fn created(&self) -> u64 {
        self.created
    }
}

/// Reads an image back, sector by sector.
#[derive(Debug)]
pub struct ImageVerifier<'a> {
    header: &'a VerifiedHeader,
    at: u32,
    hasher: Sha256Hasher,
    checker: ImageChecker,
}

impl<'a> ImageVerifier<'a> {
    /// A verifier of the image that `header` describes.
    #[must_use]
    pub fn new(header: &'a VerifiedHeader) -> Self {
        Self {
            header,
            at: 0,
            hasher: Sha256Hasher::new(),
            checker: ImageChecker::new(),
        }
    }

    /// Bytes read so far.
    #[must_use]
    pub fn done(&self) -> u32 {
        self.at
    }

    /// Reads the next sector of the slot. `None` until the last one was read; then the outcome. The slot is the same in all
    /// calls, and nobody writes into it meanwhile.
    ///
    /// # Errors
    /// See [`VerifyError`]. The image must not be selected.
    pub fn step<R: NorFlash>(
        &mut self,
        target: &mut TargetSlot<R>,
    ) -> Result<Option<VerifiedImage>, VerifyError> {
        let end = self
            .header
            .image_len
            .min(self.at.saturating_add(SECTOR_LEN));
        while self.at < end {
            let mut chunk = Aligned::<CHUNK>::new();
            let len = ((end - self.at) as usize).min(CHUNK);
            // The chip reads whole words; a slot is longer than the padded image.
            let bytes = chunk
                .0
                .get_mut(..len.next_multiple_of(4))
                .unwrap_or_default();
            target.read(self.at, bytes)?;
            let bytes = bytes.get(..len).unwrap_or_default();
            self.hasher.update(bytes);
            // The checker remembers its first error. It is told when the digest has been found right: an image that is not the
            // signed one has no other fault worth naming.
            let _ = self.checker.update(bytes);
            self.at += len as u32;
        }
        if self.at < self.header.image_len {
            return Ok(None);
        }
        if self.hasher.clone().finish() != self.header.image_sha256 {
            return Err(VerifyError::Hash);
        }
        let info = self.checker.finish().map_err(VerifyError::Image)?;
        self.check_description(&info)?;
        Ok(Some(VerifiedImage {
            slot: target.slot(),
            image_sha256: self.header.image_sha256,
            identity: self.header.identity(),
            sequence: self.header.sequence,
            security_version: self.header.security_version,
            created: self.header.created,
        }))
    }

    fn check_description(&self, info: &ImageInfo) -> Result<(), VerifyError> {
        let header = self.header;
        let agrees = info.chip.0 == header.chip_id
            && info.desc.project == header.product
            && info.desc.version == header.version
            && info.desc.secure_version == header.security_version;
        if !agrees {
            return Err(VerifyError::Description);
        }
        let guarded = info
            .guard
            .is_some_and(|guard| guard.journal_version == JOURNAL_VERSION);
        if !guarded && !header.flags.unguarded {
            return Err(VerifyError::NoGuard);
        }
        Ok(())
    }
}
