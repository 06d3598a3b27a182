//! Firmware images to update simulated devices with: a real ESP32-C3 image (`images/`, with its source), and
//! [`Stamp`] to make versions of it that differ in what real releases differ in: version, behaviour, size, content.
//!
//! ```text
//! offset  0  image header (24 bytes)
//!        24  segment header: DROM, 0x3C000020
//!        32    app descriptor (256 bytes): magic, secure_version @4, version @16, project @48   <- stamped
//!       288    boot guard marker (16), behaviour field (32, "OTARIA-SIM:good;")                <- stamped
//!       ...    filler, when a size is asked for                                               <- made from a seed
//!       ...  segment header: IRAM, 0x40380000; code
//!       ...  zeros, checksum as last byte of a 16-byte line, SHA-256                           <- computed again
//! ```

use sha2::{Digest as _, Sha256};

/// The demo firmware for ESP32-C3 as `images/` builds it: version 1.0.0, behaviour `good`, about 1 KB.
pub static DEMO_ESP32C3: &[u8] = include_bytes!("../images/demo-esp32c3.bin");

/// What a device does with the image reads from here: ASCII up to the next semicolon.
pub const BEHAVIOUR_PREFIX: &[u8] = b"OTARIA-SIM:";

/// Length of the behaviour field: prefix, word, semicolon, zeros.
pub const BEHAVIOUR_FIELD_LEN: usize = 32;

const IMAGE_HEADER_LEN: usize = 24;
const SEGMENT_HEADER_LEN: usize = 8;
const SHA256_LEN: usize = 32;
const CHECKSUM_SEED: u8 = 0xEF;
const DESCRIPTOR: usize = IMAGE_HEADER_LEN + SEGMENT_HEADER_LEN;
const DESCRIPTOR_LEN: usize = 256;
const SECURE_VERSION: usize = DESCRIPTOR + 4;
const VERSION: usize = DESCRIPTOR + 16;
const PROJECT: usize = DESCRIPTOR + 48;
const TEXT_LEN: usize = 32;

/// Why an image cannot be stamped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StampError {
    /// Not an ESP image with an appended SHA-256 and the app descriptor in its first segment.
    NotAnImage,
    /// It has no behaviour field, so it is not the demo firmware.
    NoBehaviourField,
    /// A version or project name of more than 31 characters, or a behaviour that does not fit its field.
    TextTooLong,
    /// The size asked for is not a multiple of 16, or smaller than the image is without filler.
    BadLength,
}

impl std::fmt::Display for StampError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::NotAnImage => "not an ESP app image with an appended SHA-256",
            Self::NoBehaviourField => "the image has no behaviour field (OTARIA-SIM:)",
            Self::TextTooLong => "version, project or behaviour is too long for its field",
            Self::BadLength => "the length asked for is no multiple of 16, or too small",
        })
    }
}

impl std::error::Error for StampError {}

/// A release of the demo firmware.
///
/// ```
/// use otaria_sim::images::Stamp;
///
/// let good = Stamp::new("1.1.0").size(64 * 1024).image();
/// let bad = Stamp::new("1.2.0").behaviour("crash").size(64 * 1024).image();
/// assert_eq!(good.len(), bad.len());
/// assert_eq!(good, Stamp::new("1.1.0").size(64 * 1024).image(), "the same stamp is the same bytes");
/// ```
#[derive(Clone, Debug)]
pub struct Stamp<'a> {
    version: &'a str,
    project: Option<&'a str>,
    behaviour: &'a str,
    secure_version: u32,
    size: Option<usize>,
    seed: u64,
}

impl<'a> Stamp<'a> {
    /// A good release with this version (at most 31 ASCII characters), as small as the firmware is.
    pub fn new(version: &'a str) -> Self {
        // FNV-1a: releases differ in content unless told otherwise.
        let seed = version
            .bytes()
            .fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
            });
        Self {
            version,
            project: None,
            behaviour: "good",
            secure_version: 0,
            size: None,
            seed,
        }
    }

    /// What the firmware does once it runs, such as `crash` or `unhealthy`.
    #[must_use]
    pub fn behaviour(self, behaviour: &'a str) -> Self {
        Self { behaviour, ..self }
    }

    /// The app descriptor's secure version, for anti-rollback.
    #[must_use]
    pub fn secure_version(self, secure_version: u32) -> Self {
        Self {
            secure_version,
            ..self
        }
    }

    /// The app descriptor's project name, which is the product.
    #[must_use]
    pub fn project(self, project: &'a str) -> Self {
        Self {
            project: Some(project),
            ..self
        }
    }

    /// Length of the whole image in bytes, a multiple of 16: reached with filler that compresses like firmware.
    #[must_use]
    pub fn size(self, size: usize) -> Self {
        Self {
            size: Some(size),
            ..self
        }
    }

    /// Seed of the filler. By default the version chooses it, so that two releases share no block of it.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Stamps the demo firmware.
    ///
    /// # Panics
    /// If the stamp does not fit it; see [`apply`](Self::apply).
    pub fn image(&self) -> Vec<u8> {
        match self.apply(DEMO_ESP32C3) {
            Ok(image) => image,
            Err(error) => panic!("{self:?}: {error}"),
        }
    }

    /// Stamps an image: writes the fields, adds filler at the end of the first segment, and computes checksum and
    /// SHA-256 again.
    pub fn apply(&self, image: &[u8]) -> Result<Vec<u8>, StampError> {
        let mut body = body_of(image)?.to_vec();
        write_text(
            &mut body[VERSION..VERSION + TEXT_LEN],
            self.version.as_bytes(),
        )?;
        if let Some(project) = self.project {
            write_text(&mut body[PROJECT..PROJECT + TEXT_LEN], project.as_bytes())?;
        }
        body[SECURE_VERSION..SECURE_VERSION + 4]
            .copy_from_slice(&self.secure_version.to_le_bytes());
        let field = find(&body, BEHAVIOUR_PREFIX)
            .filter(|at| at + BEHAVIOUR_FIELD_LEN <= body.len())
            .ok_or(StampError::NoBehaviourField)?;
        let behaviour = [BEHAVIOUR_PREFIX, self.behaviour.as_bytes(), b";"].concat();
        write_text(&mut body[field..field + BEHAVIOUR_FIELD_LEN], &behaviour)?;
        if let Some(size) = self.size {
            self.fill(&mut body, size)?;
        }
        Ok(finish(body))
    }

    fn fill(&self, body: &mut Vec<u8>, size: usize) -> Result<(), StampError> {
        // The checksum ends the last 16-byte line behind the body; segments are multiples of 4 long.
        let body_len = size
            .checked_sub(SHA256_LEN + 4)
            .ok_or(StampError::BadLength)?;
        let filler = body_len
            .checked_sub(body.len())
            .ok_or(StampError::BadLength)?;
        if !size.is_multiple_of(16) || !filler.is_multiple_of(4) {
            return Err(StampError::BadLength);
        }
        let first_len = read_u32(body, IMAGE_HEADER_LEN + 4) as usize;
        let end = DESCRIPTOR + first_len;
        let new_len = u32::try_from(first_len + filler).map_err(|_| StampError::BadLength)?;
        body.splice(end..end, firmware_like(self.seed, filler));
        body[IMAGE_HEADER_LEN + 4..DESCRIPTOR].copy_from_slice(&new_len.to_le_bytes());
        Ok(())
    }
}

/// Header and segments of an image, without padding, checksum and hash. What the stamp relies on is checked; whether
/// the image is good is for others to say.
fn body_of(image: &[u8]) -> Result<&[u8], StampError> {
    let header = image
        .get(..IMAGE_HEADER_LEN)
        .ok_or(StampError::NotAnImage)?;
    if header[0] != 0xE9 || header[23] != 1 {
        return Err(StampError::NotAnImage);
    }
    let mut at = IMAGE_HEADER_LEN;
    for segment in 0..header[1] {
        let data = at + SEGMENT_HEADER_LEN;
        if data > image.len() {
            return Err(StampError::NotAnImage);
        }
        let len = read_u32(image, at + 4) as usize;
        if segment == 0 && len < DESCRIPTOR_LEN {
            return Err(StampError::NotAnImage);
        }
        at = data
            .checked_add(len)
            .filter(|end| *end <= image.len())
            .ok_or(StampError::NotAnImage)?;
    }
    let magic = image.get(DESCRIPTOR..DESCRIPTOR + 4);
    if magic != Some(&0xABCD_5432_u32.to_le_bytes()) {
        return Err(StampError::NotAnImage);
    }
    Ok(&image[..at])
}

/// Pads header and segments, and adds checksum and SHA-256.
fn finish(mut body: Vec<u8>) -> Vec<u8> {
    let mut checksum = CHECKSUM_SEED;
    let mut at = IMAGE_HEADER_LEN;
    for _ in 0..body[1] {
        let data = at + SEGMENT_HEADER_LEN;
        let end = data + read_u32(&body, at + 4) as usize;
        checksum = body[data..end]
            .iter()
            .fold(checksum, |sum, byte| sum ^ byte);
        at = end;
    }
    body.resize((body.len() + 1).next_multiple_of(16) - 1, 0);
    body.push(checksum);
    let hash = Sha256::digest(&body);
    body.extend_from_slice(&hash);
    body
}

fn write_text(field: &mut [u8], text: &[u8]) -> Result<(), StampError> {
    // The last byte stays zero: ESP-IDF reads these fields as C strings.
    if text.len() >= field.len() {
        return Err(StampError::TextTooLong);
    }
    field.fill(0);
    field[..text.len()].copy_from_slice(text);
    Ok(())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
}

fn read_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Bytes that deflate in blocks of 16 KiB to about 65 %, as an ESP32-C3 image with Wi-Fi does: words with a few
/// frequent opcodes and registers, and stretches that came before.
fn firmware_like(seed: u64, len: usize) -> Vec<u8> {
    const OPCODES: [u32; 8] = [0x13, 0x13, 0x03, 0x23, 0x63, 0x6F, 0x33, 0x37];
    let mut random = SplitMix(seed);
    let mut bytes: Vec<u8> = Vec::with_capacity(len + 64);
    while bytes.len() < len {
        let choice = random.next();
        if bytes.len() >= 1024 && choice % 100 < 24 {
            // A stretch again: prologues, calls, table rows.
            let back = 4 * (1 + (random.next() as usize) % (bytes.len().min(8192) / 4));
            let run = 4 * (1 + (random.next() as usize) % 4);
            let start = bytes.len() - back;
            for i in 0..run {
                bytes.push(bytes[start + i]);
            }
        } else {
            let opcode = OPCODES[(choice >> 8) as usize % OPCODES.len()];
            // Low registers are frequent: the minimum of two draws.
            let rd = (random.next() as u32 % 32).min(random.next() as u32 % 32);
            let rest = (random.next() as u32) & (random.next() as u32) & 0xFFFF_F000;
            bytes.extend_from_slice(&(opcode | rd << 7 | rest).to_le_bytes());
        }
    }
    bytes.truncate(len);
    bytes
}

/// SplitMix64: small, and the same everywhere.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamping_the_demo_image_as_it_is_changes_nothing() {
        assert_eq!(Stamp::new("1.0.0").image(), DEMO_ESP32C3);
    }

    #[test]
    fn a_stamp_shows_in_its_fields_and_nowhere_else() {
        let image = Stamp::new("1.2.0")
            .project("other")
            .behaviour("crash")
            .secure_version(7)
            .image();
        assert_eq!(image.len(), DEMO_ESP32C3.len());
        assert_eq!(&image[VERSION..VERSION + 6], b"1.2.0\0");
        assert_eq!(&image[PROJECT..PROJECT + 6], b"other\0");
        assert_eq!(read_u32(&image, SECURE_VERSION), 7);
        let field = find(&image, BEHAVIOUR_PREFIX).unwrap();
        assert_eq!(
            &image[field..field + BEHAVIOUR_FIELD_LEN],
            b"OTARIA-SIM:crash;\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
        );
    }

    #[test]
    fn an_image_has_exactly_the_size_asked_for() {
        for size in [1024, 4096, 12_288, 262_144, 0x1d_0000] {
            assert_eq!(Stamp::new("1.1.0").size(size).image().len(), size);
        }
    }

    #[test]
    fn releases_differ_in_their_content_but_a_stamp_is_reproducible() {
        let one = Stamp::new("1.1.0").size(65_536).image();
        assert_eq!(one, Stamp::new("1.1.0").size(65_536).image());
        let two = Stamp::new("1.2.0").size(65_536).image();
        let same = one
            .chunks(16)
            .zip(two.chunks(16))
            .filter(|(a, b)| a == b)
            .count();
        assert!(same < 100, "{same} lines of 16 bytes are the same");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let long = "x".repeat(32);
        assert_eq!(
            Stamp::new(&long).apply(DEMO_ESP32C3),
            Err(StampError::TextTooLong)
        );
        assert_eq!(
            Stamp::new("1").behaviour(&long).apply(DEMO_ESP32C3),
            Err(StampError::TextTooLong)
        );
        assert_eq!(
            Stamp::new("1").size(512).apply(DEMO_ESP32C3),
            Err(StampError::BadLength)
        );
        assert_eq!(
            Stamp::new("1").size(4097).apply(DEMO_ESP32C3),
            Err(StampError::BadLength)
        );
        assert_eq!(
            Stamp::new("1").apply(b"not an image"),
            Err(StampError::NotAnImage)
        );
        for len in 0..DEMO_ESP32C3.len() - 64 {
            // Truncated anywhere: refused or, in the padding, stamped; never a panic.
            let _ = Stamp::new("1").apply(&DEMO_ESP32C3[..len]);
        }
    }
}
