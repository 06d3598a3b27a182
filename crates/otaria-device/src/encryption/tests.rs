//! HPKE by the vectors of RFC 9180, and what of a sealed package opens.

use std::format;
use std::vec::Vec;

use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut, KeyInit as _};
use otaria_wire::package::{Header, KEM_DHKEM_P256, RECIPIENT_LEN, SEALED_KEY_LEN};

use super::*;
use crate::storage::test_package::{TestPackage, image};

fn hex<const N: usize>(digits: &str) -> [u8; N] {
    let bytes: Vec<u8> = (0..digits.len() / 2)
        .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    bytes.try_into().unwrap()
}

/// RFC 9180, appendix A.5.1: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305, base mode.
mod a_5_1 {
    pub(super) const INFO: &str = "4f6465206f6e2061204772656369616e2055726e";
    pub(super) const ENC: &str = "04c07836a0206e04e31d8ae99bfd549380b072a1b1b82e563c935c095827824f\
        c1559eac6fb9e3c70cd3193968994e7fe9781aa103f5b50e934b5b2f387e381291";
    pub(super) const SK_R: &str =
        "a4d1c55836aa30f9b3fbb6ac98d338c877c2867dd3a77396d13f68d3ab150d3b";
    pub(super) const PK_R: &str = "04a697bffde9405c992883c5c439d6cc358170b51af72812333b015621dc0f40\
        bad9bb726f68a5c013806a790ec716ab8669f84f6b694596c2987cf35baba2a006";
    pub(super) const SHARED: &str =
        "806520f82ef0b03c823b7fc524b6b55a088f566b9751b89551c170f4113bd850";
    pub(super) const KEY: &str = "a8f45490a92a3b04d1dbf6cf2c3939ad8bfc9bfcb97c04bffe116730c9dfe3fc";
    pub(super) const NONCE: &str = "726b4390ed2209809f58c693";
    /// Sequence number 0.
    pub(super) const AAD: &[u8] = b"Count-0";
    pub(super) const SEALED: &str = "6469c41c5c81d3aa85432531ecf6460ec945bde1eb428cb2fedf7a29f5a685b4\
        ccb0d057f03ea2952a27bb458b";
    pub(super) const MESSAGE: &[u8] = b"Beauty is truth, truth beauty";
}

fn secret() -> SecretKey {
    SecretKey::new(&hex(a_5_1::SK_R)).unwrap()
}

#[test]
fn hpke_gives_each_value_of_the_rfcs_vector() {
    let key = secret();
    assert_eq!(key.id(), KeyId::of_public_point(&hex(a_5_1::PK_R)));
    let shared = hpke::decapsulate(&key, &hex(a_5_1::ENC)).unwrap();
    assert_eq!(*shared, hex(a_5_1::SHARED));
    let (content, nonce) = hpke::schedule(&shared, &hex::<20>(a_5_1::INFO));
    assert_eq!((*content, nonce), (hex(a_5_1::KEY), hex(a_5_1::NONCE)));
}

#[test]
fn hpke_opens_the_rfcs_ciphertext_and_nothing_that_differs_in_a_bit() {
    let sealed: [u8; 45] = hex(a_5_1::SEALED);
    let (enc, info) = (hex(a_5_1::ENC), hex::<20>(a_5_1::INFO));
    let key = secret();
    let opens = |enc: &[u8; 65], info: &[u8], bound_to: &[u8], sealed: &[u8]| {
        let mut place = sealed.to_vec();
        let opened =
            hpke::open(&key, enc, info, bound_to, &mut place).map(|opened| opened.to_vec());
        if opened.is_none() {
            assert_eq!(place, sealed, "what does not open was changed");
        }
        opened
    };
    assert_eq!(
        opens(&enc, &info, a_5_1::AAD, &sealed).unwrap(),
        a_5_1::MESSAGE
    );
    for at in 0..sealed.len() {
        let mut sealed = sealed;
        sealed[at] ^= 1;
        assert_eq!(opens(&enc, &info, a_5_1::AAD, &sealed), None, "{at}");
    }
    for at in 0..enc.len() {
        let mut enc = enc;
        enc[at] ^= 1;
        assert_eq!(opens(&enc, &info, a_5_1::AAD, &sealed), None, "{at}");
    }
    assert_eq!(opens(&enc, b"another", a_5_1::AAD, &sealed), None);
    assert_eq!(opens(&enc, &info, b"Count-1", &sealed), None);
    for len in 0..16 {
        assert_eq!(
            opens(&enc, &info, a_5_1::AAD, &sealed[..len]),
            None,
            "{len}"
        );
    }
}

#[test]
fn hpke_refuses_points_that_are_not_on_the_curve() {
    let mut sealed: [u8; 45] = hex(a_5_1::SEALED);
    for enc in [[0; 65], [4; 65], hex(&a_5_1::ENC.replacen("04", "02", 1))] {
        assert!(hpke::open(&secret(), &enc, b"", b"", &mut sealed).is_none());
    }
}

#[test]
fn keys_are_scalars_below_the_order_and_at_most_two() {
    const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let mut keys = DecryptionKeys::new();
    for bad in [[0; 32], hex(ORDER), [0xFF; 32]] {
        assert_eq!(keys.add(&bad), Err(DecryptionKeyError::NotAKey));
    }
    let mut last: [u8; 32] = hex(ORDER);
    last[31] -= 1;
    let ids = [keys.add(&last).unwrap(), keys.add(&[1; 32]).unwrap()];
    assert_eq!(keys.add(&[2; 32]), Err(DecryptionKeyError::Full));
    assert!(ids.iter().all(|id| keys.holds(id)) && !keys.holds(&KeyId([0; 8])));
    assert_eq!(format!("{keys:?}"), format!("{{{}, {}}}", ids[0], ids[1]));
}

/// The signed header of an encrypted package.
fn header(change: impl FnOnce(&mut Header)) -> VerifiedHeader {
    let image = image(1, 512, true);
    let package = TestPackage::with(image, 1, 4096, |header| {
        header.cipher = Cipher::ChaCha20Poly1305;
        header.recipients = 1;
        header.recipients_len = RECIPIENT_LEN as u32;
        header.kem = KEM_DHKEM_P256;
        change(header);
    });
    package.header
}

fn seal(key: &[u8; 32], header: &VerifiedHeader, block: u32, encoded: &[u8]) -> Vec<u8> {
    let mut stored = encoded.to_vec();
    let tag = ChaCha20Poly1305::new(key.into())
        .encrypt_inout_detached(
            (&block_nonce(block)).into(),
            &block_associated_data(header.signed_bytes()),
            stored.as_mut_slice().into(),
        )
        .unwrap();
    stored.extend(tag);
    stored
}

#[test]
fn a_block_opens_in_its_place_of_its_package_alone() {
    let content_key = ContentKey(Zeroizing::new([7; 32]));
    let its = header(|_| {});
    let sealed = seal(&[7; 32], &its, 3, b"encoded bytes");
    let opened = |header: &VerifiedHeader, block, stored: &[u8]| {
        let mut place = stored.to_vec();
        let opened = content_key.decrypt(header, block, &mut place);
        let opened = opened.map(|encoded| encoded.to_vec());
        if opened.is_err() {
            assert_eq!(place, stored, "what does not open was changed");
        }
        opened
    };
    assert_eq!(opened(&its, 3, &sealed).unwrap(), b"encoded bytes");
    // The table's digest is known only when all blocks are sealed.
    let with_table = header(|header| header.table_sha256.0[0] ^= 1);
    assert!(opened(&with_table, 3, &sealed).is_ok());

    assert_eq!(opened(&its, 2, &sealed), Err(DecryptError::Block(2)));
    let failed = Err(DecryptError::Block(3));
    let newer = header(|header| header.sequence += 1);
    assert_eq!(opened(&newer, 3, &sealed), failed);
    let for_others = header(|header| header.recipients_digest[23] ^= 1);
    assert_eq!(opened(&for_others, 3, &sealed), failed);
    for at in 0..sealed.len() {
        let mut flipped = sealed.clone();
        flipped[at] ^= 0x80;
        assert_eq!(opened(&its, 3, &flipped), failed, "{at}");
    }
    for len in 0..sealed.len() {
        assert_eq!(opened(&its, 3, &sealed[..len]), failed, "{len}");
    }
}

#[test]
fn who_is_no_recipient_is_told_apart_from_a_key_that_does_not_open() {
    let mut keys = DecryptionKeys::new();
    let key_id = keys.add(&hex(a_5_1::SK_R)).unwrap();
    let recipient = Recipient {
        key_id,
        encapsulated: hex(a_5_1::ENC),
        sealed_key: [0; SEALED_KEY_LEN],
    };
    let header = header(|_| {});
    let open = |keys: &DecryptionKeys, recipient| keys.open(&header, recipient).err();
    assert_eq!(
        open(&keys, Some(&recipient)),
        Some(DecryptError::ContentKey)
    );
    let nobody = Some(DecryptError::NotARecipient);
    assert_eq!(open(&keys, None), nobody);
    assert_eq!(open(&DecryptionKeys::new(), Some(&recipient)), nobody);
}
