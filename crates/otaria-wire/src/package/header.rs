//! The signed 256 bytes of a package.
//!
//! ```text
//!   0   8  magic "OTARIAP1"
//!   8   2  header_len = 320
//!  10   2  flags: bit 0 co-signatures follow the recipients; bit 1 the image has no boot guard
//!  12   1  codec: 0 stored, 1 deflate, 2 delta
//!  13   1  cipher: 0 none, 1 ChaCha20-Poly1305 per block
//!  14   1  signature algorithm: 1 = ECDSA P-256 with SHA-256, r || s
//!  15   1  0
//!  16   2  chip_id            18  2  min chip revision    20  2  max chip revision    22  2  0
//!  24   4  security_version   28  4  image_len
//!  32   4  block_len          36  4  table_len
//!  40   8  sequence           48  8  created, unix seconds
//!  56   8  key_id
//!  64  32  image_sha256       96 32  table_sha256        128 32  base_sha256
//! 160  32  product           192 32  version
//! 224   4  recipients_len    228  2  recipients          230  2  KEM (0x0010 DHKEM(P-256, HKDF-SHA256))
//! 232  24  first 24 bytes of SHA-256(recipients)         (224..256 all 0 without recipients)
//! ```

use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::encryption;
use super::error::{HeaderError, Lookalike};
use super::{BLOCK_LEN_UNIT, HEADER_LEN, MAGIC, MAX_BLOCK_LEN, SIGNED_LEN, TABLE_ENTRY_LEN};
use crate::bytes::{Reader, Writer, all_zero};
use crate::digest::{from_hex, hex_digit};
use crate::messages::{self as json, Json, JsonError, ReadJson, WriteJson, read_text};
use crate::{FixedText, Sha256Digest};

/// KEM of a package without recipients.
pub const KEM_NONE: u16 = 0;
/// DHKEM(P-256, HKDF-SHA256), RFC 9180 section 7.1.
pub const KEM_DHKEM_P256: u16 = 0x0010;

const SIGNATURE_ECDSA_P256_SHA256: u8 = 1;
const FLAG_COSIGNED: u16 = 1;
const FLAG_UNGUARDED: u16 = 2;

/// First 8 bytes of SHA-256 of a signer's uncompressed public point (65 bytes, SEC 1).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 8]);

impl KeyId {
    /// The id of a public key, given as an uncompressed point.
    #[must_use]
    pub fn of_public_point(point: &[u8; 65]) -> Self {
        Self(Sha256Digest::of(point).first8())
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{}{}", hex_digit(byte >> 4), hex_digit(byte & 15))?;
        }
        Ok(())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = heapless::String::<16>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

impl WriteJson for KeyId {
    fn write(&self, json: &mut json::Writer<'_>) {
        let mut hex = heapless::String::<16>::new();
        for byte in self.0 {
            // Eight times 2 digits fit into 16.
            let _ = hex.push(hex_digit(byte >> 4));
            let _ = hex.push(hex_digit(byte & 15));
        }
        json.text(&hex);
    }
}

impl ReadJson for KeyId {
    fn blank() -> Self {
        Self::default()
    }

    fn read(&mut self, json: Json<'_>) -> Result<(), JsonError> {
        *self = read_text(json)?;
        Ok(())
    }
}

impl core::str::FromStr for KeyId {
    type Err = crate::DigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        from_hex(text).map(Self).ok_or(crate::DigestError)
    }
}

/// The header's flags; an unknown one refuses the package.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// Co-signatures follow the recipients.
    pub cosigned: bool,
    /// The signer says that the image has no boot guard.
    pub unguarded: bool,
}

impl Flags {
    fn from_bits(bits: u16) -> Result<Self, HeaderError> {
        if bits & !(FLAG_COSIGNED | FLAG_UNGUARDED) != 0 {
            return Err(HeaderError::UnknownFlags(bits));
        }
        Ok(Self {
            cosigned: bits & FLAG_COSIGNED != 0,
            unguarded: bits & FLAG_UNGUARDED != 0,
        })
    }

    fn bits(self) -> u16 {
        (u16::from(self.cosigned) * FLAG_COSIGNED) | (u16::from(self.unguarded) * FLAG_UNGUARDED)
    }
}

/// How a block's plain bytes are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    /// As they are.
    Stored,
    /// Raw deflate (RFC 1951), each block by itself.
    Deflate,
    /// Differences against the base image.
    Delta,
}

impl Codec {
    /// The number in the header.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Stored => 0,
            Self::Deflate => 1,
            Self::Delta => 2,
        }
    }

    fn from_number(number: u8) -> Result<Self, HeaderError> {
        match number {
            0 => Ok(Self::Stored),
            1 => Ok(Self::Deflate),
            2 => Ok(Self::Delta),
            unknown => Err(HeaderError::UnknownCodec(unknown)),
        }
    }

    /// A name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Deflate => "deflate",
            Self::Delta => "delta",
        }
    }
}

/// How stored blocks are encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cipher {
    /// Not at all.
    None,
    /// ChaCha20-Poly1305, one message a block, key by HPKE.
    ChaCha20Poly1305,
}

impl Cipher {
    /// The number in the header.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::None => 0,
            Self::ChaCha20Poly1305 => 1,
        }
    }

    fn from_number(number: u8) -> Result<Self, HeaderError> {
        match number {
            0 => Ok(Self::None),
            1 => Ok(Self::ChaCha20Poly1305),
            unknown => Err(HeaderError::UnknownCipher(unknown)),
        }
    }

    /// How much longer a block becomes by it.
    #[must_use]
    pub fn overhead(self) -> u32 {
        match self {
            Self::None => 0,
            Self::ChaCha20Poly1305 => encryption::TAG_LEN as u32,
        }
    }

    /// A name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }
}

/// The signed fields of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Flags.
    pub flags: Flags,
    /// How a block's plain bytes are stored.
    pub codec: Codec,
    /// How stored blocks are encrypted.
    pub cipher: Cipher,
    /// The chip that the image is for, as in the ESP image header.
    pub chip_id: u16,
    /// Lowest chip revision (major x 100 + minor).
    pub min_chip_rev: u16,
    /// Highest chip revision; 0 and 65535 stand for "any", as for the bootloader.
    pub max_chip_rev: u16,
    /// Anti-rollback version, as in the app descriptor.
    pub security_version: u32,
    /// Length of the plain app image in bytes.
    pub image_len: u32,
    /// Plain bytes in a block; the last block may be shorter.
    pub block_len: u32,
    /// Length of the block table in bytes.
    pub table_len: u32,
    /// Strictly rising for a product: milliseconds since 1970 when packaged.
    pub sequence: u64,
    /// When the package was made, unix seconds.
    pub created: u64,
    /// Who signed it.
    pub key_id: KeyId,
    /// Digest of the plain app image: the image's identity.
    pub image_sha256: Sha256Digest,
    /// Digest of the block table.
    pub table_sha256: Sha256Digest,
    /// Delta: digest of the image that it applies to; else zero.
    pub base_sha256: Sha256Digest,
    /// The product that the image is for.
    pub product: FixedText<32>,
    /// The image's version, for people.
    pub version: FixedText<32>,
    /// Length of the recipients in bytes.
    pub recipients_len: u32,
    /// Number of recipients.
    pub recipients: u16,
    /// How the content key is wrapped: [`KEM_NONE`] or [`KEM_DHKEM_P256`].
    pub kem: u16,
    /// First 24 bytes of SHA-256 over the recipients.
    pub recipients_digest: [u8; 24],
}

impl Header {
    /// The 256 bytes that are signed.
    #[must_use]
    pub fn encode(&self) -> [u8; SIGNED_LEN] {
        Writer::<SIGNED_LEN>::new()
            .put(&MAGIC)
            .u16(HEADER_LEN as u16)
            .u16(self.flags.bits())
            .u8(self.codec.number())
            .u8(self.cipher.number())
            .u8(SIGNATURE_ECDSA_P256_SHA256)
            .u8(0)
            .u16(self.chip_id)
            .u16(self.min_chip_rev)
            .u16(self.max_chip_rev)
            .u16(0)
            .u32(self.security_version)
            .u32(self.image_len)
            .u32(self.block_len)
            .u32(self.table_len)
            .u64(self.sequence)
            .u64(self.created)
            .put(&self.key_id.0)
            .put(&self.image_sha256.0)
            .put(&self.table_sha256.0)
            .put(&self.base_sha256.0)
            .put(self.product.as_field())
            .put(self.version.as_field())
            .u32(self.recipients_len)
            .u16(self.recipients)
            .u16(self.kem)
            .put(&self.recipients_digest)
            .finish()
    }

    /// What the signature is made over: the domain, then the 256 bytes.
    #[must_use]
    pub fn signed_message(&self) -> [u8; super::SIGNED_MESSAGE_LEN] {
        super::signed::message_of(&self.encode())
    }

    /// The package's identity: SHA-256 of the 256 bytes.
    #[must_use]
    pub fn identity(&self) -> Sha256Digest {
        Sha256Digest::of(&self.encode())
    }

    /// Number of blocks.
    #[must_use]
    pub fn block_count(&self) -> u32 {
        if self.block_len == 0 {
            0
        } else {
            self.image_len.div_ceil(self.block_len)
        }
    }

    /// Plain length of a block: `block_len`, or less for the last one. `None`
    /// behind the last one.
    #[must_use]
    pub fn plain_len(&self, block: u32) -> Option<u32> {
        let start = self.block_len.checked_mul(block)?;
        let rest = self.image_len.checked_sub(start)?;
        (rest > 0 && self.block_len > 0).then(|| rest.min(self.block_len))
    }

    /// Whether a chip of this revision is within the header's bounds.
    #[must_use]
    pub fn accepts_chip_rev(&self, revision: u16) -> bool {
        revision >= self.min_chip_rev
            && (!is_bound(self.max_chip_rev) || revision <= self.max_chip_rev)
    }

    /// Checks that the fields fit each other.
    ///
    /// # Errors
    /// The first field that does not, in the order of the format.
    pub fn check(&self) -> Result<(), HeaderError> {
        if is_bound(self.max_chip_rev) && self.min_chip_rev > self.max_chip_rev {
            return Err(HeaderError::ChipRevisions);
        }
        if self.image_len == 0 {
            return Err(HeaderError::EmptyImage);
        }
        if self.block_len == 0
            || !self.block_len.is_multiple_of(BLOCK_LEN_UNIT)
            || self.block_len > MAX_BLOCK_LEN as u32
        {
            return Err(HeaderError::BlockLen(self.block_len));
        }
        let expected = self.block_count().checked_mul(TABLE_ENTRY_LEN as u32);
        if expected != Some(self.table_len) || self.table_len > self.block_len {
            return Err(HeaderError::TableLen(self.table_len));
        }
        if (self.codec == Codec::Delta) == self.base_sha256.is_zero() {
            return Err(HeaderError::Base);
        }
        if self.product.is_empty() {
            return Err(HeaderError::Product);
        }
        if self.version.is_empty() {
            return Err(HeaderError::Version);
        }
        let fits = match self.cipher {
            Cipher::None => {
                self.recipients == 0
                    && self.recipients_len == 0
                    && self.kem == KEM_NONE
                    && all_zero(&self.recipients_digest)
            }
            Cipher::ChaCha20Poly1305 => encryption::fits(self),
        };
        if fits {
            Ok(())
        } else {
            Err(HeaderError::Recipients)
        }
    }

    /// Reads and checks the 256 bytes at the start of `bytes`.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        // An answer too short for a header that is no package at all is named as such.
        let (start, _) = bytes.split_at_checked(MAGIC.len()).unwrap_or((bytes, &[]));
        if start.is_empty() || !MAGIC.starts_with(start) {
            return Err(HeaderError::NotAPackage(Lookalike::of(bytes)));
        }
        let Some([.., len_low, len_high]) = bytes.first_chunk::<10>() else {
            return Err(HeaderError::Truncated);
        };
        let header_len = u16::from_le_bytes([*len_low, *len_high]);
        if usize::from(header_len) != HEADER_LEN {
            return Err(HeaderError::UnknownLength(header_len));
        }
        let signed = bytes
            .first_chunk::<SIGNED_LEN>()
            .ok_or(HeaderError::Truncated)?;
        let header = Self::read(signed);
        if let Ok(header) = &header {
            header.check()?;
        }
        header
    }

    fn read(bytes: &[u8; SIGNED_LEN]) -> Result<Self, HeaderError> {
        let mut reader = Reader::new(bytes);
        let _magic_and_len: [u8; 10] = reader.array();
        let flags = reader.u16();
        let [codec, cipher, signature_algorithm, zero_byte] = reader.array();
        let (chip_id, min_chip_rev, max_chip_rev) = (reader.u16(), reader.u16(), reader.u16());
        if zero_byte != 0 || reader.u16() != 0 {
            return Err(HeaderError::NotZero);
        }
        let flags = Flags::from_bits(flags)?;
        let codec = Codec::from_number(codec)?;
        let cipher = Cipher::from_number(cipher)?;
        if signature_algorithm != SIGNATURE_ECDSA_P256_SHA256 {
            return Err(HeaderError::UnknownSignatureAlgorithm(signature_algorithm));
        }
        Ok(Self {
            flags,
            codec,
            cipher,
            chip_id,
            min_chip_rev,
            max_chip_rev,
            security_version: reader.u32(),
            image_len: reader.u32(),
            block_len: reader.u32(),
            table_len: reader.u32(),
            sequence: reader.u64(),
            created: reader.u64(),
            key_id: KeyId(reader.array()),
            image_sha256: Sha256Digest(reader.array()),
            table_sha256: Sha256Digest(reader.array()),
            base_sha256: Sha256Digest(reader.array()),
            product: FixedText::from_field(&reader.array()).map_err(|_| HeaderError::Product)?,
            version: FixedText::from_field(&reader.array()).map_err(|_| HeaderError::Version)?,
            recipients_len: reader.u32(),
            recipients: reader.u16(),
            kem: reader.u16(),
            recipients_digest: reader.array(),
        })
    }
}

/// ESP-IDF's `IS_FIELD_SET` (`bootloader_common_loader.c`): 0 and 65535 are no revision.
fn is_bound(max_chip_rev: u16) -> bool {
    max_chip_rev != 0 && max_chip_rev != u16::MAX
}
