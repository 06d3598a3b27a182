//! ECDSA with P-256 and SHA-256, its signatures in DER (RFC 3279, 2.2.3).

use p256::ecdsa::signature::hazmat::{PrehashSigner, PrehashVerifier};
use p256::ecdsa::{Signature, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use super::TlsError;
use super::der::{self, Der, INTEGER, SEQUENCE};

/// The longest signature: two numbers of 33 bytes with two bytes before each and before both.
pub(in super::super) const SIGNATURE_MAX: usize = 2 + 2 * (2 + 33);

/// Whether `signature` is that of `key` over `message`.
#[inline(never)]
pub(in super::super) fn verify(key: &[u8; 65], message: &[u8], signature: &[u8]) -> bool {
    let (Ok(key), Ok(signature)) = (VerifyingKey::from_sec1_bytes(key), decode(signature)) else {
        return false;
    };
    key.verify_prehash(&Sha256::digest(message), &signature)
        .is_ok()
}

fn decode(signature: &[u8]) -> Result<Signature, TlsError> {
    let mut outer = Der::new(signature);
    let mut numbers = outer.expect(SEQUENCE)?;
    outer.end()?;
    let r = der::unsigned::<32>(&mut numbers)?;
    let s = der::unsigned::<32>(&mut numbers)?;
    numbers.end()?;
    Signature::from_scalars(r, s).map_err(|_| TlsError::BadSignature)
}

/// Signs `message` with the scalar `key`, and writes the signature into `out`. The nonce follows from both (RFC 6979), so that no
/// random number can give the key away.
#[inline(never)]
pub(in super::super) fn sign<'b>(
    key: &[u8; 32],
    message: &[u8],
    out: &'b mut [u8; SIGNATURE_MAX],
) -> Result<&'b [u8], TlsError> {
    let key = SigningKey::from_slice(key).map_err(|_| TlsError::Identity)?;
    let signature: Signature = key
        .sign_prehash(&Sha256::digest(message))
        .map_err(|_| TlsError::Identity)?;
    let (r, s) = signature.split_bytes();
    let mut writer = super::super::bytes::Writer::new(out);
    let (r, s) = (minimal(&r), minimal(&s));
    let len = |number: &[u8]| number.len() + usize::from(number.first() >= Some(&0x80));
    writer.bytes(&[SEQUENCE, (2 + len(r) + 2 + len(s)) as u8]);
    for number in [r, s] {
        writer.bytes(&[INTEGER, len(number) as u8]);
        if len(number) > number.len() {
            writer.u8(0);
        }
        writer.bytes(number);
    }
    writer.end().map(|signature| &*signature)
}

/// Without leading zeros.
fn minimal(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    number.get(zeros..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_of_all_lengths_are_verified_again() {
        let secret = [7; 32];
        let key = SigningKey::from_slice(&secret).unwrap();
        let point = key.verifying_key().to_sec1_point(false);
        let point: &[u8; 65] = point.as_bytes().try_into().unwrap();
        let mut lengths = std::collections::BTreeSet::new();
        for number in 0u16..600 {
            let message = number.to_be_bytes();
            let mut out = [0; SIGNATURE_MAX];
            let signature = sign(&secret, &message, &mut out).unwrap();
            assert!(verify(point, &message, signature));
            assert!(!verify(point, b"other", signature));
            lengths.insert(signature.len());
        }
        assert!(lengths.len() >= 3, "{lengths:?}");
        assert!(sign(&[0; 32], b"", &mut [0; SIGNATURE_MAX]).is_err());
    }
}
