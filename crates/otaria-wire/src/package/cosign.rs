//! Co-signatures: more keys that signed the same bytes as the header's key. Root keys' signatures under a key record
//! ([`crate::keys`]) have the same form.
//!
//! ```text
//! 0   1  count, at least 1
//! per co-signature:
//! 0   8  key_id
//! 8  64  r || s over "otaria package v1\0" || header bytes 0..256
//! ```

use core::fmt;

use super::{KeyId, SIGNATURE_LEN};

/// Length of one co-signature.
pub const COSIGNATURE_LEN: usize = 8 + SIGNATURE_LEN;

/// One co-signature, not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoSignature<'a> {
    /// Who is said to have signed.
    pub key_id: KeyId,
    /// The signature, r || s.
    pub signature: &'a [u8; SIGNATURE_LEN],
}

/// Why bytes are not co-signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoSignatureError {
    /// Fewer bytes than the count says.
    Truncated,
    /// The flag is set, and there is none.
    None,
    /// A key signs twice, or co-signs its own signature.
    DuplicateKey(KeyId),
}

impl fmt::Display for CoSignatureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => f.write_str("the package ends within its co-signatures"),
            Self::None => f.write_str(
                "the package is to be co-signed and is not yet; `otaria cosign` does that",
            ),
            Self::DuplicateKey(key_id) => write!(f, "key {key_id} signed twice"),
        }
    }
}

impl core::error::Error for CoSignatureError {}

/// Co-signatures by distinct keys, none of them the signer's.
#[derive(Clone, Copy, Debug)]
pub struct CoSignatures<'a> {
    entries: &'a [[u8; COSIGNATURE_LEN]],
}

impl<'a> CoSignatures<'a> {
    /// Reads the co-signatures at the start of `bytes`, of a package that `signer` signed.
    ///
    /// # Errors
    /// See [`CoSignatureError`].
    pub fn parse(signer: &KeyId, bytes: &'a [u8]) -> Result<Self, CoSignatureError> {
        let all = Self::parse_all(bytes)?;
        if all.iter().any(|cosignature| cosignature.key_id == *signer) {
            return Err(CoSignatureError::DuplicateKey(*signer));
        }
        Ok(all)
    }

    /// Reads signatures by distinct keys that have no other one beside them.
    pub(crate) fn parse_all(bytes: &'a [u8]) -> Result<Self, CoSignatureError> {
        let (count, rest) = bytes.split_first().ok_or(CoSignatureError::Truncated)?;
        if *count == 0 {
            return Err(CoSignatureError::None);
        }
        let (entries, _) = rest.as_chunks::<COSIGNATURE_LEN>();
        let entries = entries
            .get(..usize::from(*count))
            .ok_or(CoSignatureError::Truncated)?;
        let all = Self { entries };
        for (index, cosignature) in all.iter().enumerate() {
            let seen_before = all
                .iter()
                .take(index)
                .any(|earlier| earlier.key_id == cosignature.key_id);
            if seen_before {
                return Err(CoSignatureError::DuplicateKey(cosignature.key_id));
            }
        }
        Ok(all)
    }

    /// All co-signatures in order.
    pub fn iter(&self) -> impl Iterator<Item = CoSignature<'a>> + use<'a> {
        self.entries.iter().filter_map(|entry| {
            let (key_id, signature) = entry.split_first_chunk::<8>()?;
            Some(CoSignature {
                key_id: KeyId(*key_id),
                signature: signature.first_chunk()?,
            })
        })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u8 {
        u8::try_from(self.entries.len()).unwrap_or(u8::MAX)
    }

    /// Their length in the package, the count byte included.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        1 + self.entries.len() * COSIGNATURE_LEN
    }
}
