//! Encrypted packages: the content key, its recipients, and blocks under it. What is sealed how, and bound to what, is said in
//! [`otaria_wire::package`]; HPKE is that of the crate `hpke`, while devices have one of their own.

use std::fmt;

use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut as _, KeyInit as _};
use hpke::aead::ChaCha20Poly1305 as Aead;
use hpke::kdf::HkdfSha256 as Kdf;
use hpke::kem::DhP256HkdfSha256 as Kem;
use hpke::{Deserializable as _, OpModeR, OpModeS, Serializable as _};
use otaria_wire::package::{
    CONTENT_KEY_LEN, Cipher, HPKE_INFO, Header, KEM_DHKEM_P256, KeyId, MAX_RECIPIENTS,
    RECIPIENT_LEN, Recipient, SIGNED_LEN, TAG_LEN, block_associated_data, block_nonce,
    key_associated_data, recipients_digest,
};
use zeroize::Zeroizing;

use crate::keys::{DecryptionKey, PublicKey};

/// Why a package is not encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncryptError {
    /// A key is named twice.
    #[error("key {0} is named twice among those to encrypt to")]
    Twice(KeyId),
    /// A key for signing was given.
    #[error(
        "key {0} signs this package; devices need a key of their own to decrypt, made with `otaria keygen --encryption`"
    )]
    Signer(KeyId),
    /// More keys than a package has room for.
    #[error(
        "a package can be encrypted to {MAX_RECIPIENTS} keys, not to {0}; give the devices of a product one key, or make several packages"
    )]
    TooMany(usize),
    /// The operating system's random number generator failed.
    #[error("the operating system gave no random numbers")]
    NoRandomness,
}

/// What the blocks of one package are sealed with. Wiped from memory when dropped and never printed.
pub struct ContentKey(Zeroizing<[u8; CONTENT_KEY_LEN]>);

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ContentKey")
    }
}

impl ContentKey {
    /// A new one, from the operating system's randomness. It must not serve a second package.
    fn generate() -> Result<Self, EncryptError> {
        let mut key = Zeroizing::new([0; CONTENT_KEY_LEN]);
        getrandom::fill(&mut *key).map_err(|_| EncryptError::NoRandomness)?;
        Ok(Self(key))
    }

    /// Opens what was sealed to `key` in the package with these signed bytes. `None` if it was not.
    pub fn open(
        key: &DecryptionKey,
        recipient: &Recipient,
        signed: &[u8; SIGNED_LEN],
    ) -> Option<Self> {
        let secret = <Kem as hpke::Kem>::PrivateKey::from_bytes(&*key.to_scalar()).ok()?;
        let enc = <Kem as hpke::Kem>::EncappedKey::from_bytes(&recipient.encapsulated).ok()?;
        let opened = hpke::single_shot_open::<Aead, Kdf, Kem>(
            &OpModeR::Base,
            &secret,
            &enc,
            HPKE_INFO,
            &recipient.sealed_key,
            &key_associated_data(signed),
        );
        let opened = Zeroizing::new(opened.ok()?);
        Some(Self(Zeroizing::new(opened.as_slice().try_into().ok()?)))
    }

    /// Seals the key to a recipient of the package with these signed bytes.
    fn seal_to(
        &self,
        recipient: &PublicKey,
        signed: &[u8; SIGNED_LEN],
    ) -> Result<Recipient, EncryptError> {
        let point = <Kem as hpke::Kem>::PublicKey::from_bytes(&recipient.to_sec1())
            .expect("a P-256 point is a public key of this KEM");
        let (enc, sealed) = hpke::single_shot_seal::<Aead, Kdf, Kem>(
            &OpModeS::Base,
            &point,
            HPKE_INFO,
            &*self.0,
            &key_associated_data(signed),
        )
        .map_err(|_| EncryptError::NoRandomness)?;
        Ok(Recipient {
            key_id: recipient.key_id(),
            encapsulated: enc.to_bytes().into(),
            sealed_key: sealed
                .try_into()
                .expect("a sealed key is longer by its tag"),
        })
    }

    /// Seals a block: its tag comes behind it.
    fn seal(&self, signed: &[u8; SIGNED_LEN], block: u32, mut encoded: Vec<u8>) -> Vec<u8> {
        let tag = ChaCha20Poly1305::new((&*self.0).into())
            .encrypt_inout_detached(
                (&block_nonce(block)).into(),
                &block_associated_data(signed),
                encoded.as_mut_slice().into(),
            )
            .expect("a block is shorter than 256 GiB");
        encoded.extend_from_slice(&tag);
        encoded
    }

    /// Opens a block. `None` if it is not one of the package with these signed bytes.
    pub fn unseal(
        &self,
        signed: &[u8; SIGNED_LEN],
        block: u32,
        mut stored: Vec<u8>,
    ) -> Option<Vec<u8>> {
        let (message, tag) = stored.split_last_chunk_mut::<TAG_LEN>()?;
        ChaCha20Poly1305::new((&*self.0).into())
            .decrypt_inout_detached(
                (&block_nonce(block)).into(),
                &block_associated_data(signed),
                message.into(),
                (&*tag).into(),
            )
            .ok()?;
        stored.truncate(stored.len() - TAG_LEN);
        Some(stored)
    }
}

/// Seals the encoded blocks of a package under a new content key, and that to `recipients`. Completes the header as far as it is
/// known by then; of what the ciphertexts are bound to, nothing may be changed afterwards.
///
/// Gives the recipients' bytes and the stored blocks.
///
/// # Errors
/// See [`EncryptError`].
pub(crate) fn encrypt(
    header: &mut Header,
    recipients: &[PublicKey],
    blocks: Vec<Vec<u8>>,
) -> Result<(Vec<u8>, Vec<Vec<u8>>), EncryptError> {
    let count = u16::try_from(recipients.len())
        .ok()
        .filter(|count| *count <= MAX_RECIPIENTS)
        .ok_or(EncryptError::TooMany(recipients.len()))?;
    for (index, key) in recipients.iter().enumerate() {
        let id = key.key_id();
        if id == header.key_id {
            return Err(EncryptError::Signer(id));
        }
        if recipients[..index].contains(key) {
            return Err(EncryptError::Twice(id));
        }
    }
    let content_key = ContentKey::generate()?;
    header.cipher = Cipher::ChaCha20Poly1305;
    header.kem = KEM_DHKEM_P256;
    header.recipients = count;
    header.recipients_len = u32::from(count) * RECIPIENT_LEN as u32;
    let signed = header.encode();
    let mut bytes = Vec::with_capacity(header.recipients_len as usize);
    for key in recipients {
        bytes.extend(content_key.seal_to(key, &signed)?.encode());
    }
    header.recipients_digest = recipients_digest(&bytes);
    let signed = header.encode();
    let sealed = (0..)
        .zip(blocks)
        .map(|(block, encoded)| content_key.seal(&signed, block, encoded))
        .collect();
    Ok((bytes, sealed))
}
