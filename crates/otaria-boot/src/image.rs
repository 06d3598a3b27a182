//! Whether the image in a partition can be booted.

use embedded_storage::nor_flash::NorFlash;
use otaria_wire::esp_image::{
    ChipId, HEADER_LEN, ImageChecker, ImageError, ImageInfo, MAX_SEGMENT_LEN, MAX_SEGMENTS,
    SEGMENT_HEADER_LEN,
};
use otaria_wire::partitions::Region;

use crate::Refusal;

const CHUNK_LEN: usize = 1024;
/// The checksum ends a block of this length.
const BLOCK_LEN: u32 = 16;
const HASH_LEN: u32 = 32;

/// Reads and checks an image. The outer error is one of flash.
pub(crate) fn verify<F: NorFlash>(
    flash: &mut F,
    region: Region,
    chip: Option<(ChipId, u16)>,
) -> Result<Result<ImageInfo, Refusal>, F::Error> {
    let len = match image_len(flash, region)? {
        Ok(len) => len,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let mut checker = ImageChecker::new();
    let mut chunk = [0; CHUNK_LEN];
    let mut done = 0;
    while done < len {
        let left = usize::try_from(len - done).unwrap_or(CHUNK_LEN);
        let Some(chunk) = chunk.get_mut(..left.min(CHUNK_LEN)) else {
            break;
        };
        flash.read(region.offset.saturating_add(done), chunk)?;
        if let Err(error) = checker.update(chunk) {
            return Ok(Err(Refusal::Image(error)));
        }
        done += chunk.len() as u32;
    }
    Ok(checker
        .finish()
        .map_err(Refusal::Image)
        .and_then(|image| match chip {
            None => Ok(image),
            Some((chip, revision)) => suits(image, chip, revision),
        }))
}

/// The chip's own check. A highest revision of 0 or 65535 means "any".
fn suits(image: ImageInfo, chip: ChipId, revision: u16) -> Result<ImageInfo, Refusal> {
    let newest = match image.max_rev_full {
        0 | u16::MAX => u16::MAX,
        newest => newest,
    };
    if image.chip != chip {
        Err(Refusal::Chip(image.chip))
    } else if !(image.min_rev_full..=newest).contains(&revision) {
        Err(Refusal::Revision)
    } else {
        Ok(image)
    }
}

/// The image's length, from its segment headers. What is wrong with an image that has a length, the checker says.
fn image_len<F: NorFlash>(flash: &mut F, region: Region) -> Result<Result<u32, Refusal>, F::Error> {
    let mut header = [0; HEADER_LEN];
    flash.read(region.offset, &mut header)?;
    let [magic, segments, ..] = header;
    if magic != otaria_wire::esp_image::MAGIC {
        return Ok(Err(Refusal::Image(ImageError::Magic)));
    }
    if segments == 0 || usize::from(segments) > MAX_SEGMENTS {
        return Ok(Err(Refusal::Image(ImageError::SegmentCount(segments))));
    }
    // At most 16 segments of less than 16 MB each: no sum here comes near 4 GB.
    let mut len = HEADER_LEN as u32;
    for segment in 0..segments {
        if len + SEGMENT_HEADER_LEN as u32 > region.len {
            return Ok(Err(Refusal::TooLong));
        }
        let mut header = [0; SEGMENT_HEADER_LEN];
        flash.read(region.offset.saturating_add(len), &mut header)?;
        let [_, _, _, _, data_len @ ..] = header;
        let data_len = u32::from_le_bytes(data_len);
        if !data_len.is_multiple_of(4) || data_len >= MAX_SEGMENT_LEN {
            return Ok(Err(Refusal::Image(ImageError::SegmentLen { segment })));
        }
        len += SEGMENT_HEADER_LEN as u32 + data_len;
    }
    // One byte of checksum at least, which ends a block.
    len = (len / BLOCK_LEN + 1) * BLOCK_LEN + HASH_LEN;
    Ok(if len > region.len {
        Err(Refusal::TooLong)
    } else {
        Ok(len)
    })
}
