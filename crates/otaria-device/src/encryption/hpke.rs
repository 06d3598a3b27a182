//! HPKE (RFC 9180), receiving, base mode, single shot, for one suite: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, ChaCha20-Poly1305.
//!
//! Of our own because it is small: on riscv32imc it takes 3.2 kB of flash beside ChaCha20-Poly1305 and the arithmetic that
//! signatures need anyway; the crate hpke 0.15, which knows more suites, takes 10 kB. The packager seals with that crate, so each
//! package that is opened in a test is also a test of the one against the other.

use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::aead::{AeadInOut, KeyInit as _};
use hmac::{Hmac, Mac};
use otaria_wire::package::{ENCAPSULATED_LEN, KeyId, NONCE_LEN, TAG_LEN};
use p256::elliptic_curve::point::AffineCoordinates;
use p256::{NonZeroScalar, ProjectivePoint};
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

use super::DecryptionKeyError;
use crate::trust::{PUBLIC_KEY_LEN, UNCOMPRESSED, point_at};

/// Length of an output of HKDF's parts (Nh), and of a key (Nk): 32 bytes for this suite, so that one block of HMAC is enough.
const HASH_LEN: usize = 32;

/// RFC 9180, section 4.1: "KEM", kem_id.
const KEM_SUITE: &[u8] = b"KEM\x00\x10";
/// RFC 9180, section 5.1: "HPKE", kem_id, kdf_id, aead_id.
const SUITE: &[u8] = b"HPKE\x00\x10\x00\x01\x00\x03";

/// RFC 9180, section 4.
const VERSION: &[u8] = b"HPKE-v1";

type Secret = Zeroizing<[u8; HASH_LEN]>;

/// A private key with its public half.
#[derive(Clone)]
pub(super) struct SecretKey {
    scalar: NonZeroScalar,
    /// The public half as a packager has it (section 7.1.1: uncompressed).
    point: [u8; PUBLIC_KEY_LEN],
    id: KeyId,
}

impl SecretKey {
    pub(super) fn new(scalar: &[u8; 32]) -> Result<Self, DecryptionKeyError> {
        let scalar = NonZeroScalar::from_repr((*scalar).into()).into_option();
        let scalar = scalar.ok_or(DecryptionKeyError::NotAKey)?;
        let public = (ProjectivePoint::GENERATOR * *scalar).to_affine();
        let mut point = [UNCOMPRESSED; PUBLIC_KEY_LEN];
        let coordinates = public.x().into_iter().chain(public.y());
        for (byte, coordinate) in point.iter_mut().skip(1).zip(coordinates) {
            *byte = coordinate;
        }
        Ok(Self {
            scalar,
            point,
            id: KeyId::of_public_point(&point),
        })
    }

    pub(super) fn id(&self) -> KeyId {
        self.id
    }
}

impl Drop for SecretKey {
    fn drop(&mut self) {
        self.scalar.zeroize();
    }
}

/// `OpenBase` (section 6.1) in place. Gives what was sealed, or nothing, and then `sealed` is as it was.
pub(super) fn open<'s>(
    key: &SecretKey,
    encapsulated: &[u8; ENCAPSULATED_LEN],
    info: &[u8],
    bound_to: &[u8],
    sealed: &'s mut [u8],
) -> Option<&'s mut [u8]> {
    let shared = decapsulate(key, encapsulated)?;
    let (key, nonce) = schedule(&shared, info);
    unseal(&key, &nonce, bound_to, sealed)
}

/// `Decap` (section 4.1). That the point is on the curve is checked by its coordinates, and an uncompressed point is never the
/// one at infinity; nor is the product then, as the curve's order is prime (section 7.1.4).
pub(super) fn decapsulate(
    key: &SecretKey,
    encapsulated: &[u8; ENCAPSULATED_LEN],
) -> Option<Secret> {
    let theirs = ProjectivePoint::from(point_at(encapsulated)?);
    let product = (theirs * *key.scalar).to_affine();
    let shared = Zeroizing::new(product.x());
    let secret = extract(KEM_SUITE, b"", b"eae_prk", &shared);
    let both = [encapsulated.as_slice(), &key.point, b""];
    Some(expand(
        KEM_SUITE,
        &secret,
        b"shared_secret",
        both,
        HASH_LEN as u8,
    ))
}

/// `KeySchedule` (section 5.1) in base mode: the key and the first nonce.
pub(super) fn schedule(shared: &Secret, info: &[u8]) -> (Secret, [u8; NONCE_LEN]) {
    const MODE_BASE: [u8; 1] = [0];
    let psk_id_hash = extract(SUITE, b"", b"psk_id_hash", b"");
    let info_hash = extract(SUITE, b"", b"info_hash", info);
    let secret = extract(SUITE, shared.as_slice(), b"secret", b"");
    let context = [&MODE_BASE[..], psk_id_hash.as_slice(), info_hash.as_slice()];
    let key = expand(SUITE, &secret, b"key", context, HASH_LEN as u8);
    let nonce = expand(SUITE, &secret, b"base_nonce", context, NONCE_LEN as u8);
    let nonce = nonce.first_chunk().copied().unwrap_or_default();
    (key, nonce)
}

/// `LabeledExtract` (section 4).
fn extract(suite: &[u8], salt: &[u8], label: &[u8], input: &[u8]) -> Secret {
    mac(salt, &[VERSION, suite, label, input])
}

/// `LabeledExpand` (section 4) to `len` bytes, the first ones of what it gives: one block of HKDF's output (RFC 5869, section
/// 2.3, T(1)), which is as much as this suite ever asks for.
fn expand(suite: &[u8], secret: &Secret, label: &[u8], info: [&[u8]; 3], len: u8) -> Secret {
    let [first, second, third] = info;
    let parts = [&[0, len], VERSION, suite, label, first, second, third, &[1]];
    mac(secret.as_slice(), &parts)
}

/// HMAC-SHA256 of the parts, one behind the other. The key has at most 64 bytes, and counts as if zeros followed (RFC 2104).
fn mac(key: &[u8], parts: &[&[u8]]) -> Secret {
    let mut block = Zeroizing::new([0; 64]);
    for (byte, key) in block.iter_mut().zip(key) {
        *byte = *key;
    }
    let mut hmac = Hmac::<Sha256>::new((&*block).into());
    for part in parts {
        hmac.update(part);
    }
    Zeroizing::new(hmac.finalize().into_bytes().into())
}

/// Opens in place what ChaCha20-Poly1305 (RFC 8439) has sealed, its tag behind it. The tag is compared first: without a match
/// nothing is decrypted, and `sealed` is as it was.
pub(super) fn unseal<'s>(
    key: &[u8; HASH_LEN],
    nonce: &[u8; NONCE_LEN],
    bound_to: &[u8],
    sealed: &'s mut [u8],
) -> Option<&'s mut [u8]> {
    let (message, tag) = sealed.split_last_chunk_mut::<TAG_LEN>()?;
    let place = InOutBuf::from(&mut *message);
    ChaCha20Poly1305::new(key.into())
        .decrypt_inout_detached(nonce.into(), bound_to, place, (&*tag).into())
        .ok()?;
    Some(message)
}
