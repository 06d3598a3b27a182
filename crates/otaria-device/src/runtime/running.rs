//! Which image runs: read from the slot itself, because a record may be older than what somebody flashed over a cable.

use embassy_futures::yield_now;
use embedded_storage::nor_flash::NorFlash;
use otaria_wire::esp_image::{
    APP_DESCRIPTOR_LEN, APP_DESCRIPTOR_OFFSET, AppDescriptor, HEADER_LEN, MAGIC, MAX_SEGMENTS,
    SEGMENT_HEADER_LEN,
};
use otaria_wire::{FixedText, Sha256Digest, Sha256Hasher};

use crate::install::Stores;
use crate::storage::{Aligned, read};

/// Bytes that are read at once, on the stack.
const CHUNK: usize = 512;
/// Bytes that are hashed before others may run.
const STRETCH: u32 = 8 * 1024;
const DIGEST_LEN: u32 = 32;

/// What is known of the running image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct RunningImage {
    /// Its digest; `None` if it does not run from a slot, or the slot does not read as an image.
    pub(super) image_sha256: Option<Sha256Digest>,
    /// Its version, for people.
    pub(super) version: FixedText<32>,
    /// Its security version.
    pub(super) security_version: u32,
}

impl RunningImage {
    /// Reads the running slot from start to end of the image: some tenths of a second, in short stretches.
    pub(super) async fn identify<F: NorFlash>(stores: &Stores<'_, F>) -> Self {
        let Some(running) = stores.running() else {
            return Self::default();
        };
        let mut region = stores.slot(running);
        let mut image = Self::default();
        let mut descriptor = Aligned::<APP_DESCRIPTOR_LEN>::new();
        if read(&mut region, APP_DESCRIPTOR_OFFSET, &mut descriptor.0).is_ok()
            && let Ok(descriptor) = AppDescriptor::parse(&descriptor.0)
        {
            image.version = descriptor.version;
            image.security_version = descriptor.secure_version;
        }
        if let Some(len) = image_len(&mut region) {
            image.image_sha256 = digest(&mut region, len).await;
        }
        image
    }
}

/// The image's length with its appended digest, by its own headers.
fn image_len<R: NorFlash>(region: &mut R) -> Option<u32> {
    let mut header = Aligned::<HEADER_LEN>::new();
    read(region, 0, &mut header.0).ok()?;
    let [magic, segments, .., hash_appended] = header.0;
    let segments = usize::from(segments);
    if magic != MAGIC || segments > MAX_SEGMENTS || hash_appended != 1 {
        return None;
    }
    let mut at = HEADER_LEN as u32;
    for _ in 0..segments {
        let mut segment = Aligned::<SEGMENT_HEADER_LEN>::new();
        read(region, at, &mut segment.0).ok()?;
        let [.., a, b, c, d] = segment.0;
        let len = u32::from_le_bytes([a, b, c, d]);
        at = at
            .checked_add(SEGMENT_HEADER_LEN as u32)?
            .checked_add(len)?;
        if !len.is_multiple_of(4) {
            return None;
        }
    }
    // A checksum byte ends a block of 16 bytes; the digest follows.
    let len = (at.checked_add(1)?)
        .checked_next_multiple_of(16)?
        .checked_add(DIGEST_LEN)?;
    (usize::try_from(len).ok()? <= region.capacity()).then_some(len)
}

async fn digest<R: NorFlash>(region: &mut R, len: u32) -> Option<Sha256Digest> {
    let mut hasher = Sha256Hasher::new();
    let mut at = 0;
    while at < len {
        let mut chunk = Aligned::<CHUNK>::new();
        let want = usize::try_from(len - at).ok()?.min(CHUNK);
        // The length is a multiple of 16, so every piece is whole words.
        let bytes = chunk.0.get_mut(..want)?;
        read(region, at, bytes).ok()?;
        hasher.update(bytes);
        at += u32::try_from(want).ok()?;
        if at.is_multiple_of(STRETCH) {
            yield_now().await;
        }
    }
    Some(hasher.finish())
}
