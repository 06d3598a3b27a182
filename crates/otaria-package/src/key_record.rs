//! Key records, as root keys make them; the format is [`otaria_wire::keys`].

use otaria_wire::keys::{KeyRecord, KeyRecordError, KeySet, MAX_KEYS};
use otaria_wire::package::{CoSignature, KeyId};
use otaria_wire::{FixedText, TextError};

use crate::keys::PublicKey;
use crate::signer::{SignError, Signer, sign};

/// Why there is no key record.
#[derive(Debug, thiserror::Error)]
pub enum KeyRecordFailure {
    /// The bytes are none, or what is wanted makes none.
    #[error("{0}")]
    Record(#[from] KeyRecordError),
    /// The product is no name of one.
    #[error("a product is 1 to 32 printable ASCII characters")]
    Product(#[from] TextError),
    /// More keys than devices keep.
    #[error("{0} release keys, and devices keep {MAX_KEYS} at most")]
    TooManyKeys(usize),
    /// A key to be taken out is not in it.
    #[error("key {0} is not in the key record")]
    NotThere(KeyId),
    /// Nobody could sign any more.
    #[error("key {0} is the last one that counts; name one that takes its place with --release")]
    LastKey(KeyId),
    /// Fewer keys than have to sign. That fewer signatures are enough must be somebody's wish, not what comes of a revocation.
    #[error(
        "{left} key(s) would be left, and packages need {threshold} signatures; name a key that takes its place with --release, or \
         say with --threshold {left} that so many are enough from now on"
    )]
    TooFewKeys {
        /// Keys that would count.
        left: usize,
        /// Signatures that packages need.
        threshold: u8,
    },
    /// After the highest epoch nothing follows.
    #[error("the epoch is the highest that there is")]
    LastEpoch,
    /// There is no signature.
    #[error("the key record is not signed")]
    Sign(#[from] SignError),
}

/// The ids of a record's release keys.
pub fn key_ids(record: &KeyRecord<'_>) -> Vec<String> {
    let keys = record.keys().iter();
    keys.map(|key| KeyId::of_public_point(key).to_string())
        .collect()
}

/// The ids of the root keys that are said to have signed a record.
pub fn root_ids(record: &KeyRecord<'_>) -> Vec<String> {
    let signatures = record.signatures();
    signatures
        .map(|signature| signature.key_id.to_string())
        .collect()
}

/// The keys that count from some epoch on.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The epoch; higher than all before.
    pub epoch: u32,
    /// How many of the keys have to sign a package.
    pub threshold: u8,
    /// The product.
    pub product: String,
    /// The release keys.
    pub keys: Vec<PublicKey>,
}

impl Plan {
    /// What a record says, whoever signed it.
    ///
    /// # Errors
    /// A key is not on the curve.
    pub fn of(record: &KeyRecord<'_>) -> Result<Self, KeyRecordFailure> {
        let keys = record
            .keys()
            .iter()
            .map(|point| PublicKey::from_sec1(point).map_err(|_| KeyRecordError::Point))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            epoch: record.epoch(),
            threshold: record.threshold(),
            product: record.product().to_string(),
            keys,
        })
    }

    /// The epoch after this one.
    ///
    /// # Errors
    /// [`KeyRecordFailure::LastEpoch`].
    pub fn next_epoch(&self) -> Result<u32, KeyRecordFailure> {
        self.epoch.checked_add(1).ok_or(KeyRecordFailure::LastEpoch)
    }

    /// The same in the next epoch, without `revoked` and with `instead`; with as many signatures as before, unless `threshold` says
    /// otherwise.
    ///
    /// # Errors
    /// A key is not there, none is left, or fewer than have to sign.
    pub fn without(
        &self,
        revoked: &[KeyId],
        instead: Vec<PublicKey>,
        threshold: Option<u8>,
    ) -> Result<Self, KeyRecordFailure> {
        for id in revoked {
            if !self.keys.iter().any(|key| key.key_id() == *id) {
                return Err(KeyRecordFailure::NotThere(*id));
            }
        }
        let left = self.keys.iter().cloned();
        let keys: Vec<_> = left
            .filter(|key| !revoked.contains(&key.key_id()))
            .chain(instead)
            .collect();
        match revoked.last() {
            Some(last) if keys.is_empty() => return Err(KeyRecordFailure::LastKey(*last)),
            _ => {}
        }
        let threshold = threshold.unwrap_or(self.threshold);
        if usize::from(threshold) > keys.len() {
            return Err(KeyRecordFailure::TooFewKeys {
                left: keys.len(),
                threshold,
            });
        }
        Ok(Self {
            epoch: self.next_epoch()?,
            threshold,
            product: self.product.clone(),
            keys,
        })
    }

    /// The record, signed by one root key, or by two: devices need to know one of them.
    ///
    /// # Errors
    /// See [`KeyRecordFailure`].
    pub fn sign(&self, roots: &[&dyn Signer]) -> Result<Vec<u8>, KeyRecordFailure> {
        let set = self.to_key_set()?;
        let message = set.signed_message();
        let signed = roots
            .iter()
            .map(|root| Ok((root.public_key().key_id(), sign(*root, &message)?)))
            .collect::<Result<Vec<_>, SignError>>()?;
        let signatures: Vec<_> = signed
            .iter()
            .map(|(key_id, signature)| CoSignature {
                key_id: *key_id,
                signature,
            })
            .collect();
        Ok(set.sign(&signatures)?.to_vec())
    }

    fn to_key_set(&self) -> Result<KeySet, KeyRecordFailure> {
        if self.keys.len() > MAX_KEYS {
            return Err(KeyRecordFailure::TooManyKeys(self.keys.len()));
        }
        let set = KeySet {
            epoch: self.epoch,
            threshold: self.threshold,
            product: FixedText::try_from(self.product.as_str())?,
            keys: self.keys.iter().map(PublicKey::to_sec1).collect(),
        };
        // Before anybody is asked to sign it.
        set.check()?;
        Ok(set)
    }
}
