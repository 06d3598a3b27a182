//! Damage to app images, with checksum and hash made right again, so that only the damage itself is wrong.

use otaria_wire::Sha256Digest;

const HEADER_LEN: usize = 24;
const SEGMENT_HEADER_LEN: usize = 8;
const SHA256_LEN: usize = 32;
/// Where the app descriptor of an app image is.
pub(super) const DESCRIPTOR: usize = 32;

/// Header and segments of a good image, without padding, checksum and hash.
pub(super) fn body(image: &[u8]) -> Vec<u8> {
    let mut at = HEADER_LEN;
    for _ in 0..image[1] {
        at += SEGMENT_HEADER_LEN + segment_len(image, at);
    }
    image[..at].to_vec()
}

/// Where the header of a segment is.
pub(super) fn segment(image: &[u8], index: usize) -> usize {
    (0..index).fold(HEADER_LEN, |at, _| {
        at + SEGMENT_HEADER_LEN + segment_len(image, at)
    })
}

/// Pads a body, and adds a right checksum and SHA-256. Segments that reach behind the end count as far as they go.
pub(super) fn seal(mut body: Vec<u8>) -> Vec<u8> {
    let mut checksum = 0xEF;
    let mut at = HEADER_LEN;
    for _ in 0..body[1] {
        let start = (at + SEGMENT_HEADER_LEN).min(body.len());
        let end = start.saturating_add(segment_len(&body, at)).min(body.len());
        checksum = body[start..end]
            .iter()
            .fold(checksum, |sum, byte| sum ^ byte);
        at = end;
    }
    body.resize((body.len() + 1).next_multiple_of(16) - 1, 0);
    body.push(checksum);
    rehash(body)
}

/// Adds the SHA-256.
pub(super) fn rehash(mut body: Vec<u8>) -> Vec<u8> {
    let digest = Sha256Digest::of(&body);
    body.extend_from_slice(&digest.0);
    body
}

/// An image without its SHA-256.
pub(super) fn without_hash(image: &[u8]) -> Vec<u8> {
    image[..image.len() - SHA256_LEN].to_vec()
}

fn segment_len(image: &[u8], at: usize) -> usize {
    image
        .get(at + 4..at + 8)
        .and_then(|b| b.try_into().ok())
        .map_or(0, u32::from_le_bytes) as usize
}
