use std::vec::Vec;

use super::*;
use crate::golden::hex;
use crate::package::SIGNATURE_LEN;

fn point(fill: u8) -> [u8; PUBLIC_KEY_LEN] {
    let mut point = [fill; PUBLIC_KEY_LEN];
    point[0] = UNCOMPRESSED;
    point
}

fn key_set() -> KeySet {
    KeySet {
        epoch: 7,
        threshold: 2,
        product: FixedText::try_from("pump").unwrap(),
        keys: [point(0x11), point(0x22)].into_iter().collect(),
    }
}

const ROOT: KeyId = KeyId([0xAA; 8]);
const OTHER_ROOT: KeyId = KeyId([0xBB; 8]);
const SIGNATURE: [u8; SIGNATURE_LEN] = [0x55; SIGNATURE_LEN];

fn by(key_id: KeyId) -> CoSignature<'static> {
    CoSignature {
        key_id,
        signature: &SIGNATURE,
    }
}

fn record() -> Vec<u8> {
    key_set().sign(&[by(ROOT)]).unwrap().to_vec()
}

/// Whose signature counts, by the first byte of the key's id: known and good, known and bad, unknown.
struct Verifier(&'static [(KeyId, bool)]);

impl VerifySignature for Verifier {
    fn verify(
        &self,
        key_id: &KeyId,
        message: &[u8],
        _: &[u8; SIGNATURE_LEN],
    ) -> Result<(), SignatureError> {
        assert!(message.starts_with(b"otaria keys v1\0OTARIAK1"));
        match self.0.iter().find(|(known, _)| known == key_id) {
            Some((_, true)) => Ok(()),
            Some((_, false)) => Err(SignatureError::BadSignature),
            None => Err(SignatureError::UnknownKey),
        }
    }
}

#[test]
fn the_bytes_of_a_record_are_fixed() {
    let golden = hex(
        "4f54415249414b31 01 02 02 00 07000000 ; magic, version, threshold, keys, 0, epoch
         70756d70000000000000000000000000 00000000000000000000000000000000 ; pump
         04 1111111111111111111111111111111111111111111111111111111111111111
            1111111111111111111111111111111111111111111111111111111111111111
         04 2222222222222222222222222222222222222222222222222222222222222222
            2222222222222222222222222222222222222222222222222222222222222222
         01 aaaaaaaaaaaaaaaa
            5555555555555555555555555555555555555555555555555555555555555555
            5555555555555555555555555555555555555555555555555555555555555555",
    );
    assert_eq!(record(), golden);
    let view = KeyRecord::parse(&golden).unwrap();
    assert_eq!(view.to_key_set(), key_set());
    assert_eq!(view.signed_message(), key_set().signed_message());
    assert_eq!(view.signatures().collect::<Vec<_>>(), [by(ROOT)]);
}

#[test]
fn the_longest_record_fits() {
    let all = KeySet {
        keys: (1..=4).map(point).collect(),
        ..key_set()
    };
    let record = all.sign(&[by(ROOT), by(OTHER_ROOT)]).unwrap();
    assert_eq!(record.len(), MAX_LEN);
    assert_eq!(all.signed_message().len(), MAX_MESSAGE_LEN);
}

#[test]
fn a_record_of_any_other_length_is_refused() {
    let record = record();
    for len in 0..record.len() {
        assert!(KeyRecord::parse(&record[..len]).is_err(), "{len}");
    }
    let mut longer = record;
    longer.push(0);
    assert_eq!(
        KeyRecord::parse(&longer).unwrap_err(),
        KeyRecordError::Length
    );
}

#[test]
fn each_field_is_checked() {
    let with = |at: usize, byte: u8| {
        let mut record = record();
        record[at] = byte;
        KeyRecord::parse(&record).map(|_| ()).unwrap_err()
    };
    assert_eq!(with(0, b'X'), KeyRecordError::NotARecord);
    assert_eq!(with(8, 2), KeyRecordError::UnknownVersion(2));
    assert_eq!(with(9, 0), KeyRecordError::Threshold(0));
    assert_eq!(with(9, 3), KeyRecordError::Threshold(3));
    assert_eq!(with(10, 0), KeyRecordError::Keys(0));
    assert_eq!(with(10, 5), KeyRecordError::Keys(5));
    assert_eq!(with(10, 1), KeyRecordError::Threshold(2));
    assert_eq!(with(11, 1), KeyRecordError::NotZero);
    assert_eq!(with(12, 0), KeyRecordError::Epoch);
    assert_eq!(with(16, 0), KeyRecordError::Product);
    assert_eq!(with(48, 2), KeyRecordError::Point);
    let signatures_at = 48 + 2 * 65;
    assert_eq!(
        with(signatures_at, 0),
        KeyRecordError::Signatures(CoSignatureError::None)
    );
    assert_eq!(
        with(signatures_at, 2),
        KeyRecordError::Signatures(CoSignatureError::Truncated)
    );
    assert_eq!(with(signatures_at, 3), KeyRecordError::TooManySignatures(3));
}

#[test]
fn a_key_that_is_there_twice_does_not_count_as_two() {
    let twice = KeySet {
        keys: [point(0x11), point(0x11)].into_iter().collect(),
        ..key_set()
    };
    let id = KeyId::of_public_point(&point(0x11));
    assert_eq!(twice.check(), Err(KeyRecordError::DuplicateKey(id)));
    assert_eq!(
        key_set().sign(&[by(ROOT), by(ROOT)]),
        Err(KeyRecordError::Signatures(CoSignatureError::DuplicateKey(
            ROOT
        )))
    );
}

#[test]
fn one_known_root_key_is_enough_and_its_signature_has_to_be_good() {
    let both = key_set().sign(&[by(ROOT), by(OTHER_ROOT)]).unwrap();
    let both = KeyRecord::parse(&both).unwrap();
    let verify = |known| both.verify(&Verifier(known));
    assert_eq!(verify(&[(ROOT, true)]), Ok(ROOT));
    assert_eq!(verify(&[(OTHER_ROOT, true)]), Ok(OTHER_ROOT));
    assert_eq!(verify(&[]), Err(SignatureError::UnknownKey));
    for bad in [
        [(ROOT, true), (OTHER_ROOT, false)].as_slice(),
        &[(ROOT, false), (OTHER_ROOT, true)],
        &[(ROOT, false)],
    ] {
        assert_eq!(
            both.verify(&Verifier(bad)),
            Err(SignatureError::BadSignature)
        );
    }
}

#[test]
fn records_that_say_the_same_are_the_same_whoever_signed() {
    let (first, second) = (record(), key_set().sign(&[by(OTHER_ROOT)]).unwrap());
    let next = KeySet {
        epoch: 8,
        ..key_set()
    };
    let next = next.sign(&[by(ROOT)]).unwrap();
    let parse = |bytes| KeyRecord::parse(bytes).unwrap();
    assert!(parse(&first).says_the_same_as(&second));
    assert!(!parse(&first).says_the_same_as(&next));
}
