//! Key epoch records: which release keys count, in the words of a root key.
//!
//! A root key signs nothing but these. A device takes a record for its product if a root key that it was provisioned with has
//! signed it, and its epoch is higher than that of the record before; from then on only the record's keys sign packages. So a
//! record brings keys in and takes keys out (revokes them) in one step. Little-endian.
//!
//! ```text
//!   0   8  magic "OTARIAK1"
//!   8   1  format version = 1
//!   9   1  threshold: how many of the keys must have signed a package, 1 or 2
//!  10   1  number of keys, 1 to 4
//!  11   1  0
//!  12   4  epoch, from 1
//!  16  32  product, ASCII, zero-padded
//!  48  65  per key: its uncompressed point (SEC 1), all of them different
//! +-------+ signed up to here: ECDSA P-256 with SHA-256 over "otaria keys v1\0" || all of this
//!   0   1  number of signatures, 1 or 2
//!   1  72  per signature: key_id of the root key, r || s; distinct keys
//! ```
//!
//! Two signatures are for a fleet whose devices do not all have the same root key: one that a device does not know is passed
//! over, one that it knows has to be good.

use core::fmt;

use heapless::Vec;

use crate::FixedText;
use crate::bytes::{Reader, Writer};
use crate::package::{
    COSIGNATURE_LEN, CoSignature, CoSignatureError, CoSignatures, KeyId, SignatureError,
    VerifySignature,
};

/// Magic bytes at the start of a record.
pub const MAGIC: [u8; 8] = *b"OTARIAK1";
/// The format version that this module knows.
pub const VERSION: u8 = 1;
/// What is signed before the record's bytes, so that no other signed thing can pass for a record.
pub const SIGNATURE_DOMAIN: &[u8; 15] = b"otaria keys v1\0";
/// Most release keys that count at a time.
pub const MAX_KEYS: usize = 4;
/// Most signatures that a package can be required to have.
pub const MAX_THRESHOLD: u8 = 2;
/// Most signatures under a record.
pub const MAX_SIGNATURES: usize = 2;
/// Length of a public key: an uncompressed point, 0x04 then x then y (SEC 1, section 2.3.3).
pub const PUBLIC_KEY_LEN: usize = 65;
/// Longest record.
pub const MAX_LEN: usize = MAX_SIGNED_LEN + 1 + MAX_SIGNATURES * COSIGNATURE_LEN;
/// Longest message that a signature is made over.
pub const MAX_MESSAGE_LEN: usize = SIGNATURE_DOMAIN.len() + MAX_SIGNED_LEN;

const HEAD_LEN: usize = 48;
const MAX_SIGNED_LEN: usize = HEAD_LEN + MAX_KEYS * PUBLIC_KEY_LEN;
const UNCOMPRESSED: u8 = 4;

/// Why bytes are no key epoch record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRecordError {
    /// The magic bytes are missing.
    NotARecord,
    /// A format version that this one does not know.
    UnknownVersion(u8),
    /// It ends too early, or something follows.
    Length,
    /// A field that must be zero is not.
    NotZero,
    /// Epoch 0, which stands for "no record".
    Epoch,
    /// No key, or more than [`MAX_KEYS`].
    Keys(u8),
    /// No signature would be required, or more than keys could give, or than [`MAX_THRESHOLD`].
    Threshold(u8),
    /// Product: empty, not printable or not padded.
    Product,
    /// A key that is no uncompressed point.
    Point,
    /// A key is in it twice: it must never count as two.
    DuplicateKey(KeyId),
    /// The signatures are not what they should be.
    Signatures(CoSignatureError),
    /// More than [`MAX_SIGNATURES`] signatures.
    TooManySignatures(u8),
}

impl fmt::Display for KeyRecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotARecord => f.write_str("this is no key record made by `otaria key`"),
            Self::UnknownVersion(version) => write!(f, "key record version {version} is unknown"),
            Self::Length => f.write_str("the key record is cut short, or something follows it"),
            Self::NotZero => f.write_str("a field of the key record that must be zero is not"),
            Self::Epoch => f.write_str("the key record has epoch 0"),
            Self::Keys(count) => write!(f, "the key record has {count} keys, not 1 to {MAX_KEYS}"),
            Self::Threshold(threshold) => write!(
                f,
                "the key record asks for {threshold} signatures, not 1 or {MAX_THRESHOLD} of its keys"
            ),
            Self::Product => {
                f.write_str("the key record's product is empty or not printable ASCII")
            }
            Self::Point => f.write_str("a key in the key record is no uncompressed P-256 point"),
            Self::DuplicateKey(key) => write!(f, "key {key} is in the key record twice"),
            Self::Signatures(CoSignatureError::DuplicateKey(key)) => {
                write!(f, "key {key} signed the key record twice")
            }
            Self::Signatures(CoSignatureError::Truncated | CoSignatureError::None) => {
                f.write_str("the key record has no whole signature")
            }
            Self::TooManySignatures(count) => write!(
                f,
                "the key record has {count} signatures, and {MAX_SIGNATURES} are the most"
            ),
        }
    }
}

impl core::error::Error for KeyRecordError {}

/// A well-formed record with signatures that nobody has checked.
#[derive(Clone, Copy, Debug)]
pub struct KeyRecord<'a> {
    bytes: &'a [u8],
    signed: &'a [u8],
    keys: &'a [[u8; PUBLIC_KEY_LEN]],
    signatures: CoSignatures<'a>,
    epoch: u32,
    threshold: u8,
    product: FixedText<32>,
}

impl<'a> KeyRecord<'a> {
    /// Reads a whole record. Nothing in it is trusted yet.
    ///
    /// # Errors
    /// See [`KeyRecordError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, KeyRecordError> {
        if !bytes.starts_with(&MAGIC) {
            return Err(KeyRecordError::NotARecord);
        }
        let head = bytes.first_chunk::<HEAD_LEN>();
        let head = head.ok_or(KeyRecordError::Length)?;
        let mut reader = Reader::new(head);
        reader.skip(MAGIC.len());
        let [version, threshold, count, zero] = reader.array();
        let epoch = reader.u32();
        if version != VERSION {
            return Err(KeyRecordError::UnknownVersion(version));
        }
        if zero != 0 {
            return Err(KeyRecordError::NotZero);
        }
        let product = FixedText::from_field(&reader.array());
        let product = product.map_err(|_| KeyRecordError::Product)?;
        check_head(epoch, threshold, count, &product)?;
        let signed_len = HEAD_LEN + usize::from(count) * PUBLIC_KEY_LEN;
        let (signed, rest) = bytes
            .split_at_checked(signed_len)
            .ok_or(KeyRecordError::Length)?;
        let (keys, _) = signed
            .get(HEAD_LEN..)
            .unwrap_or_default()
            .as_chunks::<PUBLIC_KEY_LEN>();
        check_keys(keys)?;
        if let Some(count) = rest.first().filter(|n| usize::from(**n) > MAX_SIGNATURES) {
            return Err(KeyRecordError::TooManySignatures(*count));
        }
        let signatures = CoSignatures::parse_all(rest).map_err(KeyRecordError::Signatures)?;
        if signatures.encoded_len() != rest.len() {
            return Err(KeyRecordError::Length);
        }
        Ok(Self {
            bytes,
            signed,
            keys,
            signatures,
            epoch,
            threshold,
            product,
        })
    }

    /// The number that rises with each record of a product.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// How many of the keys must have signed a package.
    #[must_use]
    pub fn threshold(&self) -> u8 {
        self.threshold
    }

    /// The product whose packages the keys sign.
    #[must_use]
    pub fn product(&self) -> &FixedText<32> {
        &self.product
    }

    /// The release keys, as uncompressed points. Whether they are on the curve is not known yet.
    #[must_use]
    pub fn keys(&self) -> &'a [[u8; PUBLIC_KEY_LEN]] {
        self.keys
    }

    /// The root keys' signatures.
    pub fn signatures(&self) -> impl Iterator<Item = CoSignature<'a>> + use<'a> {
        self.signatures.iter()
    }

    /// The whole record.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Whether the bytes of another record say the same, whoever has signed it.
    #[must_use]
    pub fn says_the_same_as(&self, other: &[u8]) -> bool {
        // How long this part is, is said in it.
        other.starts_with(self.signed)
    }

    /// What the signatures have to be over.
    #[must_use]
    pub fn signed_message(&self) -> Vec<u8, MAX_MESSAGE_LEN> {
        message_of(self.signed)
    }

    /// Checks the signatures: one of a root key that is known, and none of a known one that is bad. Says whose it is.
    ///
    /// # Errors
    /// `UnknownKey` if no root key is known, `BadSignature` if a known one has not signed this.
    pub fn verify(&self, roots: &impl VerifySignature) -> Result<KeyId, SignatureError> {
        let message = self.signed_message();
        let mut signer = Err(SignatureError::UnknownKey);
        for CoSignature { key_id, signature } in self.signatures() {
            match roots.verify(&key_id, &message, signature) {
                Ok(()) => signer = Ok(key_id),
                Err(SignatureError::UnknownKey) => {}
                Err(SignatureError::BadSignature) => return Err(SignatureError::BadSignature),
            }
        }
        signer
    }

    /// What it says.
    #[must_use]
    pub fn to_key_set(&self) -> KeySet {
        KeySet {
            epoch: self.epoch,
            threshold: self.threshold,
            product: self.product,
            // `parse` takes no more than fit.
            keys: Vec::from_slice(self.keys).unwrap_or_default(),
        }
    }
}

/// What a record says, before or without its signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySet {
    /// The number that rises with each record of a product.
    pub epoch: u32,
    /// How many of the keys must have signed a package.
    pub threshold: u8,
    /// The product whose packages the keys sign.
    pub product: FixedText<32>,
    /// The release keys, as uncompressed points.
    pub keys: Vec<[u8; PUBLIC_KEY_LEN], MAX_KEYS>,
}

impl KeySet {
    /// Checks that a reader would take it.
    ///
    /// # Errors
    /// See [`KeyRecordError`].
    pub fn check(&self) -> Result<(), KeyRecordError> {
        let count = u8::try_from(self.keys.len()).unwrap_or(u8::MAX);
        check_head(self.epoch, self.threshold, count, &self.product)?;
        check_keys(&self.keys)
    }

    /// What root keys have to sign.
    #[must_use]
    pub fn signed_message(&self) -> Vec<u8, MAX_MESSAGE_LEN> {
        message_of(&self.encode())
    }

    /// The record with these signatures.
    ///
    /// # Errors
    /// The fields or the signatures do not make a record; see [`KeyRecordError`].
    pub fn sign(&self, signatures: &[CoSignature<'_>]) -> Result<Vec<u8, MAX_LEN>, KeyRecordError> {
        self.check()?;
        let mut record = Vec::new();
        let count = u8::try_from(signatures.len()).unwrap_or(u8::MAX);
        let too_many = |_| KeyRecordError::TooManySignatures(count);
        record
            .extend_from_slice(&self.encode())
            .and_then(|()| record.extend_from_slice(&[count]))
            .map_err(too_many)?;
        for CoSignature { key_id, signature } in signatures {
            record
                .extend_from_slice(&key_id.0)
                .and_then(|()| record.extend_from_slice(*signature))
                .map_err(too_many)?;
        }
        KeyRecord::parse(&record)?;
        Ok(record)
    }

    fn encode(&self) -> Vec<u8, MAX_SIGNED_LEN> {
        let head: [u8; HEAD_LEN] = Writer::new()
            .put(&MAGIC)
            .u8(VERSION)
            .u8(self.threshold)
            .u8(u8::try_from(self.keys.len()).unwrap_or(u8::MAX))
            .u8(0)
            .u32(self.epoch)
            .put(self.product.as_field())
            .finish();
        let mut signed = Vec::new();
        // As long as there is room for with all keys.
        let _ = signed.extend_from_slice(&head);
        for key in &self.keys {
            let _ = signed.extend_from_slice(key);
        }
        signed
    }
}

fn check_head(
    epoch: u32,
    threshold: u8,
    count: u8,
    product: &FixedText<32>,
) -> Result<(), KeyRecordError> {
    if epoch == 0 {
        return Err(KeyRecordError::Epoch);
    }
    if count == 0 || usize::from(count) > MAX_KEYS {
        return Err(KeyRecordError::Keys(count));
    }
    if threshold == 0 || threshold > MAX_THRESHOLD.min(count) {
        return Err(KeyRecordError::Threshold(threshold));
    }
    if product.is_empty() {
        return Err(KeyRecordError::Product);
    }
    Ok(())
}

fn check_keys(keys: &[[u8; PUBLIC_KEY_LEN]]) -> Result<(), KeyRecordError> {
    for (index, key) in keys.iter().enumerate() {
        if key.first() != Some(&UNCOMPRESSED) {
            return Err(KeyRecordError::Point);
        }
        if keys.iter().take(index).any(|earlier| earlier == key) {
            return Err(KeyRecordError::DuplicateKey(KeyId::of_public_point(key)));
        }
    }
    Ok(())
}

fn message_of(signed: &[u8]) -> Vec<u8, MAX_MESSAGE_LEN> {
    let mut message = Vec::new();
    // Never longer than there is room for: both are bounded by `MAX_KEYS`.
    let _ = message.extend_from_slice(SIGNATURE_DOMAIN);
    let _ = message.extend_from_slice(signed);
    message
}

#[cfg(test)]
mod tests;
