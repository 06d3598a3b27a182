//! Keys: how they follow from each other (RFC 8446, 7.1), and how records are sealed and opened with them (5.2).

use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{AeadInOut, ChaCha20Poly1305, KeyInit};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::TlsError;

/// Bytes of a hash, of a secret and of a key.
pub(super) const HASH_LEN: usize = 32;
/// Bytes that sealing adds.
pub(super) const TAG_LEN: usize = 16;
const NONCE_LEN: usize = 12;
/// The longest label that is expanded, with its prefix and two lengths, and a hash.
const INFO_MAX: usize = 2 + 1 + 6 + 12 + 1 + HASH_LEN;

/// A secret of the schedule. Wiped when it is dropped.
pub(super) type Secret = Zeroizing<[u8; HASH_LEN]>;

fn mac(key: &[u8]) -> Result<Hmac<Sha256>, TlsError> {
    // HMAC takes keys of any length.
    Hmac::new_from_slice(key).map_err(|_| TlsError::Protocol)
}

/// HMAC-SHA256.
#[inline(never)]
pub(super) fn hmac(key: &[u8], message: &[u8]) -> Result<Secret, TlsError> {
    let mut mac = mac(key)?;
    mac.update(message);
    Ok(Zeroizing::new(mac.finalize().into_bytes().into()))
}

/// HKDF-Expand-Label, for at most [`HASH_LEN`] bytes: one round of HMAC, whose result is cut to the length asked for.
#[inline(never)]
pub(super) fn expand(
    secret: &[u8],
    label: &[u8],
    context: &[u8],
    len: usize,
) -> Result<Secret, TlsError> {
    let mut info = [0; INFO_MAX + 1];
    let mut writer = super::bytes::Writer::new(&mut info);
    writer.u16(len as u16);
    writer.u8((b"tls13 ".len() + label.len()) as u8);
    writer.bytes(b"tls13 ");
    writer.bytes(label);
    writer.u8(context.len() as u8);
    writer.bytes(context);
    // HKDF-Expand's counter (RFC 5869, 2.3).
    writer.u8(1);
    hmac(secret, writer.end()?)
}

/// The hash of nothing.
fn empty_hash() -> [u8; HASH_LEN] {
    Sha256::digest([]).into()
}

/// The secret that all others come from, at one step of the schedule.
pub(super) struct Schedule(Secret);

impl Schedule {
    /// The early secret: from the shared key, if there is one.
    pub(super) fn early(psk: Option<&[u8]>) -> Result<Self, TlsError> {
        hmac(&[0; HASH_LEN], psk.unwrap_or(&[0; HASH_LEN])).map(Self)
    }

    /// The next step, with new key material.
    pub(super) fn next(&self, material: &[u8]) -> Result<Self, TlsError> {
        let salt = self.derive(b"derived", &empty_hash())?;
        hmac(&*salt, material).map(Self)
    }

    /// Derive-Secret for a transcript.
    pub(super) fn derive(
        &self,
        label: &[u8],
        transcript: &[u8; HASH_LEN],
    ) -> Result<Secret, TlsError> {
        expand(&*self.0, label, transcript, HASH_LEN)
    }

    /// What proves that the device has the shared key; `transcript` is of the ClientHello as far as the binders.
    pub(super) fn binder(&self, transcript: &[u8; HASH_LEN]) -> Result<Secret, TlsError> {
        let key = self.derive(b"ext binder", &empty_hash())?;
        finished(&key, transcript)
    }
}

/// The contents of a Finished message.
pub(super) fn finished(traffic: &Secret, transcript: &[u8; HASH_LEN]) -> Result<Secret, TlsError> {
    let key = expand(&**traffic, b"finished", &[], HASH_LEN)?;
    hmac(&*key, transcript)
}

/// Whether `claimed` is the Finished message for this transcript. Takes the same time for each wrong one.
pub(super) fn is_finished(
    traffic: &Secret,
    transcript: &[u8; HASH_LEN],
    claimed: &[u8],
) -> Result<bool, TlsError> {
    let key = expand(&**traffic, b"finished", &[], HASH_LEN)?;
    let mut mac = mac(&*key)?;
    mac.update(transcript);
    Ok(mac.verify_slice(claimed).is_ok())
}

/// The keys of one direction.
pub(super) struct Traffic {
    secret: Secret,
    key: Secret,
    iv: Secret,
    /// Records so far.
    count: u64,
}

impl Traffic {
    pub(super) fn new(secret: Secret) -> Result<Self, TlsError> {
        Ok(Self {
            key: expand(&*secret, b"key", &[], HASH_LEN)?,
            iv: expand(&*secret, b"iv", &[], NONCE_LEN)?,
            secret,
            count: 0,
        })
    }

    /// The keys after a KeyUpdate.
    pub(super) fn update(&mut self) -> Result<(), TlsError> {
        *self = Self::new(expand(&*self.secret, b"traffic upd", &[], HASH_LEN)?)?;
        Ok(())
    }

    /// Cipher and nonce of the next record.
    fn next(&mut self) -> Result<(ChaCha20Poly1305, [u8; NONCE_LEN]), TlsError> {
        let mut nonce = [0; NONCE_LEN];
        let (fixed, counted) = nonce.split_at_mut(NONCE_LEN - 8);
        fixed.fill(0);
        counted.copy_from_slice(&self.count.to_be_bytes());
        for (byte, iv) in nonce.iter_mut().zip(self.iv.iter()) {
            *byte ^= iv;
        }
        // Never used up: 2^64 records.
        self.count = self.count.checked_add(1).ok_or(TlsError::Protocol)?;
        let cipher =
            ChaCha20Poly1305::new_from_slice(&*self.key).map_err(|_| TlsError::Protocol)?;
        Ok((cipher, nonce))
    }

    /// Encrypts `text` in place; `header` is the record's.
    #[inline(never)]
    pub(super) fn seal(
        &mut self,
        header: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; TAG_LEN], TlsError> {
        let (cipher, nonce) = self.next()?;
        cipher
            .encrypt_inout_detached(&nonce.into(), header, InOutBuf::from(text))
            .map(Into::into)
            .map_err(|_| TlsError::TooLarge)
    }

    /// Decrypts `text` in place, if `tag` says that it is what was sealed.
    #[inline(never)]
    pub(super) fn open(
        &mut self,
        header: &[u8],
        text: &mut [u8],
        tag: &[u8; TAG_LEN],
    ) -> Result<(), TlsError> {
        let (cipher, nonce) = self.next()?;
        cipher
            .decrypt_inout_detached(&nonce.into(), header, InOutBuf::from(text), &(*tag).into())
            .map_err(|_| TlsError::BadRecord)
    }
}
