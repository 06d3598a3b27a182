//! Encrypted packages, on the device: whose content key can be opened, and blocks in place.
//!
//! What is sealed how is said in [`otaria_wire::package`]: a block by ChaCha20-Poly1305 with the package's content key, that key
//! by HPKE to a key of the device, or to one that all devices of a product share.
//!
//! The content key is in memory while a package is being fetched, and nowhere else. What is kept for a resume is the device's own
//! entry among the recipients, as it came: beside the block table, see [`crate::storage::table_store`]. The *image* lies plain in
//! its slot, as it has to run from there; against somebody who reads the flash chip only the chip's own flash encryption helps.
//!
//! Without the crate's feature `encryption` there are no keys, and every encrypted package is one for somebody else.

#[cfg(feature = "encryption")]
mod hpke;
#[cfg(all(test, feature = "encryption"))]
mod tests;

use core::fmt;

use heapless::Vec;
use otaria_wire::messages::FailureCode;
use otaria_wire::package::{Cipher, KeyId, Recipient, VerifiedHeader};
#[cfg(feature = "encryption")]
use otaria_wire::package::{HPKE_INFO, block_associated_data, block_nonce, key_associated_data};
#[cfg(feature = "encryption")]
use zeroize::Zeroizing;

#[cfg(feature = "encryption")]
use hpke::SecretKey;

/// Ciphers that this firmware can decrypt.
pub const CIPHERS: &[Cipher] = if cfg!(feature = "encryption") {
    &[Cipher::None, Cipher::ChaCha20Poly1305]
} else {
    &[Cipher::None]
};

/// Most keys that packages may be sealed to: one of the product, one of the device.
pub const MAX_DECRYPTION_KEYS: usize = 2;

/// Why a key is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecryptionKeyError {
    /// Zero, or not below the order of P-256.
    NotAKey,
    /// There are [`MAX_DECRYPTION_KEYS`] keys already.
    Full,
    /// This firmware was built without the feature `encryption`.
    Unsupported,
}

impl fmt::Display for DecryptionKeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAKey => f.write_str("not a private key of P-256"),
            Self::Full => write!(f, "no more than {MAX_DECRYPTION_KEYS} decryption keys"),
            Self::Unsupported => f.write_str("this firmware cannot decrypt packages"),
        }
    }
}

impl core::error::Error for DecryptionKeyError {}

/// Why a package does not decrypt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecryptError {
    /// No key of this device is among the recipients.
    NotARecipient,
    /// The content key does not open.
    ContentKey,
    /// A block does not open. Nothing of it was decrypted.
    Block(u32),
}

impl DecryptError {
    /// The number under which this is reported.
    #[must_use]
    pub const fn code(&self) -> FailureCode {
        match self {
            Self::NotARecipient => FailureCode::NotARecipient,
            Self::ContentKey => FailureCode::ContentKey,
            Self::Block(_) => FailureCode::Decrypt,
        }
    }
}

impl fmt::Display for DecryptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotARecipient => {
                f.write_str("the package is encrypted, and not to a key of this device")
            }
            Self::ContentKey => f.write_str("the package's content key does not open"),
            Self::Block(block) => write!(f, "block {block} does not decrypt"),
        }
    }
}

impl core::error::Error for DecryptError {}

#[cfg(not(feature = "encryption"))]
use none::SecretKey;

/// The keys that packages may be sealed to. With none of them, encrypted packages are refused.
#[derive(Clone, Default)]
pub struct DecryptionKeys {
    keys: Vec<SecretKey, MAX_DECRYPTION_KEYS>,
}

impl DecryptionKeys {
    /// No keys.
    #[must_use]
    pub const fn new() -> Self {
        Self { keys: Vec::new() }
    }

    /// Adds a private key: a scalar, big-endian (SEC 1, section 2.3.7). Says by which id packages name it. Takes as long as half
    /// a signature's check, for the public point.
    ///
    /// # Errors
    /// See [`DecryptionKeyError`].
    pub fn add(&mut self, scalar: &[u8; 32]) -> Result<KeyId, DecryptionKeyError> {
        let key = SecretKey::new(scalar)?;
        let id = key.id();
        self.keys.push(key).map_err(|_| DecryptionKeyError::Full)?;
        Ok(id)
    }

    /// Whether packages that are sealed to this key can be opened.
    #[must_use]
    pub fn holds(&self, id: &KeyId) -> bool {
        self.keys.iter().any(|key| key.id() == *id)
    }

    /// The content key of a package.
    ///
    /// # Errors
    /// [`DecryptError::NotARecipient`] and [`DecryptError::ContentKey`].
    pub fn open(
        &self,
        header: &VerifiedHeader,
        recipient: Option<&Recipient>,
    ) -> Result<ContentKey, DecryptError> {
        let recipient = recipient.ok_or(DecryptError::NotARecipient)?;
        let key = self.keys.iter().find(|key| key.id() == recipient.key_id);
        ContentKey::open(key.ok_or(DecryptError::NotARecipient)?, header, recipient)
    }
}

impl fmt::Debug for DecryptionKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.keys.iter().map(SecretKey::id))
            .finish()
    }
}

/// What the blocks of one package are sealed with. Wiped when it is dropped.
#[cfg(feature = "encryption")]
pub struct ContentKey(Zeroizing<[u8; 32]>);

#[cfg(feature = "encryption")]
impl ContentKey {
    fn open(
        key: &SecretKey,
        header: &VerifiedHeader,
        recipient: &Recipient,
    ) -> Result<Self, DecryptError> {
        // It is opened in place.
        let mut sealed = Zeroizing::new(recipient.sealed_key);
        let bound_to = key_associated_data(header.signed_bytes());
        hpke::open(
            key,
            &recipient.encapsulated,
            HPKE_INFO,
            &bound_to,
            &mut *sealed,
        )
        .and_then(|content_key| content_key.first_chunk())
        .map(|content_key| Self(Zeroizing::new(*content_key)))
        .ok_or(DecryptError::ContentKey)
    }

    /// Opens a block where it lies: `stored` are all of its stored bytes, whose digest was compared with the block table's.
    /// Gives the encoded bytes. The tag is checked before the first of them is decrypted.
    ///
    /// # Errors
    /// [`DecryptError::Block`]: `stored` is as it was.
    pub fn decrypt<'s>(
        &self,
        header: &VerifiedHeader,
        block: u32,
        stored: &'s mut [u8],
    ) -> Result<&'s mut [u8], DecryptError> {
        let bound_to = block_associated_data(header.signed_bytes());
        hpke::unseal(&self.0, &block_nonce(block), &bound_to, stored)
            .ok_or(DecryptError::Block(block))
    }
}

#[cfg(not(feature = "encryption"))]
pub use none::ContentKey;

/// What stands for keys in a firmware that cannot decrypt: there is never one.
#[cfg(not(feature = "encryption"))]
mod none {
    use super::{DecryptError, DecryptionKeyError, KeyId, Recipient, VerifiedHeader};

    #[derive(Clone)]
    pub(super) enum SecretKey {}

    impl SecretKey {
        pub(super) fn new(_: &[u8; 32]) -> Result<Self, DecryptionKeyError> {
            Err(DecryptionKeyError::Unsupported)
        }

        pub(super) fn id(&self) -> KeyId {
            match *self {}
        }
    }

    /// There is never one: this firmware cannot decrypt.
    pub enum ContentKey {}

    impl ContentKey {
        pub(super) fn open(
            key: &SecretKey,
            _: &VerifiedHeader,
            _: &Recipient,
        ) -> Result<Self, DecryptError> {
            match *key {}
        }

        /// Never called.
        ///
        /// # Errors
        /// None.
        pub fn decrypt<'s>(
            &self,
            _: &VerifiedHeader,
            _: u32,
            _: &'s mut [u8],
        ) -> Result<&'s mut [u8], DecryptError> {
            match *self {}
        }
    }
}
