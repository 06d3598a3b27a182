//! Whether a package is taken: every question that an authentic header answers, before a single byte of flash is erased.
//!
//! The order is that of the format (DESIGN 3): each question is asked before the next field is used for anything.

use otaria_wire::Sha256Digest;
use otaria_wire::messages::{Desired, FailureCode, Job};
use otaria_wire::package::{Cipher, Codec, VerifiedHeader};

/// What the device is.
#[derive(Clone, Copy, Debug)]
pub struct DeviceFacts<'a> {
    /// Its product.
    pub product: &'a str,
    /// The chip, as in the ESP image header.
    pub chip_id: u16,
    /// The chip's revision, major x 100 + minor.
    pub chip_revision: u16,
    /// Bytes in the slot that the image is to be written to.
    pub slot_len: u32,
    /// The running image; `None` if it could not be identified.
    pub running_image: Option<Sha256Digest>,
    /// The settings allow images without a boot guard.
    pub allow_unguarded: bool,
    /// The settings demand that packages are encrypted.
    pub require_encryption: bool,
    /// Codecs that this firmware has a decoder for.
    pub codecs: &'a [Codec],
    /// Ciphers that this firmware can decrypt.
    pub ciphers: &'a [Cipher],
}

/// What the last confirmed image forbids to fall below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floors {
    /// A package has a higher sequence than this, or this one with the image below.
    pub sequence: u64,
    /// The image that set the sequence.
    pub image_sha256: Sha256Digest,
    /// A package's security version is at least this.
    pub security_version: u32,
}

/// A package that is not to be tried again under the same job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// The package's identity.
    pub identity: Sha256Digest,
    /// First 8 bytes of SHA-256 of the job.
    pub job_hash8: [u8; 8],
}

/// Why a package is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Its image runs already: nothing is left to be done.
    AlreadyRunning,
    /// It is not for this device, or not now.
    Code(FailureCode),
}

/// The job's name: the one that the wish gives, or the package's identity.
#[must_use]
pub fn job_name(wish: &Desired, identity: &Sha256Digest) -> Job {
    match &wish.job {
        Some(job) => job.clone(),
        // 64 digits fit into 64 bytes.
        None => Job::try_from(identity.to_hex().as_str()).unwrap_or_default(),
    }
}

/// First 8 bytes of SHA-256 of a job's name, as the journal keeps it.
#[must_use]
pub fn job_hash8(job: &str) -> [u8; 8] {
    Sha256Digest::of(job.as_bytes()).first8()
}

/// Whether the package is the one that the wish declares, as far as it declares anything.
///
/// # Errors
/// [`FailureCode::DeclaredVersionDiffers`], then [`FailureCode::DeclaredImageDiffers`].
pub fn fits_declaration(header: &VerifiedHeader, wish: &Desired) -> Result<(), FailureCode> {
    if wish
        .version
        .as_ref()
        .is_some_and(|version| version.as_str() != header.version.as_str())
    {
        return Err(FailureCode::DeclaredVersionDiffers);
    }
    if wish
        .image_sha256
        .is_some_and(|image| image != header.image_sha256)
    {
        return Err(FailureCode::DeclaredImageDiffers);
    }
    Ok(())
}

/// Whether the package is taken.
///
/// # Errors
/// The first reason against it, in the order of the format.
pub fn admit(
    header: &VerifiedHeader,
    facts: &DeviceFacts<'_>,
    floors: Option<&Floors>,
    quarantine: &[Quarantined],
    wish: &Desired,
) -> Result<(), Refusal> {
    let no = |code| Err(Refusal::Code(code));
    if facts.running_image == Some(header.image_sha256) {
        return Err(Refusal::AlreadyRunning);
    }
    if header.product.as_str() != facts.product {
        return no(FailureCode::WrongProduct);
    }
    if header.chip_id != facts.chip_id {
        return no(FailureCode::WrongChip);
    }
    if !header.accepts_chip_rev(facts.chip_revision) {
        return no(FailureCode::WrongChipRevision);
    }
    if header.image_len > facts.slot_len {
        return no(FailureCode::ImageTooLarge);
    }
    if let Some(floors) = floors {
        let same_again =
            header.sequence == floors.sequence && header.image_sha256 == floors.image_sha256;
        if header.sequence <= floors.sequence && !same_again {
            return no(FailureCode::SequenceNotHigher);
        }
        if header.security_version < floors.security_version {
            return no(FailureCode::SecurityVersionTooLow);
        }
    }
    if header.flags.unguarded && !facts.allow_unguarded {
        return no(FailureCode::UnguardedRefused);
    }
    if !facts.codecs.contains(&header.codec) {
        return no(FailureCode::UnsupportedCodec);
    }
    if !facts.ciphers.contains(&header.cipher) {
        return no(FailureCode::UnsupportedCipher);
    }
    if header.cipher == Cipher::None && facts.require_encryption {
        return no(FailureCode::EncryptionRequired);
    }
    if header.codec == Codec::Delta && facts.running_image != Some(header.base_sha256) {
        return no(FailureCode::BaseMismatch);
    }
    fits_declaration(header, wish).map_err(Refusal::Code)?;
    let identity = header.identity();
    let job_hash8 = job_hash8(&job_name(wish, &identity));
    if quarantine.contains(&Quarantined {
        identity,
        job_hash8,
    }) {
        return no(FailureCode::Quarantined);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
