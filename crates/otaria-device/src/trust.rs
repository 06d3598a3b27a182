//! The keys whose packages a device takes: rings of keys, and in [`Trust`] which ring counts at the moment.
//!
//! Signatures are ECDSA P-256 with SHA-256, r || s. Two questions that such signatures raise are answered here on purpose:
//!
//! * **r and s out of range** (0, or not below the group order) are refused, as is every length but 64 bytes, before any
//!   arithmetic.
//! * **(r, n - s) is as good as (r, s)**, and is accepted. Nothing depends on a signature's bytes: a package's identity is
//!   the digest of what is signed, so that a mirrored signature is the same package. Refusing the larger half would lock out
//!   signers (HSMs, cloud key services) that do not normalise it, and would gain nothing.

mod epoch;

use core::fmt;

use heapless::Vec;
use otaria_wire::Sha256Digest;
use otaria_wire::package::{KeyId, SIGNATURE_LEN, SignatureError, VerifySignature};
use p256::AffinePoint;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::elliptic_curve::point::AffineCoordinates;

pub use epoch::{KeysError, Trust};
/// Length of a public key, and most keys that a device trusts at a time.
pub use otaria_wire::keys::{MAX_KEYS, PUBLIC_KEY_LEN};

pub(crate) const UNCOMPRESSED: u8 = 4;

/// Why a public key is not taken into the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyError {
    /// Not an uncompressed point on the curve P-256.
    NotAKey,
    /// The ring holds this key already: one key must never count as two.
    Duplicate,
    /// The ring holds [`MAX_KEYS`] keys.
    Full,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAKey => f.write_str("not an uncompressed P-256 public key"),
            Self::Duplicate => f.write_str("the key is trusted already"),
            Self::Full => write!(f, "no more than {MAX_KEYS} keys can be trusted"),
        }
    }
}

impl core::error::Error for KeyError {}

/// Up to [`MAX_KEYS`] public keys. An empty ring trusts nobody.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    keys: Vec<(KeyId, VerifyingKey), MAX_KEYS>,
}

impl KeyRing {
    /// A ring that trusts nobody.
    #[must_use]
    pub const fn new() -> Self {
        Self { keys: Vec::new() }
    }

    /// A ring of these keys.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn of(keys: &[[u8; PUBLIC_KEY_LEN]]) -> Result<Self, KeyError> {
        let mut ring = Self::new();
        for key in keys {
            ring.trust(key)?;
        }
        Ok(ring)
    }

    /// Trusts one more key, given as an uncompressed point.
    ///
    /// # Errors
    /// See [`KeyError`].
    pub fn trust(&mut self, point: &[u8; PUBLIC_KEY_LEN]) -> Result<KeyId, KeyError> {
        let key = point_at(point).and_then(|point| VerifyingKey::from_affine(point).ok());
        let key = key.ok_or(KeyError::NotAKey)?;
        let id = KeyId::of_public_point(point);
        if self.keys.iter().any(|(known, _)| *known == id) {
            return Err(KeyError::Duplicate);
        }
        self.keys.push((id, key)).map_err(|_| KeyError::Full)?;
        Ok(id)
    }

    /// The ids of the trusted keys.
    pub fn ids(&self) -> impl Iterator<Item = KeyId> + '_ {
        self.keys.iter().map(|(id, _)| *id)
    }
}

/// An uncompressed point, if it is on the curve. By coordinates: what reads any form of a point can also decompress one, in 2 KB.
pub(crate) fn point_at(bytes: &[u8; PUBLIC_KEY_LEN]) -> Option<AffinePoint> {
    let [UNCOMPRESSED, coordinates @ ..] = bytes else {
        return None;
    };
    let (x, y) = coordinates.split_first_chunk::<32>()?;
    let y = y.first_chunk::<32>()?;
    AffinePoint::from_coordinates(&(*x).into(), &(*y).into()).into_option()
}

impl VerifySignature for KeyRing {
    fn verify(
        &self,
        key_id: &KeyId,
        message: &[u8],
        signature: &[u8; SIGNATURE_LEN],
    ) -> Result<(), SignatureError> {
        let (_, key) = self
            .keys
            .iter()
            .find(|(id, _)| id == key_id)
            .ok_or(SignatureError::UnknownKey)?;
        let signature =
            Signature::from_slice(signature).map_err(|_| SignatureError::BadSignature)?;
        let digest = Sha256Digest::of(message);
        key.verify_prehash(&digest.0, &signature)
            .map_err(|_| SignatureError::BadSignature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p256::ecdsa::SigningKey;
    use p256::ecdsa::signature::hazmat::PrehashSigner;

    const MESSAGE: &[u8] = b"what is signed";

    fn signer(seed: u8) -> (SigningKey, [u8; PUBLIC_KEY_LEN]) {
        let key = SigningKey::from_slice(&[seed; 32]).unwrap();
        let point = key.verifying_key().to_sec1_point(false);
        (key, point.as_bytes().try_into().unwrap())
    }

    fn sign(key: &SigningKey, message: &[u8]) -> [u8; SIGNATURE_LEN] {
        let signature: Signature = key.sign_prehash(&Sha256Digest::of(message).0).unwrap();
        signature.to_bytes().into()
    }

    #[test]
    fn a_signature_of_a_trusted_key_is_good_and_of_another_is_not() {
        let (key, point) = signer(1);
        let (stranger, stranger_point) = signer(2);
        let ring = KeyRing::of(&[point]).unwrap();
        let id = KeyId::of_public_point(&point);
        assert_eq!(ring.verify(&id, MESSAGE, &sign(&key, MESSAGE)), Ok(()));
        assert_eq!(
            ring.verify(&id, MESSAGE, &sign(&stranger, MESSAGE)),
            Err(SignatureError::BadSignature)
        );
        assert_eq!(
            ring.verify(&id, b"another", &sign(&key, MESSAGE)),
            Err(SignatureError::BadSignature)
        );
        assert_eq!(
            ring.verify(
                &KeyId::of_public_point(&stranger_point),
                MESSAGE,
                &sign(&stranger, MESSAGE)
            ),
            Err(SignatureError::UnknownKey)
        );
    }

    #[test]
    fn an_empty_ring_trusts_nobody() {
        let (key, point) = signer(1);
        let id = KeyId::of_public_point(&point);
        assert_eq!(
            KeyRing::new().verify(&id, MESSAGE, &sign(&key, MESSAGE)),
            Err(SignatureError::UnknownKey)
        );
    }

    #[test]
    fn a_flip_of_any_bit_spoils_a_signature() {
        let (key, point) = signer(1);
        let ring = KeyRing::of(&[point]).unwrap();
        let id = KeyId::of_public_point(&point);
        let good = sign(&key, MESSAGE);
        for byte in 0..SIGNATURE_LEN {
            let mut bad = good;
            bad[byte] ^= 1 << (byte % 8);
            assert_eq!(
                ring.verify(&id, MESSAGE, &bad),
                Err(SignatureError::BadSignature),
                "byte {byte}"
            );
        }
    }

    #[test]
    fn r_and_s_out_of_range_are_refused() {
        let (key, point) = signer(1);
        let ring = KeyRing::of(&[point]).unwrap();
        let id = KeyId::of_public_point(&point);
        let good = sign(&key, MESSAGE);
        for half in [0..32, 32..64] {
            for fill in [0x00, 0xFF] {
                let mut bad = good;
                bad[half.clone()].fill(fill);
                assert_eq!(
                    ring.verify(&id, MESSAGE, &bad),
                    Err(SignatureError::BadSignature)
                );
            }
        }
        assert_eq!(
            ring.verify(&id, MESSAGE, &[0; 64]),
            Err(SignatureError::BadSignature)
        );
    }

    #[test]
    fn a_mirrored_signature_is_the_same_package() {
        let (key, point) = signer(1);
        let ring = KeyRing::of(&[point]).unwrap();
        let id = KeyId::of_public_point(&point);
        let good = Signature::from_slice(&sign(&key, MESSAGE)).unwrap();
        let (r, s) = good.split_scalars();
        let mirrored = Signature::from_scalars(r, -s).unwrap();
        assert_ne!(mirrored, good);
        assert_eq!(
            ring.verify(&id, MESSAGE, &mirrored.to_bytes().into()),
            Ok(())
        );
    }

    #[test]
    fn a_key_counts_once_and_must_be_on_the_curve() {
        let points = [1, 2, 3, 4, 5].map(|seed| signer(seed).1);
        let mut ring = KeyRing::new();
        ring.trust(&points[0]).unwrap();
        assert_eq!(ring.trust(&points[0]), Err(KeyError::Duplicate));
        for point in &points[1..4] {
            ring.trust(point).unwrap();
        }
        assert_eq!(ring.trust(&points[4]), Err(KeyError::Full));
        assert_eq!(ring.ids().count(), MAX_KEYS);

        let mut off_curve = points[4];
        off_curve[64] ^= 1;
        assert_eq!(KeyRing::of(&[off_curve]).unwrap_err(), KeyError::NotAKey);
        assert_eq!(KeyRing::of(&[[0; 65]]).unwrap_err(), KeyError::NotAKey);
    }
}
